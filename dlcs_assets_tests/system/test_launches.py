"""Runs that fail before they begin: their images lose no attempt, and dispatch pauses for growing times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from dlcs_assets.defs import tags
from dlcs_assets.defs.jobs.ingest import INGEST_JOB
from dlcs_testing.harness import RUN_KEY_TAG, System, full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.queued_job import remote_origin

PAGE = "2/1/page"
LANES = {"ingest": "sqs_ingest", "retry": "due_images"}  # the sensors that launch what is due in them
REASON = "ECS: Task failed. Failure reason: RESOURCE:MEMORY"


def send_pages(system: System, spaces: int = 1) -> list[str]:
    """Send an image for each space: each is a chunk of its own."""
    images = [f"2/{space}/page" for space in range(1, spaces + 1)]
    origin = system.serve("page.jpg", jpeg(120, 90))
    system.send(*(full_message(image, origin, "iiif-img:default") for image in images))
    return images


def requested(system: System, sensor: str) -> list[dg.RunRequest]:
    result = system.evaluate(sensor)
    return list(result.run_requests or ()) if isinstance(result, dg.SensorResult) else []


def launch(system: System, request: dg.RunRequest) -> dg.DagsterRun:
    """Make the run of a request, as the daemon does, up to its place in the queue."""
    job = system.definitions.resolve_job_def(INGEST_JOB)
    run_tags = {**request.tags, RUN_KEY_TAG: str(request.run_key)}
    run = system.instance.create_run_for_job(
        job, tags=run_tags, status=dg.DagsterRunStatus.NOT_STARTED, remote_job_origin=remote_origin(job.name)
    )
    system.instance.report_dagster_event(dg.DagsterEvent.job_enqueue(run), run_id=run.run_id)
    system.evaluate(LANES[request.tags[tags.LANE]])  # a moment later: the ledger knows that there is a run
    return run


def cannot_start(system: System, run: dg.DagsterRun, reason: str = REASON) -> None:
    """Have a run wait in the queue, as a launcher leaves it that could not start it."""
    system.instance.add_run_tags(run.run_id, {tags.WAITS_FOR: reason})


def fails(system: System, run: dg.DagsterRun) -> None:
    system.instance.report_run_failed(run)


def pause(system: System) -> timedelta:
    found = system.ledger.launches.held_up()
    assert found is not None
    assert found.paused_until is not None
    return found.paused_until - datetime.now(UTC)


def end_pause(system: System) -> None:
    system.execute("UPDATE launches SET paused_until = ?", "2026-01-01 00:00:00.000000")


def test_a_run_that_fails_before_it_begins_costs_no_attempt(system: System) -> None:
    """Nothing is launched at once in its place, and the sensors that would launch something say why."""
    (image,) = send_pages(system)
    (request,) = requested(system, "sqs_ingest")
    run = launch(system, request)
    cannot_start(system, run)
    fails(system, run)
    assert REASON in system.skip_reason("reconcile")
    status = system.status(image)
    assert (status.state, status.attempts) == ("pending", 0)
    for sensor in ("due_images", "asset_modified"):
        said = system.skip_reason(sensor)
        assert f"1 failed in a row, the last one is {run.run_id}" in said
        assert REASON in said


def test_pauses_grow_while_runs_fail_and_end_with_one(system: System) -> None:
    """After a pause one run is tried, however many images are due; once one begins, all are launched."""
    images = send_pages(system, spaces=3)
    pauses = []
    for number in range(8):
        tried = requested(system, "due_images" if number else "sqs_ingest")
        assert len(tried) == (3 if number == 0 else 1)
        runs = [launch(system, each) for each in tried]
        assert not requested(system, "due_images"), "one is tried at a time"
        for run in runs:
            cannot_start(system, run)
            fails(system, run)
        system.tick("reconcile")
        pauses.append(round(pause(system).total_seconds() / 15))
        end_pause(system)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    system.settle()
    assert system.ledger.launches.held_up() is None
    assert [(system.status(image).state, system.status(image).attempts) for image in images] == [("done", 1)] * 3


def test_runs_that_wait_in_the_queue_are_reported(system: System) -> None:
    send_pages(system)
    (request,) = requested(system, "sqs_ingest")
    run = launch(system, request)
    cannot_start(system, run)
    assert f"and wait in Dagster's queue (run {run.run_id}): {REASON}" in system.skip_reason("reconcile")
    assert system.ledger.launches.permission(datetime.now(UTC)).reason == ""
    system.instance.report_run_canceled(run)
    assert "wait" not in system.skip_reason("reconcile")
    assert system.ledger.launches.held_up() is None


def test_a_run_that_was_cancelled_in_the_queue_pauses_nothing(system: System) -> None:
    send_pages(system)
    (request,) = requested(system, "sqs_ingest")
    system.instance.report_run_canceled(launch(system, request))
    system.tick("reconcile")
    assert system.ledger.launches.held_up() is None


def test_a_run_that_fails_after_it_began_pauses_nothing(system: System) -> None:
    send_pages(system)
    (request,) = requested(system, "sqs_ingest")
    run_id = system.begin(request)
    system.evaluate("sqs_ingest")
    system.end_dead(run_id)
    system.tick("reconcile")
    assert system.ledger.launches.held_up() is None


def test_the_reason_of_a_launcher_of_dagsters_own_is_in_its_log(system: System) -> None:
    """No tag says why: what the daemon wrote does."""
    send_pages(system)
    (request,) = requested(system, "sqs_ingest")
    run = launch(system, request)
    system.instance.report_run_failed(run, "Run timed out due to taking longer than 600 seconds to start.")
    assert "taking longer than 600 seconds to start" in system.skip_reason("reconcile")


def test_a_silent_run_of_another_job_is_ended(system: System) -> None:
    """Its machine is gone: no run monitoring can see its process, and no image says that it is lost."""
    job = system.definitions.resolve_job_def("maintenance")
    run = system.instance.create_run_for_job(job, status=dg.DagsterRunStatus.NOT_STARTED)
    event = dg.DagsterEvent(dg.DagsterEventType.PIPELINE_START.value, job.name)
    system.instance.report_dagster_event(event, run_id=run.run_id)
    system.ledger.workers.enter(run.run_id, ttl=system.settings.claim_ttl, now=datetime.now(UTC))
    assert system.skip_reason("reconcile") == "All is well"
    system.ledger.workers.beat(run.run_id, now=datetime.now(UTC) - 2 * system.settings.claim_ttl)
    assert system.skip_reason("reconcile") == "1 lost runs ended, 0 images due again"
    ended = system.instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.is_failure
