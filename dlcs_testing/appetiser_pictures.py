"""Images and profiles whose every pixel a test knows."""

from __future__ import annotations

import struct
from pathlib import Path

from PIL import Image, ImageCms  # noqa: TID253 (made of pictures)

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 180, 40), (30, 40, 200), (230, 220, 40)
Colour = tuple[int, int, int]


def quarters(width: int = 96, height: int = 64) -> Image.Image:
    """Red, green / blue, yellow: no two orientations of it are the same."""
    image = Image.new("RGB", (width, height), YELLOW)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def page(width: int, height: int) -> Image.Image:
    """Something with texture, as a page has."""
    noise = Image.effect_noise((width, height), 40)
    return Image.merge("RGB", (noise, noise.rotate(180), Image.linear_gradient("L").resize((width, height))))


def corners(path: Path) -> list[Colour]:
    """The colours in the middle of the four quarters, in reading order."""
    with Image.open(path) as image:
        shown = image.convert("RGB")
    points = [(x, y) for y in (1, 3) for x in (1, 3)]
    return [_pixel(shown, shown.width * x // 4, shown.height * y // 4) for x, y in points]


def colour_of(path: Path) -> Colour:
    """The colour in the middle."""
    with Image.open(path) as image:
        shown = image.convert("RGB")
    return _pixel(shown, shown.width // 2, shown.height // 2)


def near(found: Colour, wanted: Colour, by: int = 4) -> bool:
    return all(abs(one - other) <= by for one, other in zip(found, wanted, strict=True))


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def red_is_green_profile() -> bytes:
    """The sRGB profile with the primaries of red and green exchanged."""
    tags = srgb_profile()
    return tags.replace(b"rXYZ", b"????", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"????", b"gXYZ", 1)


def any_ink_is_blue_profile() -> bytes:
    """A CMYK profile (ICC.1, lut8Type) by which bare paper is white, black ink black, and every other ink blue."""
    # Lab as lut8 has it: L in 255ths of 100, a and b plus 128. The blue is (40, 60, 160) in sRGB.
    white, blue, black = bytes((255, 128, 128)), bytes((74, 149, 70)), bytes((0, 128, 128))
    ramp = bytes(range(256))
    lut = (
        b"mft1\0\0\0\0"
        + bytes((4, 3, 2, 0))
        + struct.pack(">9i", *(65536 if at % 4 == 0 else 0 for at in range(9)))
        + ramp * 4
        + (white + black)
        + (blue + black) * 7
        + ramp * 3
    )
    white_point = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    at = 128 + 4 + 2 * 12
    tags = struct.pack(">I", 2) + struct.pack(
        ">4sII4sII", b"A2B0", at, len(lut), b"wtpt", at + len(lut), len(white_point)
    )
    header = bytearray(128)
    header[0:4] = struct.pack(">I", at + len(lut) + len(white_point))
    header[8:12] = b"\x02\x40\0\0"
    header[12:24] = b"prtrCMYKLab "
    header[36:40] = b"acsp"
    header[68:80] = struct.pack(">3i", 63190, 65536, 54061)
    return bytes(header) + tags + lut + white_point


def _pixel(image: Image.Image, x: int, y: int) -> Colour:
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    red, green, blue = (int(band) for band in value)
    return red, green, blue
