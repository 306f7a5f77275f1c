"""Files and answers from outside: each is read, or refused in the way that its reader promises."""

from __future__ import annotations

import json
from contextlib import suppress

import httpx
from hypothesis import given
from hypothesis import strategies as st

from dlcs_assets.clients.image_server_answer import Answer, read_info
from dlcs_assets.clients.jpeg import NotAJpegError, decode_jpeg, measure_jpeg
from dlcs_assets.domain.errors import IngestError
from dlcs_assets_tests.fuzz.generating import JSON, changed, damaged
from dlcs_assets_tests.fuzz.readers import CUSTOMERS, SIZES, read_customers, read_original, read_sizes
from dlcs_testing.pictures import drawing, encoded

INFO = {"id": "x", "type": "ImageService3", "width": 640, "height": 480, "sizes": [{"width": 1, "height": 1}]}
PICTURES = [encoded(drawing(64, 48), kind) for kind in ("JPEG", "PNG", "TIFF", "JPEG2000", "WEBP", "GIF", "BMP")]


@given(damaged(CUSTOMERS) | st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_customers_file_is_read_or_its_problems_have_lines(data: bytes) -> None:
    read_customers(data)


@given(changed(SIZES).map(json.dumps) | JSON.map(json.dumps) | st.text())
def test_a_sizes_file_is_read_or_is_none(text: str) -> None:
    read_sizes(text)


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
    read_original(data)
