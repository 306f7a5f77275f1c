"""Originals that are in S3 for the image server only: whatever happens to S3 or the run, none stays there."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.results import ObjectKind, ObjectRecord
from dlcs_assets.domain.storage_keys import TRANSIENT_PREFIX
from dlcs_assets.ingest.cleanup import drop_left_transient
from dlcs_assets.ledger import results
from dlcs_assets.ledger.records import RetrySchedule
from dlcs_assets.ledger.results import Claim
from dlcs_testing.installation import full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline

PAGE = "2/1/page"
DELETION = f"<Key>{TRANSIENT_PREFIX}"  # in the body of a request to delete it
FORKED = multiprocessing.get_context("fork")
KILLED = 9


@pytest.fixture(autouse=True)
def through_the_proxy(pipeline: Pipeline) -> None:
    pipeline.use(s3_endpoint_url=pipeline.s3_proxy.url)


def message(pipeline: Pipeline) -> dict[str, object]:
    """Return a message whose original is stored for the thumbnails only."""
    return full_message(PAGE, pipeline.serve("page.jpg", jpeg(30, 20)), "thumbs:default", mediaType="image/jpeg")


def ingest_while_s3_keeps_it(pipeline: Pipeline) -> None:
    pipeline.s3_proxy.refusing[DELETION] = (403, "no")
    pipeline.send(message(pipeline))
    pipeline.settle()
    pipeline.s3_proxy.refusing.clear()


def claimed(pipeline: Pipeline) -> Claim:
    (chunk,) = pipeline.due()
    return pipeline.claim(chunk)


def die_at(call: str, pipeline: Pipeline, claim: Claim) -> None:
    """Work on the claim in a process of its own, which is gone at once when storage is called so."""

    def killed(*_: object, **__: object) -> None:
        os._exit(KILLED)

    def work() -> None:
        setattr(Storage, call, killed)
        pipeline.run(claim)

    pipeline.close()
    process = FORKED.Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == KILLED


def give_back(pipeline: Pipeline, claim: Claim, *, attempts: int = 5) -> None:
    """Release what a run held that was killed, as reconcile does."""
    schedule = RetrySchedule(attempts, timedelta(0))
    assert pipeline.ledger.claims.release_run(claim.run_id, schedule=schedule, now=datetime.now(UTC)) == 1


def drop_left(pipeline: Pipeline) -> int:
    deleted, problem = drop_left_transient(pipeline.services.storage, pipeline.ledger, limit=10)
    if problem:
        raise problem
    return deleted


def stored(pipeline: Pipeline) -> list[str]:
    return [*pipeline.storage(TRANSIENT_PREFIX)]


def recorded(pipeline: Pipeline) -> list[str]:
    return [each.key for each in pipeline.status(PAGE).objects if each.kind is ObjectKind.TRANSIENT]


def nothing_of_it(_: Pipeline) -> None:
    pass


def fail_for_good(pipeline: Pipeline) -> None:
    pipeline.image_server.refusing["/iiif/"] = (400, "no")


@pytest.mark.parametrize(("happens", "state"), [(nothing_of_it, "done"), (fail_for_good, "failed")])
def test_what_s3_keeps_is_recorded_and_deleted_later(
    pipeline: Pipeline, happens: Callable[[Pipeline], None], state: str
) -> None:
    """Its request has ended: no other attempt comes that would delete it."""
    happens(pipeline)
    ingest_while_s3_keeps_it(pipeline)
    assert pipeline.status(PAGE).state == state
    assert len(stored(pipeline)) == 1
    assert recorded(pipeline) == stored(pipeline)
    assert drop_left(pipeline) == 1
    assert (stored(pipeline), recorded(pipeline)) == ([], [])
    assert drop_left(pipeline) == 0


def test_what_a_check_of_the_services_left_is_deleted(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dlcs doctor` has no request: what it stores is deleted once it cannot be in use any more."""
    key = f"{TRANSIENT_PREFIX}control/doctor.jpg"
    pipeline.put(pipeline.settings.storage_bucket, key)
    record = ObjectRecord(pipeline.settings.storage_bucket, key, ObjectKind.TRANSIENT, 1, "a" * 64, "image/jpeg")
    pipeline.ledger.results.add_control(record)
    assert drop_left(pipeline) == 0
    monkeypatch.setattr(results, "CONTROL_LIFETIME", timedelta(seconds=-1))
    assert drop_left(pipeline) == 1
    assert stored(pipeline) == []


def test_what_s3_still_keeps_stays_recorded(pipeline: Pipeline) -> None:
    ingest_while_s3_keeps_it(pipeline)
    pipeline.s3_proxy.refusing[DELETION] = (403, "no")
    with pytest.raises(Exception, match="Deleting 1 objects"):
        drop_left(pipeline)
    assert recorded(pipeline) == stored(pipeline) != []


@pytest.mark.parametrize("call", ["put_file", "delete"])
def test_of_a_killed_run_the_next_attempt_deletes_it(pipeline: Pipeline, call: str) -> None:
    """Until then it is recorded, and no one else deletes what that attempt may read."""
    pipeline.send(message(pipeline))
    claim = claimed(pipeline)
    die_at(call, pipeline, claim)
    assert len(recorded(pipeline)) == 1
    assert drop_left(pipeline) == 0
    give_back(pipeline, claim)
    assert drop_left(pipeline) == 0
    pipeline.settle()
    assert pipeline.status(PAGE).state == "done"
    assert (stored(pipeline), recorded(pipeline)) == ([], [])


def test_of_a_run_killed_at_the_last_attempt_it_is_deleted(pipeline: Pipeline) -> None:
    pipeline.send(message(pipeline))
    claim = claimed(pipeline)
    die_at("delete", pipeline, claim)
    give_back(pipeline, claim, attempts=1)
    assert pipeline.status(PAGE).state == "failed"
    assert len(stored(pipeline)) == 1
    assert drop_left(pipeline) == 1
    assert (stored(pipeline), recorded(pipeline)) == ([], [])


def test_of_a_superseded_request_it_is_deleted(pipeline: Pipeline) -> None:
    """The newer request has an object of its own; its results do not take the place of the other one's record."""
    pipeline.send(message(pipeline))
    claim = claimed(pipeline)
    die_at("delete", pipeline, claim)
    give_back(pipeline, claim)
    pipeline.send(message(pipeline))
    pipeline.settle()
    assert pipeline.status(PAGE).state == "done"
    assert len(stored(pipeline)) == 1
    assert drop_left(pipeline) == 1
    assert (stored(pipeline), recorded(pipeline)) == ([], [])


def test_a_run_that_lost_its_image_deletes_nothing(pipeline: Pipeline) -> None:
    """The run that has the request now lets the image server read the object under the same key."""
    pipeline.send(message(pipeline))
    lost = claimed(pipeline)
    give_back(pipeline, lost)
    key = f"{TRANSIENT_PREFIX}{PAGE}/{claimed(pipeline).items[0].request_id}"
    pipeline.put(pipeline.settings.storage_bucket, key)
    (ended,) = pipeline.run(lost)
    assert ended.state is None
    assert stored(pipeline) == [key]
