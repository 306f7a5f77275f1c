"""Asset checks: how it is with all images together, as the ledger has it.

The sensor `watch` evaluates them, and so do runs that people launch. Those of the sensors do not: each evaluation is an
event that is kept.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import dagster as dg

from dlcs_assets.customers import customer_source
from dlcs_assets.defs import shown
from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger.health import SameReason
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.settings import Settings

NOTHING_STALLED: Final = "nothing_stalled"
NOTHING_DAMAGED: Final = "nothing_damaged"
NOTHING_REJECTED: Final = "nothing_rejected"
CONFIGURATION_IS_VALID: Final = "configuration_is_valid"
ORIGINAL_IS_INTACT: Final = "original_is_intact"
JP2_IS_VALID: Final = "jp2_is_valid"
THUMBNAILS_MATCH_SOURCE: Final = "thumbnails_match_source"
REPORTED_EVERY: Final = timedelta(minutes=15)  # while nothing changes: each evaluation is an event that is kept
REJECTED_WITHIN: Final = timedelta(days=1)
_LISTED: Final = 50
_WARNINGS: Final = frozenset({NOTHING_STALLED, NOTHING_REJECTED})  # nothing that is stored is wrong


@dataclass(frozen=True, slots=True)
class StageCheck:
    """A check on the results of a stage. Each result is examined before it is stored; one that does not pass fails.

    `codes` are the failures by which the stage says so.
    """

    stage: Stage
    name: str
    description: str
    codes: frozenset[str]


STAGE_CHECKS: Final = (
    StageCheck(
        Stage.ORIGINAL,
        ORIGINAL_IS_INTACT,
        "Every original is an image that can be decoded: none was empty, truncated or no image. Otherwise: which.",
        frozenset({"image_unreadable", "not_an_image", "origin_broke_off", "origin_empty"}),
    ),
    StageCheck(
        Stage.JP2,
        JP2_IS_VALID,
        "Every JP2 could be made, is whole, can be decoded and has the size of its original. Otherwise: which.",
        frozenset({"conversion_failed", "jp2_broken", "jp2_undecodable", "jp2_wrong_size"}),
    ),
    StageCheck(
        Stage.THUMBNAILS,
        THUMBNAILS_MATCH_SOURCE,
        "Every thumbnail has the size that was asked for and shows what its source shows. Otherwise: which.",
        frozenset({"thumbnail_of_another_picture", "thumbnail_unreadable", "thumbnail_wrong_size"}),
    ),
)


def ledger_checks(settings: Settings) -> Sequence[dg.AssetChecksDefinition]:
    """Return the checks on the ledger, for people who want to know at once; the sensor `watch` evaluates all checks."""
    ledger_asset = Catalog.of(settings).ledger

    @dg.asset_check(
        asset=ledger_asset,
        name=NOTHING_STALLED,
        description="No image is in progress for longer than DLCS_STALLED_AFTER. Otherwise: which, since when and why.",
    )
    def nothing_stalled(settings: dg.ResourceParam[Settings], ledger: dg.ResourceParam[Ledger]) -> dg.AssetCheckResult:
        return _result(stalled(ledger, settings))

    @dg.asset_check(
        asset=ledger_asset,
        name=NOTHING_DAMAGED,
        description="The fixity audit found no stored object missing or changed since it was stored. Otherwise: which.",
    )
    def nothing_damaged(settings: dg.ResourceParam[Settings], ledger: dg.ResourceParam[Ledger]) -> dg.AssetCheckResult:
        return _result(damaged(ledger, settings))

    @dg.asset_check(
        asset=ledger_asset,
        name=NOTHING_REJECTED,
        description="No message of the last day was rejected and still is. Otherwise: how many, and why.",
    )
    def nothing_rejected(settings: dg.ResourceParam[Settings], ledger: dg.ResourceParam[Ledger]) -> dg.AssetCheckResult:
        return _result(rejected(ledger, settings))

    @dg.asset_check(
        asset=ledger_asset,
        name=CONFIGURATION_IS_VALID,
        description="The customers file has no mistake. Otherwise: which, in which line, and what is in force.",
    )
    def configuration_is_valid(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
        return _result(configured(settings))

    return [nothing_stalled, nothing_damaged, nothing_rejected, configuration_is_valid]


def stage_check_specs(catalog: Catalog) -> list[dg.AssetCheckSpec]:
    """Return the checks on the results of the stages."""
    return [
        dg.AssetCheckSpec(check.name, asset=catalog.asset(check.stage), description=check.description)
        for check in STAGE_CHECKS
    ]


def stage_check_results(
    selected: Collection[dg.AssetCheckKey], ledger: Ledger, settings: Settings
) -> Iterator[dg.AssetCheckResult]:
    """Yield the results of those checks on stages that are selected."""
    catalog = Catalog.of(settings)
    for check in STAGE_CHECKS:
        if dg.AssetCheckKey(catalog.asset(check.stage), check.name) in selected:
            yield _result(examined(check, ledger, settings))


def evaluate(ledger: Ledger, settings: Settings) -> list[dg.AssetCheckEvaluation]:
    """Evaluate all checks."""
    return [
        stalled(ledger, settings),
        damaged(ledger, settings),
        rejected(ledger, settings),
        configured(settings),
        *(examined(check, ledger, settings) for check in STAGE_CHECKS),
    ]


def report(
    instance: dg.DagsterInstance, evaluations: Sequence[dg.AssetCheckEvaluation], known: Sequence[Any] | None
) -> Sequence[Any]:
    """Report to Dagster what it does not know yet.

    That is all of them if one says something else than last time, or they have not been reported for a while; otherwise
    those of assets that were materialised since: Dagster takes an older evaluation for none. `known` is what this
    returned last time, plain values; keep it.
    """
    now = datetime.now(UTC).timestamp()
    state, reported_all, looked = (*known, 0.0)[:3] if known else (None, 0.0, 0.0)
    failing = [each.check_name for each in evaluations if not each.passed]
    if failing != state or now >= reported_all + REPORTED_EVERY.total_seconds():
        due, reported_all = list(evaluations), now
    else:
        made = _materialized_since(instance, {each.asset_key for each in evaluations}, looked)
        due = [each for each in evaluations if each.asset_key in made]
    for each in due:
        instance.report_runless_asset_event(each)
    return failing, reported_all, now


def _materialized_since(instance: dg.DagsterInstance, keys: Collection[dg.AssetKey], moment: float) -> set[dg.AssetKey]:
    newest = {
        record.asset_entry.asset_key: record.asset_entry.last_materialization_record
        for record in instance.get_asset_records(list(keys))
    }
    return {key for key, record in newest.items() if record is not None and record.timestamp >= moment}


def examined(check: StageCheck, ledger: Ledger, settings: Settings) -> dg.AssetCheckEvaluation:
    """Return whether all results of a stage passed their examination, as far as images' newest requests say."""
    found = ledger.health.failed_for(check.codes)
    count = sum(each.count for each in found)
    return _evaluation(
        Catalog.of(settings).asset(check.stage),
        check.name,
        f"{count} images did not pass: {found[0].describe()}"
        if found
        else "All images passed that are registered today",
        {
            "images": count,
            "failed": _table_of_reasons("images", found),
        },
        passed=not found,
    )


def stalled(ledger: Ledger, settings: Settings) -> dg.AssetCheckEvaluation:
    """Return whether images are in progress for too long."""
    now = datetime.now(UTC)
    found = ledger.health.stalled(now - settings.stalled_after)
    return _evaluation(
        Catalog.of(settings).ledger,
        NOTHING_STALLED,
        f"{sum(each.count for each in found)} images are in progress for too long: {found[0].describe(now)}"
        if found
        else "No image is in progress for too long",
        {
            "images": sum(each.count for each in found),
            "oldest, seconds": round((now - found[0].since).total_seconds()) if found else 0,
            "stalled": shown.as_table(
                ("customer", "lane", "images", "since", "why", "for instance"),
                [
                    (each.customer, each.lane.value, each.count, each.since.isoformat(), each.why, each.example)
                    for each in found[:_LISTED]
                ],
            ),
        },
        passed=not found,
    )


def damaged(ledger: Ledger, settings: Settings) -> dg.AssetCheckEvaluation:
    """Return whether stored objects have changed, as far as the fixity audit has read them."""
    found = ledger.fixity.damaged()
    return _evaluation(
        Catalog.of(settings).ledger,
        NOTHING_DAMAGED,
        f"{len(found)} stored objects are damaged, the first one {found[0].uri}: {found[0].damage}"
        if found
        else "No stored object is known to be damaged",
        {
            "objects": len(found),
            "damaged": shown.as_table(
                ("image", "object", "found"), [(each.image_id, each.uri, str(each.damage)) for each in found[:_LISTED]]
            ),
        },
        passed=not found,
    )


def rejected(ledger: Ledger, settings: Settings) -> dg.AssetCheckEvaluation:
    """Return whether messages of the last day could not become requests. Those that were sent again do not count."""
    found = ledger.health.rejected(since=datetime.now(UTC) - REJECTED_WITHIN)
    count = sum(each.count for each in found)
    return _evaluation(
        Catalog.of(settings).ledger,
        NOTHING_REJECTED,
        f"Rejected messages of the last day: {count}. {found[0].describe()}. See: dlcs rejected"
        if found
        else "No message of the last day is rejected",
        {"messages": count, "rejected": _table_of_reasons("messages", found)},
        passed=not found,
    )


def configured(settings: Settings) -> dg.AssetCheckEvaluation:
    """Return whether the customers file is as it should be."""
    problem = customer_source(settings).problem()
    return _evaluation(
        Catalog.of(settings).ledger,
        CONFIGURATION_IS_VALID,
        problem or "The customers file has no mistake, or there is none",
        {"file": str(settings.customers_file), "problem": problem or "none"},
        passed=problem is None,
    )


def _evaluation(
    asset: dg.AssetKey, name: str, description: str, metadata: Mapping[str, Any], *, passed: bool
) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=asset,
        check_name=name,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN if name in _WARNINGS else dg.AssetCheckSeverity.ERROR,
        description=shown.as_description(description),
        metadata={
            key: dg.MetadataValue.int(value) if isinstance(value, int) else value for key, value in metadata.items()
        },
    )


def _result(evaluation: dg.AssetCheckEvaluation) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=evaluation.asset_key,
        check_name=evaluation.check_name,
        passed=evaluation.passed,
        severity=evaluation.severity,
        description=evaluation.description,
        metadata=evaluation.metadata,
    )


def _table_of_reasons(what: str, found: Sequence[SameReason]) -> dg.TableMetadataValue:
    rows = [(each.code, each.count, each.example, each.cause) for each in found[:_LISTED]]
    return shown.as_table(("code", what, "for instance", "reason"), rows)
