"""The three assets. Every image is a partition of each; one run works on a chunk of them and tells of each alone."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

import dagster as dg

from dlcs_assets.clients.appetiser import Appetiser
from dlcs_assets.clients.image_server import ImageServer
from dlcs_assets.clients.origins import Origins
from dlcs_assets.clients.storage import Storage
from dlcs_assets.customers import customer_source
from dlcs_assets.defs import tags
from dlcs_assets.defs.materializations import UPSTREAM, Upstream, materialization
from dlcs_assets.defs.partitions import images_partitions
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.partition_key import asset_id_of
from dlcs_assets.domain.recipe import CODE_VERSIONS
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.stages import Lane, Stage
from dlcs_assets.domain.thumbnails import ThumbnailMaker
from dlcs_assets.ingest.chunk import ChunkOptions, ImageEnded, StageDone, ingest_chunk
from dlcs_assets.ingest.context import Services
from dlcs_assets.ingest.policy import ingest_policy, retry_schedule
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.records import RetrySchedule
from dlcs_assets.ledger.results import Claim
from dlcs_assets.settings import Settings

GROUP = "ingest"
# Of outcomes that Dagster has. Should the run die before the ledger has that, reconcile sees for itself.
REPORT_BATCH_SIZE = 30

DESCRIPTIONS = {
    Stage.ORIGINAL: "The original, fetched from the **origin** of the image (HTTP or S3), and kept in S3 where the "
    "delivery channels ask for it.",
    Stage.JP2: "The tile-ready JPEG 2000 in S3, converted by **Appetiser** (`POST /convert`), or a copy of an original "
    "that is one already.",
    Stage.THUMBNAILS: "IIIF thumbnails in S3 with their `s.json`, made by the **image server** (Cantaloupe) from what "
    "is stored, one request per size.",
}
BY_APPETISER = (
    "IIIF thumbnails in S3 with their `s.json`, made by **Appetiser** (`POST /convert`), all sizes in one request."
)
KINDS = {Stage.ORIGINAL: {"s3", "http"}, Stage.JP2: {"s3", "jpeg2000"}, Stage.THUMBNAILS: {"s3", "iiif"}}
ICONS_NOTE = "One partition per image: `/customer/space/asset`."


def ingest_assets(settings: Settings) -> dg.AssetsDefinition:
    """Return the multi-asset of the three stages."""
    by_appetiser = {Stage.THUMBNAILS: BY_APPETISER} if settings.thumbnails_by is ThumbnailMaker.APPETISER else {}
    descriptions = {**DESCRIPTIONS, **by_appetiser}
    specs = [
        dg.AssetSpec(
            stage.value,
            deps=[UPSTREAM[stage].value] if stage in UPSTREAM else [],
            description=f"{descriptions[stage]}\n\n{ICONS_NOTE}",
            group_name=GROUP,
            kinds=KINDS[stage],
            code_version=CODE_VERSIONS[stage],
            partitions_def=images_partitions,
            # Dagster would else add an empty materialisation of its own for every partition, hiding ours.
            skippable=True,
        )
        for stage in Stage
    ]

    @dg.multi_asset(
        name="ingest_images",
        specs=specs,
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(settings.chunk_size),
    )
    def ingest(  # noqa: PLR0917 (Dagster passes the resources by name)
        context: dg.AssetExecutionContext,
        ledger: dg.ResourceParam[Ledger],
        storage: dg.ResourceParam[Storage],
        origins: dg.ResourceParam[Origins],
        appetiser: dg.ResourceParam[Appetiser],
        image_server: dg.ResourceParam[ImageServer],
    ) -> Iterator[dg.AssetMaterialization]:
        services = Services(origins, storage, appetiser, image_server)
        yield from _Run(context, ledger, services, settings).events()

    return ingest


class _Run:
    """One run of the multi-asset: its images, its events, its end."""

    def __init__(
        self, context: dg.AssetExecutionContext, ledger: Ledger, services: Services, settings: Settings
    ) -> None:
        self._context = context
        self._ledger = ledger
        self._services = services
        self._settings = settings
        self._stages = frozenset(Stage(key.path[-1]) for key in context.selected_asset_keys)
        self._ended: list[ImageEnded] = []

    def events(self) -> Iterator[dg.AssetMaterialization]:
        """Yield a materialisation for each stage of each image as it ends; raise Failure if an image failed."""
        if problem := customer_source(self._settings).problem():
            self._context.log.warning(problem)
        claim = self._claim()
        try:
            yield from self._work(claim)
        except dg.DagsterExecutionInterruptedError:
            run = self._context.instance.get_run_by_id(claim.run_id)
            # Terminated by a person, not by a machine that goes away: then the images go on elsewhere.
            if run is not None and run.status is dg.DagsterRunStatus.CANCELING:
                self._ledger.claims.cancel(claim, now=datetime.now(UTC))
            raise
        self._tell(claim)

    def _work(self, claim: Claim) -> Iterator[dg.AssetMaterialization]:
        upstream = Upstream(self._context.instance)
        told: list[tuple[AssetId, Stage, str]] = []
        for event in ingest_chunk(claim, self._ledger, self._services, ingest_policy(self._settings), self._options()):
            if isinstance(event, ImageEnded):
                self._ended.append(event)
                continue
            if event.result.stage in self._stages:
                yield self._materialization(event, upstream)
                told.append((event.item.asset_id, event.result.stage, event.item.request_id))
            if len(told) >= REPORT_BATCH_SIZE:
                self._ledger.results.mark_reported(told)
                told.clear()
        self._ledger.results.mark_reported(told)

    def _claim(self) -> Claim:
        run_id, keys = self._context.run.run_id, self._context.partition_keys
        chunk_id = self._context.run.tags.get(tags.CHUNK)
        claim = self._ledger.claims.claim_chunk(chunk_id, run_id, now=datetime.now(UTC)) if chunk_id else None
        if claim is not None:
            lost = {item.asset_id for item in claim.items} - {asset_id_of(key) for key in keys}
            if lost:
                self._ledger.claims.release_run(run_id, schedule=self._schedule(), now=datetime.now(UTC))
                raise dg.Failure(
                    f"{len(lost)} images of this chunk are not in the run's range of partitions; all of its images "
                    "are due again.",
                    allow_retries=False,
                )
            return claim
        if chunk_id and tags.PARENT_RUN not in self._context.run.tags:
            # A run that comes late: its images were given to another one, which has done or will do what it was for.
            why = "this run's chunk was given up before the run began"
            return Claim("", run_id, (), tuple((asset_id_of(key), why) for key in keys))
        if len(keys) > self._settings.chunk_size:
            raise dg.Failure(
                f"A run takes at most {self._settings.chunk_size} images, this one was given {len(keys)}. Launch them "
                "as a backfill, which makes runs of that size, or raise DLCS_CHUNK_SIZE.",
                allow_retries=False,
            )
        asset_ids = [asset_id_of(key) for key in keys]
        self._context.instance.add_run_tags(run_id, _tags_of(asset_ids))
        return self._ledger.claims.claim_images(asset_ids, self._stages, run_id, now=datetime.now(UTC))

    def _materialization(self, event: StageDone, upstream: Upstream) -> dg.AssetMaterialization:
        return materialization(
            event.item.asset_id,
            event.item.request_id,
            event.result,
            upstream=upstream,
            picture=event.picture,
            links=picture_links(self._settings, event),
        )

    def _tell(self, claim: Claim) -> None:
        """Log what became of every image that is not done; end red if one failed for good."""
        failed = [ended for ended in self._ended if ended.state is RequestState.FAILED]
        pending = [ended for ended in self._ended if ended.state is RequestState.PENDING]
        unregistered = [left for left in claim.skipped if left[1] == "it is not registered"]
        for asset_id, why in claim.skipped:
            self._context.log.warning("%s is left alone: %s", asset_id, why, extra={"image": str(asset_id)})
        for ended in pending:
            self._context.log.warning(
                "%s will be tried again: %s", ended.item.asset_id, ended.error, extra=_fields(ended)
            )
        for ended in failed:
            self._context.log.error("%s failed: %s", ended.item.asset_id, ended.error, extra=_fields(ended))
        if failed or unregistered:
            done = sum(ended.state is RequestState.DONE for ended in self._ended)
            raise dg.Failure(
                f"{len(failed) + len(unregistered)} of {len(self._ended) + len(claim.skipped)} images failed, "
                f"{done} are done, {len(pending)} will be tried again.",
                metadata={"failed images": dg.MetadataValue.md(_table(failed, unregistered))},
                allow_retries=False,
            )

    def _options(self) -> ChunkOptions:
        settings = self._settings
        return ChunkOptions(
            scratch=settings.scratch.absolute(),
            images_in_flight=settings.images_in_flight,
            thumbnails_in_flight=settings.image_server_in_flight,
            heartbeat=settings.heartbeat,
            schedule=self._schedule(),
        )

    def _schedule(self) -> RetrySchedule:
        return retry_schedule(self._settings)


def picture_links(settings: Settings, event: StageDone) -> dict[str, str]:
    """Return links to the picture at the image server, where the stage left one behind that it can read."""
    source = event.result.facts.get("source")
    if source is None:
        return {}
    base = f"{settings.image_server_url.rstrip('/')}/{settings.image_server_path.strip('/')}/{quote(source, safe='')}"
    if "transient/" in source:
        return {}
    return {"info": f"{base}/info.json", "link": f"{base}/full/!400,400/0/default.jpg"}


def _tags_of(asset_ids: Sequence[AssetId]) -> dict[str, str]:
    run_tags = {tags.LANE: Lane.MANUAL.value}
    customers = {asset_id.customer for asset_id in asset_ids}
    if len(customers) == 1:
        run_tags[tags.CUSTOMER] = str(customers.pop())
        spaces = {asset_id.space for asset_id in asset_ids}
        if len(spaces) == 1:
            run_tags[tags.SPACE] = str(spaces.pop())
    return run_tags


def _fields(ended: ImageEnded) -> dict[str, str]:
    """Return the fields of a line in the log about an image that is not done."""
    fields = {"image": str(ended.item.asset_id), "request": ended.item.request_id}
    if ended.error is not None:
        fields |= {"stage": ended.error.stage or "", "code": ended.error.code}
    return fields


def _table(failed: Sequence[ImageEnded], unregistered: Sequence[tuple[AssetId, str]]) -> str:
    lines = ["| image | stage | reason | what to do |", "| --- | --- | --- | --- |"]
    for ended in failed:
        assert ended.error is not None
        cells = (str(ended.item.asset_id), ended.error.stage or "", ended.error.cause, ended.error.remedy)
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    lines += [f"| {asset_id} | | {why} | Register it with a full ingest message |" for asset_id, why in unregistered]
    return "\n".join(lines)
