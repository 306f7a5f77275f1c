"""What the header of a picture says, and errors about pictures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.media_type import SourceFormat
from dlcs_assets.pictures.orientation import upright_size


class Colour(StrEnum):
    """What the samples of a picture stand for."""

    BILEVEL = "bilevel"
    GREY = "grey"
    RGB = "RGB"
    CMYK = "CMYK"
    LAB = "LAB"
    YCBCR = "YCbCr"
    PALETTE = "palette"


class SampleKind(StrEnum):
    """How a sample is written."""

    UNSIGNED = "unsigned"
    SIGNED = "signed"
    FLOAT = "float"


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """What the header of a picture says. Width and height are those of the picture turned upright.

    `has_orientation`: EXIF or XMP state one, be it "upright"; servers may differ in whether they heed it. `bits` are
    those of a sample. `has_profile`: there is an ICC profile. `page` of `pages` is the one that is read, from 1 (by
    `dlcs_assets.pictures.tiff.choose_page` in a TIFF, otherwise the first). `variant` names what not every reader of
    the format reads: BigTIFF, WebP in TIFF, a JPX that does not say that it is a JP2, too.
    """

    format: SourceFormat
    width: int
    height: int
    orientation: int = 1
    has_orientation: bool = False
    colour: Colour = Colour.RGB
    bits: int = 8
    samples: SampleKind = SampleKind.UNSIGNED
    has_alpha: bool = False
    has_profile: bool = False
    page: int = 1
    pages: int = 1
    variant: str | None = None

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height before any turning."""
        return upright_size(self.width, self.height, self.orientation)


def unreadable(media_type: str, why: object) -> PermanentError:
    """Return the error of a picture that is damaged."""
    return PermanentError(
        "image_unreadable",
        f"The image ({media_type}) can't be read: {why}",
        remedy="See whether it opens elsewhere: it may have been cut off. Put a whole one at its origin.",
    )


def unsupported(media_type: str, what: str) -> PermanentError:
    """Return the error of a picture that may be whole, and is of a kind that nothing here reads right."""
    return PermanentError(
        "image_unsupported",
        f"The image ({media_type}) is of a kind that is not supported: {what}",
        remedy="Convert it to a TIFF or PNG in grey or RGB with 8 or 16 bits a sample, and put that at its origin.",
    )
