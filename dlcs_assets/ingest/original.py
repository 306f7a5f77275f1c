"""The first stage: the original is fetched or peeked at, and kept where the plan says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dlcs_assets.clients.transfer import Fetched
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.ingest_plan import Conversion, ImageServerSource
from dlcs_assets.domain.ingest_spec import IngestSpec, origin_of
from dlcs_assets.domain.media_type import UNKNOWN_TYPE, SourceFormat, declared_type, sniff
from dlcs_assets.domain.origin import Origin
from dlcs_assets.domain.quota import MIN_BYTES, stored_kinds
from dlcs_assets.domain.recipe import is_only_released
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult, WorkItem
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import Stage
from dlcs_assets.domain.storage_keys import original_key, transient_key
from dlcs_assets.ingest.context import ImageContext, Stopwatch
from dlcs_assets.pictures.fingerprint import Fingerprint
from dlcs_assets.pictures.header import PictureHeader
from dlcs_assets.pictures.reading import HEAD_BYTES, require_picture
from dlcs_assets.pictures.tasks import read_original

# What other formats are made of: bytes that look like these may well be text/csv or a word processor's.
GENERAL_TYPES = frozenset({"text/plain", "application/xml", "application/zip"})
PARTICULAR = ("text/", "application/")


@dataclass(frozen=True, slots=True)
class PeekedOriginal:
    """What a peek at the origin showed: the format of the first bytes, and what the origin says of the rest.

    `packed`: it is compressed there (Content-Encoding), and only we unpack it. `file`: all of it, if it was
    fetched at once.
    """

    format: SourceFormat | None
    content_type: str | None
    bytes: int | None
    version: str | None
    packed: bool = False
    file: Fetched | None = None


@dataclass(frozen=True, slots=True)
class FetchedOriginal:
    """An original in the scratch folder.

    `image` is its header and `look` what it looks like, where the plan reads it as an image.
    """

    file: Fetched
    format: SourceFormat | None
    image: PictureHeader | None = None
    look: Fingerprint | None = None

    @property
    def content_type(self) -> str | None:
        """What the origin claims."""
        return self.file.content_type

    @property
    def packed(self) -> bool:
        """Whether it is compressed at its origin."""
        return self.file.packed


def peek_at_origin(image: ImageContext) -> PeekedOriginal:
    """Read the original's first bytes at its origin, without fetching it. Raises the errors of the error tree."""
    origin = origin_of(image.item.asset_id, image.item.registration, image.policy)
    peeked = image.services.origins.peek(origin)
    return PeekedOriginal(sniff(peeked.head), peeked.content_type, peeked.size, peeked.version, peeked.packed)


def fetch_or_peek(image: ImageContext, wants: Callable[[SourceFormat], bool]) -> PeekedOriginal:
    """Fetch the original if its format, which its first bytes show, is one that is wanted; otherwise peek at it.

    Raises the errors of the error tree.
    """
    origin = origin_of(image.item.asset_id, image.item.registration, image.policy)
    seen: list[SourceFormat] = []

    def wants_head(head: bytes) -> bool:
        seen[:] = [found] if (found := sniff(head)) else []
        return bool(seen) and wants(seen[0])

    file = image.services.origins.fetch_if(origin, _path(image), wants_head)
    if file is None:
        return peek_at_origin(image)
    return PeekedOriginal(seen[0], file.content_type, file.bytes, file.version, file.packed, file)


def fetch_original(image: ImageContext, spec: IngestSpec, peeked: PeekedOriginal | None) -> FetchedOriginal:
    """Download the original to the scratch folder, unless it is there, and check that it is an image, whole.

    Whether it is an image is checked where one is read. Raises the errors of the error tree.
    """
    require_room_for_original(image, spec)
    path = _path(image)
    file = (peeked and peeked.file) or image.services.origins.fetch(spec.origin, path)
    with path.open("rb") as content:
        source_format = sniff(content.read(HEAD_BYTES))
    if spec.plan.source is ImageServerSource.NONE:
        return FetchedOriginal(file, source_format)
    picture = image.services.pictures.run(read_original, path)
    return FetchedOriginal(file, picture.header.format, picture.header, picture.look)


def require_room_for_original(image: ImageContext, spec: IngestSpec) -> None:
    """Raise PermanentError `quota_exceeded` for a customer that has no room for what is made of an original."""
    image.require_room(spec, MIN_BYTES, stored_kinds(spec.plan, image.item.stages))


def _path(image: ImageContext) -> Path:
    return image.folder / "original"


def wants_peek(spec: IngestSpec) -> bool:
    """Return whether the facts about an original that is not fetched come from a peek."""
    return spec.plan.source is ImageServerSource.ORIGIN or spec.plan.row == "file"


def released_original(item: WorkItem, spec: IngestSpec) -> StageResult | None:
    """Return the known facts of an original that is no longer kept, where that is all that changed and no one needs it.

    Nothing is fetched for that.
    """
    before = item.latest.get(Stage.ORIGINAL)
    if before is None or not is_only_released(before.recipe, spec.recipes()[Stage.ORIGINAL]):
        return None
    if Stage.JP2 in item.stages and spec.plan.conversion is not Conversion.NONE:
        return None
    facts = {**before.facts, "plan": spec.plan.row, "why": spec.plan.why}
    facts.pop("location", None)
    return StageResult(Stage.ORIGINAL, spec.plan.original_outcome, before.data_version, facts)


def make_original(
    image: ImageContext, spec: IngestSpec, seen: FetchedOriginal | PeekedOriginal | None, watch: Stopwatch
) -> StageResult:
    """Keep the original where the plan says so, and return the facts about it."""
    plan, origin = spec.plan, spec.origin
    facts: dict[str, object] = {"origin": shown_url(origin.url)}
    if origin.note:
        facts["note"] = origin.note
    objects: tuple[ObjectRecord, ...] = ()
    if seen and seen.packed and plan.source is ImageServerSource.ORIGIN:
        raise _packed_for_image_server(origin)
    match seen:
        case FetchedOriginal(file=file, image=header):
            objects = _store(image, spec, seen)
            data_version = file.sha256
            facts |= {"bytes": file.bytes, "sha256": file.sha256, "media_type": media_type_of(image, seen)}
            if file.version:
                facts["origin_version"] = file.version
            if header:
                facts |= {"width": header.width, "height": header.height}
                if header.has_orientation:
                    facts["orientation"] = header.orientation
                if header.pages > 1:
                    facts["page"] = f"{header.page} of {header.pages}"
        case PeekedOriginal() if wants_peek(spec):
            if plan.thumbnails:
                require_picture(seen.format)
            data_version = seen.version or str(seen.bytes)
            facts |= {
                "bytes": seen.bytes,
                "media_type": media_type_of(image, seen),
                "origin_version": seen.version,
            }
        case _:
            data_version = "nothing"
    facts |= {
        "location": _location(image, spec, objects),
        "plan": plan.row,
        "why": plan.why,
        "milliseconds": watch.milliseconds,
    }
    return StageResult(
        Stage.ORIGINAL,
        plan.original_outcome,
        data_version,
        {name: value for name, value in facts.items() if value is not None},
        objects,
    )


def put_transient(image: ImageContext, original: FetchedOriginal) -> None:
    """Store the original for the image server to read, under a key of this request's own.

    The ledger has it before S3 does: `reconcile` deletes it if this run cannot.
    """
    bucket, key = image.services.storage.storage_bucket, _transient_key(image)
    file, content_type = original.file, media_type_of(image, original)
    record = ObjectRecord(bucket, key, ObjectKind.TRANSIENT, file.bytes, file.sha256, content_type)
    image.ledger.record_transient(record)
    _put(image, original, key, ObjectKind.TRANSIENT)


def drop_transient(image: ImageContext) -> None:
    """Delete what `put_transient` stored, unless another run has taken the request over: that one reads it."""
    if image.ledger.is_taken_over():
        return
    storage, key = image.services.storage, _transient_key(image)
    storage.delete(storage.storage_bucket, [key])
    image.ledger.forget_object(storage.storage_bucket, key)


def media_type_of(image: ImageContext, seen: FetchedOriginal | PeekedOriginal) -> str:
    """Return what the bytes are; where they are ambiguous, what is registered, then what the origin claims."""
    registered = image.item.registration.declared_type
    if seen.format and seen.format.media_type in GENERAL_TYPES and registered and registered.startswith(PARTICULAR):
        return registered
    if seen.format:
        return seen.format.media_type
    return registered or declared_type(seen.content_type) or UNKNOWN_TYPE


def _store(image: ImageContext, spec: IngestSpec, original: FetchedOriginal) -> tuple[ObjectRecord, ...]:
    image.check_before_publishing()
    if spec.plan.keep_original:
        image.require_room(spec, original.file.bytes, [ObjectKind.ORIGINAL])
        return (_put(image, original, original_key(image.item.asset_id), ObjectKind.ORIGINAL),)
    # A server that shares our disk reads the file that we have.
    if spec.plan.transient and not image.thumbnails_from_files:
        put_transient(image, original)
    return ()


def _transient_key(image: ImageContext) -> str:
    return transient_key(image.item.asset_id, image.item.request_id)


def _put(image: ImageContext, original: FetchedOriginal, key: str, kind: ObjectKind) -> ObjectRecord:
    storage, file = image.services.storage, original.file
    stored = storage.put_file(
        file.path, storage.storage_bucket, key, content_type=media_type_of(image, original), sha256=file.sha256
    )
    return ObjectRecord(stored.bucket, stored.key, kind, stored.bytes, file.sha256, stored.content_type)


def _packed_for_image_server(origin: Origin) -> PermanentError:
    return PermanentError(
        "origin_encoding_not_supported",
        f"The image server is to serve the original from {shown_url(origin.url)}, and it is stored there compressed",
        remedy="Store it as it is, without Content-Encoding, or use the image policy default; then ingest it again.",
    )


def _location(image: ImageContext, spec: IngestSpec, objects: tuple[ObjectRecord, ...]) -> str | None:
    kept = [stored for stored in objects if stored.kind is ObjectKind.ORIGINAL]
    if kept:
        return S3Location(kept[0].bucket, kept[0].key).uri(image.policy.s3_uri_region)
    origin = spec.origin
    if origin.optimised and origin.location and spec.plan.source is ImageServerSource.ORIGIN:
        return origin.location.uri(image.policy.s3_uri_region)
    return None
