"""The whole system in one process but for the services: real queues, buckets, definitions, Dagster instance, ledger.

What the daemon does between sensors and runs is done here by `tick`: a sensor is evaluated, and its run requests are
executed at once.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import dagster as dg

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.listings import Listings
from dlcs_assets.clients.sns import Notifications
from dlcs_assets.clients.sqs import Queues
from dlcs_assets.clients.storage import Storage
from dlcs_assets.definitions import build_definitions
from dlcs_assets.defs import tags
from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.jobs.delete import DELETE_JOB
from dlcs_assets.defs.jobs.ingest import INGEST_JOB
from dlcs_assets.defs.ledgers import process_ledger
from dlcs_assets.defs.resources import ClientResource, build_resources
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.partition_key import asset_id_of, partition_key
from dlcs_assets.domain.stages import STAGES, Lane, Stage
from dlcs_assets.ledger.ledger import Ledger
from dlcs_testing.installation import Installation, as_body, full_message

__all__ = ["System", "Tick", "full_message", "impatient", "key_of", "without_dagsters_own_warning"]

SENSORS = (
    "reconcile",
    "sqs_priority",
    "sqs_ingest",
    "s3_uploads",
    "s3_sweep",
    "due_images",
    "backfills",
    "batches",
    "asset_modified",
)
RUN_KEY_TAG = "dagster/run_key"
MAX_TICKS = 12 * len(SENSORS)


@dataclass(frozen=True)
class Tick:
    """What a tick did: the reason for which it launched nothing, or the runs that it led to."""

    skipped: str | None
    runs: tuple[dg.DagsterRun, ...] = ()


def _lines_of(table: dg.TableMetadataValue) -> str:
    """Return the names of a table's columns, and its rows, as lines."""
    rows = [[column.name for column in table.schema.columns]]
    rows += [[str(value) for value in record.data.values()] for record in table.records]
    return "\n".join(" | ".join(row) for row in rows)


@dataclass(kw_only=True)
class System(Installation):
    """The whole, with buckets and queues of its own."""

    instance: dg.DagsterInstance
    runs: list[dg.DagsterRun] = field(default_factory=list)
    cursors: dict[str, str] = field(default_factory=dict)  # of the sensors, as Dagster keeps them

    def use(self, **settings: Any) -> None:
        """Continue with other settings, as after a new deployment."""
        self.settings = self.settings.model_copy(update=settings)
        self.__dict__.pop("definitions", None)

    def send(self, *messages: dict[str, Any] | str, queue: str | None = None) -> None:
        """Put messages on the ingest queue, or another."""
        bodies = [as_body(each) for each in messages]
        for start in range(0, len(bodies), 10):
            entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[start : start + 10])]
            self.sqs.send_message_batch(QueueUrl=queue or self.settings.ingest_queue_url, Entries=entries)

    # What happens

    def tick(self, name: str, *, run: bool = True) -> Tick:
        """Evaluate a sensor, then execute what it asks for, unless the daemon dies in between (`run=False`)."""
        result = self.evaluate(name)
        if isinstance(result, dg.SkipReason):
            return Tick(result.skip_message)
        requests = result.run_requests or []
        return Tick(None, tuple(self._run(request) for request in requests if self._is_new(request)) if run else ())

    def evaluate(self, name: str) -> dg.SensorResult | dg.SkipReason:
        repository = self.definitions.get_repository_def()
        sensor = repository.get_sensor_def(name)
        # Ready to use: that Dagster makes them again for each tick takes longer than the ticks themselves.
        ready = {
            "settings": self.settings,
            "ledger": self.ledger,
            "queues": self.queues,
            "listings": self.listings,
            "storage_of_ticks": self.storage_of_ticks,
            "notifications": self.notifications,
        }
        resources = {key: dg.ResourceDefinition.hardcoded_resource(ready[key]) for key in sensor.required_resource_keys}
        with dg.build_sensor_context(
            instance=self.instance, repository_def=repository, cursor=self.cursors.get(name), resources=resources
        ) as context:
            result = sensor(context)
            if context.cursor is not None:
                self.cursors[name] = context.cursor
        assert isinstance(result, dg.SensorResult | dg.SkipReason)
        return result

    def skip_reason(self, name: str) -> str:
        """Return the reason for which a sensor launches nothing."""
        skipped = self.tick(name).skipped
        assert skipped is not None
        return skipped

    def settle(self) -> list[dg.DagsterRun]:
        """Tick sensors in turn until each has ticked since the last run and nothing is due; return the runs."""
        before = len(self.runs)
        quiet = 0  # ticks since the last run
        for name in itertools.islice(itertools.cycle(SENSORS), MAX_TICKS):
            quiet = 0 if self.tick(name).runs else quiet + 1
            # By ticks without a run something may have become due, such as images of a run that was lost.
            if quiet == 2 * len(SENSORS) or (quiet == len(SENSORS) and not self._has_more()):
                return self.runs[before:]
        raise AssertionError(f"Not settled after {MAX_TICKS} ticks: {self.ledger.reports.counts()}")

    def _has_more(self) -> bool:
        dispatch = self.ledger.dispatch
        return bool(dispatch.in_flight() or dispatch.due(list(Lane), limit=1, now=datetime.now(UTC)))

    def ingest_once(self, image: str, origin: str, channels: str) -> None:
        """Send a full message and let only the first run happen."""
        self.send(full_message(image, origin, channels))
        self.tick("sqs_ingest")

    def materialize(self, images: Sequence[str], stages: Sequence[Stage] = STAGES) -> dg.DagsterRun:
        """Launch a run by hand, as the UI does for one image or for a range."""
        keys = [key_of(image) for image in images]
        alone = len(keys) == 1
        run_tags = {tags.PARTITION: keys[0]} if alone else {tags.RANGE_START: keys[0], tags.RANGE_END: keys[-1]}
        return self.launch(run_tags, stages)

    def launch(self, run_tags: Mapping[str, str], stages: Sequence[Stage] = STAGES) -> dg.DagsterRun:
        """Launch a run by hand with any tags, as the launchpad and the API allow."""
        return self._execute(dict(run_tags), stages)

    def execute_job(
        self,
        job: str,
        op: str | None = None,
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> dg.DagsterRun:
        """Launch a job that is none of assets, with a config for one of its ops, as from the launchpad."""
        with without_dagsters_own_warning():
            result = self.definitions.resolve_job_def(job).execute_in_process(
                instance=self.instance,
                run_config={"ops": {op: {"config": config}}} if op else {},
                tags=tags,
                raise_on_error=False,
            )
        self.runs.append(result.dagster_run)
        return result.dagster_run

    def begin(self, request: dg.RunRequest) -> str:
        """Let Dagster start the run of a request in a process that then does nothing more; return the run's id."""
        job = self.definitions.resolve_job_def(INGEST_JOB)
        tags = {**request.tags, RUN_KEY_TAG: str(request.run_key)}
        selection = set(request.asset_selection or ())
        subset = job.get_subset(asset_selection=selection, asset_check_selection=set())
        run = self.instance.create_run_for_job(subset, tags=tags, asset_selection=frozenset(selection))
        self.instance.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.PIPELINE_START.value, job.name), run_id=run.run_id
        )
        return run.run_id

    def end_dead(self, run_id: str) -> None:
        """Mark a run as failed, as Dagster's run monitoring does when its process has gone."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        self.instance.report_run_failed(run)

    def forget_reports(self, image: str) -> None:
        """Mark all outcomes of an image as not yet reported to Dagster."""
        self.execute("UPDATE outcomes SET reported = 0 WHERE image_id = ?", image)

    def _is_new(self, request: dg.RunRequest) -> bool:
        """Return whether Dagster has no run of this run key: the daemon drops such requests."""
        return not self.instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: str(request.run_key)}))

    def _run(self, request: dg.RunRequest) -> dg.DagsterRun:
        if request.job_name == DELETE_JOB:
            return self.execute_job(DELETE_JOB, tags={**request.tags, RUN_KEY_TAG: str(request.run_key)})
        stages = [Stage(key.path[-1]) for key in request.asset_selection or ()]
        return self._execute({**request.tags, RUN_KEY_TAG: str(request.run_key)}, stages, request.run_config)

    def _execute(
        self, tags: dict[str, str], stages: Sequence[Stage], run_config: Mapping[str, Any] | None = None
    ) -> dg.DagsterRun:
        with without_dagsters_own_warning():
            assets = {self.catalog.asset(stage) for stage in stages}
            job = self.definitions.resolve_job_def(INGEST_JOB)
            result = job.get_subset(asset_selection=assets, asset_check_selection=set()).execute_in_process(
                instance=self.instance, run_config=run_config, tags=tags, raise_on_error=False
            )
        self.runs.append(result.dagster_run)
        return result.dagster_run

    # What there is afterwards

    def partitions(self, stage: Stage) -> dict[str, str]:
        """Return materialized, failed or missing by image, as Dagster's asset pages show it."""
        keys = self.instance.get_dynamic_partitions(self.catalog.partitions_name)
        asset = self.catalog.asset(stage)
        found = self.instance.get_status_by_partition(asset, keys, self.catalog.partitions) or dict.fromkeys(keys)
        return {str(asset_id_of(key)): status.value.lower() if status else "missing" for key, status in found.items()}

    def partition(self, image: str) -> tuple[str, str, str]:
        """Return the state of one image's partition in `original`, `jp2` and `thumbnails`."""
        original, jp2, thumbnails = (self.partitions(stage)[image] for stage in STAGES)
        return original, jp2, thumbnails

    def metadata(self, image: str, stage: Stage) -> dict[str, Any]:
        """Return the metadata of an image's newest materialisation of a stage."""
        found = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=self.catalog.asset(stage), asset_partitions=[key_of(image)]), limit=1
        )
        materialization = found.records[0].asset_materialization
        assert materialization is not None
        return {name: value.value for name, value in materialization.metadata.items()}

    def observed(self, stage: Stage) -> dict[str, list[dict[str, Any]]]:
        """Return by image the metadata of what was observed of its partition of a stage, the newest first."""
        found: dict[str, list[dict[str, Any]]] = {}
        for record in self.instance.fetch_observations(self.catalog.asset(stage), limit=1000).records:
            made = record.event_log_entry.asset_observation
            assert made is not None
            assert made.partition is not None
            values = {name: value.value for name, value in made.metadata.items()}
            found.setdefault(str(asset_id_of(made.partition)), []).append(values)
        return found

    def failure_of(self, run: dg.DagsterRun, table: str = "failed images") -> tuple[str, str]:
        """Return what a red run says, and its table."""
        for event in self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
            assert event.dagster_event is not None
            failure = event.dagster_event.step_failure_data.user_failure_data
            assert failure is not None
            found = failure.metadata.get(table)
            return str(failure.description), _lines_of(found) if isinstance(found, dg.TableMetadataValue) else ""
        raise AssertionError(f"Run {run.run_id} has no failed step")

    def log_of(self, run: dg.DagsterRun) -> str:
        return "\n".join(entry.message for entry in self.instance.all_logs(run.run_id))

    def make_queue(self, name: str, **attributes: str) -> str:
        """Make a queue of this test; return its URL."""
        made = self.sqs.create_queue(QueueName=f"{name}-{self.settings.storage_bucket}", Attributes=attributes)
        return str(made["QueueUrl"])

    def waiting_messages(self) -> int:
        """Count what is on the ingest queue, received or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.settings.ingest_queue_url, AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)

    # Its parts

    @property
    def catalog(self) -> Catalog:
        return Catalog.of(self.settings)

    @property
    def ledger(self) -> Ledger:
        return process_ledger(self.settings.ledger_url, None)

    @cached_property
    def queues(self) -> Queues:
        return Queues()

    @cached_property
    def listings(self) -> Listings:
        return Listings(s3=S3ClientFactory(max_attempts=1), page_size=3)

    @cached_property
    def storage_of_ticks(self) -> Storage:
        factory = S3ClientFactory(endpoint_url=self.settings.s3_endpoint_url, max_attempts=1)
        return Storage(s3=factory, storage_bucket=self.settings.storage_bucket)

    @cached_property
    def notifications(self) -> Notifications:
        return Notifications()

    @cached_property
    def definitions(self) -> dg.Definitions:
        made = impatient(build_resources(self.settings))
        clients = {name: _plain(each) for name, each in made.items() if isinstance(each, ClientResource)}
        ledger = dg.ResourceDefinition.hardcoded_resource(self.ledger)
        return build_definitions(self.settings, resources={**made, **clients, "ledger": ledger})


def _plain(resource: ClientResource[Any]) -> dg.ResourceDefinition:
    """Return what makes the same client for each run, without the checks of its configuration that Dagster repeats."""

    @dg.resource
    def client(_context: dg.InitResourceContext) -> Iterator[Any]:
        with resource.client() as made:
            yield made

    return client


@contextmanager
def without_dagsters_own_warning() -> Iterator[None]:
    """Let Dagster 1.13 make resources that are parts of others, about which it warns itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "InitResourceContext.dagster_run is deprecated")
        yield


def impatient(resources: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resources, the clients of the services with the pauses between their attempts left out."""
    quick = {"attempts": 2, "first_delay_seconds": 0.0, "longest_delay_seconds": 0.01}
    changes = {"origins": {**quick, "attempts": 3}, "appetiser": quick, "image_server": quick}
    # Copies: that Dagster checks the configuration of a client again takes longer than a request to its service.
    return {**resources, **{name: resources[name].model_copy(update=update) for name, update in changes.items()}}


def key_of(image: str) -> str:
    return partition_key(AssetId.parse(image))
