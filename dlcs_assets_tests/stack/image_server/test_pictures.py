from __future__ import annotations

import struct
from typing import Any

import pytest
from PIL import Image  # noqa: TID253 (these tests are about pictures)

from dlcs_assets_tests.stack.image_server.conftest import Server
from dlcs_testing.image_server_pictures import (
    BLUE,
    CORNERS,
    GREEN,
    RED,
    XMP_UUID,
    YELLOW,
    alike,
    corners,
    decoded,
    encoded,
    exif,
    pixel,
    quadrants,
    red_and_green_swapped,
    stored,
    with_profile,
    with_uuid_box,
)

GREYS = ((30, 30, 30), (90, 90, 90), (160, 160, 160), (230, 230, 230))


def fetched(server: Server, body: bytes, asked: str = "full/max/0/default.png", version: int = 3) -> Image.Image:
    answer = server.get(server.put("2/1/picture", body), asked, version=version)
    assert answer.status_code == 200, answer.text
    return decoded(answer.content)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG2000", {}),
        ("JPEG2000", {"no_jp2": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg", "quality": 95}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("BMP", {}),
        ("PPM", {}),
    ],
)
def test_a_source_is_recognised_by_its_bytes(server: Server, kind: str, options: dict[str, Any]) -> None:
    picture = fetched(server, encoded(quadrants(120, 80), kind, **options))
    assert picture.size == (120, 80)
    assert alike(corners(picture), CORNERS)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_to_dimensions_and_pixels(server: Server, kind: str, orientation: int) -> None:
    body = encoded(stored(orientation), kind, exif=exif(orientation), quality=95)
    picture = fetched(server, body)
    assert picture.size == (120, 80)
    assert alike(corners(picture), CORNERS, tolerance=30)
    info = server.get(server.put("2/1/picture", body), "info.json").json()
    assert (info["width"], info["height"]) == (120, 80)
    # A region is one of the upright picture: this one lies in the blue corner.
    assert alike((pixel(fetched(server, body, "5,50,40,20/max/0/default.png"), (20, 10)),), (BLUE,), tolerance=30)


def test_the_orientation_of_a_compressed_tiff_is_applied(server: Server) -> None:
    body = encoded(stored(6), "TIFF", exif=exif(6), compression="tiff_lzw")
    picture = fetched(server, body)
    assert (picture.size, alike(corners(picture), CORNERS)) == ((120, 80), True)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_the_orientation_of_a_jp2_is_read_from_exif_or_xmp(server: Server, orientation: int) -> None:
    """Either box alone must be enough, as it is for Cantaloupe."""
    jp2 = encoded(stored(orientation), "JPEG2000")
    xmp = f'<rdf:Description tiff:Orientation="{orientation}"/>'.encode()
    for body in (with_uuid_box(jp2, b"JpgTiffExif->JP2", exif(orientation)), with_uuid_box(jp2, XMP_UUID, xmp)):
        picture = fetched(server, body)
        assert (picture.size, alike(corners(picture), CORNERS)) == ((120, 80), True)


@pytest.mark.parametrize(
    ("picture", "kind", "options"),
    [
        (quadrants(120, 80).quantize(4), "PNG", {}),
        (quadrants(120, 80).convert("RGBA"), "PNG", {}),
        (quadrants(120, 80).convert("CMYK"), "JPEG", {"quality": 95}),
        (quadrants(120, 80).convert("CMYK"), "TIFF", {}),
        (quadrants(120, 80).convert("YCbCr"), "TIFF", {}),
        (quadrants(120, 80).convert("RGBA"), "JPEG2000", {}),
    ],
    ids=["palette", "alpha", "cmyk-jpeg", "cmyk-tiff", "ycbcr", "alpha-jp2"],
)
def test_every_colour_mode_becomes_a_jpeg_of_the_same_colours(
    server: Server, picture: Image.Image, kind: str, options: dict[str, Any]
) -> None:
    result = fetched(server, encoded(picture, kind, **options), "full/max/0/default.jpg")
    assert (result.mode, result.format) == ("RGB", "JPEG")
    assert alike(corners(result), CORNERS, tolerance=20)


def test_sixteen_bits_become_eight(server: Server) -> None:
    deep = Image.new("I;16", (120, 80))
    for number, (grey, *_) in enumerate(GREYS):
        deep.paste(grey * 257, (60 * (number % 2), 40 * (number // 2), 60 + 60 * (number % 2), 40 + 40 * (number // 2)))
    for kind in ("PNG", "TIFF", "JPEG2000"):
        picture = fetched(server, encoded(deep, kind), "full/60,/0/default.jpg")
        assert (picture.mode, picture.size) == ("L", (60, 40))
        assert alike(corners(picture), GREYS)


def test_sixteen_bits_per_channel_become_eight(server: Server) -> None:
    strip = b"".join(struct.pack("<3H", *(channel * 257 for channel in GREEN)) for _ in range(16 * 16))
    entries = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 3, 0), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 0)]
    entries += [(277, 3, 1, 3), (278, 3, 1, 16), (279, 4, 1, len(strip))]
    after = 8 + 2 + 12 * len(entries) + 4
    values = {258: after, 273: after + 6}
    directory = b"".join(
        struct.pack("<2H2I", t, kind, count, values.get(t, value)) for t, kind, count, value in entries
    )
    header = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    tiff = header + directory + bytes(4) + struct.pack("<3H", 16, 16, 16) + strip
    assert alike(corners(fetched(server, tiff)), (GREEN,) * 4)


def test_bitonal_and_floating_point_sources_are_shown(server: Server) -> None:
    bitonal = quadrants(120, 80, ((0, 0, 0), (255, 255, 255), (255, 255, 255), (0, 0, 0))).convert("1")
    ends = ((0, 0, 0), (255, 255, 255), (255, 255, 255), (0, 0, 0))
    assert alike(corners(fetched(server, encoded(bitonal, "PNG"), "full/60,/0/default.jpg")), ends)
    real = bitonal.convert("L").convert("F").point(lambda value: value / 255)
    assert alike(corners(fetched(server, encoded(real, "TIFF"), "full/60,/0/default.jpg")), ends)


def test_transparency_turns_white_in_jpeg_and_stays_in_png(server: Server) -> None:
    body = encoded(quadrants(120, 80, ((*RED, 255), (*GREEN, 0), (*BLUE, 255), (*YELLOW, 0))), "PNG")
    flat = fetched(server, body, "full/max/0/default.jpg")
    assert alike(corners(flat), (RED, (255, 255, 255), BLUE, (255, 255, 255)))
    kept = fetched(server, body, "full/60,/0/default.png")
    assert kept.mode == "RGBA"
    assert (pixel(kept, (10, 10))[3], pixel(kept, (50, 10))[3]) == (255, 0)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_colours_are_converted_to_srgb(server: Server, kind: str) -> None:
    red = Image.new("RGB", (64, 64), (255, 0, 0))
    picture = fetched(server, encoded(red, kind, icc_profile=red_and_green_swapped(), quality=95))
    assert alike((pixel(picture, (32, 32)),), ((0, 255, 0),))
    assert "icc_profile" not in picture.info


def test_the_profile_in_a_jp2_is_applied(server: Server) -> None:
    body = with_profile(encoded(Image.new("RGB", (64, 64), (255, 0, 0)), "JPEG2000"), red_and_green_swapped())
    assert alike((pixel(fetched(server, body), (32, 32)),), ((0, 255, 0),))


def test_a_profile_that_does_not_fit_is_ignored(server: Server) -> None:
    for picture, profile in ((quadrants(120, 80), b"no profile"), (quadrants(120, 80).convert("L"), None)):
        body = encoded(picture, "PNG", icc_profile=profile or red_and_green_swapped())
        assert alike(corners(fetched(server, body)), corners(picture))


@pytest.mark.parametrize(
    ("rotation", "size", "expected"),
    [
        ("90", (80, 120), (BLUE, RED, YELLOW, GREEN)),
        ("180", (120, 80), (YELLOW, BLUE, GREEN, RED)),
        ("270", (80, 120), (GREEN, YELLOW, RED, BLUE)),
        ("360", (120, 80), CORNERS),
        ("!0", (120, 80), (GREEN, RED, YELLOW, BLUE)),
        ("!90", (80, 120), (YELLOW, GREEN, BLUE, RED)),
    ],
)
def test_an_image_is_mirrored_then_rotated_clockwise(
    server: Server, rotation: str, size: tuple[int, int], expected: tuple[tuple[int, ...], ...]
) -> None:
    picture = fetched(server, encoded(quadrants(120, 80), "PNG"), f"full/max/{rotation}/default.png")
    assert picture.size == size
    assert alike(corners(picture), expected)


def test_any_other_rotation_has_room_and_empty_corners(server: Server) -> None:
    body = encoded(Image.new("RGB", (100, 100), RED), "PNG")
    turned = fetched(server, body, "full/max/45/default.png")
    assert turned.size == pytest.approx((142, 142), abs=2)
    assert (pixel(turned, (2, 2))[3], pixel(turned, (71, 71))) == (0, (*RED, 255))
    assert pixel(fetched(server, body, "full/max/45/default.jpg"), (2, 2)) == pytest.approx((255, 255, 255), abs=5)


@pytest.mark.parametrize("version", [2, 3])
def test_the_qualities_are_what_they_say(server: Server, version: int) -> None:
    body = encoded(quadrants(120, 80), "PNG")
    grey = fetched(server, body, "full/60,/0/gray.png", version)
    assert grey.mode == "L"
    bitonal = fetched(server, body, "full/60,/0/bitonal.png", version)
    assert bitonal.mode == "1"
    assert corners(bitonal) == ((0, 0, 0), (0, 0, 0), (0, 0, 0), (255, 255, 255))
    assert alike(corners(fetched(server, body, "full/60,/0/color.png", version)), CORNERS)


@pytest.mark.parametrize(("extension", "kind"), [("jpg", "JPEG"), ("webp", "WEBP"), ("gif", "GIF"), ("tif", "TIFF")])
def test_every_format_offered_is_delivered_as_such(server: Server, extension: str, kind: str) -> None:
    for quality in ("default", "gray", "bitonal"):
        asked = f"full/60,/0/{quality}.{extension}"
        picture = fetched(server, encoded(quadrants(120, 80), "PNG"), asked)
        assert (picture.format, picture.size) == (kind, (60, 40))
