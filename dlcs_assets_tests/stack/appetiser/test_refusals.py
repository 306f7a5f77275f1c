from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin  # noqa: TID253 (made of pictures)

from dlcs_testing.appetiser_pictures import quarters
from dlcs_testing.appetiser_service import Appetiser


def _png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""
    data = io.BytesIO()
    PngImagePlugin.putchunk(data, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    PngImagePlugin.putchunk(data, b"IDAT", b"x")
    return b"\x89PNG\r\n\x1a\n" + data.getvalue()


def _truncated(kind: str) -> bytes:
    data = io.BytesIO()
    Image.effect_noise((300, 300), 60).save(data, kind)
    return data.getvalue()[: len(data.getvalue()) // 2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "The source is empty."),
        (b"It was a dark and stormy night.", "not an image"),
        (b"<!DOCTYPE html><title>404</title>", "HTML"),
        (b"%PDF-1.7 ...", "a PDF"),
        (b"\xff\xd8\xff\xe0 no more", "damaged"),
        (_png_of(2001, 2000), "2001 x 2000 = 4002000 pixels, more than the limit of 4000000"),
        (_png_of(100, 100), "truncated or damaged"),
        (_truncated("JPEG"), "truncated or damaged"),
        (_truncated("TIFF"), "truncated or damaged"),
        (_truncated("PNG"), "truncated or damaged"),
        (_truncated("BMP"), "truncated or damaged"),
        (_truncated("PPM"), "truncated or damaged"),
        (_truncated("GIF"), "truncated or damaged"),
        (_truncated("WEBP"), "damaged"),
    ],
)
def test_an_incomplete_image_is_refused_with_its_reason(
    appetiser: Appetiser, tmp_path: Path, thumb_dir: Path, content: bytes, reason: str
) -> None:
    source = tmp_path / "page.jpg"
    source.write_bytes(content)
    answer = appetiser.convert(source, tmp_path / "o.jp2", thumb_dir, operation="ingest", sizes=["50,"])
    assert answer.status == 500
    assert reason in answer.body["detail"]
    assert answer.body["detail"].endswith(".")
    assert {path.name for path in tmp_path.iterdir()} == {"page.jpg", "thumbs"}


def test_floating_point_samples_above_1_are_refused(appetiser: Appetiser, tmp_path: Path) -> None:
    Image.new("F", (10, 10), 1.5).save(tmp_path / "a.tif")
    answer = appetiser.convert(tmp_path / "a.tif", tmp_path / "o.jp2")
    assert (answer.status, "floating-point" in answer.body["detail"]) == (500, True)


def test_an_enormous_thumbnail_is_refused(appetiser: Appetiser, tmp_path: Path, thumb_dir: Path) -> None:
    quarters().save(tmp_path / "a.png")
    answer = appetiser.convert(tmp_path / "a.png", None, thumb_dir, operation="derivatives-only", sizes=["^999999999,"])
    assert answer.status == 500
    assert "larger than allowed" in answer.body["detail"]
