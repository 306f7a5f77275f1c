"""The asset checks: what they say, when they are evaluated, and by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from dlcs_assets.defs import checks, tags
from dlcs_assets.domain.stages import Stage
from dlcs_testing.harness import System, full_message, key_of, without_dagsters_own_warning
from dlcs_testing.pictures import drawing, encoded, jpeg
from dlcs_testing.sample_tiff import unconvertible

PAGE = "2/1/page"


@pytest.fixture
def system(make_system: Callable[..., System]) -> System:
    return make_system(stalled_after=timedelta(0))


ON_THE_LEDGER = (
    checks.NOTHING_STALLED,
    checks.NOTHING_DAMAGED,
    checks.NOTHING_REJECTED,
    checks.CONFIGURATION_IS_VALID,
)


def evaluations(system: System, check: str, stage: Stage | None = None) -> list[dg.AssetCheckEvaluation]:
    """Return those that Dagster has, the newest first."""
    key = dg.AssetCheckKey(system.catalog.asset(stage) if stage else system.catalog.ledger, check)
    records = system.instance.event_log_storage.get_asset_check_execution_history(key, limit=99)
    found = [record.event.dagster_event for record in records if record.event]
    return [event.asset_check_evaluation_data for event in found if event]


def passed(system: System) -> dict[str, bool]:
    """Return the newest evaluation of each check on a stage, after a tick."""
    system.tick("watch")
    return {each.name: evaluations(system, each.name, each.stage)[0].passed for each in checks.STAGE_CHECKS}


def test_an_idle_installation_passes_the_checks_of_the_sensor(system: System) -> None:
    """The sensor reports the evaluations to Dagster; no run is needed."""
    system.tick("watch")
    for check in ON_THE_LEDGER:
        (evaluation,) = evaluations(system, check)
        assert evaluation.passed


def test_a_stalled_image_fails_the_check_and_is_named_with_why(system: System) -> None:
    """The table in the metadata has the customer and the reason."""
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


def test_while_nothing_changes_no_evaluation_is_reported_again(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        system.tick("watch")
    assert len(evaluations(system, checks.NOTHING_STALLED)) == 1
    monkeypatch.setattr(checks, "REPORTED_EVERY", timedelta(0))
    system.tick("watch")
    assert len(evaluations(system, checks.NOTHING_STALLED)) == 2


def test_a_check_is_reported_again_once_images_are_made(system: System) -> None:
    """Dagster takes an evaluation that is older than the asset's newest materialisation for none."""
    system.tick("watch")
    system.ingest(PAGE, system.serve("page.jpg", jpeg(120, 90)), "file")
    for _ in range(2):
        system.tick("watch")
    assert len(evaluations(system, checks.JP2_IS_VALID, Stage.JP2)) == 2
    assert len(evaluations(system, checks.NOTHING_DAMAGED)) == 1


def test_damage_fails_the_check_until_the_image_is_made_again(system: System) -> None:
    system.ingest(PAGE, system.serve("page.jpg", jpeg(120, 90)), "iiif-img:use-original")
    (key,) = system.storage()
    system.s3.delete_object(Bucket=system.settings.storage_bucket, Key=key)
    system.execute_job("fixity_audit", "verify_fixity", {})
    system.tick("watch")
    newest = evaluations(system, checks.NOTHING_DAMAGED)[0]
    assert not newest.passed
    assert newest.severity is dg.AssetCheckSeverity.ERROR
    assert f"{key}: missing" in str(newest.description)
    system.retry(PAGE)
    system.settle()
    system.tick("watch")
    assert evaluations(system, checks.NOTHING_DAMAGED)[0].passed


def test_a_rejected_message_fails_the_check_until_it_is_resent(system: System) -> None:
    """A warning: the sender has a mistake to correct, and nothing that is stored is wrong."""
    system.send("no message")
    system.tick("sqs_ingest")
    system.tick("watch")
    newest = evaluations(system, checks.NOTHING_REJECTED)[0]
    assert not newest.passed
    assert newest.severity is dg.AssetCheckSeverity.WARN
    assert "Rejected messages of the last day: 1. 1 with not_json, such as " in str(newest.description)
    table = newest.metadata["rejected"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [(row.data["code"], row.data["messages"]) for row in table.records] == [("not_json", 1)]
    system.ledger.inbox.mark_requeued([row["id"] for row in system.ledger.inbox.rejected()])
    system.tick("watch")
    assert evaluations(system, checks.NOTHING_REJECTED)[0].passed


@pytest.mark.parametrize(
    ("check", "code"),
    [
        (checks.ORIGINAL_IS_INTACT, "not_an_image"),
        (checks.JP2_IS_VALID, "conversion_failed"),
        (checks.THUMBNAILS_MATCH_SOURCE, "thumbnail_unreadable"),
    ],
)
def test_a_bad_result_fails_its_check_until_it_is_fixed(system: System, check: str, code: str) -> None:
    """Each stage examines its result before it is stored; the check says which images did not pass."""
    whole = encoded(drawing(120, 90), "JPEG")
    data = {"not_an_image": b"<html>gone</html>" * 9, "conversion_failed": unconvertible()}.get(code, whole)
    if code == "thumbnail_unreadable":
        system.image_server.refusing[f"{PAGE}/full/"] = (200, "no picture")
    assert all(passed(system).values())
    status = system.ingest(PAGE, system.serve("page.jpg", data), "iiif-img:default,thumbs:default")
    assert (status.state, status.error_code) == ("failed", code)

    assert [name for name, well in passed(system).items() if not well] == [check]
    (stage,) = [each.stage for each in checks.STAGE_CHECKS if each.name == check]
    newest = evaluations(system, check, stage)[0]
    assert newest.severity is dg.AssetCheckSeverity.ERROR
    assert f"1 with {code}, such as {PAGE}" in str(newest.description)
    table = newest.metadata["failed"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [(row.data["code"], row.data["for instance"]) for row in table.records] == [(code, PAGE)]

    system.serve("page.jpg", whole)
    system.image_server.refusing.clear()
    system.retry(PAGE)
    assert all(passed(system).values())


def test_a_run_launched_by_a_person_evaluates_the_checks(system: System) -> None:
    system.ingest(PAGE, system.serve("page.jpg", jpeg(120, 90)), "file")
    job = system.definitions.resolve_implicit_global_asset_job_def()
    jp2 = job.get_subset(asset_selection={system.catalog.asset(Stage.JP2)})
    with without_dagsters_own_warning():
        result = jp2.execute_in_process(instance=system.instance, tags={tags.PARTITION: key_of(PAGE)})
    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.check_name, evaluation.passed) == (checks.JP2_IS_VALID, True)
    assert result.asset_materializations_for_node("ingest_images")


def test_a_check_alone_is_evaluated_and_nothing_is_ingested(system: System) -> None:
    system.ingest(PAGE, system.serve("page.jpg", b"<html>gone</html>" * 9), "iiif-img:default")
    job = system.definitions.resolve_implicit_global_asset_job_def()
    key = dg.AssetCheckKey(system.catalog.asset(Stage.ORIGINAL), checks.ORIGINAL_IS_INTACT)
    with without_dagsters_own_warning():
        result = job.get_subset(asset_check_selection={key}).execute_in_process(instance=system.instance)
    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.check_name, evaluation.passed) == (checks.ORIGINAL_IS_INTACT, False)
    assert not result.asset_materializations_for_node("ingest_images")


def test_every_code_of_a_check_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/errors.md").read_text()
    assert [code for each in checks.STAGE_CHECKS for code in each.codes if f"`{code}`" not in text] == []


def test_a_check_can_be_run_by_hand(system: System) -> None:
    job = dg.define_asset_job("by_hand", selection=dg.AssetSelection.checks_for_assets(system.catalog.ledger))
    definitions = dg.Definitions.merge(system.definitions, dg.Definitions(jobs=[job]))
    result = definitions.resolve_job_def("by_hand").execute_in_process(instance=system.instance)
    assert {each.check_name for each in result.get_asset_check_evaluations()} == set(ON_THE_LEDGER)


def test_an_ingest_run_evaluates_no_checks(system: System) -> None:
    system.ingest(PAGE, system.serve("page.jpg", jpeg(120, 90)), "file")
    (run,) = [run for run in system.runs if run.job_name == "ingest"]
    log = system.log_of(run)
    assert [name for name in (*ON_THE_LEDGER, *(each.name for each in checks.STAGE_CHECKS)) if name in log] == []
