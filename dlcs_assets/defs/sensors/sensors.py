"""The sensors themselves: each a few lines around what they do."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from dlcs_assets.clients.listings import Listings
from dlcs_assets.clients.sns import Notifications
from dlcs_assets.clients.sqs import Queues
from dlcs_assets.customers import NoCustomersError, customer_source
from dlcs_assets.defs import tags
from dlcs_assets.defs.checks import evaluate
from dlcs_assets.defs.jobs.delete import DELETE_JOB
from dlcs_assets.defs.jobs.ingest import INGEST_JOB
from dlcs_assets.defs.sensors.deletions import dispatch_deletions
from dlcs_assets.defs.sensors.dispatch import Dispatched, dispatch
from dlcs_assets.defs.sensors.reconcile import reconcile
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ingest.batches import finish_batches, publish_due
from dlcs_assets.intake.asset_notifications import take_in_modified
from dlcs_assets.intake.bucket_scan import BucketScan
from dlcs_assets.intake.messages import IntakeSummary, take_in
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.outbox import INVALIDATION
from dlcs_assets.metrics.measuring import measure
from dlcs_assets.metrics.metric import embedded
from dlcs_assets.settings import Settings

SECONDS_BETWEEN_MEASUREMENTS = 60
SECONDS_BETWEEN_TICKS = 1  # the daemon begins ticks every five seconds: one in each round
SECONDS_BETWEEN_LOOKS = 5  # of what nobody waits for: in most rounds it is not due yet, and comes in the next one
QUEUE_VARIABLES = {
    "sqs_ingest": "DLCS_INGEST_QUEUE_URL",
    "sqs_priority": "DLCS_PRIORITY_QUEUE_URL",
    "s3_uploads": "DLCS_UPLOADS_QUEUE_URL",
}


def ingest_sensors(settings: Settings) -> Sequence[dg.SensorDefinition]:
    """Return all sensors, running from the start."""
    return [
        _queue_sensor("sqs_ingest", Lane.INGEST, settings.ingest_queue_url, settings),
        _queue_sensor("sqs_priority", Lane.PRIORITY, settings.priority_queue_url, settings),
        _queue_sensor("s3_uploads", Lane.INGEST, settings.uploads_queue_url, settings),
        _sweep_sensor(settings),
        _due_sensor(
            "due_images",
            Lane.RETRY,
            settings,
            "Launches runs for images that are to be tried again, by schedule or because somebody asked.",
            SECONDS_BETWEEN_TICKS,
        ),
        _due_sensor(
            "backfills",
            Lane.BACKFILL,
            settings,
            "Launches runs for images that are to be made again, a few at a time: they come after everything else.",
            SECONDS_BETWEEN_LOOKS,
        ),
        _reconcile_sensor(settings),
        _watch_sensor(settings),
        _batches_sensor(settings),
        _modified_sensor(settings),
    ]


def _queue_sensor(name: str, lane: Lane, url: str | None, settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name=name,
        job=INGEST_JOB,
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Takes in what {QUEUE_VARIABLES[name]} leads to, and launches runs for what is due in the lane "
        f"{lane.value}.",
    )
    def sqs_sensor(
        context: dg.SensorEvaluationContext, ledger: dg.ResourceParam[Ledger], queues: dg.ResourceParam[Queues]
    ) -> dg.SensorResult | dg.SkipReason:
        if url is None:
            return dg.SkipReason(f"No queue is configured: set {QUEUE_VARIABLES[name]}")
        problem, taken = customer_source(settings).problem(), IntakeSummary()
        try:
            taken = take_in(queues, ledger, url, lane, settings)
            told = " ".join(filter(None, (problem, str(taken))))
        except NoCustomersError as error:
            told = f"No messages are taken in: {error.cause}"
        if name == "s3_uploads" and settings.ingest_queue_url and not taken.counts.get("accepted"):
            return dg.SkipReason(told)  # sqs_ingest launches what is due in the lane
        return _result(context, told, _dispatch(context, ledger, lane, settings))

    return sqs_sensor


def _sweep_sensor(settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name="s3_sweep",
        job=INGEST_JOB,
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Lists buckets for uploads of which no event told, and launches runs for them.",
    )
    def sweep_sensor(
        context: dg.SensorEvaluationContext,
        ledger: dg.ResourceParam[Ledger],
        queues: dg.ResourceParam[Queues],
        listings: dg.ResourceParam[Listings],
    ) -> dg.SensorResult | dg.SkipReason:
        if not settings.swept_buckets:
            return dg.SkipReason("No bucket is swept: DLCS_SWEPT_BUCKETS names those that are to be")
        try:
            sweep = BucketScan(listings, queues, ledger, settings)
        except NoCustomersError as error:
            return dg.SkipReason(f"No bucket is swept: {error.cause}")
        context.update_cursor(sweep.tick(context.cursor))
        if (settings.ingest_queue_url or settings.uploads_queue_url) and not sweep.accepted:
            return dg.SkipReason(str(sweep))  # the sensors of these queues launch what is due in the lane
        return _result(context, str(sweep), _dispatch(context, ledger, Lane.INGEST, settings))

    return sweep_sensor


def _due_sensor(name: str, lane: Lane, settings: Settings, description: str, interval: int) -> dg.SensorDefinition:
    @dg.sensor(
        name=name,
        job=INGEST_JOB,
        minimum_interval_seconds=interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
    )
    def due_sensor(
        context: dg.SensorEvaluationContext, ledger: dg.ResourceParam[Ledger]
    ) -> dg.SensorResult | dg.SkipReason:
        waiting = ledger.reports.pending_reasons([lane])
        told = ", ".join(f"{count} after {code or 'a request by hand'}" for code, count in waiting.items())
        return _result(context, f"Pending: {told or 'none'}", _dispatch(context, ledger, lane, settings))

    return due_sensor


def _reconcile_sensor(settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name="reconcile",
        job=INGEST_JOB,
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Finds runs that were lost and makes their images due again; reports outcomes that Dagster missed.",
    )
    def reconcile_sensor(context: dg.SensorEvaluationContext, ledger: dg.ResourceParam[Ledger]) -> dg.SkipReason:
        return dg.SkipReason(str(reconcile(context.instance, ledger, settings)).capitalize())

    return reconcile_sensor


def _watch_sensor(settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name="watch",
        job=INGEST_JOB,
        minimum_interval_seconds=SECONDS_BETWEEN_MEASUREMENTS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Evaluates the checks of the asset `ledger`, and writes metrics to the log for CloudWatch if "
        "DLCS_METRICS_NAMESPACE is set.",
    )
    def watch_sensor(
        context: dg.SensorEvaluationContext, ledger: dg.ResourceParam[Ledger], queues: dg.ResourceParam[Queues]
    ) -> dg.SkipReason:
        now = datetime.now(UTC)
        context.update_cursor(evaluate(context.instance, ledger, settings, context.cursor))
        told = "The checks of the ledger are evaluated"
        if settings.metrics_namespace:
            lines = list(
                embedded(measure(ledger, queues, settings, now=now), namespace=settings.metrics_namespace, now=now)
            )
            # To the process's own log, bare: CloudWatch takes a line for metrics only if it is nothing but JSON.
            sys.stdout.write("".join(f"{line}\n" for line in lines))
            sys.stdout.flush()
            told += f"; {len(lines)} lines of metrics written"
        return dg.SkipReason(told)

    return watch_sensor


def _batches_sensor(settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name="batches",
        job=INGEST_JOB,
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Finishes batches of which all images have ended, and publishes the notification of each.",
    )
    def batches_sensor(
        context: dg.SensorEvaluationContext,  # noqa: ARG001 (Dagster's signature)
        ledger: dg.ResourceParam[Ledger],
        notifications: dg.ResourceParam[Notifications],
    ) -> dg.SkipReason:
        return dg.SkipReason(str(finish_batches(ledger, notifications, settings.batch_completed_topic_arn)))

    return batches_sensor


def _modified_sensor(settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name="asset_modified",
        job_name=DELETE_JOB,
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Takes in what the DLCS's API says of changed and deleted assets, launches runs for what is to be "
        "deleted, and tells whoever keeps the CDN which paths to invalidate.",
    )
    def modified_sensor(
        context: dg.SensorEvaluationContext,
        ledger: dg.ResourceParam[Ledger],
        queues: dg.ResourceParam[Queues],
        notifications: dg.ResourceParam[Notifications],
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            told = [str(taken) for taken in take_in_modified(queues, ledger, settings)]
        except NoCustomersError as error:
            told = [f"No notifications are taken in: {error.cause}"]
        if settings.invalidation_topic_arn:
            publish_due(ledger.outbox, notifications, INVALIDATION, settings.invalidation_topic_arn)
            unsent, problem = ledger.outbox.unsent(INVALIDATION)
            told += [f"{unsent} invalidations unsent: {problem or 'the next tick sends them'}"] if unsent else []
        requests = dispatch_deletions(context.instance, ledger, settings)
        if requests:
            return dg.SensorResult(run_requests=requests)
        return dg.SkipReason("; ".join([*told, "nothing is to be deleted"]))

    return modified_sensor


def _dispatch(context: dg.SensorEvaluationContext, ledger: Ledger, lane: Lane, settings: Settings) -> Dispatched:
    assert context.repository_def is not None
    return dispatch(context.instance, context.repository_def.asset_graph, ledger, lane, settings)


def _result(context: dg.SensorEvaluationContext, told: str, dispatched: Dispatched) -> dg.SensorResult | dg.SkipReason:
    if not dispatched.run_requests:
        return dg.SkipReason(f"{told}; {dispatched.note}")
    chunks = ", ".join(request.tags[tags.CHUNK] for request in dispatched.run_requests)
    context.log.info("%s; %d runs, for chunks %s", told, len(dispatched.run_requests), chunks)
    return dg.SensorResult(run_requests=dispatched.run_requests)
