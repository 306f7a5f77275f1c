"""JPEG 2000 that is not plain grey or RGB of eight bits: OpenJPEG's samples, and what the boxes say of them.

The decoder gets the codestream without its boxes, so that palette, order, opacity, depth and colour space are made of
it here and nowhere else.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dlcs_stack.pictures.errors import DamagedError, UnsupportedError
from dlcs_stack.pictures.jp2 import COLOUR, OPACITY, PREMULTIPLIED_OPACITY, WHOLE_IMAGE, Channel, Jp2

if TYPE_CHECKING:
    from PIL import Image

_CMYK, _SRGB, _GREY, _SYCC = 12, 16, 17, 18
_COLOURS: Final = {_CMYK: 4, _SRGB: 3, _GREY: 1, _SYCC: 3}
_MODES: Final = {1: "L", 3: "RGB", 4: "CMYK"}
_DEEPEST: Final = 16


def decode(path: Path, header: Jp2, end: int) -> Image.Image:
    """Decode a file whose codestream ends at `end` in full, to L, LA, RGB, RGBA or CMYK.

    Raises `UnsupportedError` and `DamagedError`.
    """
    from PIL import Image

    colours, alpha, premultiplied = _roles(header)
    _refuse(header, [*colours, *([] if alpha is None else [alpha])])
    components = _components(path, header, end)
    planes = [_plane(header, components, number) for number in colours]
    opacity = None if alpha is None else _plane(header, components, alpha)
    del components
    if premultiplied and opacity is not None:
        planes = [_divided(plane, opacity) for plane in planes]
    bands = [Image.fromarray(plane) for plane in planes]
    if header.colour_space == _SYCC and not _is_subsampled(header):
        image = Image.merge("YCbCr", bands).convert("RGB")
    else:
        image = Image.merge(_MODES[len(bands)], bands)
    if opacity is not None:
        image.putalpha(Image.fromarray(opacity))
    return image


def _roles(header: Jp2) -> tuple[list[int], int | None, bool]:
    """Return the channels of the colours in order, that of opacity, and whether the colours are multiplied with it."""
    count = len(header.mapping) if header.palette else len(header.codestream.components)
    channels = header.channels or tuple(Channel(number, COLOUR, number + 1) for number in range(count))
    by_colour = {channel.of: channel.number for channel in channels if channel.kind == COLOUR}
    wanted = _COLOURS.get(header.colour_space or 0)
    if header.colour_space is not None and wanted is None:
        raise UnsupportedError(
            f"is a JPEG 2000 file in colour space number {header.colour_space}, which is not supported"
        )
    if wanted is None:
        wanted = _colours_of_profile(header.icc) if header.icc else {1: 1, 2: 1, 3: 3}.get(len(by_colour))
    if wanted is None or not set(range(1, wanted + 1)) <= set(by_colour) or max(by_colour.values()) >= count:
        raise UnsupportedError(f"is a JPEG 2000 file that does not say what its {count} channels mean")
    alphas = [
        channel
        for channel in channels
        if channel.kind in (OPACITY, PREMULTIPLIED_OPACITY) and channel.of == WHOLE_IMAGE and channel.number < count
    ]
    alpha = alphas[0] if alphas else None
    if alpha and wanted == len("CMYK"):
        raise UnsupportedError("is a JPEG 2000 file with inks and transparency, which is not supported")
    colours = [by_colour[number] for number in range(1, wanted + 1)]
    return colours, alpha.number if alpha else None, alpha is not None and alpha.kind == PREMULTIPLIED_OPACITY


def _colours_of_profile(icc: bytes) -> int | None:
    return {b"GRAY": 1, b"RGB ": 3, b"CMYK": 4, b"Lab ": None}.get(icc[16:20])


def _is_subsampled(header: Jp2) -> bool:
    """Return whether colours have fewer samples than brightness; OpenJPEG then takes them for YCbCr and converts it."""
    return any((component.across, component.down) != (1, 1) for component in header.codestream.components)


def _refuse(header: Jp2, used: list[int]) -> None:
    if _is_subsampled(header):
        edges = [(component.across, component.down) for component in header.codestream.components]
        eight = all(component.bits == 8 for component in header.codestream.components)  # noqa: PLR2004 (as is common)
        if used != [0, 1, 2] or not eight or edges[0] != (1, 1) or edges[1:] not in ([(2, 1)] * 2, [(2, 2)] * 2):
            raise UnsupportedError("is a JPEG 2000 file with subsampling of a kind that is not supported")
    numbers = {header.mapping[number][0] if header.palette else number for number in used}
    for number in numbers:
        if number >= len(header.codestream.components):
            raise UnsupportedError("is a JPEG 2000 file whose boxes name components that it does not have")
        component = header.codestream.components[number]
        if component.signed or component.bits > _DEEPEST:
            kind = "signed" if component.signed else f"{component.bits}-bit"
            raise UnsupportedError(f"is a JPEG 2000 file with {kind} samples, which are not supported")


def _components(path: Path, header: Jp2, end: int) -> list[Any]:
    import imagecodecs

    with path.open("rb") as file:
        file.seek(header.start)
        data = file.read(end - header.start)
    try:
        found = imagecodecs.jpeg2k_decode(data)
    except imagecodecs.Jpeg2kError as error:
        raise DamagedError(f"is truncated or damaged: {str(error).rstrip('.')}") from error
    count = len(header.codestream.components)
    if found.ndim == 2:  # noqa: PLR2004 (rows and columns)
        found = found[..., None]
    size = (header.codestream.height, header.codestream.width, count)
    if found.shape != size:
        raise DamagedError(
            "is truncated or damaged: its header says {} x {} x {}, decoded are {}".format(*size, found.shape)
        )
    return [found[..., number] for number in range(count)]


def _plane(header: Jp2, components: list[Any], channel: int) -> Any:
    """Return a channel's samples as bytes."""
    import numpy as np

    number, column = header.mapping[channel] if header.palette else (channel, None)
    values, bits = components[number], header.codestream.components[number].bits
    if header.palette and column is not None:
        entries = np.array(header.palette.columns[column], dtype=np.uint32)
        values, bits = entries[np.minimum(values, len(entries) - 1)], header.palette.bits[column]
    if bits == 8:  # noqa: PLR2004 (as it is to be)
        return np.ascontiguousarray(values, dtype=np.uint8)
    if bits == _DEEPEST:
        return (values >> 8).astype(np.uint8)
    top = (1 << bits) - 1
    return ((values.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)


def _divided(plane: Any, opacity: Any) -> Any:
    import numpy as np

    whole = opacity.astype(np.uint32)
    divided = (plane.astype(np.uint32) * 255 + whole // 2) // np.maximum(whole, 1)
    return np.minimum(divided, 255).astype(np.uint8)
