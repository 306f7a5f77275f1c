"""`dlcs canary`: sends a test picture through the whole system, and checks what is stored."""

from __future__ import annotations

import json
import secrets
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Annotated, Final

import typer

from dlcs_assets.cli.clients import load_customer, make_storage
from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.delete import deletion_of
from dlcs_assets.cli.failure import FAILED, CommandError
from dlcs_assets.cli.options import parse_ids
from dlcs_assets.cli.output import VisibleConsole, echo_data, make_console, print_table
from dlcs_assets.cli.progress import Follower, follow, unfinished
from dlcs_assets.cli.send import Outgoing, check, queue_urls, send
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel, RequestedChannel
from dlcs_assets.domain.request_states import SHOWN_ENDED
from dlcs_assets.domain.results import ObjectKind
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import STAGES, Lane
from dlcs_assets.domain.upload import sent_key
from dlcs_assets.ingest.control_picture import is_colour, mean_colour
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.reports import ImageStatus
from dlcs_assets.settings import Settings

WIDTH: Final = 640
HEIGHT: Final = 480
CHANNELS: Final = (RequestedChannel(Channel.IIIF_IMG, "default"), RequestedChannel(Channel.THUMBS, None))


def canary(
    image: Annotated[
        str,
        typer.Argument(metavar="ID", help="Id of the test image, as customer/space/name: one that no other image has."),
    ],
    *,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="How long to wait.")] = 300,
    keep: Annotated[bool, typer.Option("--keep", help="Don't delete it afterwards.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Ingest a test picture and check what is stored. Status 1 if something is wrong, with the reason."""
    (asset_id,) = (AssetId.parse(each) for each in parse_ids([image]))
    settings = load_settings()
    colour = tuple(secrets.randbelow(200) + 28 for _ in range(3))
    outgoing = _outgoing(asset_id, settings)
    with open_ledger(settings) as ledger:
        _refuse_known_image(ledger, asset_id, outgoing)
        began = time.monotonic()
        status = _ingest(ledger, outgoing, picture(colour), settings, timedelta(seconds=timeout))
        seconds = time.monotonic() - began
        with closing(make_storage(settings)) as storage:
            wrong = complaint(status, colour, storage) if status.state == "done" else str(status.reason)
        if not keep:
            now = datetime.now(UTC)
            ledger.deletions.request([deletion_of(status, now, frozenset(), ingest_policy(settings))], now=now)
    _report(status, seconds, wrong, as_json=as_json)
    if wrong:
        raise typer.Exit(FAILED)


def _outgoing(asset_id: AssetId, settings: Settings) -> Outgoing:
    if settings.origin_bucket is None:
        raise CommandError(
            "The canary's original is put into the origin bucket, and none is configured: DLCS_ORIGIN_BUCKET."
        )
    load_customer(settings, asset_id.customer)
    lane = Lane.PRIORITY if Lane.PRIORITY in queue_urls(settings) else Lane.INGEST
    origin = S3Location(settings.origin_bucket, sent_key(asset_id)).uri()
    outgoing = Outgoing(asset_id, origin, channels=CHANNELS, lane=lane)
    check(outgoing, settings)
    return outgoing


def _refuse_known_image(ledger: Ledger, asset_id: AssetId, outgoing: Outgoing) -> None:
    known = ledger.reports.registration(asset_id)
    if known is not None and known.origin != outgoing.origin:
        raise CommandError(f"{asset_id} is registered with another origin: choose an id that no image has.")


def _ingest(ledger: Ledger, outgoing: Outgoing, data: bytes, settings: Settings, limit: timedelta) -> ImageStatus:
    location = S3Location(str(settings.origin_bucket), sent_key(outgoing.asset_id))
    with closing(make_storage(settings)) as storage:
        storage.put_bytes(data, location.bucket, location.key, "image/jpeg")
    follower = Follower(ledger, [str(outgoing.asset_id)])
    send([outgoing], settings)
    found = follow(VisibleConsole(stderr=True), follower, limit=limit)
    status = found[str(outgoing.asset_id)]
    if status is None or status.state not in SHOWN_ENDED:
        where = "; ".join(unfinished(found))
        raise CommandError(f"The canary has not ended after {limit.total_seconds():.0f} s: {where}. See dlcs doctor.")
    return status


def complaint(status: ImageStatus, colour: tuple[int, ...], storage: Storage) -> str:
    """Return what is wrong with what is stored; an empty text if nothing is."""
    thumbnails = [stored for stored in status.objects if stored.kind is ObjectKind.THUMBNAIL]
    if not thumbnails or not any(stored.kind is ObjectKind.JP2 for stored in status.objects):
        return "there is no JP2, or no thumbnail, among what is stored"
    for stored in status.objects:
        digest = storage.digest(stored.bucket, stored.key)
        if digest is None:
            return f"s3://{stored.bucket}/{stored.key} is missing"
        if digest.sha256 != stored.sha256:
            return f"s3://{stored.bucket}/{stored.key} is not what was stored"
    for stored in thumbnails:
        seen = mean_colour(storage.read_bytes(stored.bucket, stored.key))
        if not is_colour(seen, colour):
            return f"s3://{stored.bucket}/{stored.key} shows another picture: {seen} instead of {colour}"
    return ""


def picture(colour: tuple[int, ...]) -> bytes:
    """Return a JPEG of one colour."""
    from PIL import Image

    data = BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), colour).save(data, "JPEG", quality=92)
    return data.getvalue()


def _report(status: ImageStatus, seconds: float, wrong: str, *, as_json: bool) -> None:
    stages = {
        stage.value: int(str(status.stages[stage].facts.get("milliseconds", 0))) / 1000
        for stage in STAGES
        if stage in status.stages
    }
    if as_json:
        shown = {"id": status.asset_id, "well": not wrong, "why": wrong or None, "seconds": round(seconds, 2)}
        echo_data(json.dumps({**shown, "stages": stages, "objects": len(status.objects)}, indent=2))
        return
    console = make_console()
    rows = [*((name, f"{taken:.1f} s") for name, taken in stages.items()), ("total", f"{seconds:.1f} s")]
    print_table(console, ("stage", "took"), rows)
    console.print(f"The canary failed: {wrong}" if wrong else f"All {len(status.objects)} stored objects are correct.")
