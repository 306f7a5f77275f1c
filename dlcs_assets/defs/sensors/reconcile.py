"""What a crash leaves behind is found and put right: lost runs, outcomes that Dagster never got, files, objects."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from dlcs_assets.clients.storage import Storage
from dlcs_assets.defs import tags
from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.materializations import Upstream, failure_observation, is_newest, materialization, newest
from dlcs_assets.defs.partitions import DISPATCH_LEASE, LEASE_WAIT, UNFINISHED_RUNS, WorkingSet, image_ids
from dlcs_assets.defs.reporting import REFUSALS_IN_A_ROW
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.partition_key import MARK, partition_key
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ingest.cleanup import drop_left_transient
from dlcs_assets.ingest.policy import retry_schedule
from dlcs_assets.ingest.scratch import clear_ended
from dlcs_assets.ingest.write_back import write_due
from dlcs_assets.ledger.launches import HeldUp
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.settings import Settings

log = logging.getLogger(__name__)

REPORTS_PER_TICK = 200
DELETIONS_PER_TICK = 200


@dataclass
class Reconciled:
    """What a tick put right."""

    runs: int = 0
    images: int = 0
    cancelled: int = 0
    reported: int = 0
    failures: int = 0
    refused: int = 0
    overdue: int = 0
    held_up: HeldUp | None = None  # why runs cannot be started
    folders: int = 0
    folders_stay: str = ""  # why, if scratch could not be read
    written_back: int = 0
    unwritten: str = ""  # why, if the DLCS's database could not be written
    transient: int = 0
    transient_stays: str = ""  # why, if it could not be deleted

    def __str__(self) -> str:
        parts = [
            f"{self.runs} lost runs ended, {self.images} images due again" if self.runs else "",
            f"{self.cancelled} images cancelled with their runs" if self.cancelled else "",
            self.held_up.describe() if self.held_up else "",
            f"{self.reported} outcomes reported to Dagster" if self.reported else "",
            f"{self.failures} failures reported to Dagster" if self.failures else "",
            f"{self.refused} outcomes refused by Dagster's database" if self.refused else "",
            f"{self.folders} folders of ended runs deleted from scratch" if self.folders else "",
            f"the scratch folder cannot be cleared: {self.folders_stay}" if self.folders_stay else "",
            f"{self.written_back} ends of images written to the DLCS" if self.written_back else "",
            f"ends of images wait to be written to the DLCS: {self.unwritten}" if self.unwritten else "",
            f"{self.transient} transient objects deleted that runs had left" if self.transient else "",
            f"transient objects stay for now: {self.transient_stays}" if self.transient_stays else "",
            f"{self.overdue} messages rejected that waited for a registration until the timeout"
            if self.overdue
            else "",
        ]
        return "; ".join(part for part in parts if part) or "all is well"


def reconcile(instance: dg.DagsterInstance, ledger: Ledger, storage: Storage, settings: Settings) -> Reconciled:
    """Release what lost runs hold, then report to Dagster what the ledger has and it has not."""
    done = Reconciled(overdue=ledger.inbox.reject_overdue(datetime.now(UTC)))
    active = ledger.claims.active_runs()
    for run_id, alive_at in active.items():
        if _was_cancelled(instance, run_id):  # in the queue, or by force while it worked
            done.cancelled += ledger.claims.release_run(
                run_id, schedule=retry_schedule(settings), now=datetime.now(UTC), terminated=True
            )
        elif _is_lost(instance, run_id, alive_at, settings):
            done.runs += 1
            _note_start(instance, ledger, run_id)
            released = ledger.claims.release_run(run_id, schedule=retry_schedule(settings), now=datetime.now(UTC))
            done.images += released
            if released:
                _end(instance, run_id, settings)
    for run_id in _silent_runs(instance, ledger, active, settings):
        done.runs += 1
        _end(instance, run_id, settings)
    _note_waiting(instance, ledger)
    done.held_up = ledger.launches.held_up()
    try:
        done.folders = clear_ended(settings.scratch, ledger.claims.ended)
    except OSError as error:  # its disk does not answer, or it belongs to another user
        done.folders_stay = str(error)
    ledger.reports.add_up_counts()
    done.reported, done.refused = _report(instance, Catalog.of(settings), ledger)
    done.failures, refused = _report_failures(instance, Catalog.of(settings), ledger)
    done.refused += refused
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        done.written_back, not_yet = write_due(ledger, url, now=datetime.now(UTC))
        done.unwritten = str(not_yet or "")
    # Last: all else needs no S3.
    done.transient, problem = drop_left_transient(storage, ledger, limit=DELETIONS_PER_TICK)
    done.transient_stays = str(problem or "")
    return done


def adopt_names(instance: dg.DagsterInstance, ledger: Ledger, settings: Settings, known_as: str | None) -> str | None:
    """Have what Dagster shows of images reported again where its assets or partitions have other names than before.

    `known_as` is what this returned last time, None at first; keep it. An installation from before there were prefixes,
    or from before keys of partitions began with a mark, has its history under other keys: its outcomes are reported
    under today's, as far as its images are partitions. The former partitions go with the next maintenance.
    """
    catalog = Catalog.of(settings)
    names = f"{MARK}{catalog.prefix}"
    if known_as == names or _has_former_runs(instance, catalog):
        return known_as
    keys = WorkingSet.of(instance, catalog).order
    ledger.results.report_again(list(image_ids(keys)))
    return names


def _has_former_runs(instance: dg.DagsterInstance, catalog: Catalog) -> bool:
    """Return whether runs are in progress that report their outcomes under the keys of before."""
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_RUNS))
    return any(catalog.is_former(key) for run in runs for key in run.asset_selection or ())


def _is_lost(instance: dg.DagsterInstance, run_id: str, alive_at: datetime, settings: Settings) -> bool:
    record = instance.get_run_record_by_id(run_id)
    if record is None or record.dagster_run.is_finished:
        return True
    if record.dagster_run.status is not dg.DagsterRunStatus.STARTED or record.start_time is None:
        return False
    # A run that is stopped or hangs gives no sign of life. Its claims' tokens keep it from publishing, should it wake.
    last_sign = max(alive_at, datetime.fromtimestamp(record.start_time, UTC))
    return datetime.now(UTC) - last_sign > settings.claim_ttl


def _was_cancelled(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and run.status is dg.DagsterRunStatus.CANCELED


def _note_start(instance: dg.DagsterInstance, ledger: Ledger, run_id: str) -> None:
    """Pause launches if a run failed before it began, before its images are due again: the next one would, too."""
    record = instance.get_run_record_by_id(run_id)
    if record is not None and record.start_time is None and record.dagster_run.status is dg.DagsterRunStatus.FAILURE:
        ledger.launches.record_failed(run_id, _why_not_started(instance, record.dagster_run), now=datetime.now(UTC))


def _why_not_started(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    if reason := run.tags.get(tags.WAITS_FOR):
        return reason
    said = ""
    for entry in instance.all_logs(run.run_id):
        event = entry.dagster_event
        if event is not None and event.is_engine_event and event.engine_event_data.error is not None:
            said = event.engine_event_data.error.message
        elif event is not None and event.is_failure:
            said = said or event.message or ""
    return " ".join(said.split()) or "its log says why"


def _note_waiting(instance: dg.DagsterInstance, ledger: Ledger) -> None:
    """Note whether a run waits in Dagster's queue because it could not be started."""
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])):
        if reason := run.tags.get(tags.WAITS_FOR):
            ledger.launches.record_waiting(run.run_id, reason, now=datetime.now(UTC))
            return
    ledger.launches.record_none_waiting()


def _silent_runs(
    instance: dg.DagsterInstance, ledger: Ledger, active: Collection[str], settings: Settings
) -> list[str]:
    """Return the runs that Dagster believes in, but that have long been silent.

    Those over images write to its log all the time, unless images are in progress. A run that was killed after its last
    image is one of the others. For runs of other jobs it is their process's heartbeat that says so.
    """
    silent, ours = [], Catalog.of(settings)
    now, longest = datetime.now(UTC).timestamp(), settings.claim_ttl.total_seconds()
    without_heartbeat = ledger.workers.silent(datetime.now(UTC) - settings.claim_ttl)
    for record in instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        run = record.dagster_run
        if run.run_id in without_heartbeat and run.run_id not in active:
            silent.append(run.run_id)
            continue
        over_images = not run.tags.keys().isdisjoint({tags.CHUNK, tags.PARTITION, tags.RANGE_START})
        if run.run_id in active or not over_images or not ours.owns_any(run.asset_selection):
            continue
        if record.start_time and now - record.start_time > longest:
            written = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
            if all(now - entry.timestamp > longest for entry in written):
                silent.append(run.run_id)
    return silent


def _end(instance: dg.DagsterInstance, run_id: str, settings: Settings) -> None:
    """End a run for Dagster, too, if it still believes in it: an unfinished run holds its keys, and a place.

    Run monitoring never marks a run that died with its code server if Dagster's own launcher started it: that one can't
    ask for it.
    """
    run = instance.get_run_by_id(run_id)
    if run is not None and run.status is dg.DagsterRunStatus.STARTED:
        seconds = round(settings.claim_ttl.total_seconds())
        instance.report_run_failed(
            run, f"The run gave no sign of life for {seconds} s (DLCS_CLAIM_TTL): its images were released."
        )


def keep_key(
    instance: dg.DagsterInstance, catalog: Catalog, ledger: Ledger, key: str, *, wait: timedelta = LEASE_WAIT
) -> bool:
    """Ensure that Dagster has the key; return whether it has.

    A key that is missing may be one that dispatch is moving at this moment: added here, it would stand outside of the
    range that it is to be part of.
    """
    if instance.has_dynamic_partition(catalog.partitions_name, key):
        return True
    with ledger.dispatch.lease(DISPATCH_LEASE, wait=wait) as held:
        if held:
            instance.add_dynamic_partitions(catalog.partitions_name, [key])
        return held


def _report(instance: dg.DagsterInstance, catalog: Catalog, ledger: Ledger) -> tuple[int, int]:
    """Report outcomes that Dagster does not have; return how many it took, and how many it refused."""
    reported = refused = in_a_row = 0
    done: list[tuple[AssetId, Stage, str]] = []
    upstream = Upstream(instance, catalog)
    unreported = ledger.results.unreported(limit=REPORTS_PER_TICK)
    runs = {run_id: instance.get_run_by_id(run_id) for _, _, run_id, _ in unreported}
    for asset_id, request_id, run_id, result in unreported:
        run = runs[run_id]
        if run is not None and run.status in UNFINISHED_RUNS:
            continue  # its own event is on the way
        key = partition_key(asset_id)
        if not _is_shown(instance, catalog.asset(result.stage), key, request_id, result.data_version):
            if not keep_key(instance, catalog, ledger, key):
                continue  # the next tick will
            made_from = upstream.tags(result.stage, [key]).get(key)
            event = materialization(asset_id, request_id, result, catalog=catalog, made_from=made_from)
            try:
                instance.report_runless_asset_event(event)
            except Exception:  # of a database's driver, or Dagster's own: this one waits, the others do not
                log.exception("Dagster did not store %s of %s", result.stage.value, asset_id)
                refused, in_a_row = refused + 1, in_a_row + 1
                if in_a_row == REFUSALS_IN_A_ROW:
                    break
                continue
            reported, in_a_row = reported + 1, 0
        done.append((asset_id, result.stage, request_id))
    # Should the tick end before this, the next one finds them stored.
    ledger.results.mark_reported(done)
    return reported, refused


def _report_failures(instance: dg.DagsterInstance, catalog: Catalog, ledger: Ledger) -> tuple[int, int]:
    """Report why images failed where no run has; return how many Dagster took, and how many it refused."""
    reported = refused = in_a_row = 0
    done: list[str] = []
    unreported = ledger.results.unreported_failures(limit=REPORTS_PER_TICK)
    runs = {run_id: instance.get_run_by_id(run_id) for run_id in {each.run_id for each in unreported} if run_id}
    for each in unreported:
        run = runs.get(each.run_id or "")
        if run is not None and run.status in UNFINISHED_RUNS:
            continue  # its own event is on the way
        event = failure_observation(each.asset_id, each.request_id, each.reason, stages=each.stages, catalog=catalog)
        if each.stands and not _is_observed(instance, event):
            if not keep_key(instance, catalog, ledger, partition_key(each.asset_id)):
                continue  # the next tick will
            try:
                instance.report_runless_asset_event(event)
            except Exception:  # of a database's driver, or Dagster's own: this one waits, the others do not
                log.exception("Dagster did not store why %s failed", each.asset_id)
                refused, in_a_row = refused + 1, in_a_row + 1
                if in_a_row == REFUSALS_IN_A_ROW:
                    break
                continue
            reported, in_a_row = reported + 1, 0
        done.append(each.request_id)
    ledger.results.mark_failures_reported(done)
    return reported, refused


def _is_observed(instance: dg.DagsterInstance, event: dg.AssetObservation) -> bool:
    """Return whether the partition's newest observation is this one: its run may have died before the ledger knew."""
    assert event.partition is not None
    wanted = dg.AssetRecordsFilter(asset_key=event.asset_key, asset_partitions=[event.partition])
    found = instance.fetch_observations(wanted, limit=1).records
    newest_one = found[0].event_log_entry.asset_observation if found else None
    return newest_one is not None and newest_one.tags.get(tags.REQUEST) == event.tags[tags.REQUEST]


def _is_shown(instance: dg.DagsterInstance, asset: dg.AssetKey, key: str, request_id: str, version: str) -> bool:
    """Return whether Dagster shows this outcome as the state of the partition."""
    latest = newest(instance, asset, key)
    if latest is None or not is_newest(latest, request_id, version):
        return False
    # A run that was to make it later, and ended red without a word about it, makes it show as failed.
    planned = instance.get_latest_planned_materialization_info(asset, key)
    return planned is None or planned.storage_id < latest.storage_id
