"""The sensors themselves: each a few lines around what it does."""

import logging
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import dagster as dg

from dlcs_assets.clients.listings import Listings
from dlcs_assets.clients.sns import Notifications
from dlcs_assets.clients.sqs import Queues
from dlcs_assets.clients.storage import Storage
from dlcs_assets.customers import NoCustomersError, customer_source
from dlcs_assets.defs import shown, tags
from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.checks import evaluate, report
from dlcs_assets.defs.jobs.delete import DELETE_JOB
from dlcs_assets.defs.jobs.ingest import INGEST_JOB
from dlcs_assets.defs.jobs.prune_partitions import prune_surplus
from dlcs_assets.defs.sensors.alerting import Alerting, Watched
from dlcs_assets.defs.sensors.deletions import dispatch_deletions
from dlcs_assets.defs.sensors.dispatch import Dispatched, dispatch
from dlcs_assets.defs.sensors.reconcile import adopt_names, reconcile
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ingest.batches import finish_batches
from dlcs_assets.ingest.publishing import publish_due
from dlcs_assets.intake.asset_notifications import take_in_modified
from dlcs_assets.intake.bucket_scan import BucketScan
from dlcs_assets.intake.messages import IntakeSummary, take_in
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.outbox import INVALIDATION
from dlcs_assets.metrics.measuring import measure
from dlcs_assets.metrics.metric import embedded
from dlcs_assets.settings import Settings

METRICS_INTERVAL_SECONDS = 60
CONFIGURATION_INTERVAL_SECONDS = 15
TICK_INTERVAL_SECONDS = 1  # the daemon begins ticks every five seconds: one in each round
IDLE_INTERVAL_SECONDS = 5  # of what is not urgent: in most rounds it is not due yet, and comes in the next one


class InvalidConfigurationError(Exception):
    """What an operator wrote has a mistake; the message says where, and what is in force meanwhile."""


Tick = Callable[..., dg.SensorResult | dg.SkipReason]


def ingest_sensors() -> Sequence[dg.SensorDefinition]:
    """Return all sensors, running from the start. Those without a target launch nothing."""
    return [
        _queue_sensor("sqs_ingest", Lane.INGEST, "ingest_queue_url"),
        _queue_sensor("sqs_priority", Lane.PRIORITY, "priority_queue_url"),
        _queue_sensor("s3_uploads", Lane.INGEST, "uploads_queue_url"),
        _sensor(
            "s3_sweep",
            _scan_buckets,
            "Lists buckets for uploads that had no event, and launches runs for them.",
            job_name=INGEST_JOB,
        ),
        _sensor(
            "due_images",
            _due(Lane.RETRY),
            "Launches runs for images that are to be tried again, by schedule or by request.",
            job_name=INGEST_JOB,
            interval=TICK_INTERVAL_SECONDS,
        ),
        _sensor(
            "backfills",
            _backfills,
            "Launches runs for images that are reprocessed, a few at a time: they come after everything else. "
            "Withdraws what is left of cancelled backfills, and notes which have ended.",
            job_name=INGEST_JOB,
        ),
        _sensor(
            "reconcile",
            _reconcile,
            "Finds runs that were lost and makes their images due again; reports outcomes that Dagster missed; deletes "
            "the files and transient objects that runs left.",
        ),
        _sensor(
            "watch",
            _watch,
            "Evaluates the asset checks from the ledger. Writes metrics to the log for CloudWatch if "
            "DLCS_METRICS_NAMESPACE is set, and announces what is wrong if there is a receiver of alerts.",
            interval=METRICS_INTERVAL_SECONDS,
        ),
        _sensor(
            "configuration",
            _check_configuration,
            "Fails while the customers file has a mistake, and says which. What is in force meanwhile stays in force.",
            interval=CONFIGURATION_INTERVAL_SECONDS,
        ),
        _sensor(
            "batches",
            _finish_batches,
            "Finishes batches whose images have all ended, and publishes the notification of each.",
        ),
        _sensor(
            "asset_modified",
            _take_in_modified,
            "Takes in what the DLCS's API says of changed and deleted assets, launches runs for what is to be "
            "deleted, and publishes which paths a CDN is to invalidate.",
            job_name=DELETE_JOB,
        ),
    ]


def _sensor(
    name: str, tick: Tick, description: str, *, interval: int = IDLE_INTERVAL_SECONDS, job_name: str | None = None
) -> dg.SensorDefinition:
    """Make a sensor of what a tick does: Dagster gives it the resources that its parameters name."""
    decorate: Any = dg.sensor(
        name=name,
        job_name=job_name,
        minimum_interval_seconds=interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
    )
    sensor: dg.SensorDefinition = decorate(tick)
    return sensor


def _queue_sensor(name: str, lane: Lane, setting: str) -> dg.SensorDefinition:
    variable = f"DLCS_{setting.upper()}"

    def tick(
        context: dg.SensorEvaluationContext,
        settings: dg.ResourceParam[Settings],
        ledger: dg.ResourceParam[Ledger],
        queues: dg.ResourceParam[Queues],
    ) -> dg.SensorResult | dg.SkipReason:
        url: str | None = getattr(settings, setting)
        if url is None:
            return shown.skip_reason(f"No queue is configured: set {variable}")
        problem, taken = customer_source(settings).problem(), IntakeSummary()
        try:
            taken = take_in(queues, ledger, url, lane, settings)
            summary = " ".join(filter(None, (problem, str(taken))))
        except NoCustomersError as error:
            taken.error, summary = error, f"No messages are taken in: {error.cause}"
        if name == "s3_uploads" and settings.ingest_queue_url and not taken.counts.get("accepted"):
            return _skip(summary, taken)  # sqs_ingest launches what is due in the lane
        return _result(context, summary, _dispatch(context, ledger, lane, settings), taken)

    return _sensor(
        name,
        tick,
        f"Takes in the messages of {variable}, and launches runs for what is due in the lane {lane.value}.",
        job_name=INGEST_JOB,
        interval=TICK_INTERVAL_SECONDS,
    )


def _scan_buckets(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    ledger: dg.ResourceParam[Ledger],
    queues: dg.ResourceParam[Queues],
    listings: dg.ResourceParam[Listings],
) -> dg.SensorResult | dg.SkipReason:
    if not settings.swept_buckets:
        return shown.skip_reason("No bucket is swept: DLCS_SWEPT_BUCKETS names those that are to be")
    try:
        scan = BucketScan(listings, queues, ledger, settings)
    except NoCustomersError as error:
        raise InvalidConfigurationError(f"No bucket is swept: {error}") from error
    context.update_cursor(scan.tick(context.cursor))
    if (settings.ingest_queue_url or settings.uploads_queue_url) and not scan.accepted:
        return shown.skip_reason(str(scan))  # the sensors of these queues launch what is due in the lane
    return _result(context, str(scan), _dispatch(context, ledger, Lane.INGEST, settings))


def _due(lane: Lane) -> Tick:
    def tick(
        context: dg.SensorEvaluationContext,
        settings: dg.ResourceParam[Settings],
        ledger: dg.ResourceParam[Ledger],
    ) -> dg.SensorResult | dg.SkipReason:
        return _result(context, _pending(ledger, lane), _dispatch(context, ledger, lane, settings))

    return tick


def _backfills(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    ledger: dg.ResourceParam[Ledger],
) -> dg.SensorResult | dg.SkipReason:
    ended = [f"{each.name} has ended: {each}" for each in ledger.backfills.settle(now=datetime.now(UTC))]
    summary = "; ".join([*ended, _pending(ledger, Lane.BACKFILL)])
    return _result(context, summary, _dispatch(context, ledger, Lane.BACKFILL, settings))


def _pending(ledger: Ledger, lane: Lane) -> str:
    waiting = ledger.reports.pending_reasons([lane])
    reasons = ", ".join(f"{count} after {code or 'a request by hand'}" for code, count in waiting.items())
    return f"Pending: {reasons or 'none'}"


def _reconcile(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    ledger: dg.ResourceParam[Ledger],
    storage_of_ticks: dg.ResourceParam[Storage],
) -> dg.SkipReason:
    known_as = adopt_names(context.instance, ledger, settings, context.cursor)
    if known_as != context.cursor:
        context.update_cursor(known_as)
    said = str(reconcile(context.instance, ledger, storage_of_ticks, settings))
    assert context.repository_def is not None
    asset_graph = context.repository_def.asset_graph
    if gone := prune_surplus(context.instance, Catalog.of(settings), asset_graph, ledger, settings.partition_keys):
        said += f"; {gone} quiet images left Dagster's partitions"
    return shown.skip_reason(said[:1].upper() + said[1:])


def _watch(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    ledger: dg.ResourceParam[Ledger],
    queues: dg.ResourceParam[Queues],
    notifications: dg.ResourceParam[Notifications],
) -> dg.SkipReason:
    now = datetime.now(UTC)
    known = Watched.parse(context.cursor)
    evaluations = evaluate(ledger, settings)
    reported = report(context.instance, evaluations, known.reported)
    alerting = Alerting(context.instance, ledger, notifications, settings)
    announced = alerting.announce(evaluations, known.alerts, now=now)
    context.update_cursor(Watched(reported, announced).dump())
    alerting.send()
    summary = f"The asset checks are evaluated{alerting}"
    if settings.metrics_namespace:
        lines = list(
            embedded(measure(ledger, queues, settings, now=now), namespace=settings.metrics_namespace, now=now)
        )
        # To the process's own log, bare: CloudWatch takes a line for metrics only if it is nothing but JSON.
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        summary += f"; {len(lines)} lines of metrics written"
    return shown.skip_reason(summary)


def _check_configuration(
    context: dg.SensorEvaluationContext,  # noqa: ARG001 (Dagster's signature)
    settings: dg.ResourceParam[Settings],
) -> dg.SkipReason:
    """Fail a tick of its own: the sensors that take in and launch continue with what is in force."""
    if problem := customer_source(settings).problem():
        raise InvalidConfigurationError(problem)
    return shown.skip_reason("The customers file has no mistake, or there is none")


def _finish_batches(
    context: dg.SensorEvaluationContext,  # noqa: ARG001 (Dagster's signature)
    settings: dg.ResourceParam[Settings],
    ledger: dg.ResourceParam[Ledger],
    notifications: dg.ResourceParam[Notifications],
) -> dg.SkipReason:
    return shown.skip_reason(str(finish_batches(ledger, notifications, settings.batch_completed_topic_arn)))


def _take_in_modified(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    ledger: dg.ResourceParam[Ledger],
    queues: dg.ResourceParam[Queues],
    notifications: dg.ResourceParam[Notifications],
) -> dg.SensorResult | dg.SkipReason:
    taken: list[IntakeSummary] = []
    try:
        taken = take_in_modified(queues, ledger, settings)
        summary = [str(each) for each in taken]
    except NoCustomersError as error:
        taken = [IntakeSummary(error=error)]
        summary = [f"No notifications are taken in: {error.cause}"]
    if settings.invalidation_topic_arn:
        publish_due(ledger.outbox, INVALIDATION, partial(notifications.publish, settings.invalidation_topic_arn))
        unsent, problem = ledger.outbox.unsent(INVALIDATION)
        summary += [f"{unsent} invalidations unsent: {problem or 'the next tick sends them'}"] if unsent else []
    return _result(context, "; ".join(summary), dispatch_deletions(context.instance, ledger, settings), *taken)


def _dispatch(context: dg.SensorEvaluationContext, ledger: Ledger, lane: Lane, settings: Settings) -> Dispatched:
    assert context.repository_def is not None
    return dispatch(context.instance, context.repository_def.asset_graph, ledger, lane, settings)


def _result(
    context: dg.SensorEvaluationContext, summary: str, dispatched: Dispatched, *taken: IntakeSummary
) -> dg.SensorResult | dg.SkipReason:
    """Return what a tick did. One whose intake failed is a failed tick, unless it has runs to launch all the same."""
    if not dispatched.run_requests:
        return _skip("; ".join(filter(None, (summary, dispatched.note))), *taken)
    chunks = ", ".join(request.tags[tags.CHUNK] for request in dispatched.run_requests)
    failed = any(each.error for each in taken)
    level = logging.ERROR if failed else logging.INFO
    context.log.log(level, "%s; %d runs, for chunks %s", summary, len(dispatched.run_requests), chunks)
    return dg.SensorResult(run_requests=dispatched.run_requests)


def _skip(summary: str, *taken: IntakeSummary) -> dg.SkipReason:
    """Return why a tick launches nothing. Raises what ended its intake early: a failed tick is seen."""
    for each in taken:
        if each.error:
            raise each.error
    return shown.skip_reason(summary)
