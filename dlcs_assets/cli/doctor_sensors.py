"""The check of `dlcs doctor` on Dagster's sensors: whether they tick, and whether their ticks only fail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dlcs_assets.cli.doctor_finding import Check, Finding, fail, ok
from dlcs_assets.domain.redaction import shown_body
from dlcs_assets.domain.text import shown_text
from dlcs_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

FAILED_IN_A_ROW: Final = 5
TICKED_WITHIN: Final = timedelta(minutes=5)  # the rarest one ticks once a minute


def check_sensors(_settings: Settings) -> Iterator[Finding]:
    """Report sensors whose last ticks all failed, and whether there are ticks at all: without them nothing moves."""
    home = os.environ.get("DAGSTER_HOME")
    if not home or not (Path(home) / "dagster.yaml").exists():
        return  # Dagster is elsewhere
    import dagster as dg  # noqa: PLC0415 (a second and a half that few commands need)

    with dg.DagsterInstance.from_config(home) as instance:
        ticks = {name: found for name, found in _newest_ticks(instance) if found}
    if not ticks:
        yield ok("sensors", "none has ticked yet")
        return
    last = max(datetime.fromtimestamp(found[0].timestamp, UTC) for found in ticks.values())
    failing = {name: found[0] for name, found in ticks.items() if _only_fails(found)}
    if datetime.now(UTC) - last > TICKED_WITHIN:
        yield fail(
            "sensors",
            f"none has ticked since {last:%Y-%m-%d %H:%M:%S} UTC",
            "Check that Dagster's daemon and code server run, and their logs.",
        )
    elif failing:
        name, tick = next(iter(failing.items()))
        yield fail(
            "sensors",
            f"the last {FAILED_IN_A_ROW} ticks failed of {', '.join(sorted(failing))}; of {name} with: {_why(tick)}",
            "The ticks' errors in Dagster, under Automation, have the rest.",
        )
    else:
        yield ok("sensors", f"{len(ticks)} tick, the last time at {last:%H:%M:%S} UTC")


CHECKS: Final[tuple[Check, ...]] = (check_sensors,)


def _newest_ticks(instance: dg.DagsterInstance) -> Iterator[tuple[str, Any]]:
    """Yield each running sensor's name, and its newest ticks."""
    for state in instance.all_instigator_state():
        if state.instigator_type.value == "SENSOR" and state.status.value != "STOPPED":
            ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=FAILED_IN_A_ROW + 1)
            yield state.instigator_name, [tick for tick in ticks if tick.status.value != "STARTED"]


def _only_fails(ticks: Any) -> bool:
    newest = ticks[:FAILED_IN_A_ROW]
    return len(newest) == FAILED_IN_A_ROW and all(tick.status.value == "FAILURE" for tick in newest)


def _why(tick: Any) -> str:
    """Return the first line of what was wrong at first."""
    error = tick.error
    while error is not None and error.cause is not None:
        error = error.cause
    text = error.message.strip().partition("\n")[0] if error is not None else "no reason"
    return shown_text(shown_body(text))
