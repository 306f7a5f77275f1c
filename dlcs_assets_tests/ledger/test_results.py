from __future__ import annotations

from datetime import timedelta

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError, PermanentError, ServiceDownError, TransientError
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.stages import STAGES, Lane, Stage
from dlcs_assets.ledger.reports import Selection
from dlcs_assets.ledger.results import ClaimLostError
from dlcs_assets.ledger.transitions import Reason
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, SELECT_ALL, Desk, result
from dlcs_testing.one_write import commit_stage, end_image

NOT_FOUND = PermanentError("origin_not_found", "It is gone", remedy="Find it", stage=Stage.ORIGINAL)
TORN = PermanentError("torn", "It is torn", remedy="Send a whole one", stage=Stage.JP2)
BUSY = TransientError("origin_unavailable", "503", remedy="Wait", stage=Stage.ORIGINAL)


def test_an_image_in_progress_is_held_by_one_run(desk: Desk) -> None:
    desk.send("2/1/a")
    desk.claim("run-1")
    other = desk.ledger.claims.claim_images([AssetId(2, 1, "a")], [Stage.THUMBNAILS], "run-2", now=NOW)
    assert other.items == ()
    assert other.skipped == ((AssetId(2, 1, "a"), "run run-1 works on it"),)


def test_a_chunk_belongs_to_the_run_that_came_first(desk: Desk) -> None:
    desk.send("2/1/a")
    chunk = desk.reserve()
    assert chunk is not None
    assert desk.ledger.claims.claim_chunk(chunk.id, "run-1", now=NOW) is not None
    assert desk.ledger.claims.claim_chunk(chunk.id, "run-2", now=NOW) is None


def test_a_reserved_image_held_by_another_run_is_due_again(desk: Desk) -> None:
    """The run of the chunk skips it, and it must not stay reserved for a run that has ended."""
    desk.send("2/1/a")
    chunk = desk.reserve()
    assert chunk is not None
    manual = desk.ledger.claims.claim_images([AssetId(2, 1, "a")], [Stage.THUMBNAILS], "run-ui", now=NOW)
    assert len(manual.items) == 1
    claim = desk.ledger.claims.claim_chunk(chunk.id, "run-1", now=NOW)
    assert claim is not None
    assert claim.items == ()
    end_image(desk.ledger.results, manual, manual.items[0], None, schedule=SCHEDULE, now=NOW)
    assert len(desk.ledger.dispatch.due([Lane.RETRY], limit=10, now=NOW)) == 1


def test_an_image_that_is_not_registered_cannot_be_claimed(desk: Desk) -> None:
    claim = desk.ledger.claims.claim_images([AssetId(2, 1, "a")], [Stage.JP2], "run-1", now=NOW)
    assert claim.skipped == ((AssetId(2, 1, "a"), "it is not registered"),)


def test_the_objects_of_a_stage_replace_its_earlier_objects(desk: Desk) -> None:
    """Objects under the same key must not be listed twice, nor keep the version of before."""
    desk.send("2/1/a")
    claim = desk.claim()
    commit_stage(desk.ledger.results, claim, claim.items[0], result(Stage.JP2, "v1", key="2/1/a"), now=NOW)
    commit_stage(desk.ledger.results, claim, claim.items[0], result(Stage.JP2, "v2", key="2/1/a"), now=NOW)
    (status,) = desk.ledger.reports.images(SELECT_ALL)
    assert status.stages[Stage.JP2].data_version == "v2"
    assert [stored.key for stored in status.objects] == ["2/1/a"]


def test_a_run_that_resumes_a_request_knows_its_done_stages(desk: Desk) -> None:
    """What a killed run has finished is not made again, and the attempt counts."""
    desk.send("2/1/a")
    claim = desk.claim("run-1")
    commit_stage(desk.ledger.results, claim, claim.items[0], result(Stage.ORIGINAL), now=NOW)
    assert desk.ledger.claims.release_run("run-1", schedule=SCHEDULE, now=NOW) == 1
    again = desk.claim("run-2", Lane.RETRY)
    assert again.items[0].request_id == claim.items[0].request_id
    assert set(again.items[0].done) == {Stage.ORIGINAL}
    assert again.items[0].attempt == 2


def test_a_run_that_lost_its_claim_can_record_nothing(desk: Desk) -> None:
    """A stopped process that wakes up must not write over what its successor did."""
    desk.send("2/1/a")
    claim = desk.claim("run-1")
    desk.ledger.claims.release_run("run-1", schedule=SCHEDULE, now=NOW)
    desk.claim("run-2", Lane.RETRY)
    item = claim.items[0]
    assert desk.ledger.claims.held_under(claim.token) == set()
    with pytest.raises(ClaimLostError):
        commit_stage(desk.ledger.results, claim, item, result(Stage.JP2), now=NOW)
    with pytest.raises(ClaimLostError):
        end_image(desk.ledger.results, claim, item, None, schedule=SCHEDULE, now=NOW)
    assert desk.ledger.claims.heartbeat(claim.token, now=NOW) == 0
    assert desk.state("2/1/a") == "running"


def test_a_permanent_failure_is_final_and_has_cause_and_remedy(desk: Desk) -> None:
    """It must not be retried, and dlcs status shows all that an operator needs."""
    desk.send("2/1/a")
    claim = desk.claim()
    state = end_image(desk.ledger.results, claim, claim.items[0], NOT_FOUND, schedule=SCHEDULE, now=NOW)
    assert state is RequestState.FAILED
    (status,) = desk.ledger.reports.images(SELECT_ALL)
    assert status.state == "failed"
    assert status.reason == "original: It is gone (origin_not_found). Find it"


def test_a_passing_failure_is_retried_until_no_attempts_are_left(desk: Desk) -> None:
    """The last attempt must end in failed, not in a request that stays pending."""
    desk.send("2/1/a")
    now, lane, states = NOW, Lane.INGEST, []
    for attempt in range(1, 4):
        claim = desk.claim(f"run-{attempt}", lane, now)
        states.append(end_image(desk.ledger.results, claim, claim.items[0], BUSY, schedule=SCHEDULE, now=now))
        now, lane = now + timedelta(hours=1), Lane.RETRY
    assert states == [RequestState.PENDING, RequestState.PENDING, RequestState.FAILED]


def test_a_service_that_is_down_costs_no_attempt(desk: Desk) -> None:
    desk.send("2/1/a")
    now, lane = NOW, Lane.INGEST
    down = ServiceDownError("appetiser_unavailable", "refused", remedy="Start it", stage=Stage.JP2)
    for attempt in range(10):
        claim = desk.claim(f"run-{attempt}", lane, now)
        state = end_image(desk.ledger.results, claim, claim.items[0], down, schedule=SCHEDULE, now=now)
        assert state is RequestState.PENDING
        now, lane = now + timedelta(hours=1), Lane.RETRY
    (status,) = desk.ledger.reports.images(SELECT_ALL)
    assert (status.attempts, status.error_code) == (0, "appetiser_unavailable")


@pytest.mark.parametrize("terminated", [False, True])
def test_a_killed_run_shows_nothing_of_an_earlier_failure(desk: Desk, terminated: bool) -> None:
    """The stage at which an earlier attempt failed says nothing about a run that was killed, or terminated by hand."""
    desk.send("2/1/a")
    claim = desk.claim("run-1")
    end_image(desk.ledger.results, claim, claim.items[0], BUSY, schedule=SCHEDULE, now=NOW)
    later = NOW + timedelta(hours=1)
    again = desk.claim("run-2", Lane.RETRY, later)
    desk.ledger.claims.release(again.token, "run-2", schedule=SCHEDULE, now=later, terminated=terminated)
    (status,) = desk.ledger.reports.images(SELECT_ALL)
    assert (status.error_code, status.error_stage) == ("cancelled" if terminated else "run_lost", None)


def test_an_image_that_kills_each_run_fails_after_all_attempts(desk: Desk) -> None:
    """Attempts of lost runs count too: an image that crashes its process must not be retried indefinitely."""
    desk.send("2/1/a")
    lane = Lane.INGEST
    for attempt in range(SCHEDULE.attempts):
        desk.claim(f"run-{attempt}", lane)
        desk.ledger.claims.release_run(f"run-{attempt}", schedule=SCHEDULE, now=NOW)
        lane = Lane.RETRY
    (status,) = desk.ledger.reports.images(SELECT_ALL)
    assert (status.state, status.error_code) == ("failed", "run_lost")


def test_outcomes_are_unreported_until_dagster_has_them(desk: Desk) -> None:
    desk.send("2/1/a")
    claim = desk.claim()
    item = claim.items[0]
    commit_stage(desk.ledger.results, claim, item, result(Stage.ORIGINAL), now=NOW)
    commit_stage(desk.ledger.results, claim, item, result(Stage.JP2), now=NOW)
    assert desk.ledger.results.unreported(limit=10) == []  # the run that holds the image will report them itself
    end_image(desk.ledger.results, claim, item, None, schedule=SCHEDULE, now=NOW)
    desk.ledger.results.mark_reported([(item.asset_id, Stage.ORIGINAL, item.request_id)])
    ((asset_id, request_id, run_id, missing),) = desk.ledger.results.unreported(limit=10)
    assert (str(asset_id), request_id, run_id, missing.stage) == ("2/1/a", item.request_id, "run-1", Stage.JP2)


def test_active_runs_are_those_with_claims_or_open_chunks(desk: Desk) -> None:
    desk.send("2/1/a")
    claim = desk.claim("run-1")
    later = NOW + timedelta(seconds=30)
    desk.ledger.claims.heartbeat(claim.token, now=later)
    assert desk.ledger.claims.active_runs() == {"run-1": later}
    desk.ledger.claims.release_run("run-1", schedule=SCHEDULE, now=later)
    assert desk.ledger.claims.active_runs() == {}


def test_failed_images_can_be_retried_by_their_code(desk: Desk) -> None:
    for name in ("a", "b"):
        desk.send(f"2/1/{name}", batch=5)
    claim = desk.claim()
    end_image(desk.ledger.results, claim, claim.items[0], NOT_FOUND, schedule=SCHEDULE, now=NOW)
    end_image(desk.ledger.results, claim, claim.items[1], None, schedule=SCHEDULE, now=NOW)
    assert desk.ledger.reports.retry(Selection(code="something_else"), now=NOW) == []
    assert desk.ledger.reports.retry(Selection(code="origin_not_found"), now=NOW) == ["2/1/a"]
    assert desk.ledger.reports.counts(Selection(batch=5)) == {
        "pending": 1, "running": 0, "done": 1, "cancelled": 0, "failed": 0, "rejected": 0, "deleted": 0,
    }  # fmt: skip


def test_a_batch_counts_the_request_that_took_its_image_over(desk: Desk) -> None:
    desk.send("2/1/a", batch=5)
    desk.send("2/1/a")
    claim = desk.claim()
    assert desk.ledger.reports.counts(Selection(batch=5))["running"] == 1
    end_image(desk.ledger.results, claim, claim.items[0], None, schedule=SCHEDULE, now=NOW)
    assert desk.ledger.reports.counts(Selection(batch=5))["done"] == 1


def test_images_of_a_terminated_run_are_cancelled(desk: Desk) -> None:
    """Images that the run had finished stay done, and what a person cancelled is not retried by itself."""
    for name in ("a", "b"):
        desk.send(f"2/1/{name}")
    claim = desk.claim("run-1")
    end_image(desk.ledger.results, claim, claim.items[0], None, schedule=SCHEDULE, now=NOW)
    desk.ledger.claims.release(claim.token, "run-1", schedule=SCHEDULE, now=NOW, terminated=True)
    done, cancelled = desk.ledger.reports.images(SELECT_ALL)
    assert (done.state, cancelled.state, cancelled.error_code) == ("done", "cancelled", "cancelled")
    assert desk.ledger.dispatch.due([Lane.RETRY], limit=10, now=NOW) == []


def ingest(desk: Desk, error: IngestError | None = None) -> None:
    """Bring 2/1/a to its end for the first time."""
    desk.send("2/1/a")
    claim = desk.claim("first")
    end_image(desk.ledger.results, claim, claim.items[0], error, schedule=SCHEDULE, now=NOW)
    desk.ledger.claims.release_run("first", schedule=SCHEDULE, now=NOW)


def cancel(desk: Desk, lane: Lane) -> None:
    claim = desk.claim("cancelled", lane)
    desk.ledger.claims.release(claim.token, "cancelled", schedule=SCHEDULE, now=NOW, terminated=True)


@pytest.mark.parametrize(("error", "state", "code"), [(None, "done", None), (NOT_FOUND, "failed", "origin_not_found")])
def test_what_is_cancelled_leaves_the_image_as_it_was(
    desk: Desk, error: IngestError | None, state: str, code: str | None
) -> None:
    ingest(desk, error)
    desk.ledger.reports.retry(Selection(ids=("2/1/a",)), now=NOW)
    cancel(desk, Lane.RETRY)
    (status,) = desk.ledger.reports.images(SELECT_ALL)
    assert (status.state, status.error_code) == (state, code)
    last = desk.ledger.reports.last_cancelled("2/1/a")
    assert last is not None
    assert "Run cancelled was terminated by hand" in last.cause


def test_a_run_that_was_cancelled_before_it_began_is_withdrawn(desk: Desk) -> None:
    """A person cancels a run in Dagster's queue: its images would otherwise be due again at once."""
    desk.send("2/1/a")
    chunk = desk.reserve()
    assert chunk is not None
    desk.ledger.dispatch.mark_launched(chunk.id, "queued")
    desk.ledger.claims.release_run("queued", schedule=SCHEDULE, now=NOW, terminated=True)
    (status,) = desk.ledger.reports.images(SELECT_ALL)
    assert status.state == "cancelled"
    assert desk.ledger.dispatch.due(list(Lane), limit=10, now=NOW) == []


def test_what_was_cancelled_is_taken_up_again_by_its_code(desk: Desk) -> None:
    """The same stages, also of an image that is done; and no longer once something else was asked for."""
    ingest(desk)
    backfill = desk.ledger.backfills.begin({"customer": 2}, asked_by="a test", now=NOW)
    desk.ledger.backfills.request(backfill, [(AssetId(2, 1, "a"), frozenset({Stage.THUMBNAILS}))], now=NOW)
    cancel(desk, Lane.BACKFILL)
    assert desk.ledger.reports.retry(Selection(code="cancelled"), now=NOW) == ["2/1/a"]
    (due,) = desk.ledger.dispatch.due([Lane.RETRY], limit=10, now=NOW)
    assert due.stages == {Stage.THUMBNAILS}
    assert desk.ledger.reports.retry(Selection(code="cancelled"), now=NOW) == []
    assert desk.ledger.reports.last_cancelled("2/1/a") is None


def test_an_image_registered_after_its_deletion_was_never_done(desk: Desk) -> None:
    """What was before the deletion is gone: a cancelled ingest does not bring it back."""
    ingest(desk)
    later = NOW + timedelta(hours=1)
    desk.ledger.deletions.request([AssetDeleted(AssetId(2, 1, "a"), later, None, frozenset(), ())], now=later)
    desk.send("2/1/a", created=later + timedelta(minutes=1), now=later)
    claim = desk.claim("cancelled", now=later)
    desk.ledger.claims.release(claim.token, "cancelled", schedule=SCHEDULE, now=later, terminated=True)
    (status,) = desk.ledger.reports.images(SELECT_ALL)
    assert status.state == "cancelled"


def test_a_batch_ends_with_its_cancelled_images(desk: Desk) -> None:
    for name in ("a", "b"):
        desk.send(f"2/1/{name}", batch=5)
    claim = desk.claim("run-1")
    end_image(desk.ledger.results, claim, claim.items[0], None, schedule=SCHEDULE, now=NOW)
    desk.ledger.claims.release(claim.token, "run-1", schedule=SCHEDULE, now=NOW, terminated=True)
    desk.ledger.batches.close(5, 2, now=NOW)
    (batch,) = desk.ledger.batches.finish_due(now=NOW)
    assert (batch.tally.done, batch.tally.cancelled, batch.tally.errors, batch.has_ended) == (1, 1, 1, True)
    assert str(batch.tally) == "2 listed = 1 done + 0 failed + 0 rejected + 1 cancelled + 0 pending"
    ((problem),) = desk.ledger.batches.images(5, 2, failures_only=True)
    assert problem.state == "cancelled"


@pytest.mark.parametrize(("stays", "state"), [(True, "done"), (False, "failed")])
def test_an_image_that_is_not_renewed_stays_done(desk: Desk, stays: bool, state: str) -> None:
    """It has the reason as a warning, its results are reported to Dagster again, and its batch has it as done."""
    desk.send("2/1/a", batch=5)
    claim = desk.claim("first")
    item = claim.items[0]
    commit_stage(desk.ledger.results, claim, item, result(Stage.JP2), now=NOW)
    end_image(desk.ledger.results, claim, item, None, schedule=SCHEDULE, now=NOW)
    desk.ledger.results.mark_reported([(item.asset_id, Stage.JP2, item.request_id)])
    desk.ledger.reports.retry(Selection(ids=("2/1/a",)), now=NOW)
    claim = desk.claim("second", Lane.RETRY)
    assert claim.items[0].renews_done
    end_image(desk.ledger.results, claim, claim.items[0], NOT_FOUND, schedule=SCHEDULE, now=NOW, stays=stays)
    (status,) = desk.ledger.reports.images(SELECT_ALL)
    assert (status.state, status.error_code) == (state, "origin_not_found")
    assert len(desk.ledger.results.unreported(limit=10)) == (1 if stays else 0)
    assert desk.ledger.batches.find(5)[0].tally.done == (1 if stays else 0)
    assert desk.ledger.reports.retry(Selection(code="origin_not_found"), now=NOW) == ["2/1/a"]


def test_a_message_or_a_damaged_object_renews_nothing(desk: Desk) -> None:
    """The DLCS waits for what its message says, and what is damaged is not right any more."""
    desk.store("2/1/a")
    desk.send("2/1/a")
    claim = desk.claim("by-message")
    assert not claim.items[0].renews_done
    end_image(desk.ledger.results, claim, claim.items[0], None, schedule=SCHEDULE, now=NOW)
    desk.ledger.claims.release_run("by-message", schedule=SCHEDULE, now=NOW)
    (deposit,) = desk.ledger.fixity.next(10)
    assert desk.ledger.fixity.record(deposit, "its checksum differs", now=NOW)
    claim = desk.ledger.claims.claim_images([AssetId(2, 1, "a")], STAGES, "by-hand", now=NOW)
    assert not claim.items[0].renews_done


def test_failures_are_unreported_until_dagster_has_them(desk: Desk) -> None:
    """With the run that may have them to report yet; of a deletion no partition is to say anything."""
    for image in ("2/1/a", "2/1/b"):
        desk.send(image)
    claim = desk.claim("run-1")
    end_image(desk.ledger.results, claim, claim.items[0], TORN, schedule=SCHEDULE, now=NOW)
    end_image(desk.ledger.results, claim, claim.items[1], None, schedule=SCHEDULE, now=NOW)
    (failure,) = desk.ledger.results.unreported_failures(limit=10)
    assert (str(failure.asset_id), failure.run_id, failure.stands) == ("2/1/a", "run-1", True)
    assert failure.reason == Reason("torn", "It is torn", "Send a whole one", Stage.JP2)
    assert failure.stages == frozenset(STAGES)
    desk.ledger.results.mark_failures_reported([failure.request_id])
    assert desk.ledger.results.unreported_failures(limit=10) == []


def test_a_failure_that_was_overtaken_does_not_stand(desk: Desk) -> None:
    """Something else was asked for since, or the image is gone: its partition is not to show the failure."""
    for image in ("2/1/a", "2/1/b"):
        desk.send(image)
    claim = desk.claim("run-1")
    for item in claim.items:
        end_image(desk.ledger.results, claim, item, TORN, schedule=SCHEDULE, now=NOW)
    desk.send("2/1/a")
    desk.ledger.deletions.request([AssetDeleted(AssetId(2, 1, "b"), None, None, frozenset(), ())], now=NOW)
    assert [each.stands for each in desk.ledger.results.unreported_failures(limit=10)] == [False, False]
