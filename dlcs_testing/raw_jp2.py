"""JPEG 2000 files box by box, for what encoders do not write: channel definitions, palettes, depths, subsampling."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Samples = np.ndarray[Any, np.dtype[Any]]

SRGB, GREY, SYCC, CMYK = 16, 17, 18, 12
_SOC, _SIZ, _COD, _QCD, _SOT, _SOD, _EOC = (
    bytes.fromhex(f"ff{code}") for code in ("4f", "51", "52", "5c", "90", "93", "d9")
)


def codestream(samples: Samples, bits: int | None = None) -> bytes:
    """Return samples, height x width x components, as they are: without loss, without a colour transform."""
    import imagecodecs

    return bytes(
        imagecodecs.jpeg2k_encode(samples, codecformat="j2k", reversible=True, mct=False, bitspersample=bits, level=0)
    )


def subsampled_codestream(planes: Sequence[Samples]) -> bytes:
    """Return planes of 8 bits as the components of one image; all but the first have half its edges, or one of them."""
    from PIL import Image

    headers, parts = [], []
    for plane in planes:
        file = io.BytesIO()
        Image.fromarray(plane).save(
            file, "JPEG2000", no_jp2=True, irreversible=False, progression="CPRL", num_resolutions=2
        )
        data = file.getvalue()
        headers.append(_segments(data))
        # One tile-part each, and packets by component first: those of all follow one another.
        parts.append(data[data.index(_SOD) + 2 : -2])
    height, width = planes[0].shape
    size = bytearray(headers[0][_SIZ][:38]) + struct.pack(">H", len(planes))
    size += b"".join(bytes([7, width // plane.shape[1], height // plane.shape[0]]) for plane in planes)
    size[2:4] = struct.pack(">H", len(size) - 2)
    packets = b"".join(parts)
    tile = _SOT + struct.pack(">HHIBB", 10, 0, 14 + len(packets), 0, 1) + _SOD + packets
    return _SOC + bytes(size) + headers[0][_COD] + headers[0][_QCD] + tile + _EOC


def jp2(
    stream: bytes,
    colour_space: int | bytes | None = SRGB,
    *,
    channels: Sequence[tuple[int, int, int]] = (),
    palette: Sequence[Sequence[int]] = (),
    after: bytes = b"",
) -> bytes:
    """Return a JP2. `colour_space` is enumerated or an ICC profile; `channels` are number, kind and colour."""
    size = stream[stream.index(_SIZ) :]
    width, height = struct.unpack_from(">II", size, 6)
    (count,) = struct.unpack_from(">H", size, 38)
    boxes = box(b"ihdr", struct.pack(">IIHBBBB", height, width, count, size[40], 7, 0, 0))
    if isinstance(colour_space, bytes):
        boxes += box(b"colr", b"\2\0\0" + colour_space)
    elif colour_space is not None:
        boxes += box(b"colr", struct.pack(">BBBI", 1, 0, 0, colour_space))
    if palette:
        columns = len(palette[0])
        boxes += box(
            b"pclr",
            struct.pack(">HB", len(palette), columns) + bytes([7] * columns) + bytes(chain.from_iterable(palette)),
        )
        boxes += box(b"cmap", b"".join(struct.pack(">HBB", 0, 1, column) for column in range(columns)))
    if channels:
        boxes += box(b"cdef", struct.pack(">H", len(channels)) + b"".join(struct.pack(">3H", *row) for row in channels))
    start = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return start + box(b"jp2h", boxes) + box(b"jp2c", stream) + after


def box(kind: bytes, contents: bytes) -> bytes:
    """Return a box."""
    return struct.pack(">I4s", 8 + len(contents), kind) + contents


def _segments(data: bytes) -> dict[bytes, bytes]:
    found, at = {}, 2
    while (marker := data[at : at + 2]) != _SOT:
        (length,) = struct.unpack_from(">H", data, at + 2)
        found[marker] = data[at : at + 2 + length]
        at += 2 + length
    return found
