from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, TiffImagePlugin  # noqa: TID253 (made of pictures)

from dlcs_assets_tests.stack.appetiser.markers import profile_of
from dlcs_testing.appetiser_pictures import (
    BLUE,
    GREEN,
    RED,
    YELLOW,
    any_ink_is_blue_profile,
    colour_of,
    corners,
    near,
    quarters,
    red_is_green_profile,
    srgb_profile,
)
from dlcs_testing.appetiser_service import Appetiser

# What a file of that orientation must hold so that, turned, it shows `quarters` (TIFF 6.0, tag 274).
_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def _turned(orientation: int) -> tuple[Image.Image, Image.Exif]:
    image = quarters()
    turn = _STORED[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    return (image if turn is None else image.transpose(turn)), exif


def _converted(appetiser: Appetiser, image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    jp2 = path.with_name("out.jp2")
    answer = appetiser.convert(path, jp2)
    assert answer.size == (profile_of(jp2).width, profile_of(jp2).height)
    return jp2


@pytest.mark.parametrize("name", ["a.jpg", "a.tif", "a.png", "a.webp", "lzw.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_image_comes_out_upright(
    appetiser: Appetiser, tmp_path: Path, thumb_dir: Path, orientation: int, name: str
) -> None:
    image, exif = _turned(orientation)
    options: dict[str, Any] = {"compression": "tiff_lzw"} if name == "lzw.tif" else {"quality": 95}
    image.save(tmp_path / name, exif=exif, **options)
    jp2 = tmp_path / "o.jp2"
    answer = appetiser.convert(tmp_path / name, jp2, thumb_dir, operation="ingest", sizes=["!48,48"])
    # Appetiser answers with the size before turning, and ignores the tag of a TIFF.
    assert answer.size == (96, 64) == (profile_of(jp2).width, profile_of(jp2).height)
    assert answer.thumbs == [(48, 32)]
    for path in (jp2, thumb_dir / "o_48_32.jpg"):
        assert all(
            near(found, wanted, 14) for found, wanted in zip(corners(path), (RED, GREEN, BLUE, YELLOW), strict=True)
        )


def test_thumbnails_alone_are_upright_and_in_srgb_too(appetiser: Appetiser, tmp_path: Path, thumb_dir: Path) -> None:
    # Appetiser does neither for `derivatives-only`.
    image, exif = _turned(6)
    image.save(tmp_path / "a.png", exif=exif, icc_profile=red_is_green_profile())
    answer = appetiser.convert(tmp_path / "a.png", None, thumb_dir, operation="derivatives-only", sizes=["!48,48"])
    assert (answer.size, answer.thumbs) == ((96, 64), [(48, 32)])
    top_left, top_right, *_ = corners(thumb_dir / "a_48_32.jpg")
    assert top_left[1] > 200 > top_left[0]
    assert top_right[0] > 150 > top_right[1]


def test_a_profile_is_followed(appetiser: Appetiser, tmp_path: Path) -> None:
    found = colour_of(
        _converted(
            appetiser, Image.new("RGB", (40, 40), (200, 0, 0)), tmp_path / "a.tif", icc_profile=red_is_green_profile()
        )
    )
    assert near(found, (0, 200, 0), 40), found


def test_an_srgb_profile_changes_nothing(appetiser: Appetiser, tmp_path: Path) -> None:
    jp2 = _converted(appetiser, Image.new("RGB", (40, 40), RED), tmp_path / "a.png", icc_profile=srgb_profile())
    assert near(colour_of(jp2), RED)


def test_a_broken_profile_is_ignored_with_a_note(
    appetiser: Appetiser, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jp2 = _converted(appetiser, Image.new("RGB", (40, 40), RED), tmp_path / "a.jpg", icc_profile=b"no profile" * 30)
    assert near(colour_of(jp2), RED)
    assert "page-1: ICC profile ignored" in caplog.text


def test_a_profile_for_other_colours_is_ignored_with_a_note(
    appetiser: Appetiser, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = Image.new("RGB", (40, 40), RED)
    jp2 = _converted(appetiser, image, tmp_path / "a.png", icc_profile=any_ink_is_blue_profile())
    assert near(colour_of(jp2), RED)
    assert "it is for CMYK, the image is RGB" in caplog.text


def test_a_grey_page_with_a_profile_stays_grey(appetiser: Appetiser, tmp_path: Path) -> None:
    jp2 = _converted(appetiser, Image.new("L", (40, 40), 90), tmp_path / "a.tif", icc_profile=srgb_profile())
    assert profile_of(jp2).components == 1
    assert near(colour_of(jp2), (90, 90, 90))


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_inks_are_turned_to_rgb_without_a_profile(appetiser: Appetiser, tmp_path: Path, name: str) -> None:
    # Appetiser answers 500. Pillow writes the JPEG inverted, as Adobe does.
    jp2 = _converted(appetiser, Image.new("CMYK", (40, 40), (255, 0, 0, 0)), tmp_path / name)
    assert profile_of(jp2).components == 3
    assert near(colour_of(jp2), (0, 255, 255), 8)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
@pytest.mark.parametrize(("inks", "shown"), [((255, 0, 0, 0), (40, 60, 160)), ((0, 0, 0, 0), (255, 255, 255))])
def test_inks_are_turned_to_rgb_by_their_profile(
    appetiser: Appetiser, tmp_path: Path, name: str, inks: tuple[int, int, int, int], shown: tuple[int, int, int]
) -> None:
    image = Image.new("CMYK", (40, 40), inks)
    jp2 = _converted(appetiser, image, tmp_path / name, icc_profile=any_ink_is_blue_profile())
    assert near(colour_of(jp2), shown, 12), colour_of(jp2)


def test_lab_is_turned_to_rgb(appetiser: Appetiser, tmp_path: Path) -> None:
    jp2 = _converted(appetiser, Image.new("LAB", (40, 40), (255, 128, 128)), tmp_path / "a.tif")
    assert near(colour_of(jp2), (255, 255, 255))


def _deep_ramp() -> Image.Image:
    values = [round(x * 65535 / 255) for x in range(256)]
    return Image.frombytes("I;16", (256, 16), struct.pack("<256H", *values) * 16)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_of_grey_are_scaled_and_not_cut(appetiser: Appetiser, tmp_path: Path, name: str) -> None:
    jp2 = _converted(appetiser, _deep_ramp(), tmp_path / name)
    assert (profile_of(jp2).components, profile_of(jp2).colour_space) == (1, 17)
    with Image.open(jp2) as shown:
        found = [shown.getpixel((x, 8)) for x in (10, 64, 128, 192, 245)]
    assert found == pytest.approx([10, 64, 128, 192, 245], abs=2)


def test_sixteen_bits_with_white_at_zero_are_the_right_way_round(appetiser: Appetiser, tmp_path: Path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    _deep_ramp().save(tmp_path / "plain.tif")
    data = bytearray((tmp_path / "plain.tif").read_bytes())
    entry = data.index(struct.pack("<HHI", 262, 3, 1))
    data[entry + 8 : entry + 10] = b"\0\0"
    (tmp_path / "a.tif").write_bytes(data)
    jp2 = tmp_path / "o.jp2"
    assert appetiser.convert(tmp_path / "a.tif", jp2).size == (256, 16)
    with Image.open(jp2) as shown:
        assert [shown.getpixel((x, 8)) for x in (10, 245)] == pytest.approx([245, 10], abs=2)


def test_sixteen_bits_of_colour_become_eight(appetiser: Appetiser, tmp_path: Path) -> None:
    raster = struct.pack(">3H", *(value * 257 for value in RED)) * (40 * 40)
    (tmp_path / "a.ppm").write_bytes(b"P6 40 40 65535\n" + raster)
    assert appetiser.convert(tmp_path / "a.ppm", tmp_path / "o.jp2").size == (40, 40)
    assert near(colour_of(tmp_path / "o.jp2"), RED)


def test_a_palette_becomes_colours(appetiser: Appetiser, tmp_path: Path) -> None:
    jp2 = _converted(appetiser, quarters().quantize(8), tmp_path / "a.png")
    assert profile_of(jp2).components == 3
    assert near(corners(jp2)[1], GREEN, 10)


@pytest.mark.parametrize("name", ["a.gif", "a.png"])
def test_a_transparent_palette_colour_becomes_white(appetiser: Appetiser, tmp_path: Path, name: str) -> None:
    image = quarters().quantize(8)
    at = image.getpixel((5, 5))
    jp2 = _converted(appetiser, image, tmp_path / name, transparency=at)
    red, green, *_ = corners(jp2)
    assert near(red, (255, 255, 255))
    assert near(green, GREEN, 10)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_alpha_is_laid_on_white(appetiser: Appetiser, tmp_path: Path, name: str) -> None:
    image = quarters().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda v: 255 if v > 127 else 0))
    jp2 = _converted(appetiser, image, tmp_path / name, lossless=True)
    assert profile_of(jp2).components == 3
    top, _, bottom, _ = corners(jp2)
    assert near(top, (255, 255, 255))
    assert near(bottom, BLUE)


def test_grey_with_alpha_is_laid_on_white_and_stays_grey(appetiser: Appetiser, tmp_path: Path) -> None:
    jp2 = _converted(appetiser, Image.new("LA", (40, 40), (0, 128)), tmp_path / "a.png")
    assert profile_of(jp2).components == 1
    assert near(colour_of(jp2), (127, 127, 127))


@pytest.mark.parametrize("name", ["a.png", "a.pbm", "a.bmp", "g4.tif"])
def test_a_bitonal_page_becomes_grey(appetiser: Appetiser, tmp_path: Path, name: str) -> None:
    image = Image.new("1", (64, 64), 1)
    image.paste(0, (0, 0, 32, 64))
    options = {"compression": "group4"} if name == "g4.tif" else {}
    jp2 = _converted(appetiser, image, tmp_path / name, **options)
    assert profile_of(jp2).components == 1
    left, right, *_ = corners(jp2)
    assert near(left, (0, 0, 0))
    assert near(right, (255, 255, 255))


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "CMYK", "I;16"])
def test_one_pixel_is_an_image(appetiser: Appetiser, tmp_path: Path, thumb_dir: Path, mode: str) -> None:
    Image.new(mode, (1, 1)).save(tmp_path / "a.tif")
    answer = appetiser.convert(
        tmp_path / "a.tif", tmp_path / "o.jp2", thumb_dir, operation="ingest", sizes=["!100,100", "^3,"]
    )
    assert (answer.size, answer.thumbs) == ((1, 1), [(3, 3)])
    with Image.open(tmp_path / "o.jp2") as image:
        image.load()


def test_the_first_of_many_frames_is_used(appetiser: Appetiser, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in (GREEN, RED)]
    for name in ("a.gif", "a.tif"):
        jp2 = _converted(appetiser, frames[0], tmp_path / name, save_all=True, append_images=frames[1:])
        assert near(colour_of(jp2), GREEN, 8)


def test_the_answer_names_the_page_of_how_many(
    appetiser: Appetiser, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in (GREEN, RED)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    answer = appetiser.convert(tmp_path / "a.tif", tmp_path / "o.jp2")
    assert answer.body["notes"] == ["The picture is page 1 of 2"]
    assert "page-1: The picture is page 1 of 2" in caplog.text


@pytest.mark.parametrize(("name", "kind"), [("a.jp2", "PNG"), ("a.jpg", "TIFF"), ("a", "JPEG"), ("a.txt", "BMP")])
def test_the_bytes_say_what_a_file_is(appetiser: Appetiser, tmp_path: Path, name: str, kind: str) -> None:
    quarters().save(tmp_path / name, kind)
    assert appetiser.convert(tmp_path / name, tmp_path / "o.jp2").size == (96, 64)
    assert near(corners(tmp_path / "o.jp2")[2], BLUE, 14)
