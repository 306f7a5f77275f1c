"""What runs report to Dagster in batches is what Dagster would have stored by itself, and no failure loses any of it.

These tests say when Dagster changes: batches rest on private names of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from sqlalchemy import Engine, Pool, create_engine

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.storage import Storage
from dlcs_assets.defs import reporting, tags
from dlcs_assets.defs.sensors.reconcile import reconcile
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError, PermanentError
from dlcs_assets.domain.ingest_request import AssetFields, IngestMessage
from dlcs_assets.domain.stages import STAGES, Lane, Stage
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.inbox import IntakePolicy
from dlcs_assets.ledger.records import InboxMessage
from dlcs_assets.settings import Settings
from dlcs_testing import postgresql
from dlcs_testing.instances import dagster_storage, instance_with, pooled_storage, with_driver
from dlcs_testing.listening import noted
from dlcs_testing.processes import eventually
from dlcs_testing.reporting_job import CATALOG, MOMENTS, Reported, by_reporter, one_by_one, reports_of, run

NOW = datetime.now(UTC)
IMAGES = [f"2/1/{number:02}" for number in range(12)]
BAD = IMAGES[5]
SECONDS = 120
Reports = list[reporting.Report | reporting.FailureReport]
PAGE = "http://127.0.0.1:3001/image"


@pytest.fixture(autouse=True)
def _in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "300")


@pytest.fixture
def database(postgresql_server: postgresql.Server) -> str:
    return postgresql_server.new_database()


@pytest.fixture
def pooled(database: str, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_with(pooled_storage(database), tmp_path / "pooled") as instance:
        yield instance


def report(instance: dg.DagsterInstance, images: Sequence[str] = IMAGES) -> list[Reported]:
    """Report all outcomes of images in a run; return what the ledger is to have as reported."""
    marked: list[Reported] = []
    assert run(instance, images, by_reporter(reports_of(images), marked.extend)).success
    return marked


def unmarked(request_ids: Sequence[str]) -> None:
    raise AssertionError(f"no image has failed: {request_ids}")


def observations(instance: dg.DagsterInstance, stage: Stage) -> list[dg.AssetObservation]:
    """Return what was observed of an asset, in the order in which it was stored."""
    found = instance.fetch_observations(CATALOG.asset(stage), limit=1000, ascending=True).records
    return [made for each in found if (made := each.event_log_entry.asset_observation) is not None]


def stored(instance: dg.DagsterInstance, stage: Stage) -> list[dg.EventLogRecord]:
    """Return the records of an asset, in the order in which they were stored."""
    found = instance.fetch_materializations(CATALOG.asset(stage), limit=1000, ascending=True)
    return list(found.records)


def all_of_it(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """Return what Dagster has of a run, without times and ids."""
    keys = {
        record.storage_id: (record.asset_key, record.partition_key) for s in STAGES for record in stored(instance, s)
    }
    shown: dict[str, Any] = {"events": Counter(entry.dagster_event_type for entry in instance.all_logs(run_id))}
    for stage in STAGES:
        asset = CATALOG.asset(stage)
        status = get_and_update_asset_status_cache_value(
            instance, asset, CATALOG.partitions, dynamic_partitions_loader=instance
        )
        (row,) = instance.get_asset_records([asset])
        last = row.asset_entry.last_materialization_record
        assert status is not None
        assert last is not None
        shown[stage] = {
            "records": [_without_times(record, keys) for record in stored(instance, stage)],
            "materialised": status.deserialize_materialized_partition_subsets(CATALOG.partitions).get_partition_keys(),
            "failed": status.deserialize_failed_partition_subsets(CATALOG.partitions).get_partition_keys(),
            "last": _without_times(last, keys),
            "last of this run": row.asset_entry.last_run_id == run_id,
            "searched by": sorted(
                sorted(_tags(each, keys).items()) for each in instance.get_event_tags_for_asset(asset)
            ),
        }
    return shown


def _tags(found: Mapping[str, str], keys: dict[int, Any]) -> dict[str, str]:
    """Return tags, those that point at a record with its asset and partition."""
    return {
        name: str(keys[int(value)]) if name.startswith(tags.INPUT_EVENT_POINTER) else value
        for name, value in found.items()
    }


def _without_times(record: dg.EventLogRecord, keys: dict[int, Any]) -> dict[str, Any]:
    entry = record.event_log_entry
    made = record.asset_materialization
    assert made is not None
    logged = entry.get_dagster_event()
    return {
        "entry": (entry.level, entry.job_name, entry.step_key, entry.user_message.partition(" - ")[0]),
        "event": (
            logged.event_type_value,
            logged.message,
            logged.step_handle,
            logged.node_handle,
            logged.step_kind_value,
        ),
        "logged with": (logged.logging_tags or {}).keys(),
        "of": (made.asset_key, made.partition, made.description),
        "metadata": made.metadata,
        "tags": _tags(made.tags or {}, keys),
    }


def storage_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    if kind == "sqlite":
        return {"sqlite": {"base_dir": str(folder)}}
    server: postgresql.Server = request.getfixturevalue("postgresql_server")
    make = {"postgresql": dagster_storage, "pooled postgresql": pooled_storage}[kind]
    return make(server.new_database())


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "pooled postgresql"])
def test_dagster_has_the_same_as_of_events_one_by_one(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Events, tags, the assets' rows, the partitions' states, and what each was made from; no time, no id."""
    found = []
    marked: list[Reported] = []
    for name in ("alone", "batches"):
        with instance_with(storage_of(kind, request, tmp_path / name), tmp_path / name) as instance:
            work = one_by_one(reports_of(IMAGES)) if name == "alone" else by_reporter(reports_of(IMAGES), marked.extend)
            result = run(instance, IMAGES, work)
            assert result.success
            assert len(result.asset_materializations_for_node("ingest")) == 3 * len(IMAGES)
            found.append(all_of_it(instance, result.run_id))
    assert found[0] == found[1]
    assert len(found[0][Stage.JP2]["records"]) == len(IMAGES)
    assert "input_event_pointer" in str(found[0][Stage.THUMBNAILS]["last"]["tags"])


def test_more_images_are_no_more_statements(pooled: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor transactions and connections taken from the pool, up to the size of a batch."""
    monkeypatch.setattr(reporting, "LONGEST_WAIT_SECONDS", 60)

    def costs(images: Sequence[str]) -> tuple[int, int]:
        with noted(Engine, "before_cursor_execute") as statements, noted(Pool, "checkout") as taken:
            assert len(report(pooled, images)) == 3 * len(images)
        return len(statements), len(taken)

    costs(IMAGES)
    few, many = costs(IMAGES[:3]), costs([f"2/2/{number}" for number in range(reporting.MOST_EVENTS // 3)])
    assert many <= few


def failures_of(images: Sequence[str], error: IngestError) -> list[reporting.FailureReport]:
    ids = map(AssetId.parse, images)
    return [reporting.FailureReport(each, f"request-{each.asset}", error, {"page": PAGE}) for each in ids]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "pooled postgresql"])
def test_why_images_failed_is_on_their_partitions(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """On the stage in which they did, once each; nothing that comes from outside is more than text."""
    foreign = "![x](http://evil.example)\u202e"
    torn = PermanentError("torn", foreign, remedy="Send a whole one", stage=Stage.JP2)
    vague = PermanentError("odd", "It is odd", remedy="None")
    failed: list[str] = []
    with instance_with(storage_of(kind, request, tmp_path), tmp_path / "home") as instance:
        reports: Reports = [*reports_of(IMAGES[:3]), *failures_of(IMAGES[3:5], torn), *failures_of([BAD], vague)]
        assert run(instance, IMAGES[:6], by_reporter(reports, lambda _: None, failed.extend)).success
        assert failed == [f"request-{number:02}" for number in (3, 4, 5)]
        of_jp2 = observations(instance, Stage.JP2)
        assert [each.partition for each in of_jp2] == [f"@{image}" for image in IMAGES[3:5]]
        assert {name: value.value for name, value in of_jp2[0].metadata.items()} == {
            "image": IMAGES[3],
            "stage": "jp2",
            "reason": "![x](http://evil.example)\\u202e",
            "code": "torn",
            "what to do": "Send a whole one",
            "page": PAGE,
            "request": "request-03",
        }
        assert type(of_jp2[0].metadata["reason"]) is dg.TextMetadataValue
        assert of_jp2[0].description == "failed: torn"
        (of_original,) = observations(instance, Stage.ORIGINAL)
        assert (of_original.partition, of_original.metadata["stage"].value) == (f"@{BAD}", "none")
        assert observations(instance, Stage.THUMBNAILS) == []


def test_a_failure_that_is_refused_is_not_marked(pooled: dg.DagsterInstance, database: str) -> None:
    """The run's other reports are stored, and what is not marked `reconcile` reports."""
    refuse(database, "true", event="ASSET_OBSERVATION")
    torn = PermanentError("torn", "It is torn", remedy="Send a whole one", stage=Stage.JP2)
    marked: list[Reported] = []
    reports: Reports = [*failures_of(IMAGES[1:2], torn), *reports_of(IMAGES[:1])]
    assert run(pooled, IMAGES[:2], by_reporter(reports, marked.extend, unmarked)).success
    assert len(marked) == 3
    assert observations(pooled, Stage.JP2) == []


def refuse(database: str, condition: str, event: str = "ASSET_MATERIALIZATION") -> None:
    """Have PostgreSQL refuse the events of a kind of which this is true, and count those that it was given."""
    engine = create_engine(with_driver(database))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE SEQUENCE asked; CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM nextval('asked'); RAISE EXCEPTION 'no'; END $$; "
            "CREATE TRIGGER refuse BEFORE INSERT ON event_logs FOR EACH ROW "
            f"WHEN (NEW.dagster_event_type = '{event}' AND {condition}) EXECUTE FUNCTION refuse()"
        )
    engine.dispose()


def test_one_bad_event_costs_itself(pooled: dg.DagsterInstance, database: str) -> None:
    """The batch is refused, then the event alone; the others are stored once, and the run continues."""
    refuse(database, f"NEW.partition = '@{BAD}'")
    marked = report(pooled)
    good = [image for image in IMAGES if image != BAD]
    assert Counter(str(image) for image, _, _ in marked) == dict.fromkeys(good, 3)
    for stage in STAGES:
        assert sorted(str(each.partition_key) for each in stored(pooled, stage)) == [f"@{image}" for image in good]


def test_a_database_that_refuses_is_asked_a_few_times(pooled: dg.DagsterInstance, database: str) -> None:
    """The run continues, and the ledger has nothing as reported."""
    refuse(database, "true")
    assert report(pooled) == []
    engine = create_engine(with_driver(database))
    with engine.connect() as connection:
        asked = connection.exec_driver_sql("SELECT last_value FROM asked").scalar_one()
    engine.dispose()
    # For each asset: all together, the first again by Dagster, the first ones by us.
    assert asked == len(STAGES) * (2 + reporting.REFUSALS_IN_A_ROW)


def test_an_event_is_stored_with_its_tags_or_not_at_all(pooled: dg.DagsterInstance, database: str) -> None:
    """Without its tags an event does not say what it was made from, and no one would notice."""
    engine = create_engine(with_driver(database))
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE asset_event_tags ADD CHECK (false) NOT VALID")
    engine.dispose()
    assert report(pooled) == []
    assert [stored(pooled, stage) for stage in STAGES] == [[], [], []]


def test_an_outcome_waits_no_longer_than_a_second(tmp_path: Path) -> None:
    """Also if no other comes: its image is the last one for a while."""

    def work(context: dg.AssetExecutionContext) -> Iterator[dg.DagsterEvent]:
        with reporting.Reporter(context, CATALOG, marked.extend, unmarked) as reporter:
            reporter.add(reports_of(IMAGES)[0])
            assert eventually(lambda: bool(marked))
            (record,) = stored(context.instance, Stage.ORIGINAL)
            assert record.partition_key == f"@{IMAGES[0]}"
        yield from reporter.stored()

    marked: list[Reported] = []
    with instance_with({"sqlite": {"base_dir": str(tmp_path)}}, tmp_path) as instance:
        assert run(instance, IMAGES, work).success


def test_a_run_that_is_ended_reports_what_waits(tmp_path: Path) -> None:
    def work(context: dg.AssetExecutionContext) -> Iterator[dg.DagsterEvent]:
        with reporting.Reporter(context, CATALOG, marked.extend, unmarked) as reporter:
            for each in reports_of(IMAGES[:1]):
                reporter.add(each)
            yield from reporter.stored()
            raise dg.Failure("asked to end")

    marked: list[Reported] = []
    with instance_with({"sqlite": {"base_dir": str(tmp_path)}}, tmp_path) as instance:
        assert not run(instance, IMAGES, work).success
        # On a busy machine it may have ended before that.
        assert eventually(lambda: len(marked) == 3, seconds=SECONDS)
        assert [record.partition_key for record in stored(instance, Stage.THUMBNAILS)] == [f"@{IMAGES[0]}"]


@pytest.mark.parametrize("kind", ["sqlite", "pooled postgresql"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_what_a_killed_run_did_not_report_is_reported(
    moment: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Killed between the batches of two assets, and between the last one and the ledger: each outcome is there once."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    messages = [
        IngestMessage(
            AssetId.parse(image), None, None, AssetFields("https://example.org/a.jpg", None, None, None, None)
        )
        for image in IMAGES
    ]
    received = [InboxMessage(f"m{n}", "q", Lane.INGEST, "body", message) for n, message in enumerate(messages)]
    ledger.inbox.take_in(received, policy=IntakePolicy(lambda *_: None, timedelta(minutes=10)), now=NOW)
    home = tmp_path / "home"
    with instance_with(storage_of(kind, request, tmp_path / "home"), home) as instance:
        instance.add_dynamic_partitions(CATALOG.partitions_name, [f"@{image}" for image in IMAGES])
        command = [sys.executable, "-m", "dlcs_testing.reporting_job", f"sqlite:///{tmp_path / 'ledger.db'}", moment]
        killed = subprocess.run(command, env={**os.environ, "DAGSTER_HOME": str(home)}, timeout=SECONDS, check=False)
        assert killed.returncode == -9
        before = [len(stored(instance, stage)) for stage in STAGES]
        assert before == [len(IMAGES), len(IMAGES) * (moment != MOMENTS[0]), len(IMAGES) * (moment == MOMENTS[2])]
        (run_of_it,) = instance.get_runs()
        instance.report_run_failed(run_of_it)

        storage = Storage(s3=S3ClientFactory(), storage_bucket="none")
        done = reconcile(instance, ledger, storage, Settings(scratch=tmp_path / "scratch"))

        assert done.reported == 3 * len(IMAGES) - sum(before)
        assert ledger.health.unreported() == 0
        for stage in STAGES:
            assert Counter(each.partition_key for each in stored(instance, stage)) == {f"@{i}": 1 for i in IMAGES}
    ledger.close()
