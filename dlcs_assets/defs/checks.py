"""The ledger as an asset that nobody materialises, with checks that tell how it is with all images together."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import dagster as dg

from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.settings import Settings

# On an asset of its own: checks on the stages would be made again by every run that makes images.
LEDGER: Final = dg.AssetSpec(
    "ledger",
    description="What was asked for and what became of it: one row per request. Runs and sensors write it; "
    "`dlcs status` shows it.",
    group_name="ingest",
    kinds={"sql"},
)
NOTHING_STALLED: Final = "nothing_stalled"
NOTHING_DAMAGED: Final = "nothing_damaged"
REPORTED_EVERY: Final = timedelta(minutes=15)  # while nothing changes: each evaluation is an event that is kept
_LISTED: Final = 50


def ledger_checks(settings: Settings) -> Sequence[dg.AssetChecksDefinition]:
    """Return the checks, for people who want to know at once; the sensor `watch` evaluates them by itself."""

    @dg.asset_check(
        asset=LEDGER.key,
        name=NOTHING_STALLED,
        description="No image is on its way for longer than DLCS_STALLED_AFTER; else: which, since when and why.",
    )
    def nothing_stalled(ledger: dg.ResourceParam[Ledger]) -> dg.AssetCheckResult:
        return _result(stalled(ledger, settings))

    @dg.asset_check(
        asset=LEDGER.key,
        name=NOTHING_DAMAGED,
        description="The fixity audit found no stored object missing or other than it was stored; else: which.",
    )
    def nothing_damaged(ledger: dg.ResourceParam[Ledger]) -> dg.AssetCheckResult:
        return _result(damaged(ledger))

    return [nothing_stalled, nothing_damaged]


def evaluate(instance: dg.DagsterInstance, ledger: Ledger, settings: Settings, told: str | None) -> str:
    """Report both checks to Dagster if they say something else than last time, or have not been for a while.

    `told` is what this returned last time; keep it.
    """
    now = datetime.now(UTC)
    state, reported = json.loads(told) if told else (None, 0.0)
    evaluations = [stalled(ledger, settings), damaged(ledger)]
    found = [each.check_name for each in evaluations if not each.passed]
    if found == state and now.timestamp() < reported + REPORTED_EVERY.total_seconds():
        return str(told)
    for each in evaluations:
        instance.report_runless_asset_event(each)
    return json.dumps((found, now.timestamp()))


def stalled(ledger: Ledger, settings: Settings) -> dg.AssetCheckEvaluation:
    """Tell whether images are on their way for too long."""
    now = datetime.now(UTC)
    found = ledger.health.stalled(now - settings.stalled_after)
    return _evaluation(
        NOTHING_STALLED,
        f"{sum(each.count for each in found)} images are on their way for too long: {found[0].describe(now)}"
        if found
        else "No image is on its way for too long",
        {
            "images": sum(each.count for each in found),
            "oldest, seconds": round((now - found[0].since).total_seconds()) if found else 0,
            "stalled": _table(
                ("customer", "lane", "images", "since", "why", "for instance"),
                [
                    (each.customer, each.lane.value, each.count, each.since.isoformat(), each.why, each.example)
                    for each in found
                ],
            ),
        },
        passed=not found,
    )


def damaged(ledger: Ledger) -> dg.AssetCheckEvaluation:
    """Tell whether stored objects are other than they were stored, as far as the fixity audit has read them."""
    found = ledger.fixity.damaged()
    return _evaluation(
        NOTHING_DAMAGED,
        f"{len(found)} stored objects are damaged, the first one {found[0].uri}: {found[0].damage}"
        if found
        else "No stored object is known to be damaged",
        {
            "objects": len(found),
            "damaged": _table(
                ("image", "object", "found"), [(each.image_id, each.uri, str(each.damage)) for each in found]
            ),
        },
        passed=not found,
    )


def _evaluation(name: str, description: str, metadata: dict[str, Any], *, passed: bool) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=LEDGER.key,
        check_name=name,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN if name == NOTHING_STALLED else dg.AssetCheckSeverity.ERROR,
        description=description,
        metadata={
            key: dg.MetadataValue.int(value) if isinstance(value, int) else value for key, value in metadata.items()
        },
    )


def _result(evaluation: dg.AssetCheckEvaluation) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=evaluation.passed,
        severity=evaluation.severity,
        description=evaluation.description,
        metadata=evaluation.metadata,
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str | int]]) -> dg.TableMetadataValue:
    schema = dg.TableSchema([dg.TableColumn(name) for name in columns])
    records = [dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows[:_LISTED]]
    return dg.MetadataValue.table(records, schema=schema)
