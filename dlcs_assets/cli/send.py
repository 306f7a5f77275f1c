"""Sending images: the message as the queue takes it, checked as the intake will check it, and the upload before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dlcs_assets.cli.clients import make_queues
from dlcs_assets.cli.failure import CommandError
from dlcs_assets.clients.sqs import NewMessage, QueueMessage
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import ALL_CHANNELS, RequestedChannel
from dlcs_assets.domain.errors import IngestError, MessageRejectedError
from dlcs_assets.domain.ingest_request import BatchReference, register
from dlcs_assets.domain.media_type import UNKNOWN_TYPE, sniff
from dlcs_assets.domain.message_attributes import INGEST_TYPE, MessageAttribute
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import Lane
from dlcs_assets.domain.upload import sent_key
from dlcs_assets.intake.messages import check_registration, read_message
from dlcs_assets.settings import Settings

UPLOADS_IN_FLIGHT = 4
HEAD_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An image to send. What is None is left out of the message, so that what is registered stays.

    No channels at all stand for those that are the default for the media type.
    """

    asset_id: AssetId
    origin: str
    channels: Sequence[RequestedChannel] | None = None
    max_unauthorised: int | None = None
    roles: Sequence[str] | None = None
    batch: BatchReference | None = None
    lane: Lane = Lane.INGEST
    media_type: str | None = None

    def body(self) -> str:
        """Return the full message, which registers the image."""
        channels = None
        if self.channels is not None:
            named = [_filled(channel=str(each.channel), policy=each.policy) for each in self.channels]
            channels = named or [{"channel": ALL_CHANNELS}]
        asset = _filled(
            id=str(self.asset_id),
            origin=self.origin,
            mediaType=self.media_type,
            deliveryChannels=channels,
            maxUnauthorised=self.max_unauthorised,
            roles=None if self.roles is None else list(self.roles),
        )
        batch = self.batch and _filled(id=self.batch.id, count=self.batch.count)
        return json.dumps(_filled(created=datetime.now(UTC).isoformat(), batch=batch, asset=asset))


def check(outgoing: Outgoing, settings: Settings) -> None:
    """Raise MessageRejectedError for a message that the intake would keep as rejected, in its own words."""
    message = QueueMessage("", outgoing.body(), "", None)
    for entry in read_message(message, "", outgoing.lane, settings):
        if entry.rejection:
            raise MessageRejectedError(entry.rejection.code, entry.rejection.cause, remedy=entry.rejection.remedy)
        if entry.message and entry.message.asset:
            check_registration(entry.message.asset_id, register(entry.message.asset, None), settings)


def queue_urls(settings: Settings) -> dict[Lane, str]:
    """Return the queues that are configured, by the lane they lead to."""
    urls = {Lane.INGEST: settings.ingest_queue_url, Lane.PRIORITY: settings.priority_queue_url}
    return {lane: url for lane, url in urls.items() if url is not None}


def queue_url(settings: Settings, lane: Lane) -> str:
    """Return the queue of a lane; a CommandError if none is configured."""
    try:
        return queue_urls(settings)[lane]
    except KeyError as error:
        variable = f"DLCS_{lane.upper()}_QUEUE_URL"
        raise CommandError(f"No queue is configured: set {variable}, or start a stack with dlcs up.") from error


def messages(images: Sequence[Outgoing], settings: Settings) -> list[NewMessage]:
    """Return the messages of images, with the attribute by which engines of a DLCS know them."""
    attributes = {INGEST_TYPE: MessageAttribute("String", settings.ingest_type)}
    return [NewMessage(image.body(), attributes) for image in images]


def send_each(images: Sequence[Outgoing], settings: Settings) -> dict[AssetId, IngestError | OSError]:
    """Send a message for each image to the queue of its lane; return why some were not sent."""
    failed: dict[AssetId, IngestError | OSError] = {}
    urls = {lane: queue_url(settings, lane) for lane in dict.fromkeys(image.lane for image in images)}
    queues = make_queues()
    try:
        for lane, url in urls.items():
            chosen = [image for image in images if image.lane is lane]
            errors = queues.send_each(url, messages(chosen, settings))
            failed |= {image.asset_id: error for image, error in zip(chosen, errors, strict=True) if error}
    finally:
        queues.close()
    return failed


def send(images: Sequence[Outgoing], settings: Settings) -> None:
    """Send a message for each image to the queue of its lane; raises if one is not sent."""
    urls = {lane: queue_url(settings, lane) for lane in dict.fromkeys(image.lane for image in images)}
    queues = make_queues()
    try:
        for lane, url in urls.items():
            queues.send(url, messages([image for image in images if image.lane is lane], settings))
    finally:
        queues.close()


def upload(
    storage: Storage, files: Sequence[tuple[AssetId, Path]], bucket: str, on_stored: Callable[[int], None]
) -> tuple[dict[AssetId, str], dict[AssetId, IngestError | OSError]]:
    """Put files into the origin bucket, where an upload alone asks for no ingest.

    Returns the origins of those that are there, and why others are not: each is tried.
    `on_stored` is called with the number of those that are there, so far.
    """
    origins: dict[AssetId, str] = {}
    failed: dict[AssetId, IngestError | OSError] = {}

    def one(asset_id: AssetId, path: Path) -> str:
        with path.open("rb") as file:
            found = sniff(file.read(HEAD_BYTES))
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        key = sent_key(asset_id)
        storage.put_file(path, bucket, key, found.media_type if found else UNKNOWN_TYPE, sha256)
        return S3Location(bucket, key).uri()

    with ThreadPoolExecutor(UPLOADS_IN_FLIGHT) as pool:
        jobs = {pool.submit(one, asset_id, path): asset_id for asset_id, path in files}
        for job in as_completed(jobs):
            try:
                origins[jobs[job]] = job.result()
            except (IngestError, OSError) as error:  # of this file alone, as far as is known: the others are tried
                failed[jobs[job]] = error
            else:
                on_stored(len(origins))
    return origins, failed


def _filled(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
