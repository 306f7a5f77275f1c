"""The IIIF consortium's own validator, run against the embedded image server."""

from __future__ import annotations

import random
import warnings
from typing import Any

import httpx
import pytest
from PIL import Image  # noqa: TID253 (a test, which no run loads)

from dlcs_assets_tests.stack.image_server.conftest import Server
from dlcs_testing.image_server_pictures import encoded

try:
    import magic  # noqa: F401 (the validator's, which fails where its C library is missing)
except ModuleNotFoundError:
    raise
except ImportError as reason:
    pytest.skip(f"The IIIF validator needs {reason} (Debian: apt-get install libmagic1)", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about its own string escapes, when it is compiled
    from iiif_validator import validator  # type: ignore[import-untyped]  # it has no annotations

VERSIONS = ("2.0", "3.0")
LEVEL = 2
PICTURE = validator.ValidationInfo().colorInfo  # colours by column and row
SQUARE = 100  # pixels
SUITE = validator.TestSuite(validator.ValidationInfo())

# All of them are above level 2, and about the validator rather than the server.
PYTHON_2 = "calls urllib.urlopen, which went with Python 2"
EXCEPTIONS = {
    "format_jp2": PYTHON_2,
    "format_pdf": PYTHON_2,
    "format_webp": PYTHON_2,
    "size_up": "expects ^max to be the full size; it is the largest that the server makes (Image API 3.0, 4.2)",
}
CLAIMS = [
    pytest.param(version, name, id=f"{version}-{name}")
    for version in VERSIONS
    for name in SUITE.list_tests(version)
    if name not in EXCEPTIONS
]


@pytest.fixture(scope="module")
def picture(server: Server) -> str:
    """Store the picture whose colours the validator knows; return its identifier as the server itself writes it."""
    drawn = Image.new("RGB", (len(PICTURE) * SQUARE, len(PICTURE[0]) * SQUARE))
    for x, column in enumerate(PICTURE):
        for y, colour in enumerate(column):
            drawn.paste(colour, (x * SQUARE, y * SQUARE, (x + 1) * SQUARE, (y + 1) * SQUARE))
    # The validator compares `id` with the address as text, and a colon may be written in two ways.
    return server.put("2/1/validator", encoded(drawn, "PNG")).replace("%3A", ":")


@pytest.mark.parametrize(("version", "name"), CLAIMS)
def test_the_official_validator_passes(server: Server, picture: str, version: str, name: str) -> None:
    random.seed(name)  # the validator draws regions, sizes and names at random
    asked: Any = validator.ImageAPI(
        picture, httpx.URL(server.url).netloc.decode(), f"iiif/{version[0]}", version=version, debug=False
    )
    SUITE.run_test(name, asked)
    assert asked.exception is None, f"{asked.exception} at {asked.last_url}"


@pytest.mark.parametrize("version", VERSIONS)
def test_no_test_is_skipped_at_the_level_the_server_declares(server: Server, picture: str, version: str) -> None:
    """Exceptions from the validator are for features above the declared level only."""
    profile = server.get(picture, "info.json", version=int(version[0])).json()["profile"]
    assert f"level{LEVEL}" in (profile if isinstance(profile, str) else profile[0])
    levels = {name: about["level"] for name, about in SUITE.list_tests(version).items()}
    assert [name for name, level in levels.items() if level <= LEVEL and name in EXCEPTIONS] == []
