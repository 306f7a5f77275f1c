"""Files and answers from outside: each is read, or refused in the way that its reader promises."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from hypothesis import given
from hypothesis import strategies as st

from dlcs_assets.clients.image_server_answer import Answer, read_info
from dlcs_assets.clients.jpeg import NotAJpegError, decode_jpeg, measure_jpeg
from dlcs_assets.customers.config import parse_customers
from dlcs_assets.customers.fields import InvalidConfigError
from dlcs_assets.domain.errors import IngestError, PermanentError
from dlcs_assets.domain.media_type import sniff
from dlcs_assets.domain.picture_limits import PictureLimits
from dlcs_assets.domain.thumbnails import read_sizes_json
from dlcs_assets.pictures.demands import Gate
from dlcs_assets.pictures.reading import fingerprint, read_header
from dlcs_assets_tests.fuzz.generating import JSON, changed, damaged
from dlcs_testing.pictures import drawing, encoded

EXAMPLE = (Path(__file__).parents[2] / "dlcs.example.yaml").read_bytes()
SIZES = {"o": [[400, 300], [200, 150]], "a": [[1024, 768]]}
INFO = {"id": "x", "type": "ImageService3", "width": 640, "height": 480, "sizes": [{"width": 1, "height": 1}]}
REFUSED = {"not_an_image", "image_unreadable", "image_unsupported", "jp2_broken"} | {
    *("too_many_pixels", "too_many_parts", "too_few_bytes", "too_much_memory")
}
PICTURES = [encoded(drawing(64, 48), kind) for kind in ("JPEG", "PNG", "TIFF", "JPEG2000", "WEBP", "GIF", "BMP")]


@given(damaged(EXAMPLE) | st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_customers_file_is_read_or_its_problems_have_lines(data: bytes) -> None:
    try:
        parse_customers(data)
    except InvalidConfigError as error:
        assert error.problems
        assert all(problem.line >= 1 for problem in error.problems)


@given(changed(SIZES).map(json.dumps) | JSON.map(json.dumps) | st.text())
def test_a_sizes_file_is_read_or_is_none(text: str) -> None:
    with suppress(ValueError):
        read_sizes_json(text)


@given(changed(INFO).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=100), st.integers(200, 599))
def test_info_json_gives_a_size_or_an_error_of_the_tree(body: bytes, status: int) -> None:
    try:
        size = read_info(Answer("http://127.0.0.1/info.json", status, httpx.Headers(), body))
    except IngestError as error:
        assert error.code
        return
    assert size.width >= 1
    assert size.height >= 1


@given(damaged(PICTURES[0]) | st.binary(max_size=100))
def test_a_thumbnail_is_measured_and_decoded_or_is_none(data: bytes) -> None:
    with suppress(NotAJpegError):
        size = measure_jpeg(data)
        assert size.width >= 1
        decode_jpeg(data)


@given(st.sampled_from(PICTURES).flatmap(damaged) | st.binary(max_size=300))
def test_an_original_is_an_image_or_is_refused(data: bytes) -> None:
    sniff(data)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "original"
        path.write_bytes(data)
        try:
            header = read_header(path, Gate(PictureLimits(pixels=1_000_000)))
            look = fingerprint(path)
        except PermanentError as error:
            assert error.code in REFUSED
            assert error.remedy
            return
    assert header.width >= 1
    assert look.levels
