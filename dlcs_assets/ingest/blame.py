"""Whose fault it is that the image server fails at an image: its own, or the image's."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import Final

from dlcs_assets.clients.image_server_answer import SOURCE_UNREADABLE, SourceFailedError
from dlcs_assets.domain.errors import IngestError, PermanentError, ServiceDownError, TransientError
from dlcs_assets.domain.ingest_plan import ImageServerSource
from dlcs_assets.domain.ingest_spec import IngestSpec
from dlcs_assets.ingest.context import ImageContext
from dlcs_assets.ingest.control_picture import ControlFormat, ControlPicture, control_file, control_object
from dlcs_assets.ingest.sources import Source

log = logging.getLogger(__name__)

_NO_DECODER: Final = "image_server_has_no_decoder"
_CANNOT_READ: Final = "image_server_cannot_read"
# Under load a server may fail at one image and serve another by chance, so one attempt does not decide.
_DECISIVE_ATTEMPT: Final = 2


def blame(image: ImageContext, spec: IngestSpec, source: Source, failed: SourceFailedError) -> IngestError:
    """Return the error for an image at which the image server failed repeatedly.

    It is `image_server_cannot_read` if the server makes a thumbnail of a control picture now, and fails at the image
    again after that; it is permanent from the second attempt on. Otherwise it is `failed`, or that the server is down.
    """
    try:
        with _control(image, spec) as control:
            control.thumbnail()
    except ServiceDownError as down:
        return down
    except (IngestError, OSError) as error:
        log.warning("the image server fails at the control picture, too: %s", error, extra=image.log_fields)
        return failed
    try:
        image.services.image_server.session(source.file).repeat(failed.url)
    except SourceFailedError as again:
        return _cannot_read(image, again)
    except IngestError:
        pass
    return failed


def blame_decoder(
    image: ImageContext, spec: IngestSpec, refused: PermanentError, *, original_is_jp2: bool
) -> IngestError:
    """Return the error for an image that the image server says it cannot read.

    It is `image_server_has_no_decoder`, and the image waits, if the server says so of a control picture as well.
    """
    if refused.code != SOURCE_UNREADABLE:
        return refused
    try:
        with _control(image, spec, original_is_jp2=original_is_jp2) as control:
            control.thumbnail()
    except PermanentError as error:
        if error.code != SOURCE_UNREADABLE:
            return refused
        return ServiceDownError(
            _NO_DECODER,
            f"The image server cannot read a picture of ours of the same format either: {error.cause}",
            remedy="Install its decoder, for Cantaloupe OpenJPEG's programs on its PATH, and see `dlcs doctor`; images "
            "wait until it reads them.",
        )
    except (IngestError, OSError) as error:
        log.warning("the control picture could not be served: %s", error, extra=image.log_fields)
    return refused


def _control(
    image: ImageContext, spec: IngestSpec, *, original_is_jp2: bool = False
) -> AbstractContextManager[ControlPicture]:
    services = image.services
    of_jp2 = original_is_jp2 or spec.plan.source is ImageServerSource.JP2
    control_format = ControlFormat.JP2 if of_jp2 else ControlFormat.JPEG
    if services.image_server.shares_disk:
        return control_file(services.image_server, image.folder, control_format)
    name = f"{image.item.request_id}-{image.item.attempt}"
    return control_object(
        services.image_server,
        services.storage,
        image.ledger,
        name=name,
        control_format=control_format,
        region=image.policy.s3_uri_region,
    )


def _cannot_read(image: ImageContext, failed: SourceFailedError) -> IngestError:
    kind = PermanentError if image.item.attempt >= _DECISIVE_ATTEMPT else TransientError
    return kind(
        _CANNOT_READ,
        f"The image server fails at this image in all attempts, and serves a control picture meanwhile: {failed.cause}",
        remedy="See its log. If the format is one that it does not read, use the image policy default, which converts "
        "the image; if the original is damaged, replace it.",
    )
