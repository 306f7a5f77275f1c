"""What is read of a file before a library sees it: whole files are let in, however blank; bombs are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.picture_limits import Demand, PictureLimits
from dlcs_assets.pictures.demands import Gate, read_demand
from dlcs_assets.pictures.reading import read_header, sniff_image
from dlcs_testing.bombs import BYTES, MEMORY, PARTS, PIXELS, Bomb, bombs
from dlcs_testing.pictures import drawing, encoded
from dlcs_testing.raw_tiff import LONG, RawPage, raw_tiff

STRICT = PictureLimits(pixels=40_000_000, memory_bytes=2**27)
FROM_HEADERS = PIXELS | BYTES | PARTS | MEMORY
BLANK: list[tuple[str, str, dict[str, Any]]] = [
    ("1", "PNG", {"compress_level": 9}),
    ("L", "PNG", {"compress_level": 9}),
    ("1", "TIFF", {"compression": "group4"}),
    ("1", "TIFF", {"compression": "packbits"}),
    ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    ("RGB", "TIFF", {"compression": "tiff_adobe_deflate"}),
    ("RGB", "TIFF", {"compression": "raw"}),
    ("L", "JPEG", {"quality": 1, "optimize": True}),
    ("RGB", "JPEG", {"quality": 1, "progressive": True}),
    ("P", "GIF", {}),
    ("RGB", "WEBP", {"lossless": True}),
    ("RGB", "AVIF", {"quality": 1}),
    ("RGB", "BMP", {}),
    ("RGB", "PPM", {}),
    ("RGB", "JPEG2000", {"quality_mode": "rates", "quality_layers": [1000]}),
]


@pytest.mark.parametrize(
    ("mode", "kind", "options"), BLANK, ids=[f"{mode} {kind} {more}" for mode, kind, more in BLANK]
)
def test_a_blank_page_is_let_in_however_few_its_bytes(
    tmp_path: Path, mode: str, kind: str, options: dict[str, Any]
) -> None:
    from PIL import Image

    path = tmp_path / "blank"
    path.write_bytes(encoded(Image.new(mode, (1500, 1500), 1 if mode == "1" else 0), kind, **options))
    assert (read_header(path).width, read_header(path).height) == (1500, 1500)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "WEBP", "AVIF", "BMP", "PPM"])
def test_sizes_are_those_that_the_library_reads(kind: str) -> None:
    data = encoded(drawing(211, 97), kind)
    demand = read_demand(data, sniff_image(data), 10)
    assert (demand.width, demand.height) == (211, 97)


@pytest.mark.parametrize("bomb", [bomb for bomb in bombs() if bomb.codes <= FROM_HEADERS], ids=lambda bomb: bomb.name)
def test_a_bomb_is_refused_before_anything_is_admitted(bomb: Bomb, tmp_path: Path) -> None:
    admitted: list[Demand] = []
    path = tmp_path / "bomb"
    path.write_bytes(bomb.draw())
    with pytest.raises(PermanentError) as caught:
        read_header(path, Gate(STRICT, admitted.append))
    assert caught.value.code in bomb.codes
    assert admitted == [], "no library has seen it"


def test_pages_of_a_tiff_that_are_not_read_do_not_count(tmp_path: Path) -> None:
    page = RawPage(20, 10, [8], 1, [bytes(200)])
    huge = RawPage(60_000, 60_000, [8], 1, [b"x"], {254: (LONG, [1])})
    (tmp_path / "pages.tif").write_bytes(raw_tiff(huge, page))
    assert read_header(tmp_path / "pages.tif", Gate(STRICT)).width == 20


def test_pages_are_counted_up_to_the_limit_only(tmp_path: Path) -> None:
    (tmp_path / "pages.tif").write_bytes(raw_tiff(*[RawPage(20, 10, [8], 1, [bytes(200)])] * 4))
    assert read_header(tmp_path / "pages.tif", Gate(PictureLimits(frames=4))).pages == 4
    with pytest.raises(PermanentError) as caught:
        read_header(tmp_path / "pages.tif", Gate(PictureLimits(frames=3)))
    assert caught.value.code == "too_many_parts"
