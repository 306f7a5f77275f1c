"""The three assets. Every image is a partition of each; one run works on a chunk of them and reports on each."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from urllib.parse import quote

import dagster as dg
from pydantic import Field

from dlcs_assets.clients.appetiser import Appetiser
from dlcs_assets.clients.image_server import ImageServer
from dlcs_assets.clients.origins import Origins
from dlcs_assets.clients.storage import Storage
from dlcs_assets.customers import customer_source
from dlcs_assets.defs import shown, tags
from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.checks import stage_check_results, stage_check_specs
from dlcs_assets.defs.materializations import UPSTREAM
from dlcs_assets.defs.partitions import is_image_key
from dlcs_assets.defs.reporting import FailureReport, Report, Reporter
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.partition_key import asset_id_of
from dlcs_assets.domain.recipe import CODE_VERSIONS
from dlcs_assets.domain.redaction import without_login
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.stages import Lane, Stage
from dlcs_assets.domain.thumbnails import ThumbnailMaker
from dlcs_assets.ingest.chunk import ChunkOptions, ImageEnded, StageDone, ingest_chunk
from dlcs_assets.ingest.context import Services
from dlcs_assets.ingest.policy import ingest_policy, retry_schedule
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.records import RetrySchedule
from dlcs_assets.ledger.results import Claim
from dlcs_assets.pictures.processes import PictureReader
from dlcs_assets.settings import Settings

GROUP = "ingest"
OWNERS = ["team:dlcs"]

# The first sentences are plain: the UI's lists show them as they are written.
DESCRIPTIONS = {
    Stage.ORIGINAL: "The original, fetched from the image's origin. It is kept in S3 where the delivery channels ask "
    "for it.",
    Stage.JP2: "The tile-ready JPEG 2000 in S3. It is converted by Appetiser (`POST /convert`), or copied from an "
    "original that is one already.",
    Stage.THUMBNAILS: "IIIF thumbnails in S3, with their s.json. They are made by the image server from what is "
    "stored, one request per size.",
}
BY_APPETISER = (
    "IIIF thumbnails in S3, with their s.json. They are made by Appetiser (`POST /convert`), all sizes in one request."
)
PARTITIONS_NOTE = "One partition per image: `@customer/space/asset`."
FORMATS = {Stage.ORIGINAL: "as-delivered", Stage.JP2: "jpeg2000", Stage.THUMBNAILS: "jpeg"}


class IngestConfig(dg.Config):
    """What a person may choose for one run in the launchpad. Whatever is empty is as in the settings."""

    images_in_flight: int | None = Field(
        default=None, ge=1, description="Images at a time; default: DLCS_IMAGES_IN_FLIGHT."
    )
    image_server_in_flight: int | None = Field(
        default=None, ge=1, description="Thumbnails at a time; default: DLCS_IMAGE_SERVER_IN_FLIGHT."
    )
    attempts: int | None = Field(
        default=None, ge=1, description="Attempts until an image fails; default: DLCS_ATTEMPTS."
    )

    def applied_to(self, settings: Settings) -> Settings:
        """Return the settings of the run."""
        return settings.model_copy(update=self.model_dump(exclude_none=True))


def asset_specs(settings: Settings) -> list[dg.AssetSpec]:
    """Return the assets of the three stages and of the ledger."""
    catalog = Catalog.of(settings)
    by_appetiser = {Stage.THUMBNAILS: BY_APPETISER} if settings.thumbnails_by is ThumbnailMaker.APPETISER else {}
    descriptions = {**DESCRIPTIONS, **by_appetiser}
    return [
        dg.AssetSpec(
            catalog.asset(stage),
            deps=[catalog.asset(UPSTREAM[stage])] if stage in UPSTREAM else [],
            description=f"{descriptions[stage]}\n\n{PARTITIONS_NOTE}",
            group_name=GROUP,
            owners=OWNERS,
            tags={tags.STAGE: stage.value, tags.FORMAT: FORMATS[stage]},
            kinds={"s3"},
            code_version=CODE_VERSIONS[stage],
            partitions_def=catalog.partitions,
            # Otherwise Dagster adds an empty materialisation of its own for every partition, hiding ours.
            skippable=True,
        )
        for stage in Stage
    ]


def ledger_asset(settings: Settings) -> dg.AssetSpec:
    """Return the ledger as an asset that is never materialised. It bears the checks on all images together."""
    return dg.AssetSpec(
        Catalog.of(settings).ledger,
        description="What was requested and how it ended, one row per request. Runs and sensors write it; "
        "`dlcs status` shows it.",
        group_name=GROUP,
        owners=OWNERS,
        kinds={"sqlite" if settings.ledger_url.startswith("sqlite") else "postgres"},
    )


def ingest_assets(settings: Settings) -> dg.AssetsDefinition:
    """Return the multi-asset of the three stages."""

    @dg.multi_asset(
        name="ingest_images",
        specs=asset_specs(settings),
        check_specs=stage_check_specs(Catalog.of(settings)),
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(settings.chunk_size),
    )
    def ingest(  # noqa: PLR0917 (Dagster passes the resources by name)
        context: dg.AssetExecutionContext,
        config: IngestConfig,
        settings: dg.ResourceParam[Settings],
        ledger: dg.ResourceParam[Ledger],
        storage: dg.ResourceParam[Storage],
        origins: dg.ResourceParam[Origins],
        appetiser: dg.ResourceParam[Appetiser],
        image_server: dg.ResourceParam[ImageServer],
    ) -> Iterator[dg.DagsterEvent | dg.AssetCheckResult]:
        services = Services(origins, storage, appetiser, image_server, PictureReader.of(settings))
        own = config.applied_to(settings)
        run = _Run(context, ledger, services, own)
        if context.selected_asset_keys:
            yield from run.events()
        yield from stage_check_results(context.selected_asset_check_keys, ledger, own)
        run.report()

    return with_code_references(ingest)


def with_code_references(assets: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """Let the UI link to the code of assets, wherever it is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        (linked,) = dg.with_source_code_references([assets])
    assert isinstance(linked, dg.AssetsDefinition)
    return linked


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
        self._claimed: Claim | None = None

    def events(self) -> Iterator[dg.DagsterEvent]:
        """Work on the images; yield the events that were stored, a materialisation for each stage of each image."""
        if problem := customer_source(self._settings).problem():
            self._context.log.warning(problem)
        claim = self._claimed = self._claim()
        catalog = Catalog.of(self._settings)
        results = self._ledger.results
        marks = (results.mark_reported, results.mark_failures_reported)
        with Reporter(self._context, catalog, *marks, self._stages) as reporter:
            yield from self._work(claim, reporter)
        yield from reporter.stored()

    def _work(self, claim: Claim, reporter: Reporter) -> Iterator[dg.DagsterEvent]:
        policy = ingest_policy(self._settings)
        with closing(ingest_chunk(claim, self._ledger, self._services, policy, self._options())) as events:
            for event in events:
                if isinstance(event, ImageEnded):
                    self._ended.append(event)
                    if event.state is RequestState.FAILED and event.error is not None:
                        item = event.item
                        links = page_link(self._settings, item.asset_id)
                        reporter.add(FailureReport(item.asset_id, item.request_id, event.error, links))
                elif event.result.stage in self._stages:
                    item = event.item
                    links = picture_links(self._settings, event) | page_link(self._settings, item.asset_id)
                    reporter.add(Report(item.asset_id, item.request_id, event.result, event.picture, links))
                yield from reporter.stored()

    def _claim(self) -> Claim:
        run_id, keys = self._context.run.run_id, self._keys()
        chunk_id = self._context.run.tags.get(tags.CHUNK)
        self._ledger.claims.end_former(run_id, schedule=self._schedule(), now=datetime.now(UTC))
        claim = self._ledger.claims.claim_chunk(chunk_id, run_id, now=datetime.now(UTC)) if chunk_id else None
        if claim is not None:
            lost = {item.asset_id for item in claim.items} - {asset_id_of(key) for key in keys}
            if lost:
                self._ledger.claims.release(claim.token, run_id, schedule=self._schedule(), now=datetime.now(UTC))
                raise shown.failure(
                    f"{len(lost)} images of this chunk are not in the run's range of partitions; all of its images "
                    "are due again."
                )
            return claim
        if chunk_id and tags.PARENT_RUN not in self._context.run.tags:
            # A run that comes late: its images were given to another one, which has done or will do what it was for.
            why = "this run's chunk was given up before the run began"
            return Claim("", run_id, (), tuple((asset_id_of(key), why) for key in keys))
        if len(keys) > self._settings.chunk_size:
            raise shown.failure(
                f"A run takes at most {self._settings.chunk_size} images, this one was given {len(keys)}. Launch them "
                "as a backfill, which makes runs of that size, or raise DLCS_CHUNK_SIZE."
            )
        # A range may hold both the former and the new key of an image.
        asset_ids = list(dict.fromkeys(asset_id_of(key) for key in keys))
        self._context.instance.add_run_tags(run_id, _tags_of(asset_ids))
        return self._ledger.claims.claim_images(asset_ids, self._stages, run_id, now=datetime.now(UTC))

    def _keys(self) -> Sequence[str]:
        """Return the keys that the run was launched for. The launchpad and the API let a person give none, or any."""
        if not (self._context.has_partition_key or self._context.has_partition_key_range):
            raise shown.failure(
                "This run was launched for no image. Choose images in the dialog of Materialize, or name a partition "
                "in the launchpad."
            )
        try:
            keys: Sequence[str] = self._context.partition_keys
        except dg.DagsterInvalidInvocationError as error:
            run_tags = self._context.run.tags
            chosen = run_tags.get(tags.PARTITION) or f"{run_tags[tags.RANGE_START]}...{run_tags[tags.RANGE_END]}"
            raise shown.failure(
                f"Dagster has no partition {chosen}. Images are partitions from their first ingest on, until they are "
                "pruned; `dlcs retry` and `dlcs reprocess` reach all of them, and add what is missing."
            ) from error
        if strange := next((key for key in keys if not is_image_key(key)), None):
            raise shown.failure(
                f"The partition {strange} is no image's: their keys are made from ids, as `@customer/space/asset`. "
                "Delete it in Dagster; a message registers an image and adds its partition."
            )
        return keys

    def report(self) -> None:
        """Log how every image ended that is not done; end red, by a Failure, if one failed permanently."""
        claim = self._claimed
        if claim is None:
            return
        failed = [ended for ended in self._ended if ended.state is RequestState.FAILED]
        pending = [ended for ended in self._ended if ended.state is RequestState.PENDING]
        unregistered = [left for left in claim.skipped if left[1] == "it is not registered"]
        for asset_id, why in claim.skipped:
            self._context.log.warning("%s is left alone: %s", asset_id, why, extra={"image": str(asset_id)})
        for ended in self._ended:
            if ended.state is RequestState.NOT_RENEWED:
                text = "%s is not renewed, and stays as it was made before: %s"
                self._context.log.warning(text, ended.item.asset_id, ended.error, extra=_fields(ended))
        for ended in pending:
            self._context.log.warning(
                "%s will be tried again: %s", ended.item.asset_id, ended.error, extra=_fields(ended)
            )
        for ended in failed:
            self._context.log.error("%s failed: %s", ended.item.asset_id, ended.error, extra=_fields(ended))
        if failed or unregistered:
            done = sum(ended.state in {RequestState.DONE, RequestState.NOT_RENEWED} for ended in self._ended)
            raise shown.failure(
                f"{len(failed) + len(unregistered)} of {len(self._ended) + len(claim.skipped)} images failed, "
                f"{done} are done, {len(pending)} will be tried again.",
                {"failed images": _table(failed, unregistered)},
            )

    def _options(self) -> ChunkOptions:
        settings = self._settings
        return ChunkOptions(
            scratch=settings.scratch.absolute(),
            images_in_flight=settings.images_in_flight,
            thumbnails_in_flight=settings.image_server_in_flight,
            heartbeat=settings.heartbeat,
            schedule=self._schedule(),
            was_terminated=self._was_terminated,
            dlcs_database=settings.database_url,
        )

    def _was_terminated(self) -> bool:
        """Return whether a person terminated the run. If the machine goes away, its images continue elsewhere."""
        run = self._context.instance.get_run_by_id(self._context.run_id)
        return run is not None and run.status is dg.DagsterRunStatus.CANCELING

    def _schedule(self) -> RetrySchedule:
        return retry_schedule(self._settings)


def page_link(settings: Settings, asset_id: AssetId) -> dict[str, str]:
    """Return the link to the image's page of `dlcs view`, where the settings say where that is."""
    if settings.view_url is None:
        return {}
    return {"page": f"{without_login(settings.view_url).rstrip('/')}/image?id={quote(str(asset_id), safe='')}"}


def picture_links(settings: Settings, event: StageDone) -> dict[str, str]:
    """Return links to the picture at the image server, where the stage left one behind that it can read."""
    source = event.result.facts.get("source")
    if source is None:
        return {}
    server = without_login(settings.image_server_url)
    base = f"{server.rstrip('/')}/{settings.image_server_path.strip('/')}/{quote(source, safe='')}"
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


def _table(failed: Sequence[ImageEnded], unregistered: Sequence[tuple[AssetId, str]]) -> dg.TableMetadataValue:
    rows = []
    for ended in failed:
        assert ended.error is not None
        rows.append((str(ended.item.asset_id), ended.error.stage or "", ended.error.cause, ended.error.remedy))
    rows += [(str(asset_id), "", why, "Register it with a full ingest message") for asset_id, why in unregistered]
    return shown.as_table(("image", "stage", "reason", "what to do"), rows)
