"""What a run reports to Dagster: outcomes of stages, in batches, while its images continue.

Dagster stores what a run yields one by one, in the run's main thread. A storage can write many events of one asset in
one go; what Dagster has for that is only for what its own outputs report. This is the one module that uses it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import dagster as dg
from dagster._core.events import DagsterEventBatchMetadata

from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.materializations import Upstream, failure_observation, is_newest, materialization, newest_of
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.partition_key import partition_key
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.ledger.transitions import Failure

MOST_EVENTS: Final = 90
LONGEST_WAIT_SECONDS: Final = 1.0
# How long a run that is asked to end waits for its last batch. What is not written then, reconcile reports.
GRACE_SECONDS: Final = 4.0
# One event after another that is refused: then the storage is at fault, and not what was to be stored.
REFUSALS_IN_A_ROW: Final = 3

Event = TypeVar("Event", dg.AssetMaterialization, dg.AssetObservation)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """An outcome that the ledger has and Dagster is to have."""

    asset_id: AssetId
    request_id: str
    result: StageResult
    picture: bytes | None = None
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The image's partition."""
        return partition_key(self.asset_id)


@dataclass(frozen=True, slots=True)
class FailureReport:
    """Why an image failed, which the ledger has and Dagster is to have."""

    asset_id: AssetId
    request_id: str
    failure: Failure
    links: Mapping[str, str] = field(default_factory=dict)


class Reporter:
    """Writes outcomes to Dagster, in a thread of its own: when there are ninety, or the first is a second old.

    And why images failed, of which `stages` are worked on; `mark_failures` is called with their requests.

    Stage by stage, so that what was made from an original names the original's record. Of what Dagster has stored then
    `mark_reported` is called, with (image, stage, request). What it does not store stays unreported, and costs no
    image: `reconcile` reports it after the run.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        catalog: Catalog,
        mark_reported: Callable[[Sequence[tuple[AssetId, Stage, str]]], None],
        mark_failures: Callable[[Sequence[str]], None],
        stages: Collection[Stage] = STAGES,
    ) -> None:
        self._context = context
        self._mark_reported = mark_reported
        self._mark_failures = mark_failures
        self._stages = stages
        self._upstream = Upstream(context.instance, catalog)
        self._waiting: queue.SimpleQueue[Report | FailureReport | None] = queue.SimpleQueue()
        self._stored: queue.SimpleQueue[dg.DagsterEvent] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="reporter", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, raised: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits. If the run is ended before its images are, not for long."""
        self._waiting.put(None)
        self._thread.join(GRACE_SECONDS if raised else None)

    def add(self, report: Report | FailureReport) -> None:
        """Have an outcome, or why there is none, reported soon."""
        self._waiting.put(report)

    def stored(self) -> Iterator[dg.DagsterEvent]:
        """Yield the events that were stored since this was last called, for Dagster to count among the step's."""
        while not self._stored.empty():
            yield self._stored.get()

    def _serve(self) -> None:
        while batch := self._next_batch():
            outcomes = [each for each in batch if isinstance(each, Report)]
            failures = [each for each in batch if isinstance(each, FailureReport)]
            try:
                self._report(outcomes)
                self._report_failures(failures)
            except Exception:  # it stays unreported
                log.exception("%d outcomes are reported to Dagster later", len(batch))

    def _next_batch(self) -> list[Report | FailureReport]:
        """Wait for reports; return none at the end."""
        if (first := self._waiting.get()) is None:
            return []
        batch: list[Report | FailureReport] = [first]
        due = time.monotonic() + LONGEST_WAIT_SECONDS
        while len(batch) < MOST_EVENTS:
            try:
                report = self._waiting.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                break
            if report is None:
                self._waiting.put(None)  # for the next call
                break
            batch.append(report)
        return batch

    def _report(self, batch: Sequence[Report]) -> None:
        done: list[Report] = []
        try:
            for stage in STAGES:
                if reports := [each for each in batch if each.result.stage is stage]:
                    done += self._store(stage, reports)
        finally:
            self._mark_reported([(each.asset_id, each.result.stage, each.request_id) for each in done])

    def _report_failures(self, failures: Sequence[FailureReport]) -> None:
        """Store why images failed, together by asset: those that are refused are reported after the run, one by one."""
        of_asset: dict[dg.AssetKey, list[tuple[str, dg.AssetObservation]]] = {}
        for each in failures:
            event = failure_observation(
                each.asset_id,
                each.request_id,
                each.failure,
                stages=self._stages,
                catalog=self._upstream.catalog,
                links=each.links,
            )
            of_asset.setdefault(event.asset_key, []).append((each.request_id, event))
        for pairs in of_asset.values():
            self._log_together(dg.DagsterEvent.asset_observation, [event for _, event in pairs])
            self._mark_failures([request_id for request_id, _ in pairs])

    def _store(self, stage: Stage, reports: Sequence[Report]) -> Collection[Report]:
        """Store events of one asset; return those that Dagster has then."""
        try:
            self._log_together(dg.DagsterEvent.asset_materialization, self._events(stage, reports))
        except Exception:  # of a database's driver, or Dagster's own
            log.exception("Dagster did not store %d events of %s together", len(reports), stage.value)
            return self._store_one_by_one(stage, reports)
        return reports

    def _store_one_by_one(self, stage: Stage, reports: Sequence[Report]) -> list[Report]:
        """Store those that Dagster does not have: some of a batch that failed may be stored."""
        asset = self._upstream.catalog.asset(stage)
        newest = newest_of(self._context.instance, asset, [each.key for each in reports])
        done: list[Report] = []
        refused = 0
        for report in reports:
            if not is_newest(newest.get(report.key), report.request_id, report.result.data_version):
                if refused == REFUSALS_IN_A_ROW:
                    continue
                try:
                    self._log_together(dg.DagsterEvent.asset_materialization, self._events(stage, [report]))
                except Exception:  # this one costs itself
                    log.exception("Dagster did not store %s of %s", stage.value, report.asset_id)
                    refused += 1
                    continue
                refused = 0
            done.append(report)
        return done

    def _events(self, stage: Stage, reports: Sequence[Report]) -> list[dg.AssetMaterialization]:
        made_from = self._upstream.tags(stage, [each.key for each in reports])
        return [
            materialization(
                each.asset_id,
                each.request_id,
                each.result,
                catalog=self._upstream.catalog,
                made_from=made_from.get(each.key),
                picture=each.picture,
                links=each.links,
            )
            for each in reports
        ]

    def _log_together(
        self, make: Callable[[Any, Event, DagsterEventBatchMetadata], dg.DagsterEvent], events: Sequence[Event]
    ) -> None:
        """Log events of one asset as Dagster logs what an op yields, but stored when the last one is logged.

        Where `DAGSTER_EVENT_BATCH_SIZE` is not set, Dagster stores each of them as it is logged.
        """
        step, batch, last = self._context.get_step_execution_context(), uuid.uuid4().hex, len(events) - 1
        logged = [
            make(step, event, DagsterEventBatchMetadata(batch, number == last)) for number, event in enumerate(events)
        ]
        for event in logged:
            self._stored.put(event)
