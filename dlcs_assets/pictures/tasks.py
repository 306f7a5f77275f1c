"""What the processes that read pictures for a run do for it (`processes.py`): paths and bytes in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.media_type import SourceFormat
from dlcs_assets.pictures.comparison import Difference, Seen, compare
from dlcs_assets.pictures.demands import Gate
from dlcs_assets.pictures.fingerprint import Fingerprint
from dlcs_assets.pictures.header import Colour, PictureHeader
from dlcs_assets.pictures.jp2 import decode_whole, decodes_within, jp2_fingerprint, open_jp2
from dlcs_assets.pictures.jp2_structure import Jp2Structure, read_jp2_structure
from dlcs_assets.pictures.jp2_validity import validity_faults
from dlcs_assets.pictures.reading import Picture, read_header, read_picture

_JP2 = SourceFormat("image/jp2", is_image=True, is_jp2=True)


@dataclass(frozen=True, slots=True)
class Jp2Report:
    """What a JP2 is. `faults` are the tests of jpylyzer that it fails; `undecodable` says why it can't be decoded.

    `seen`: in which way it does not show its source; None if it does, or was not compared.
    """

    structure: Jp2Structure
    faults: tuple[str, ...] = ()
    undecodable: str | None = None
    seen: Seen | None = None


def read_original(gate: Gate, path: Path) -> Picture:
    """Return header and look of a picture. Raises as `read_header`."""
    return read_picture(path, gate)


def inspect(gate: Gate, path: Path) -> PictureHeader:
    """Return the header of a picture. Raises as `read_header`."""
    return read_header(path, gate)


def compare_jp2(gate: Gate, path: Path, source: Fingerprint) -> Jp2Report:
    """Compare a JP2 with what it was made from. Raises PermanentError `jp2_broken` and as `Gate.let_in`."""
    structure = read_jp2_structure(path)
    try:
        opened = open_jp2(path, _JP2, gate, structure)
        seen = compare(source, jp2_fingerprint(opened, gate))
    except PermanentError as error:
        return Jp2Report(structure, undecodable=error.cause)
    return Jp2Report(structure, tuple(validity_faults(path)), seen=seen)


def examine_jp2(gate: Gate, path: Path) -> Jp2Report:
    """Decode a JP2 that is kept as it is; one too large for that was decoded at a smaller resolution when it was read.

    Raises PermanentError `jp2_broken`.
    """
    structure = read_jp2_structure(path)
    undecodable = None
    if decodes_within(path, structure, gate.limits):
        try:
            decode_whole(path, structure, gate, as_levels=False)
        except PermanentError as error:
            undecodable = error.cause
    return Jp2Report(structure, tuple(validity_faults(path)) if undecodable is None else (), undecodable)


def compare_thumbnails(gate: Gate, source: Fingerprint | Path, thumbnails: Sequence[bytes]) -> Seen | None:
    """Return in which way one of the thumbnails does not show its source; None if all do. Raises as `read_header`."""
    reference = source if isinstance(source, Fingerprint) else read_picture(source, gate).look
    for thumbnail in thumbnails:
        picture = read_picture(thumbnail, gate)
        if picture.header.colour is Colour.CMYK:
            return Seen(Difference.COLOURS, "a JPEG in CMYK, which browsers show in other colours")
        seen = compare(reference, picture.look)
        if seen is not None:
            return seen
    return None
