"""Thumbnails by the image server and by Appetiser, with its faults and without, compared level by level.

The table of docs/image-servers.md is what `pytest -s` prints of it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from dlcs_assets.domain.thumbnails import ThumbnailMaker
from dlcs_stack.appetiser.app import AppetiserConfig
from dlcs_stack.stack import RunningStack
from dlcs_testing.appetiser_pictures import any_ink_is_blue_profile, red_is_green_profile
from dlcs_testing.appetiser_service import Appetiser, served
from dlcs_testing.installation import full_message
from dlcs_testing.looking import decoded
from dlcs_testing.pictures import drawing, encoded
from dlcs_testing.pipeline import Pipeline, running_pipeline

if TYPE_CHECKING:
    from PIL.Image import Image

USE_ORIGINAL, DEFAULT = 5, 1  # customers, after the rows of the plan
FAILS: Final = None


def drawn(mode: str = "RGB") -> Image:
    return drawing(480, 360, mode=mode)


def grey_of_16_bits() -> Image:
    return drawn("L").convert("I").point(lambda level: level * 257).convert("I;16")


def colours_of_16_bits() -> bytes:
    """Return a PNG of 16 bits a sample, which Pillow reads but does not write."""
    image = drawn()
    samples = image.tobytes()
    rows = [samples[start : start + 3 * image.width] for start in range(0, len(samples), 3 * image.width)]
    # As 257 times the level: both bytes of a sample are the level.
    pixels = b"".join(b"\0" + bytes(level for level in row for _ in range(2)) for row in rows)
    header = struct.pack(">IIBBBBB", *image.size, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(pixels)) + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def half_transparent() -> Image:
    image = drawn().convert("RGBA")
    image.putalpha(128)
    return image


SAMPLES = {
    "RGB, PNG": encoded(drawn(), "PNG"),
    "grey, JPEG": encoded(drawn("L"), "JPEG", quality=95),
    "RGB, profile, JPEG": encoded(drawn(), "JPEG", quality=95, icc_profile=red_is_green_profile()),
    "RGB, profile, TIFF": encoded(drawn(), "TIFF", icc_profile=red_is_green_profile()),
    "CMYK, TIFF": encoded(drawn("CMYK"), "TIFF"),
    "CMYK, profile, TIFF": encoded(drawn("CMYK"), "TIFF", icc_profile=any_ink_is_blue_profile()),
    "CMYK, profile, JPEG": encoded(drawn("CMYK"), "JPEG", quality=95, icc_profile=any_ink_is_blue_profile()),
    "grey, 16 bits, TIFF": encoded(grey_of_16_bits(), "TIFF"),
    "grey, 16 bits, PNG": encoded(grey_of_16_bits(), "PNG"),
    "RGB, 16 bits, PNG": colours_of_16_bits(),
    "half transparent, PNG": encoded(half_transparent(), "PNG"),
    "palette, PNG": encoded(drawn().convert("P"), "PNG"),
}
Levels = tuple[float, float, float] | None
# The most that a channel differs, in levels of 255: by Appetiser itself of the original (row 5) and of its JP2 (row 1),
# by the embedded Appetiser too, and of the original if it were asked for derivatives-only and no more.
BOUNDS: dict[str, tuple[float | None, ...]] = {
    "RGB, PNG": (0.5, 0.5, 0.5, 0.5, 0.5),
    "grey, JPEG": (0.5, 0.5, 0.5, 0.5, 0.5),
    "RGB, profile, JPEG": (0.5, 0.5, 0.5, 0.5, 50),
    "RGB, profile, TIFF": (FAILS, FAILS, 0.5, 0.5, 50),
    "CMYK, TIFF": (FAILS, FAILS, 0.5, 0.5, 5),
    "CMYK, profile, TIFF": (1.5, 0.5, 1.5, 0.5, 90),
    "CMYK, profile, JPEG": (FAILS, FAILS, 1.5, 0.5, 90),
    "grey, 16 bits, TIFF": (FAILS, FAILS, 0.5, 0.5, FAILS),
    "grey, 16 bits, PNG": (FAILS, FAILS, 0.5, 0.5, FAILS),
    "RGB, 16 bits, PNG": (0.5, 0.5, 0.5, 0.5, 0.5),
    "half transparent, PNG": (FAILS, FAILS, 0.5, 0.5, FAILS),
    "palette, PNG": (FAILS, FAILS, 0.5, 0.5, FAILS),
}


@pytest.fixture(scope="module")
def faulty() -> Iterator[Appetiser]:
    with served(AppetiserConfig(workers=2, faults=True)) as service:
        yield service


@pytest.fixture(scope="module")
def pipelines(
    services: RunningStack, faulty: Appetiser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Pipeline]]:
    """Ingest every sample by each maker, as it is served itself and as a JP2."""
    one_size: dict[str, Any] = {"default_thumbnail_sizes": ("!400,400",)}
    by_appetiser = {**one_size, "thumbnails_by": ThumbnailMaker.APPETISER, "attempts": 1}
    chosen: dict[str, dict[str, Any]] = {
        "server": one_size,
        "faulty": {**by_appetiser, "appetiser_url": str(faulty.client.base_url)},
        "embedded": by_appetiser,
    }
    with ExitStack() as opened:
        pipelines = {
            maker: opened.enter_context(running_pipeline(services, tmp_path_factory.mktemp(maker), **settings))
            for maker, settings in chosen.items()
        }
        for pipeline in pipelines.values():
            for number, data in enumerate(SAMPLES.values()):
                url = pipeline.serve(f"{number}.bin", data)
                pipeline.send(full_message(f"{USE_ORIGINAL}/1/{number}", url, "iiif-img:use-original"))
                pipeline.send(full_message(f"{DEFAULT}/1/{number}", url, "iiif-img:default"))
            pipeline.settle()
        yield pipelines


@pytest.mark.parametrize("name", SAMPLES)
def test_thumbnails_by_appetiser_look_as_an_image_servers(
    pipelines: dict[str, Pipeline], faulty: Appetiser, name: str, tmp_path: Path
) -> None:
    number = list(SAMPLES).index(name)
    found = [
        difference(thumbnail(pipelines["server"], customer, number), thumbnail(pipelines[maker], customer, number))
        for maker in ("faulty", "embedded")
        for customer in (USE_ORIGINAL, DEFAULT)
    ]
    alone = derivatives_only(faulty, SAMPLES[name], tmp_path)
    found.append(difference(thumbnail(pipelines["server"], USE_ORIGINAL, number), alone))
    print("|", name, "|", " | ".join(shown(levels) for levels in found), "|")  # noqa: T201 (the table)
    for levels, bound in zip(found, BOUNDS[name], strict=True):
        assert (levels is None) is (bound is FAILS)
        assert levels is None or bound is None or max(levels) <= bound


def test_to_ask_for_derivatives_only_would_lose_the_profile(
    pipelines: dict[str, Pipeline], faulty: Appetiser, tmp_path: Path
) -> None:
    name = "RGB, profile, JPEG"
    alone = derivatives_only(faulty, SAMPLES[name], tmp_path)
    lost = difference(thumbnail(pipelines["server"], USE_ORIGINAL, list(SAMPLES).index(name)), alone)
    assert lost is not None
    assert max(lost) > 5


def thumbnail(pipeline: Pipeline, customer: int, number: int) -> Image | None:
    key = f"{customer}/1/{number}/open/400.jpg"
    found = pipeline.thumbs(key)
    if not found:
        reason = str(pipeline.status(f"{customer}/1/{number}").reason)
        assert "Appetiser refused: " in reason or "does not show " in reason
    return decoded(found[key].data).convert("RGB") if found else None


def derivatives_only(appetiser: Appetiser, data: bytes, folder: Path) -> Image | None:
    """Return what comes of the original if nothing else is asked for."""
    source = folder / "source"
    source.write_bytes(data)
    answer = appetiser.convert(source, None, folder, operation="derivatives-only", sizes=["^400,300"])
    if answer.status != HTTPStatus.OK:
        return None
    return decoded(Path(answer.body["thumbs"][0]["path"]).read_bytes()).convert("RGB")


def difference(one: Image | None, other: Image | None) -> Levels:
    """Return by how many levels of 255 red, green and blue differ in the mean; None where there is no picture."""
    from PIL import ImageChops, ImageStat

    assert one is not None
    if other is None:
        return None
    assert one.size == other.size == (400, 300)
    red, green, blue = ImageStat.Stat(ImageChops.difference(one, other)).mean
    return red, green, blue


def shown(levels: Levels) -> str:
    return " ".join(f"{level:.1f}" for level in levels) if levels else "fails"
