"""Formats other than TIFF and JPEG 2000: recognised by their bytes, with orientation, profile, depth and opacity."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np  # noqa: TID253 (made of pictures)
import pytest
from PIL import Image, ImageCms  # noqa: TID253 (made of pictures)

from dlcs_stack.pictures.errors import DamagedError, NotAnImageError, UnsupportedError
from dlcs_stack.pictures.reading import Flat, decode_flat, describe
from dlcs_testing.appetiser_pictures import any_ink_is_blue_profile, quarters
from dlcs_testing.profiles import adobe_rgb, adobe_rgb_in_srgb, grey_gamma, to_srgb

Array = np.ndarray[Any, np.dtype[Any]]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def flat(path: Path, content: bytes) -> Flat:
    path.write_bytes(content)
    return decode_flat(path, describe(path))


def without_adobe_or_jfif(jpeg: bytes) -> bytes:
    """Return a JPEG whose JFIF segment is empty, as some scanners write it."""
    (length,) = struct.unpack(">H", jpeg[4:6])
    return jpeg[:2] + b"\xff\xe0\0\x02" + jpeg[4 + length :]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_jpeg_with_an_empty_jfif_segment_is_read(tmp_path: Path, orientation: int) -> None:
    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    picture = quarters()
    stored = picture.transpose(turn[orientation]) if orientation in turn else picture
    exif = Image.Exif()
    exif[274] = orientation
    content = without_adobe_or_jfif(encoded(stored, "JPEG", quality=95, exif=exif))
    found = np.asarray(flat(tmp_path / "a.jpg", content).image).astype(float)
    assert np.abs(found - np.asarray(picture)).mean() < 4


def test_a_truncated_jpeg_with_an_empty_jfif_segment_is_damaged(tmp_path: Path) -> None:
    noise = Image.effect_noise((300, 300), 60)
    content = without_adobe_or_jfif(encoded(noise, "JPEG"))
    with pytest.raises(DamagedError):
        flat(tmp_path / "a.jpg", content[: len(content) // 2])


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_avif_is_read(tmp_path: Path, mode: str) -> None:
    content = encoded(quarters().convert(mode), "AVIF", quality=95)
    found = np.asarray(flat(tmp_path / "a.avif", content).image).astype(float)
    assert np.abs(found - np.asarray(quarters())).mean() < 5


@pytest.mark.parametrize("orientation", range(2, 9))
def test_avif_is_turned_once(tmp_path: Path, orientation: int) -> None:
    """Its own boxes turn it; the EXIF next to them must not turn it again."""
    exif = Image.Exif()
    exif[274] = orientation
    picture = quarters()
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's numbers of what turns the picture back
    stored = picture.transpose(Image.Transpose(turns[orientation]))
    found = flat(tmp_path / "a.avif", encoded(stored, "AVIF", quality=95, exif=exif)).image
    assert found.size == picture.size
    assert np.abs(np.asarray(found).astype(float) - np.asarray(picture)).mean() < 5


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_heic_is_named_as_unsupported(tmp_path: Path, brand: bytes) -> None:
    content = struct.pack(">I4s4sI4s4s", 24, b"ftyp", brand, 0, b"mif1", b"heic") + bytes(100)
    (tmp_path / "a.heic").write_bytes(content)
    with pytest.raises(UnsupportedError, match="HEIC image, which is not supported"):
        describe(tmp_path / "a.heic")


def png(colour_type: int, width: int, rows: list[bytes], transparent: bytes | None = None) -> bytes:
    """Return a PNG of 16 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), 16, colour_type, 0, 0, 0))
    see_through = chunk(b"tRNS", transparent) if transparent else b""
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + see_through + data + chunk(b"IEND", b"")


@pytest.mark.parametrize("colour_type", [0, 2])
def test_a_transparent_colour_of_sixteen_bits_is_white(tmp_path: Path, colour_type: int) -> None:
    """Only the very colour is: the one next to it, the same in eight bits, is not."""
    count = 3 if colour_type else 1
    clear, other = struct.pack(">H", 0x4001) * count, struct.pack(">H", 0x4002) * count
    found = flat(tmp_path / "a.png", png(colour_type, 8, [clear * 4 + other * 4] * 4, clear)).image
    shades = [found.convert("L").getpixel((x, 1)) for x in (1, 6)]
    assert shades == [255, 64]


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_sixteen_bits_of_a_png_become_eight(tmp_path: Path, colour_type: int) -> None:
    samples = {0: (0x8080,), 2: (0x1010, 0x8080, 0xF0F0), 4: (0x4040, 0xFFFF), 6: (0x1010, 0x8080, 0xF0F0, 0xFFFF)}
    pixel = struct.pack(f">{len(samples[colour_type])}H", *samples[colour_type])
    found = flat(tmp_path / "a.png", png(colour_type, 8, [pixel * 8] * 4)).image
    wanted = {0: 0x80, 2: (0x10, 0x80, 0xF0), 4: (0x40,) * 3, 6: (0x10, 0x80, 0xF0)}[colour_type]
    assert (found.convert("RGB") if colour_type == 4 else found).getpixel((3, 2)) == wanted


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"", NotAnImageError, "is empty"),
        (b"%PDF-1.7", NotAnImageError, "it is a PDF"),
        (b"<html>", NotAnImageError, "HTML"),
        (b"\x89PNG\r\n\x1a\nxx", DamagedError, "is a PNG whose header is damaged"),
        (b"GIF89a", DamagedError, "is a GIF whose header is damaged"),
        (b"\xff\xd8\xff\xe0 no more", DamagedError, "damaged"),
        (b"II*\0\xff\xff\xff\x00", DamagedError, "damaged"),
    ],
)
def test_damaged_is_not_called_unknown(tmp_path: Path, content: bytes, error: type[Exception], words: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(error, match=words):
        describe(tmp_path / "a")


# --- profiles: what a reader that does not convert would have to show, from the definition of the colour space


_Y, _X = np.mgrid[0:40, 0:60]
# Within what sRGB can show as well: clipping is not what is compared.
SAMPLES: Array = np.stack([90 + _X * 2, 100 + _Y * 2, 200 - _X], -1).astype(np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_adobe_rgb_is_converted(tmp_path: Path, kind: str) -> None:
    content = encoded(Image.fromarray(SAMPLES), kind, icc_profile=adobe_rgb(), quality=100, lossless=True)
    wanted = adobe_rgb_in_srgb(SAMPLES)
    found = np.asarray(flat(tmp_path / "a", content).image).astype(float)
    assert np.abs(found - wanted).mean() < 1.5


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
def test_a_grey_profile_is_followed(tmp_path: Path, kind: str, gamma: float) -> None:
    grey = SAMPLES[..., 0]
    content = encoded(Image.fromarray(grey), kind, icc_profile=grey_gamma(gamma))
    image = flat(tmp_path / "a", content).image
    assert image.mode == "L"
    assert np.abs(np.asarray(image).astype(float) - to_srgb((grey / 255) ** gamma)).mean() < 1.5


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_an_srgb_profile_changes_nothing(tmp_path: Path, kind: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = encoded(Image.fromarray(SAMPLES), kind, icc_profile=profile, quality=100, lossless=True)
    found = np.asarray(flat(tmp_path / "a", content).image).astype(float)
    assert np.abs(found - SAMPLES).mean() < 1.5


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_a_profile_of_inks_is_followed(tmp_path: Path, kind: str) -> None:
    """The profile makes of any ink the same blue, and of bare paper white."""
    inks = Image.new("CMYK", (40, 40), (255, 0, 0, 0))
    inks.paste((0, 0, 0, 0), (0, 20, 40, 40))
    found = flat(tmp_path / "a", encoded(inks, kind, icc_profile=any_ink_is_blue_profile(), quality=100)).image
    assert found.getpixel((20, 5)) == pytest.approx((40, 60, 160), abs=12)
    assert found.getpixel((20, 34)) == pytest.approx((255, 255, 255), abs=3)
