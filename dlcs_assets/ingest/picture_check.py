"""No JP2 and no thumbnail is published for a picture that was not compared with its source.

What is compared with is the original where this run has it, otherwise the very file that thumbnails are made from,
which is then brought to the scratch folder. No attempt does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dlcs_assets.clients.image_server import ThumbnailBytes
from dlcs_assets.domain.errors import IngestError, PermanentError, TransientError
from dlcs_assets.domain.ingest_spec import IngestSpec
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ingest.context import ImageContext
from dlcs_assets.ingest.original import FetchedOriginal, fetch_original
from dlcs_assets.ingest.sources import Source, download_source
from dlcs_assets.pictures.comparison import Difference, Seen
from dlcs_assets.pictures.fingerprint import Fingerprint
from dlcs_assets.pictures.tasks import Jp2Report, compare_thumbnails

_TURN_IT: Final = "Turn the original itself, without a tag that says how it is to be turned, and put that at its origin"
_CODES: Final = {
    Difference.BLANK: "thumbnail_blank",
    Difference.TURNED: "thumbnail_turned",
    Difference.MIRRORED: "thumbnail_turned",
    Difference.NEGATIVE: "thumbnail_colours",
    Difference.COLOURS: "thumbnail_colours",
    Difference.TRANSPARENCY: "thumbnail_colours",
    Difference.ANOTHER_PICTURE: "thumbnail_of_another_picture",
}
_REMEDIES: Final = {
    Difference.BLANK: "Use the image policy default, which converts the original, or convert it to 8-bit grey or RGB",
    Difference.TURNED: _TURN_IT,
    Difference.MIRRORED: _TURN_IT,
    Difference.NEGATIVE: "Convert the original to 8-bit grey or RGB, and put that at its origin",
    Difference.COLOURS: "Convert the original to 8-bit grey or RGB in sRGB, and put that at its origin",
    Difference.TRANSPARENCY: "Lay the original on a background, without transparent parts, and put that at its origin",
    Difference.ANOTHER_PICTURE: "See the log of what made it for this image",
}


def require_same_picture(report: Jp2Report) -> None:
    """Refuse a JP2 of Appetiser's that does not show its original.

    Raises `PermanentError`, code `jp2_of_another_picture` or `jp2_broken`.
    """
    if report.undecodable is not None:
        raise PermanentError(
            "jp2_broken",
            f"Appetiser made a JP2 that cannot be decoded: {report.undecodable}",
            remedy="See Appetiser's log for this image, and report it there; the original itself may be good",
            stage=Stage.JP2,
        )
    if report.seen is not None:
        raise PermanentError(
            "jp2_of_another_picture",
            f"The JP2 that Appetiser made does not show the original: it is {report.seen.words}",
            remedy=_REMEDIES[report.seen.difference],
            stage=Stage.JP2,
        )


def check_thumbnails(
    image: ImageContext,
    spec: IngestSpec,
    source: Source,
    original: FetchedOriginal | None,
    made: Sequence[ThumbnailBytes],
) -> None:
    """Compare every thumbnail with what it was made from.

    Raises the errors of the error tree; what can change by itself is transient: a cache may hold an older picture.
    """
    if not made:
        return
    reference = _reference(image, spec, source, original)
    seen = image.services.pictures.run(compare_thumbnails, reference, [thumbnail.data for thumbnail in made])
    if seen is not None:
        raise _error(image, seen)


def _reference(
    image: ImageContext, spec: IngestSpec, source: Source, original: FetchedOriginal | None
) -> Fingerprint | Path:
    if original is not None and original.look is not None:
        return original.look
    path = source.at_hand or download_source(image, spec)
    if path is not None:
        return path
    fetched = fetch_original(image, spec, None)
    assert fetched.look is not None
    return fetched.look


def _error(image: ImageContext, seen: Seen) -> IngestError:
    code = _CODES[seen.difference]
    if image.thumbnails_by_appetiser:
        cause = f"The thumbnail that Appetiser made does not show this picture: it is {seen.words}"
        return PermanentError(code, cause, remedy=_REMEDIES[seen.difference], stage=Stage.THUMBNAILS)
    cause = f"The image server's thumbnail does not show this picture: it is {seen.words}"
    # An image that was there before may be in a cache, and look like this one mirrored, or like nothing.
    if seen.difference is Difference.ANOTHER_PICTURE or Stage.THUMBNAILS in image.item.latest:
        return TransientError(
            code,
            f"{cause}; it has probably cached an older one",
            remedy="Turn its source cache off (docs/operate.md); the image is retried automatically",
            stage=Stage.THUMBNAILS,
        )
    return PermanentError(code, cause, remedy=_REMEDIES[seen.difference], stage=Stage.THUMBNAILS)
