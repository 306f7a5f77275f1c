"""What the sensors do when all is well, and when something between them and the runs was lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from dlcs_assets.defs import tags
from dlcs_assets.defs.partitions import UNFINISHED_RUNS, WorkingSet
from dlcs_assets.defs.sensors import dispatch
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.stages import STAGES, Lane, Stage
from dlcs_assets.intake.messages import read_message, take_in
from dlcs_assets.ledger.inbox import IntakePolicy
from dlcs_assets.ledger.records import RetrySchedule
from dlcs_testing.harness import System, full_message, key_of
from dlcs_testing.pictures import jpeg

PAGES = [f"2/1/page-{number}" for number in range(4)]


@pytest.fixture
def page(system: System) -> str:
    return system.serve("page.jpg", jpeg(120, 90))


def run_requests(system: System, name: str) -> list[dg.RunRequest]:
    """Return what a sensor asks for; the daemon then does nothing of it, because it dies."""
    result = system.evaluate(name)
    return list(result.run_requests or []) if isinstance(result, dg.SensorResult) else []


def send_files(system: System, url: str, images: list[str]) -> None:
    system.send(*(full_message(image, url, "file") for image in images))


def test_a_tick_without_runs_says_what_became_of_the_messages(system: System) -> None:
    """It counts the received messages by their state."""
    system.send("not json", {"id": "2/1/unknown"}, {"Event": "s3:TestEvent"})
    reason = system.skip_reason("sqs_ingest")
    assert reason == "3 messages received (1 waiting, 1 rejected, 1 ignored); nothing is due"


def test_a_tick_with_runs_logs_its_messages_and_chunks(
    system: System, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dagster shows no text for such a tick, except in its log."""
    send_files(system, page, PAGES)
    (request,) = run_requests(system, "sqs_ingest")
    logged = capsys.readouterr().err
    assert f"4 messages received (4 accepted); 1 runs, for chunks {request.run_key}" in logged


def test_a_run_request_carries_chunk_range_and_who_it_is_for(system: System, page: str) -> None:
    system.send(*(full_message(image, page, "file", batch=12) for image in PAGES))
    (request,) = run_requests(system, "sqs_ingest")
    assert request.run_key == request.tags[tags.CHUNK]
    assert (request.tags[tags.RANGE_START], request.tags[tags.RANGE_END]) == (key_of(PAGES[0]), key_of(PAGES[-1]))
    names = ("customer", "space", "lane", "images", "batch")
    assert [request.tags[f"dlcs/{name}"] for name in names] == ["2", "1", "ingest", str(len(PAGES)), "12"]
    assert list(system.instance.get_dynamic_partitions(system.catalog.partitions_name)) == [
        key_of(image) for image in PAGES
    ]


def test_no_more_is_dispatched_than_chunks_may_be_in_flight(make_system: Callable[..., System]) -> None:
    system = make_system(chunk_size=2, chunks_in_flight=1)
    url = system.serve("page.jpg", jpeg(120, 90))
    send_files(system, url, PAGES)
    assert len(system.tick("sqs_ingest").runs) == 1
    assert sorted(system.states().values()) == ["done", "done", "pending", "pending"]
    (second,) = run_requests(system, "sqs_ingest")
    (again,) = run_requests(system, "sqs_ingest")
    assert again.run_key == second.run_key
    system.begin(again)
    assert "1 runs of this lane are in flight already (DLCS_CHUNKS_IN_FLIGHT)" in system.skip_reason("sqs_ingest")


def test_a_lane_that_is_full_does_not_hold_up_another(make_system: Callable[..., System]) -> None:
    system = make_system(chunks_in_flight=1)
    url = system.serve("page.jpg", jpeg(120, 90))
    send_files(system, url, PAGES[:1])
    (request,) = run_requests(system, "sqs_ingest")
    system.begin(request)
    system.send(full_message(PAGES[1], url, "file"), queue=system.settings.priority_queue_url)
    (run,) = system.tick("sqs_priority").runs
    assert run.is_success
    assert system.status(PAGES[1]).lane == Lane.PRIORITY


def test_a_lost_run_request_is_repeated_and_runs_once(system: System, page: str) -> None:
    """The second request has the same run key, tags and assets."""
    system.send(*(full_message(image, page, "file", batch=12) for image in PAGES))
    (lost,) = run_requests(system, "sqs_ingest")
    (again,) = run_requests(system, "sqs_ingest")
    assert (again.run_key, again.tags, again.asset_selection) == (lost.run_key, lost.tags, lost.asset_selection)
    (run,) = system.settle()
    assert run.tags[tags.CHUNK] == lost.run_key
    assert len(system.origin.asked) == len(PAGES)
    assert system.states() == dict.fromkeys(PAGES, "done")


def test_a_run_requested_by_one_sensor_is_requested_by_no_other(
    system: System, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster would launch both: it drops a second request for the same run only if it comes from the same sensor."""
    monkeypatch.setattr(dispatch, "LAUNCH_GRACE", timedelta(minutes=1))
    send_files(system, page, PAGES[:1])
    assert len(run_requests(system, "sqs_ingest")) == 1
    system.send(full_message(PAGES[1], page, "file"), queue=system.settings.uploads_queue_url)
    (request,) = run_requests(system, "s3_uploads")
    assert request.tags[tags.RANGE_START] == key_of(PAGES[1])


def test_a_dispatch_lost_before_its_keys_were_added_is_completed(system: System, page: str) -> None:
    """The ledger's row comes first; the sensor's process may die before Dagster has the keys, or has all of them."""
    send_files(system, page, PAGES)
    run_requests(system, "sqs_ingest")
    for image in PAGES[1:3]:
        system.instance.delete_dynamic_partition(system.catalog.partitions_name, key_of(image))
    (run,) = system.settle()
    assert run.is_success
    assert system.states() == dict.fromkeys(PAGES, "done")


def register_again(system: System, url: str, image: str) -> None:
    """Delete an image that a chunk has reserved, and register it once more."""
    deleted = AssetDeleted(AssetId.parse(image), datetime.now(UTC), None, frozenset(), ())
    system.ledger.deletions.request([deleted], now=datetime.now(UTC))
    later = datetime.now(UTC) + timedelta(seconds=1)
    system.send(full_message(image, url, "file") | {"created": later.isoformat()})


def test_an_image_registered_again_waits_for_its_lost_chunk(system: System, page: str) -> None:
    """Two chunks of one tick cannot have the same key: Dagster refused it, and no image of the lane moved any more."""
    send_files(system, page, PAGES)
    (lost,) = run_requests(system, "sqs_ingest")
    for image in PAGES:  # the process died before it added them
        system.instance.delete_dynamic_partition(system.catalog.partitions_name, key_of(image))
    register_again(system, page, PAGES[1])
    (again,) = run_requests(system, "sqs_ingest")
    assert again.run_key == lost.run_key
    assert all(run.is_success for run in system.settle())
    assert system.states() == dict.fromkeys(PAGES, "done")


def test_a_range_whose_run_is_not_known_yet_stays_whole(
    system: System, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first key is that of an image that is due again, and would move to the range of another chunk."""
    monkeypatch.setattr(dispatch, "LAUNCH_GRACE", timedelta(minutes=1))
    send_files(system, page, PAGES)
    run_requests(system, "sqs_ingest")
    register_again(system, page, PAGES[0])
    send_files(system, page, ["2/1/other"])
    (request,) = run_requests(system, "sqs_ingest")
    assert (request.tags[tags.RANGE_START], request.tags[tags.RANGE_END]) == (key_of("2/1/other"),) * 2
    assert WorkingSet.of(system.instance, system.catalog).is_range([key_of(image) for image in PAGES])


def test_chunks_that_share_an_image_run_one_after_another(system: System, page: str) -> None:
    """As ledgers may have them in which dispatch stood still, both with their runs lost."""
    send_files(system, page, PAGES)
    run_requests(system, "sqs_ingest")
    register_again(system, page, PAGES[1])
    take_in(system.queues, system.ledger, str(system.settings.ingest_queue_url), Lane.INGEST, system.settings)
    now = datetime.now(UTC)
    due = system.ledger.dispatch.due([Lane.INGEST], limit=10, now=now)
    system.ledger.dispatch.reserve(dispatch.plan_chunks(due, Lane.INGEST, 10), now)
    for image in PAGES:
        system.instance.delete_dynamic_partition(system.catalog.partitions_name, key_of(image))
    assert all(run.is_success for run in system.settle())
    assert system.states() == dict.fromkeys(PAGES, "done")


def test_images_of_a_run_that_died_are_due_again_and_done_once(system: System, page: str) -> None:
    """The sensor reconcile ends the run, and one other run makes the images."""
    send_files(system, page, PAGES)
    (request,) = run_requests(system, "sqs_ingest")
    dead = system.begin(request)
    claim = system.ledger.claims.claim_chunk(str(request.run_key), dead, now=datetime.now(UTC))
    assert claim is not None
    assert system.skip_reason("reconcile") == "All is well"
    system.end_dead(dead)
    assert system.skip_reason("reconcile") == "1 lost runs ended, 4 images due again"
    runs = system.settle()
    assert len(runs) == 1
    assert runs[0].is_success
    assert len(system.origin.asked) == len(PAGES)
    for stage in STAGES:
        assert system.partitions(stage) == dict.fromkeys(PAGES, "materialized")


def test_a_run_that_died_before_it_began_uses_up_no_attempt(system: System, page: str) -> None:
    send_files(system, page, PAGES[:1])
    (request,) = run_requests(system, "sqs_ingest")
    system.end_dead(system.begin(request))
    system.settle()
    assert (system.status(PAGES[0]).state, system.status(PAGES[0]).attempts) == ("done", 1)


def test_a_run_without_a_heartbeat_loses_its_images(make_system: Callable[..., System]) -> None:
    system = make_system(claim_ttl=timedelta(0))
    send_files(system, system.serve("page.jpg", jpeg(120, 90)), PAGES[:1])
    (request,) = run_requests(system, "sqs_ingest")
    stuck = system.begin(request)
    claim = system.ledger.claims.claim_chunk(str(request.run_key), stuck, now=datetime.now(UTC) - timedelta(hours=1))
    assert claim is not None
    assert system.skip_reason("reconcile") == "1 lost runs ended, 1 images due again"
    ended = system.instance.get_run_by_id(stuck)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE  # else its keys would stay in use, and its images undone
    system.use(claim_ttl=timedelta(minutes=2))
    (run,) = system.settle()
    assert run.is_success
    assert system.states() == {PAGES[0]: "done"}


def test_a_run_that_was_killed_after_its_last_image_is_ended(make_system: Callable[..., System]) -> None:
    """Its code server had died with it, so nothing reported its end: it kept its place in the queue, and its keys."""
    system = make_system()
    send_files(system, system.serve("page.jpg", jpeg(120, 90)), PAGES[:1])
    (request,) = run_requests(system, "sqs_ingest")
    stuck = system.begin(request)
    assert system.ledger.claims.claim_chunk(str(request.run_key), stuck, now=datetime.now(UTC)) is not None
    schedule = RetrySchedule(attempts=3, delay=timedelta(0))
    system.ledger.claims.release_run(stuck, schedule=schedule, now=datetime.now(UTC))
    assert system.skip_reason("reconcile") == "All is well"
    assert stuck in {run.run_id for run in system.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_RUNS))}
    system.use(claim_ttl=timedelta(0))
    assert system.skip_reason("reconcile") == "1 lost runs ended, 0 images due again"
    ended = system.instance.get_run_by_id(stuck)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE
    assert system.skip_reason("reconcile") == "All is well"


def test_outcomes_that_dagster_never_got_are_reported(system: System, page: str) -> None:
    """As after a run that died between the ledger's commit and the event."""
    send_files(system, page, PAGES[:1])
    system.settle()
    system.instance.wipe_assets([system.catalog.asset(stage) for stage in STAGES])
    system.forget_reports(PAGES[0])
    assert system.partition(PAGES[0]) == ("missing",) * 3
    assert system.skip_reason("reconcile") == "3 outcomes reported to Dagster"
    assert system.partition(PAGES[0]) == ("materialized",) * 3
    assert system.metadata(PAGES[0], Stage.ORIGINAL)["outcome"] == "kept"
    assert system.skip_reason("reconcile") == "All is well"


def test_an_outcome_that_dagster_has_is_not_reported_twice(system: System, page: str) -> None:
    send_files(system, page, PAGES[:1])
    system.settle()
    system.forget_reports(PAGES[0])
    assert system.skip_reason("reconcile") == "All is well"


def test_a_short_message_waits_for_its_registration(system: System, page: str) -> None:
    system.send({"id": "2/1/page"})
    assert "1 waiting" in system.skip_reason("sqs_ingest")
    assert system.status("2/1/page").state == "pending"
    system.ingest("2/1/page", page, "file")
    assert system.status("2/1/page").state == "done"
    assert len(system.origin.asked) == 1


def test_a_short_message_without_a_registration_is_rejected(make_system: Callable[..., System]) -> None:
    """It waits for one as long as the settings say."""
    system = make_system(registration_wait=timedelta(0))
    system.send({"id": "2/1/page"})
    system.tick("sqs_ingest")
    assert "1 messages rejected that waited for a registration" in system.skip_reason("reconcile")
    (kept,) = system.ledger.inbox.rejected()
    assert kept["code"] == "image_unknown"


def test_an_upload_to_the_portal_registers_and_ingests_an_image(system: System) -> None:
    origin = system.upload("2/1/uploaded", jpeg(120, 90))
    bucket = system.settings.origin_bucket
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "eventTime": "2026-11-22T10:00:00.000Z"}
    stored = {"bucket": {"name": bucket}, "object": {"key": "2/1/uploaded"}}
    system.send({"Records": [{**record, "s3": stored}]})
    system.settle()
    status = system.status("2/1/uploaded")
    assert status.state == "done"
    assert status.registration is not None
    assert status.registration.origin == origin
    assert status.stages[Stage.ORIGINAL].facts["plan"] == "3"
    assert set(system.storage()) == {"2/1/uploaded"}


def test_a_message_that_comes_twice_is_one_request(system: System, page: str) -> None:
    """SQS delivers at least once, and a message may be taken in and not deleted: it comes again with its id."""
    send_files(system, page, PAGES[:1])
    url = str(system.settings.ingest_queue_url)
    (message,) = system.queues.receive(url)
    system.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message.receipt_handle, VisibilityTimeout=0)
    entries = read_message(message, url, Lane.INGEST, system.settings)
    system.ledger.inbox.take_in(
        entries, policy=IntakePolicy(lambda *_: None, timedelta(0)), now=datetime.now(UTC)
    )  # and then the sensor died
    (request,) = run_requests(system, "sqs_ingest")
    assert request.tags[tags.RANGE_START] == request.tags[tags.RANGE_END] == key_of(PAGES[0])
    system.settle()
    assert len(system.origin.asked) == 1
    assert system.waiting_messages() == 0
