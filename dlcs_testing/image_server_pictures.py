"""Images that tests draw, and how they distinguish them again."""

from __future__ import annotations

import io
import struct
from typing import Any

from PIL import Image, ImageCms  # noqa: TID253 (these tests are about pictures)

RED, GREEN, BLUE, YELLOW = (200, 30, 30), (30, 160, 30), (30, 30, 200), (220, 220, 40)
CORNERS = (RED, GREEN, BLUE, YELLOW)
# How to place the corners in the file so that the orientation, applied, gives top left to bottom right in order.
STORED = {
    1: (RED, GREEN, BLUE, YELLOW),
    2: (GREEN, RED, YELLOW, BLUE),
    3: (YELLOW, BLUE, GREEN, RED),
    4: (BLUE, YELLOW, RED, GREEN),
    5: (RED, BLUE, GREEN, YELLOW),
    6: (GREEN, YELLOW, RED, BLUE),
    7: (YELLOW, GREEN, BLUE, RED),
    8: (BLUE, RED, YELLOW, GREEN),
}
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


def quadrants(width: int, height: int, colours: tuple[tuple[int, ...], ...] = CORNERS) -> Image.Image:
    """Draw four rectangles: top left, top right, bottom left, bottom right."""
    image = Image.new("RGB" if len(colours[0]) == 3 else "RGBA", (width, height))
    half_width, half_height = width // 2, height // 2
    places = ((0, 0), (half_width, 0), (0, half_height), (half_width, half_height))
    for (x, y), colour in zip(places, colours, strict=True):
        image.paste(colour, (x, y, width if x else half_width, height if y else half_height))
    return image


def stored(orientation: int) -> Image.Image:
    """Draw the picture as a camera held in that way would store it: upright it is 120 x 80."""
    return quadrants(*((80, 120) if orientation > 4 else (120, 80)), STORED[orientation])


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def corners(image: Image.Image) -> tuple[tuple[int, ...], ...]:
    """Return the colours in the middle of the four quadrants, in the order of `quadrants`."""
    rgb = image.convert("RGB")
    xs, ys = (rgb.width // 4, rgb.width * 3 // 4), (rgb.height // 4, rgb.height * 3 // 4)
    return tuple(pixel(rgb, (x, y)) for y in ys for x in xs)


def pixel(image: Image.Image, place: tuple[int, int]) -> tuple[int, ...]:
    value = image.getpixel(place)
    assert isinstance(value, tuple)
    return tuple(int(channel) for channel in value)


def alike(one: tuple[tuple[int, ...], ...], other: tuple[tuple[int, ...], ...], tolerance: int = 12) -> bool:
    return all(
        abs(a - b) <= tolerance
        for first, second in zip(one, other, strict=True)
        for a, b in zip(first, second, strict=True)
    )


def exif(orientation: int) -> bytes:
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes()


def with_uuid_box(jp2: bytes, uuid: bytes, body: bytes) -> bytes:
    return jp2 + struct.pack(">I4s", 8 + len(uuid) + len(body), b"uuid") + uuid + body


def with_profile(jp2: bytes, profile: bytes) -> bytes:
    """Replace the enumerated colour space of a JP2 by a restricted ICC profile."""
    start = jp2.index(b"jp2h") - 4
    (length,) = struct.unpack(">I", jp2[start : start + 4])
    header = jp2[start + 8 : start + length]
    place = header.index(b"colr") - 4
    (old,) = struct.unpack(">I", header[place : place + 4])
    colr = struct.pack(">I4s3B", 11 + len(profile), b"colr", 2, 0, 0) + profile
    header = header[:place] + colr + header[place + old :]
    return jp2[:start] + struct.pack(">I4s", 8 + len(header), b"jp2h") + header + jp2[start + length :]


def red_and_green_swapped() -> bytes:
    """Return sRGB's profile with two primaries exchanged, so that a picture shows whether its profile was applied."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"____").replace(b"gXYZ", b"rXYZ").replace(b"____", b"gXYZ")
