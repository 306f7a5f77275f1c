"""The third stage: thumbnails from the image server or Appetiser, checked, published, what they replace removed."""

from __future__ import annotations

import hashlib
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from dlcs_assets.clients.image_server import ImageServerSession, Refused, ThumbnailBytes
from dlcs_assets.clients.image_server_answer import FORBIDDEN, SOURCE_MISSING
from dlcs_assets.domain.errors import PermanentError, TransientError
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.image_servers import require_readable
from dlcs_assets.domain.ingest_plan import ImageServerSource
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import Outcome, Stage
from dlcs_assets.domain.storage_keys import sizes_key, thumbnail_key, thumbnail_prefix
from dlcs_assets.domain.thumbnails import ThumbnailAsk, ThumbnailPlan, plan_thumbnails, thumbnail_set
from dlcs_assets.ingest.image_probe import fingerprint, same_picture
from dlcs_assets.ingest.job import Job, Stopwatch
from dlcs_assets.ingest.pictures import ThumbnailBatch
from dlcs_assets.ingest.sources import Source, provide_source, require_source
from dlcs_assets.ingest.thumbnails_by_appetiser import make_with_appetiser

# What a web server that is no image server would lead to as well.
_PERHAPS_ELSEWHERE: Final = frozenset(
    {SOURCE_MISSING, FORBIDDEN, "image_server_disk_not_shared", "info_unreadable", "thumbnail_unreadable"}
)


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """The stage's result, and the smallest open thumbnail for people to look at (None if all are restricted)."""

    result: StageResult
    picture: bytes | None


def make_thumbnails(job: Job, executor: Executor) -> Thumbnails:
    """Have every size made, publish them, then `s.json`, then remove what is not of the new set."""
    watch = Stopwatch()
    if not job.plan.thumbnails:
        job.guard()
        _remove_others(job, keep=frozenset())
        result = StageResult(Stage.THUMBNAILS, Outcome.NOT_REQUIRED, "not required", {"why": job.plan.why})
        return Thumbnails(result, None)
    if not job.by_appetiser and not job.services.image_server.reads_jp2:
        require_readable(job.plan, _media_type(job))
    source = provide_source(job)
    if job.by_appetiser:
        assert source.file is not None
        pictures = make_with_appetiser(job, source.file)
    else:
        pictures = _make_with_image_server(job, source, executor)
    made = pictures.made
    _check_picture(job, source, made)
    chosen = thumbnail_set(
        [thumbnail.size for thumbnail in made],
        max_unauthorised=job.item.registration.max_unauthorised,
        roles=job.item.registration.roles,
        engine_open_thumbnails=job.rules.engine_open_thumbnails,
    )
    of_size = {thumbnail.size: thumbnail for thumbnail in reversed(made)}
    job.guard()
    stored = [
        _put(job, thumbnail_key(job.item.asset_id, size.longest, chosen.is_open(size)), of_size[size].data)
        for size in (*chosen.open, *chosen.auth)
    ]
    job.guard()
    sizes = _put(job, sizes_key(job.item.asset_id), chosen.sizes_json().encode(), ObjectKind.SIZES)
    _remove_others(job, keep=frozenset(record.key for record in (*stored, sizes)))
    facts: dict[str, object] = {
        "width": pictures.size.width,
        "height": pictures.size.height,
        "sizes": [[made_size.width, made_size.height] for made_size in (*chosen.open, *chosen.auth)],
        "open": len(chosen.open),
        "restricted": len(chosen.auth),
        "bytes": sum(record.bytes for record in stored),
        # A file is gone after the run: nothing can lead there.
        "file" if source.file else "source": source.identifier,
        "location": S3Location(sizes.bucket, thumbnail_prefix(job.item.asset_id)).uri(job.rules.s3_uri_region),
        "sha256": hashlib.sha256("".join(record.sha256 for record in (*stored, sizes)).encode()).hexdigest(),
        "milliseconds": watch.milliseconds,
    }
    facts |= pictures.facts
    if pictures.left_out:
        facts["left_out"] = pictures.left_out
    if source.brought:
        facts["brought_to_disk"] = source.brought
    smallest = min(chosen.open, key=lambda size: size.longest, default=None)
    return Thumbnails(
        StageResult(Stage.THUMBNAILS, Outcome.MADE, str(facts["sha256"]), facts, (*stored, sizes)),
        of_size[smallest].data if smallest else None,
    )


def _make_with_image_server(job: Job, source: Source, executor: Executor) -> ThumbnailBatch:
    server = job.services.image_server
    session = server.session(source.file)
    try:
        size, note = _size(job, session, source.identifier)
        planned = plan_thumbnails(job.spec.sizes, size)
        made, refused = _ask(session, source.identifier, planned, size, executor)
    except TransientError as error:
        if error.code in _PERHAPS_ELSEWHERE:
            server.check()
        if error.code == SOURCE_MISSING:
            require_source(job)
        raise
    facts: dict[str, object] = {}
    if note:
        facts["note"] = note
    if session.seen_late:
        facts["seen_late"] = session.seen_late
    return ThumbnailBatch(size, made, [f"{left.parameter}: {left.why}" for left in planned.left_out] + refused, facts)


def _size(job: Job, session: ImageServerSession, identifier: str) -> tuple[Size, str | None]:
    """Return the size of the picture as it will be served, and a note where two sources differ about it."""
    measured = job.known_size
    original = job.result(Stage.ORIGINAL)
    turned = original is not None and "orientation" in original.facts and job.plan.jp2_outcome is not Outcome.CONVERTED
    if measured and not turned:
        return measured, None
    served = session.info(identifier)
    if measured and measured != served:
        note = f"The bytes say {measured.width} x {measured.height}, the image server {served.width} x {served.height}"
        return served, note
    return served, None


def _media_type(job: Job) -> object:
    if job.format is None and job.plan.source is ImageServerSource.ORIGIN:
        job.peek()
    if job.format is not None:
        return job.format.media_type
    original = job.result(Stage.ORIGINAL)
    return original.facts.get("media_type") if original else None


def _ask(
    session: ImageServerSession, identifier: str, planned: ThumbnailPlan, size: Size, executor: Executor
) -> tuple[list[ThumbnailBytes], list[str]]:
    def ask(one: ThumbnailAsk) -> ThumbnailBytes | Refused:
        return session.thumbnail(identifier, one.parameter, session.words(one), size)

    made: list[ThumbnailBytes] = []
    refused: list[str] = []
    for one, answer in zip(planned.asks, executor.map(ask, planned.asks), strict=True):
        if isinstance(answer, Refused):
            refused.append(f"{one.parameter}: the image server refused it: {answer.reason}")
        else:
            made.append(answer)
    return made, refused


def _check_picture(job: Job, source: Source, made: list[ThumbnailBytes]) -> None:
    """Compare the smallest thumbnail with its source, where that is at hand: a stale cache passes every other check."""
    original = job.fetched.path if job.fetched else source.file
    path = job.jp2 if job.plan.source is ImageServerSource.JP2 else original
    if path is None or not made:
        return
    smallest = min(made, key=lambda thumbnail: thumbnail.size.longest)
    if not same_picture(fingerprint(path), fingerprint(smallest.data)):
        if job.by_appetiser:
            raise PermanentError(
                "thumbnail_of_another_picture",
                "Appetiser's thumbnail does not show this picture: perhaps it was not turned upright",
                remedy="Turn the original itself if a tag says how it is to be turned; else see Appetiser's log",
                stage=Stage.THUMBNAILS,
            )
        raise TransientError(
            "thumbnail_of_another_picture",
            "The image server's thumbnail does not show this picture: it has probably cached an older one",
            remedy="Turn its source cache off (docs/operate.md); the image is tried again by itself",
            stage=Stage.THUMBNAILS,
        )


def _put(job: Job, key: str, data: bytes, kind: ObjectKind = ObjectKind.THUMBNAIL) -> ObjectRecord:
    storage = job.services.storage
    content_type = "image/jpeg" if kind is ObjectKind.THUMBNAIL else "application/json"
    stored = storage.put_bytes(data, storage.thumbs_bucket, key, content_type=content_type)
    return ObjectRecord(
        stored.bucket, stored.key, kind, stored.bytes, hashlib.sha256(data).hexdigest(), stored.content_type
    )


def _remove_others(job: Job, *, keep: frozenset[str]) -> None:
    """Delete thumbnails of other sizes, of the other prefix (open, auth) and of the legacy layout."""
    storage = job.services.storage
    there = storage.list_keys(storage.thumbs_bucket, thumbnail_prefix(job.item.asset_id))
    stale = {key for key in there if key not in keep and (key.endswith(".jpg") or not keep)}
    storage.delete(storage.thumbs_bucket, sorted(stale - job.origins_among(storage.thumbs_bucket, stale)))
