"""`dlcs doctor` on sensors: ticks as Dagster stores them, in an instance of the test's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    TickData,
    TickStatus,
)
from dagster._utils.error import serializable_error_info_from_exc_info

from dlcs_assets.cli.doctor_finding import Verdict
from dlcs_assets.cli.doctor_sensors import FAILED_IN_A_ROW, TICKED_WITHIN, check_sensors
from dlcs_assets.settings import Settings

Record = Callable[..., None]


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Record]:
    """Record ticks of a sensor, the newest one last."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:

        def store(
            sensor: str,
            *states: TickStatus,
            ago: timedelta = timedelta(0),
            status: InstigatorStatus = InstigatorStatus.DECLARED_IN_CODE,
        ) -> None:
            location = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name="here")
            origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "all"), sensor)
            instance.add_instigator_state(InstigatorState(origin, InstigatorType.SENSOR, status))
            for number, state in enumerate(states):
                instance.create_tick(
                    TickData(
                        instigator_origin_id=origin.get_id(),
                        instigator_name=sensor,
                        instigator_type=InstigatorType.SENSOR,
                        status=state,
                        timestamp=(datetime.now(UTC) - ago).timestamp() - len(states) + number,
                        selector_id=origin.get_selector().get_id(),
                        error=_error() if state is TickStatus.FAILURE else None,
                    )
                )

        yield store


def _fail() -> None:
    raise ValueError("UNIQUE failed, at https://user:s3cr3t@host/")


def _fail_by_that() -> None:
    try:
        _fail()
    except ValueError as error:
        raise RuntimeError("in the function of sensor") from error


def _error() -> Any:
    try:
        _fail_by_that()
    except RuntimeError:
        return serializable_error_info_from_exc_info(sys.exc_info())


def found() -> tuple[Verdict, str]:
    (finding,) = check_sensors(Settings())
    assert finding.check == "sensors"
    return finding.verdict, finding.found


def test_a_sensor_whose_ticks_only_fail_is_named(record: Record) -> None:
    """With the reason of the last one, and without the password in it."""
    record("well", *[TickStatus.SKIPPED] * 6)
    record("sqs_ingest", *[TickStatus.FAILURE] * FAILED_IN_A_ROW, TickStatus.STARTED)
    verdict, text = found()
    assert verdict is Verdict.FAIL
    assert f"the last {FAILED_IN_A_ROW} ticks failed of sqs_ingest; of sqs_ingest with: " in text
    assert "UNIQUE failed" in text
    assert "s3cr3t" not in text


def test_a_sensor_that_fails_now_and_then_is_well(record: Record) -> None:
    record("sqs_ingest", *[TickStatus.FAILURE] * 4, TickStatus.SKIPPED, *[TickStatus.FAILURE] * 4)
    assert found()[0] is Verdict.OK


def test_a_sensor_that_was_stopped_is_not_reported(record: Record) -> None:
    record("well", TickStatus.SKIPPED)
    record("backfills", *[TickStatus.FAILURE] * FAILED_IN_A_ROW, status=InstigatorStatus.STOPPED)
    assert found()[0] is Verdict.OK


def test_sensors_that_tick_no_more_are_reported(record: Record) -> None:
    record("sqs_ingest", TickStatus.SKIPPED, ago=TICKED_WITHIN + timedelta(minutes=1))
    verdict, text = found()
    assert verdict is Verdict.FAIL
    assert text.startswith("none has ticked since ")


@pytest.mark.usefixtures("record")
def test_an_instance_without_a_tick_is_well() -> None:
    assert found() == (Verdict.OK, "none has ticked yet")
