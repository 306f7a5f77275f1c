"""Whether Appetiser converts at all: its /ping says nothing of its encoder, so a small picture of ours is converted."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from dlcs_assets.clients.appetiser import Appetiser
from dlcs_assets.domain.errors import IngestError, PermanentError, ServiceDownError
from dlcs_assets.ingest.context import ImageContext
from dlcs_assets.ingest.control_picture import ControlFormat, draw_control_picture, make_readable

log = logging.getLogger(__name__)

CONVERTS_NOTHING: Final = "appetiser_converts_nothing"


def convert_control_picture(appetiser: Appetiser, folder: Path) -> None:
    """Have a small JPEG converted in a folder that Appetiser shares. Raises the errors of the error tree."""
    source, destination = folder / "control.jpg", folder / "control.jp2"
    source.write_bytes(draw_control_picture(ControlFormat.JPEG))
    make_readable(source)
    try:
        appetiser.convert(
            job_id="control",
            image_id="control",
            origin="dlcs-assets",
            source=source,
            destination=destination,
        )
    finally:
        for path in (source, destination):
            path.unlink(missing_ok=True)


def blame_appetiser(image: ImageContext, failed: PermanentError) -> IngestError:
    """Return the error for an image that Appetiser refuses: its own fault if it refuses the control picture, too."""
    try:
        convert_control_picture(image.services.appetiser, image.folder)
    except ServiceDownError as down:
        return down
    except PermanentError as error:
        return ServiceDownError(
            CONVERTS_NOTHING,
            f"Appetiser converts no image at all, though GET /ping is answered. {error.cause}",
            remedy="See its log, and `dlcs doctor`; images wait until it converts again.",
        )
    except (IngestError, OSError) as error:
        log.warning("whether Appetiser converts anything could not be seen: %s", error, extra=image.log_fields)
    return failed
