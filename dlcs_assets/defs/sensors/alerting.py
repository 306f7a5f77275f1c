"""Alerts: what `watch` finds wrong is announced, once when it begins and once when it is over.

They are kept in the ledger until they are sent, so that a receiver that is away costs none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import dagster as dg

from dlcs_assets.clients.sns import Notifications
from dlcs_assets.defs.jobs.delete import DELETE_JOB
from dlcs_assets.defs.jobs.fixity import FIXITY_JOB
from dlcs_assets.defs.jobs.maintenance import MAINTENANCE_JOB
from dlcs_assets.defs.jobs.reprocess import REPROCESS_JOB
from dlcs_assets.domain.alerts import Alert, AlertState, Condition, Known, changes
from dlcs_assets.domain.redaction import without_login
from dlcs_assets.ingest.alert_receivers import alert_receivers, link_for_people
from dlcs_assets.ingest.publishing import publish_due
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.outbox import ALERT_TARGETS, Posted
from dlcs_assets.metrics.measuring import RECENT
from dlcs_assets.settings import Settings

RUNS_CAN_START: Final = "runs_can_start"
IMAGES_SUCCEED: Final = "images_succeed"
RUN_FAILED: Final = "run_failed"
# A red run of the ingest is one whose images failed: these are announced together, by their reasons.
WATCHED_JOBS: Final = (DELETE_JOB, FIXITY_JOB, MAINTENANCE_JOB, REPROCESS_JOB)
_OVERLAP: Final = timedelta(minutes=1)  # between the clock of Dagster's database and this one
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Watched:
    """What `watch` keeps between its ticks: what was reported of the checks, and what was announced."""

    reported: Sequence[Any] | None = None
    alerts: Known = field(default_factory=Known)

    @classmethod
    def parse(cls, cursor: str | None) -> Watched:
        """Read a cursor. Those of version 0.1 have the checks alone."""
        kept = json.loads(cursor) if cursor else {}
        if isinstance(kept, list):
            return cls(kept)
        looked = kept.get("looked")
        failing = {name: datetime.fromisoformat(since) for name, since in kept.get("failing", {}).items()}
        return cls(kept.get("checks"), Known(datetime.fromisoformat(looked) if looked else None, failing))

    def dump(self) -> str:
        """Return it as a cursor."""
        return json.dumps(
            {
                "checks": self.reported,
                "looked": self.alerts.looked.isoformat() if self.alerts.looked else None,
                "failing": {name: since.isoformat() for name, since in self.alerts.failing.items()},
            }
        )


class Alerting:
    """What a tick announces. As text it is what came of that."""

    def __init__(
        self, instance: dg.DagsterInstance, ledger: Ledger, notifications: Notifications, settings: Settings
    ) -> None:
        self._instance = instance
        self._ledger = ledger
        self._settings = settings
        self._receivers = alert_receivers(settings, notifications)
        self._announced = self._sent = 0

    def __str__(self) -> str:
        parts = [f"{self._announced} alerts"] if self._announced else []
        parts += [f"{self._sent} alerts sent"] if self._sent else []
        for target in self._receivers:
            unsent, problem = self._ledger.outbox.unsent(target)
            parts += [f"{unsent} alerts unsent: {problem or 'the next tick sends them'}"] if unsent else []
        return "".join(f"; {part}" for part in parts)

    def announce(self, evaluations: Sequence[dg.AssetCheckEvaluation], known: Known, *, now: datetime) -> Known:
        """Write down what has changed since the last tick, for each receiver that is configured."""
        if not self._receivers:
            return Known()
        found, known_now = changes(self._conditions(evaluations, now), known, now)
        found += self._failed_runs(known.looked, now)
        if found:
            posted = [self._posted(alert, target) for target in self._receivers for alert in found]
            self._ledger.outbox.post_once(posted, now=now)
        self._announced = len(found)
        return known_now

    def send(self) -> None:
        """Send what is due. A receiver that is no longer set gets nothing of what was found before."""
        for target in ALERT_TARGETS:
            if target in self._receivers:
                self._sent += publish_due(self._ledger.outbox, target, self._receivers[target])
            else:
                self._ledger.outbox.withdraw(target)

    def _conditions(self, evaluations: Sequence[dg.AssetCheckEvaluation], now: datetime) -> Iterator[Condition]:
        for each in evaluations:
            yield Condition(each.check_name, None if each.passed else (each.description or "").strip("` "))
        held_up = self._ledger.launches.held_up()
        yield Condition(RUNS_CAN_START, held_up.describe() if held_up else None)
        failed = self._ledger.health.failed(since=now - RECENT)
        yield Condition(IMAGES_SUCCEED, _described(failed) if failed else None)

    def _failed_runs(self, looked: datetime | None, now: datetime) -> list[Alert]:
        """Return those of jobs that are not about single images, since the last tick."""
        if looked is None:
            return []
        found = []
        for job in WATCHED_JOBS:
            wanted = dg.RunsFilter(
                job_name=job, statuses=[dg.DagsterRunStatus.FAILURE], updated_after=looked - _OVERLAP
            )
            for run in self._instance.get_runs(wanted):
                text = f"The run {run.run_id} of the job {job} failed; its log says why."
                found.append(Alert(RUN_FAILED, AlertState.HAPPENED, text, now, run.run_id))
        return found

    def _posted(self, alert: Alert, target: str) -> Posted:
        link = link_for_people(self._settings)
        if alert.name == RUN_FAILED and self._settings.ui_url:
            link = f"{without_login(self._settings.ui_url).rstrip('/')}/runs/{alert.key}"
        return Posted(alert.id_for(target), target, alert.body(link), alert.attributes)


def _described(failed: dict[str, int]) -> str:
    frequent = sorted(failed.items(), key=lambda each: (-each[1], each[0]))
    reasons = ", ".join(f"{count} {code}" for code, count in frequent[:_NAMED])
    more = f" and {len(frequent) - _NAMED} other reasons" if len(frequent) > _NAMED else ""
    minutes = RECENT.total_seconds() / 60
    return f"{sum(failed.values())} images failed within {minutes:.0f} minutes: {reasons}{more}."
