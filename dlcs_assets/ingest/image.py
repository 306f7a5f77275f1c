"""The way of one image, from its registration to its thumbnails: which stage does what, in which order.

What a stage needs of an earlier one is an argument. The original is fetched once, for the first stage that needs it in
the scratch folder: a run may have been asked for later stages only, or continue what an earlier one began.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dlcs_assets.domain.errors import IngestError, MessageRejectedError, PermanentError
from dlcs_assets.domain.ingest_plan import Conversion
from dlcs_assets.domain.ingest_spec import IngestSpec, KnownFormat, ingest_spec, needs_media_type
from dlcs_assets.domain.media_type import SourceFormat
from dlcs_assets.domain.results import StageResult, WorkItem
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ingest.cleanup import paths_to_close, remove_superseded
from dlcs_assets.ingest.context import ImageContext, Stopwatch
from dlcs_assets.ingest.jp2 import make_jp2, no_jp2
from dlcs_assets.ingest.original import (
    FetchedOriginal,
    PeekedOriginal,
    drop_transient,
    fetch_or_peek,
    fetch_original,
    make_original,
    peek_at_origin,
    put_transient,
    released_original,
    require_room_for_original,
    wants_peek,
)
from dlcs_assets.ingest.sources import needs_original, provide_source, require_readable_source, require_shown_right
from dlcs_assets.ingest.thumbnails import make_thumbnails, no_thumbnails

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StageDone:
    """A stage of an image has ended well: to be reported once the ledger has it.

    `picture` is a small JPEG that anyone may see.
    """

    item: WorkItem
    result: StageResult
    picture: bytes | None = None


def ingest_image(image: ImageContext, threads: Executor) -> Iterator[StageDone]:
    """Take an image through the stages that its request asks for; yield each when it has been passed to the ledger.

    Thumbnails are asked for in `threads`. Raises the errors of the error tree, each with its stage, and ClaimLostError.
    """
    with _stage(Stage.ORIGINAL) as watch:
        peeked = _peek(image) if _must_peek(image.item) else None
        spec = _spec(image, peeked)
    try:
        definite = yield from _stages(image, spec, peeked, watch, threads)
        with _stage(Stage.THUMBNAILS):
            remove_superseded(image, definite)
    finally:
        if spec.may_be_transient():
            _drop_transient(image)


def _stages(
    image: ImageContext, spec: IngestSpec, peeked: PeekedOriginal | None, since_peek: Stopwatch, threads: Executor
) -> Generator[StageDone, None, IngestSpec]:
    """Yield each stage when it is committed; return what was to be made, now that the original has been seen."""
    stages, results = image.item.stages, dict(image.item.latest)
    seen: FetchedOriginal | PeekedOriginal | None = peeked  # how much of the original this run has read by now
    jp2: Path | None = None  # in the scratch folder
    if Stage.ORIGINAL in stages:
        with _stage(Stage.ORIGINAL):
            done, seen = _original(image, spec, peeked, since_peek)
        results[Stage.ORIGINAL] = done.result
        yield done
    if Stage.JP2 in stages:
        with _stage(Stage.JP2) as watch:
            done, seen, jp2 = _jp2(image, _definite(spec, seen), seen, watch)
        results[Stage.JP2] = done.result
        yield done
    if Stage.THUMBNAILS in stages:
        with _stage(Stage.THUMBNAILS) as watch:
            done, seen = _thumbnails(image, _definite(spec, seen), seen, jp2, results, threads, watch)
        yield done
    return _definite(spec, seen)


def _original(
    image: ImageContext, spec: IngestSpec, seen: PeekedOriginal | None, watch: Stopwatch
) -> tuple[StageDone, FetchedOriginal | PeekedOriginal | None]:
    item = image.item
    image.ledger.check_claim()
    # The file that a conversion needs went with the run that fetched it.
    unconverted = Stage.JP2 in item.stages and Stage.JP2 not in item.done
    is_file_needed = unconverted and spec.plan.conversion is not Conversion.NONE
    if Stage.ORIGINAL in item.done and not is_file_needed:
        return StageDone(item, item.done[Stage.ORIGINAL]), seen
    if released := released_original(item, spec):
        return _commit(image, spec, released), seen
    if spec.plan.fetch:
        original = fetch_original(image, spec, seen)
        spec = _definite(spec, original)
        require_shown_right(image, spec, original)
        return _commit(image, spec, make_original(image, spec, original, watch)), original
    if wants_peek(spec):
        seen = seen or peek_at_origin(image)
        require_shown_right(image, spec, seen)
    return _commit(image, spec, make_original(image, spec, seen, watch)), seen


def _jp2(
    image: ImageContext, spec: IngestSpec, seen: FetchedOriginal | PeekedOriginal | None, watch: Stopwatch
) -> tuple[StageDone, FetchedOriginal | PeekedOriginal | None, Path | None]:
    item = image.item
    image.ledger.check_claim()
    if Stage.JP2 in item.done:
        return StageDone(item, item.done[Stage.JP2]), seen, None
    if spec.plan.conversion is Conversion.NONE:
        return _commit(image, spec, no_jp2(spec)), seen, None
    original = seen if isinstance(seen, FetchedOriginal) else fetch_original(image, spec, seen)
    spec = _definite(spec, original)
    path, result = make_jp2(image, spec, original, watch)
    return _commit(image, spec, result), original, path


def _thumbnails(  # noqa: PLR0917 (what comes of the stages before)
    image: ImageContext,
    spec: IngestSpec,
    seen: FetchedOriginal | PeekedOriginal | None,
    jp2: Path | None,
    results: Mapping[Stage, StageResult],
    threads: Executor,
    watch: Stopwatch,
) -> tuple[StageDone, FetchedOriginal | PeekedOriginal | None]:
    item = image.item
    image.ledger.check_claim()
    if Stage.THUMBNAILS in item.done:
        return StageDone(item, item.done[Stage.THUMBNAILS]), seen
    if not spec.plan.thumbnails:
        return _commit(image, spec, no_thumbnails(image, spec)), seen
    require_readable_source(image, spec, seen, results)
    original, peeked = (seen, None) if isinstance(seen, FetchedOriginal) else (None, seen)
    fetched_late = original is None and needs_original(image, spec)
    if fetched_late:
        original = fetch_original(image, spec, peeked)
        spec = _definite(spec, original)
        if not image.thumbnails_from_files:
            image.ledger.check_claim()
            put_transient(image, original)
    source = provide_source(image, spec, original, jp2, fetched_late=fetched_late)
    result, picture = make_thumbnails(image, spec, source, original, results, threads, watch)
    return _commit(image, spec, result, picture), original or seen


def _must_peek(item: WorkItem) -> bool:
    """Return whether the channels depend on a media type that neither the registration nor an earlier result names."""
    known = Stage.ORIGINAL not in item.stages and KnownFormat.recorded(item.latest).media_type is not None
    return needs_media_type(item.registration) and not known


def _peek(image: ImageContext) -> PeekedOriginal:
    """Peek at the original, or fetch it at once where the plan fetches originals of the format that is found."""
    if Stage.ORIGINAL not in image.item.stages or Stage.ORIGINAL in image.item.done:
        return peek_at_origin(image)
    return fetch_or_peek(image, partial(_is_fetched, image))


def _is_fetched(image: ImageContext, source_format: SourceFormat) -> bool:
    try:
        spec = _spec_of(image, KnownFormat.seen(source_format, None))
    except IngestError:
        return False  # raised again once the original has been peeked at
    if not spec.plan.fetch or released_original(image.item, spec):
        return False
    require_room_for_original(image, spec)
    return True


def _spec(image: ImageContext, peeked: PeekedOriginal | None) -> IngestSpec:
    item = image.item
    if peeked is None:
        return _spec_of(image, KnownFormat.recorded(item.latest))
    return _spec_of(image, KnownFormat.seen(peeked.format, peeked.content_type or item.registration.media_type))


def _spec_of(image: ImageContext, known: KnownFormat) -> IngestSpec:
    item = image.item
    try:
        return ingest_spec(item.asset_id, item.registration, image.policy, known)
    except MessageRejectedError as error:
        raise PermanentError(error.code, error.cause, remedy=error.remedy) from error


def _definite(spec: IngestSpec, seen: FetchedOriginal | PeekedOriginal | None) -> IngestSpec:
    """Return what is to be made now that the original's bytes have been seen, or as before if they have not."""
    return spec.with_format(seen.format) if seen else spec


def _commit(image: ImageContext, spec: IngestSpec, result: StageResult, picture: bytes | None = None) -> StageDone:
    result = replace(result, recipe=spec.recipes()[result.stage])
    image.ledger.commit(result, paths_to_close(image, spec, result) if image.policy.notifies_cdn else ())
    return StageDone(image.item, result, picture)


def _drop_transient(image: ImageContext) -> None:
    try:
        drop_transient(image)
    except IngestError as error:  # the ledger has it, and reconcile deletes it once the request has ended
        log.warning("the transient object of %s stays for now: %s", image.item.asset_id, error, extra=image.log_fields)


@contextmanager
def _stage(stage: Stage) -> Iterator[Stopwatch]:
    """Measure a stage's time, and name the stage in errors that do not name one."""
    try:
        yield Stopwatch()
    except IngestError as error:
        error.stage = error.stage or stage
        raise
