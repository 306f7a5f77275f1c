"""The checks on the ledger: what they tell, when they are evaluated, and by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import dagster as dg
import pytest

from dlcs_assets.defs import checks
from dlcs_testing.harness import System, full_message
from dlcs_testing.pictures import jpeg

PAGE = "2/1/page"


@pytest.fixture
def system(make_system: Callable[..., System]) -> System:
    return make_system(stalled_after=timedelta(0))


def evaluations(system: System, check: str) -> list[dg.AssetCheckEvaluation]:
    """Return those that Dagster has, the newest first."""
    key = dg.AssetCheckKey(dg.AssetKey("ledger"), check)
    records = system.instance.event_log_storage.get_asset_check_execution_history(key, limit=99)
    found = [record.event.dagster_event for record in records if record.event]
    return [event.asset_check_evaluation_data for event in found if event]


def test_a_quiet_installation_passes_and_dagster_has_it_from_the_sensor(system: System) -> None:
    system.tick("watch")
    for check in (checks.NOTHING_STALLED, checks.NOTHING_DAMAGED):
        (evaluation,) = evaluations(system, check)
        assert evaluation.passed


def test_what_is_stalled_fails_the_check_and_says_which_since_when_and_why(system: System) -> None:
    system.tick("watch")
    system.send(full_message(PAGE, system.serve("page.jpg", jpeg(120, 90)), "file"))
    system.tick("sqs_ingest", run=False)
    system.tick("watch")

    newest, first = evaluations(system, checks.NOTHING_STALLED)

    assert first.passed
    assert not newest.passed
    assert newest.severity is dg.AssetCheckSeverity.WARN
    assert f"such as {PAGE}" in str(newest.description)
    table = newest.metadata["stalled"]
    assert isinstance(table, dg.TableMetadataValue)
    (row,) = table.records
    assert (row.data["customer"], row.data["why"]) == (2, "were given to a run that has not begun")


def test_while_nothing_changes_dagster_is_not_told_again(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        system.tick("watch")
    assert len(evaluations(system, checks.NOTHING_STALLED)) == 1
    monkeypatch.setattr(checks, "REPORTED_EVERY", timedelta(0))
    system.tick("watch")
    assert len(evaluations(system, checks.NOTHING_STALLED)) == 2


def test_damage_fails_the_check_until_the_image_is_made_again(system: System) -> None:
    system.ingest(PAGE, system.serve("page.jpg", jpeg(120, 90)), "iiif-img:use-original")
    (key,) = system.storage()
    system.s3.delete_object(Bucket=system.settings.storage_bucket, Key=key)
    system.execute_job("fixity_audit", "read_again", {})
    system.tick("watch")
    newest = evaluations(system, checks.NOTHING_DAMAGED)[0]
    assert not newest.passed
    assert newest.severity is dg.AssetCheckSeverity.ERROR
    assert f"{key}: missing" in str(newest.description)
    system.retry(PAGE)
    system.settle()
    system.tick("watch")
    assert evaluations(system, checks.NOTHING_DAMAGED)[0].passed


def test_a_person_can_make_a_check_by_hand(system: System) -> None:
    job = dg.define_asset_job("by_hand", selection=dg.AssetSelection.checks_for_assets("ledger"))
    definitions = dg.Definitions.merge(system.definitions, dg.Definitions(jobs=[job]))
    result = definitions.resolve_job_def("by_hand").execute_in_process(instance=system.instance)
    assert {each.check_name for each in result.get_asset_check_evaluations()} == {"nothing_stalled", "nothing_damaged"}


def test_no_run_that_makes_images_makes_the_checks(system: System) -> None:
    system.ingest(PAGE, system.serve("page.jpg", jpeg(120, 90)), "file")
    (run,) = [run for run in system.runs if run.job_name == "ingest"]
    assert "nothing_stalled" not in system.log_of(run)
