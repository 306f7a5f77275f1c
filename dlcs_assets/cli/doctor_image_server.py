"""The check of `dlcs doctor` on the image server: a thumbnail of a JP2 of ours, as a run would ask for one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sqlalchemy.exc import DBAPIError

from dlcs_assets.cli.clients import make_storage
from dlcs_assets.cli.connection import open_ledger
from dlcs_assets.cli.doctor_finding import Check, Finding, fail, failed, ok, warn
from dlcs_assets.cli.doctor_parts import is_usable
from dlcs_assets.cli.failure import CommandError
from dlcs_assets.clients.image_server import ImageServer
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.image_servers import SourceAccess
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.results import ObjectRecord
from dlcs_assets.domain.thumbnails import ThumbnailMaker
from dlcs_assets.ingest.control_picture import (
    COLOUR,
    ControlFormat,
    ControlPicture,
    control_file,
    control_object,
    is_colour,
    mean_colour,
)
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.settings import Settings

_NAME: Final = "image server"


def check_image_server(settings: Settings) -> Iterator[Finding]:
    """Have the image server make a thumbnail. That it is not the public's, the settings ensure themselves."""
    if settings.thumbnails_by is ThumbnailMaker.APPETISER:
        yield ok(_NAME, "not needed: Appetiser makes the thumbnails (DLCS_THUMBNAILS_BY)")
        return
    where = shown_url(settings.image_server_url)
    with closing(_image_server(settings)) as server:
        if not server.is_up():
            yield fail(
                _NAME,
                f"does not answer at {where}",
                "Start it, or correct DLCS_IMAGE_SERVER_URL. A sidecar can be reached from its own task only.",
            )
            return
        try:
            server.check()
        except IngestError as error:
            yield failed(_NAME, error)
            return
        yield _thumbnail(server, settings, where)


def _thumbnail(server: ImageServer, settings: Settings, where: str) -> Finding:
    first = ControlFormat.JP2 if settings.thumbnails_of_jp2 else ControlFormat.JPEG
    error = _failure(server, settings, first)
    if error is None:
        return ok(_NAME, f"makes thumbnails of a {first.name} at {where}")
    if error.code.startswith("storage_"):
        return warn(_NAME, f"answers at {where}, but no picture could be put there for it: {error.cause}", error.remedy)
    if first is ControlFormat.JP2 and _failure(server, settings, ControlFormat.JPEG) is None:
        return fail(
            _NAME,
            f"makes thumbnails of a JPEG at {where}, and none of a JP2: {error.cause}",
            "Install its decoder of JP2, and see what it logged when it started (Cantaloupe: OpenJPEG's programs on "
            "its PATH). For a server that is to read no JP2, set DLCS_IMAGE_SERVER_KIND.",
        )
    return failed(_NAME, error)


def _failure(server: ImageServer, settings: Settings, control_format: ControlFormat) -> IngestError | None:
    """Return why there is no right thumbnail of a control picture, or None."""
    try:
        with _control(server, settings, control_format) as control:
            seen = mean_colour(control.thumbnail().data)
    except IngestError as error:
        return error
    if is_colour(seen, COLOUR):
        return None
    return IngestError(
        "thumbnail_of_another_picture",
        f"The image server shows another picture than the {control_format.name} that it was asked for",
        remedy="See how it decodes the format, and that its caches are off.",
    )


@contextmanager
def _control(server: ImageServer, settings: Settings, control_format: ControlFormat) -> Iterator[ControlPicture]:
    if server.shares_disk:
        settings.scratch.mkdir(parents=True, exist_ok=True)
        with (
            TemporaryDirectory(dir=settings.scratch, prefix="doctor-") as folder,
            control_file(server, Path(folder), control_format) as control,
        ):
            yield control
        return
    with (
        closing(make_storage(settings)) as storage,
        _records(settings) as records,
        control_object(
            server,
            storage,
            records,
            name=f"doctor-{secrets.token_hex(6)}",
            control_format=control_format,
            region=settings.s3_uri_region,
        ) as control,
    ):
        yield control


@dataclass(frozen=True, slots=True)
class _Records:
    """Records in the ledger, or none where it cannot be used, which another check reports."""

    ledger: Ledger | None

    def record_transient(self, record: ObjectRecord) -> None:
        if self.ledger:
            with suppress(DBAPIError):
                self.ledger.results.add_control(record)

    def forget_object(self, bucket: str, key: str) -> None:
        if self.ledger:
            with suppress(DBAPIError):
                self.ledger.results.remove_transient(bucket, key)


@contextmanager
def _records(settings: Settings) -> Iterator[_Records]:
    with ExitStack() as opened:
        ledger: Ledger | None = None
        if is_usable(settings.ledger_url):  # opened, another one would be made, or brought up to date
            with suppress(CommandError):
                ledger = opened.enter_context(open_ledger(settings))
        yield _Records(ledger)


def _image_server(settings: Settings) -> ImageServer:
    """Return the client as runs have it, but less patient, and without the permits that it shares with theirs."""
    shared = settings.image_server_sources is SourceAccess.DISK
    return ImageServer(
        url=settings.image_server_url,
        path=settings.image_server_path,
        kind=settings.image_server_kind,
        cache=settings.image_server_cache if settings.image_server_kind.dialect.has_cache_parameter else "",
        reads_jp2=settings.thumbnails_of_jp2,
        scratch_root=str(settings.scratch.absolute()) if shared else None,
        server_scratch_root=settings.image_server_scratch_root,
        connect_timeout_seconds=5,
        timeout_seconds=20,
        attempts=2,
    )


CHECKS: Final[tuple[Check, ...]] = (check_image_server,)
