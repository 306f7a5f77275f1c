"""Which originals a kind of image server does not show as they are: a table, measured, for each kind that has one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from dlcs_assets.domain.media_type import SourceFormat

_JPX: Final = "image/jpx"
_JPEG_2000: Final = frozenset({"image/jp2", _JPX, "image/x-jp2-codestream"})
_MIRRORED: Final = frozenset({2, 4, 5, 7})
_JPEG, _PNG, _TIFF, _WEBP, _AVIF = "image/jpeg", "image/png", "image/tiff", "image/webp", "image/avif"


class SourcePicture(Protocol):
    """What the header of an original says, as far as it matters here: see `PictureHeader`."""

    @property
    def format(self) -> SourceFormat:
        """Its format."""

    @property
    def orientation(self) -> int:
        """As in EXIF, 1 to 8."""

    @property
    def colour(self) -> str:
        """`grey`, `RGB`, `CMYK`, `LAB` and others."""

    @property
    def samples(self) -> str:
        """`unsigned`, `signed` or `float`."""

    @property
    def has_alpha(self) -> bool:
        """Whether there is an alpha channel."""

    @property
    def has_profile(self) -> bool:
        """Whether there is an ICC profile."""

    @property
    def variant(self) -> str | None:
        """What not every reader of the format reads, such as BigTIFF."""


@dataclass(frozen=True, slots=True)
class Misreading:
    """Originals of some formats (of any, if none is named) that a server does not show as they are, and what it does.

    Without `applies` it is the format alone.
    """

    what: str
    does: str
    formats: frozenset[str] = frozenset()
    applies: Callable[[SourcePicture], bool] | None = None

    def is_of(self, media_type: str) -> bool:
        """Return whether originals of a media type may be such ones."""
        return not self.formats or media_type in self.formats


# Cantaloupe 5.0.6 with Java2D and OpenJPEG.
CANTALOUPE: Final[tuple[Misreading, ...]] = (
    Misreading("WebP", "does not read it", frozenset({_WEBP})),
    Misreading("AVIF", "does not read it", frozenset({_AVIF})),
    Misreading("BigTIFF or WebP in TIFF", "does not read it", frozenset({_TIFF}), lambda it: it.variant is not None),
    Misreading("a JPX that does not say that it is a JP2, too", "does not read it", frozenset({_JPX})),
    Misreading(
        "to be mirrored (orientation 2, 4, 5 or 7)", "ignores that", applies=lambda it: it.orientation in _MIRRORED
    ),
    Misreading("a PNG that is to be turned", "ignores that", frozenset({_PNG}), lambda it: it.orientation > 1),
    Misreading(
        "CMYK without a profile",
        "shows it white",
        frozenset({_JPEG, _TIFF}),
        lambda it: it.colour == "CMYK" and not it.has_profile,
    ),
    Misreading("grey with alpha", "fails at it", frozenset({_PNG}), lambda it: it.colour == "grey" and it.has_alpha),
    Misreading(
        "an RGB TIFF with alpha that is to be turned",
        "exchanges its colours",
        frozenset({_TIFF}),
        lambda it: it.colour == "RGB" and it.has_alpha and it.orientation > 1,
    ),
    Misreading("a JPEG 2000 with alpha", "ignores the alpha", _JPEG_2000, lambda it: it.has_alpha),
    Misreading("a TIFF in L*a*b*", "shows other colours", frozenset({_TIFF}), lambda it: it.colour == "LAB"),
    Misreading("a TIFF of floats", "shows other levels", frozenset({_TIFF}), lambda it: it.samples == "float"),
)


def misreading_of(table: Sequence[Misreading], picture: SourcePicture) -> Misreading | None:
    """Return the first row that is about a picture, if there is one."""
    of_format = (row for row in table if row.is_of(picture.format.media_type))
    return next((row for row in of_format if row.applies is None or row.applies(picture)), None)


def misreading_of_format(table: Sequence[Misreading], media_type: str) -> Misreading | None:
    """Return the row by which all originals of a media type are not read, if there is one."""
    return next((row for row in table if row.applies is None and row.is_of(media_type)), None)
