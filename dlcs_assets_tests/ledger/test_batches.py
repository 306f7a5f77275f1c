"""The numbers of batches, their end and its notification, on either database."""

from __future__ import annotations

import itertools
import json
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.batch import Batch, Tally
from dlcs_assets.domain.errors import IngestError, PermanentError, TransientError
from dlcs_assets.domain.ingest_request import AssetFields, BatchReference, IngestMessage, Named
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.batches import BATCH_COMPLETED, UnusableBatchError, notification_id
from dlcs_assets.ledger.outbox import Notification
from dlcs_assets.ledger.records import InboxMessage, Rejection
from dlcs_assets.ledger.reports import Selection
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, Desk
from dlcs_testing.listening import statements
from dlcs_testing.one_write import end_image

BROKEN = PermanentError("image_unreadable", "It is broken", remedy="Replace it")
REFUSED = Rejection("unknown_policy", "There is no such policy", "Correct it")
LATER = NOW + timedelta(minutes=5)
numbers = itertools.count()


def send(desk: Desk, image: str, batch: int, count: int | None = None, lane: Lane = Lane.INGEST) -> None:
    fields = AssetFields("https://example.org/page.jpg")
    message = IngestMessage(AssetId.parse(image), None, BatchReference(batch, count), fields)
    desk.take_in([InboxMessage(f"batch-message-{next(numbers)}", "q", lane, "body", message)])


def reject(desk: Desk, batch: int, image: str | None = None, customer: int | None = 2) -> str:
    """Take in a message that cannot be parsed, but for its batch, and perhaps its customer or its image."""
    asset_id = AssetId.parse(image) if image else None
    named = Named(asset_id, asset_id.customer if asset_id else customer, BatchReference(batch))
    entry = InboxMessage(f"bad-{next(numbers)}", "q", Lane.INGEST, "bad body", rejection=REFUSED, salvaged=named)
    desk.take_in([entry])
    return entry.id


def work(desk: Desk, failing: dict[str, IngestError] | None = None, lane: Lane = Lane.INGEST) -> None:
    """Let a run end all images that are due in a lane."""
    claim = desk.claim(f"run-{next(numbers)}", lane)
    for item in claim.items:
        error = (failing or {}).get(str(item.asset_id))
        end_image(desk.ledger.results, claim, item, error, schedule=SCHEDULE, now=NOW)


def find(ledger: Ledger, batch: int, customer: int = 2) -> Batch:
    (found,) = ledger.batches.find(batch, customer=customer)
    return found


def finish(ledger: Ledger, now: datetime = LATER) -> list[int]:
    return [batch.id for batch in ledger.batches.finish_due(now=now)]


def unpublished(ledger: Ledger) -> list[Notification]:
    return ledger.outbox.due(BATCH_COMPLETED, now=LATER)


@pytest.mark.parametrize("comes", ["before", "after"])
def test_a_batch_ends_whose_image_was_deleted_first(desk: Desk, ledger: Ledger, comes: str) -> None:
    """Queues keep no order: what was sent first may arrive last, and asks for an image that was deleted since."""
    fields = AssetFields("https://example.org/page.jpg")
    message = IngestMessage(AssetId(2, 1, "a"), NOW - timedelta(minutes=1), BatchReference(7, 2), fields)
    send(desk, "2/1/b", 7, 2)
    deleted = AssetDeleted(AssetId(2, 1, "a"), NOW, None, frozenset(), ())
    for event in ("before", "deletion", "after", "after"):
        if event == "deletion":
            ledger.deletions.request([deleted], now=NOW)
        elif event == comes:
            entry = InboxMessage(f"batch-message-{next(numbers)}", "q", Lane.INGEST, "body", message)
            desk.take_in([entry], now=NOW)
    work(desk)
    (state,) = [image for image in ledger.batches.images(7, 2) if image.image_id == "2/1/a"]
    assert (state.state, state.code) == ("failed" if comes == "before" else "rejected", "image_deleted")
    assert finish(ledger) == [7]


def test_the_tally_of_a_batch_follows_the_states_of_its_images(desk: Desk, ledger: Ledger) -> None:
    """Each image counts in exactly one state, rejected messages among them, and what is missing is known."""
    for number in range(4):
        send(desk, f"2/1/p{number}", 7, count=6)
    reject(desk, 7, "2/1/bad")
    assert find(ledger, 7).tally == Tally(pending=4, rejected=1)
    claim = desk.claim()
    assert find(ledger, 7).tally == Tally(running=4, rejected=1)
    end_image(desk.ledger.results, claim, claim.items[0], BROKEN, schedule=SCHEDULE, now=NOW)
    end_image(desk.ledger.results, claim, claim.items[1], None, schedule=SCHEDULE, now=NOW)
    passing = TransientError("origin_timeout", "Slow", remedy="Wait")
    end_image(desk.ledger.results, claim, claim.items[2], passing, schedule=SCHEDULE, now=NOW)
    assert find(ledger, 7).tally == Tally(done=1, failed=1, pending=1, running=1, rejected=1)
    assert find(ledger, 7).not_received == 1


def test_an_image_counts_once_however_often_it_comes(desk: Desk, ledger: Ledger) -> None:
    for _ in range(3):
        send(desk, "2/1/p", 7, count=1)
        reject(desk, 7, "2/1/p")  # some of its messages were wrong: the others show how it is
        reject(desk, 7, "2/1/bad")
    assert find(ledger, 7).tally == Tally(pending=1, rejected=1)
    work(desk)
    send(desk, "2/1/p", 7)
    assert find(ledger, 7).tally == Tally(pending=1, rejected=1)
    work(desk)
    assert find(ledger, 7).tally == Tally(done=1, rejected=1)


def test_messages_that_name_no_image_count_one_each(desk: Desk, ledger: Ledger) -> None:
    send(desk, "2/1/p", 7, count=3)
    reject(desk, 7)
    reject(desk, 7)
    assert find(ledger, 7).tally == Tally(pending=1, rejected=2)
    work(desk)
    assert finish(ledger) == [7]


@pytest.mark.parametrize("first", [True, False])
def test_a_message_without_a_customer_counts_in_its_batch(desk: Desk, ledger: Ledger, *, first: bool) -> None:
    """Its batch has a number only: it counts whether the batch is known before it or after, or the batch never ends."""
    if first:
        reject(desk, 7, customer=None)
    send(desk, "2/1/p", 7, count=2)
    if not first:
        reject(desk, 7, customer=None)
    assert find(ledger, 7).tally == Tally(pending=1, rejected=1)


def test_a_batch_of_rejected_messages_only_is_known_and_ends(desk: Desk, ledger: Ledger) -> None:
    reject(desk, 7, "2/1/a")
    assert ledger.batches.declare(2, 1, batch_id=7, now=NOW) == 7
    assert finish(ledger) == [7]


def test_two_customers_may_have_a_batch_of_one_number(desk: Desk, ledger: Ledger) -> None:
    send(desk, "2/1/p", 7, count=1)
    send(desk, "3/1/p", 7, count=2)
    work(desk)
    assert [(batch.customer, batch.tally) for batch in ledger.batches.find(7)] == [
        (2, Tally(done=1)),
        (3, Tally(done=1)),
    ]
    assert [(batch.id, batch.customer) for batch in ledger.batches.finish_due(now=LATER)] == [(7, 2)]


def test_a_batch_is_finished_once_and_published_once(desk: Desk, ledger: Ledger) -> None:
    for number in range(3):
        send(desk, f"2/1/p{number}", 7, count=3)
    assert finish(ledger) == []
    work(desk, {"2/1/p1": BROKEN})
    assert finish(ledger) == [7]
    assert finish(ledger, LATER + timedelta(hours=1)) == []
    assert find(ledger, 7).finished_at == LATER
    (notification,) = unpublished(ledger)
    assert notification.attributes == {"CustomerId": "2"}
    assert json.loads(notification.body) == {
        "id": 7,
        "customer": 2,
        "count": 3,
        "completed": 2,
        "errors": 1,
        "superseded": False,
        "submitted": "2026-05-04T12:00:00Z",
        "finished": "2026-05-04T12:05:00Z",
    }


def test_a_retry_changes_the_tally_of_a_finished_batch_only(desk: Desk, ledger: Ledger) -> None:
    """It must neither reopen the batch nor publish a second notification."""
    send(desk, "2/1/p", 7, count=1)
    work(desk, {"2/1/p": BROKEN})
    assert finish(ledger) == [7]
    (notification,) = unpublished(ledger)
    assert ledger.reports.retry(Selection(batch=7), now=NOW) == ["2/1/p"]
    assert find(ledger, 7).tally == Tally(pending=1)
    work(desk, lane=Lane.RETRY)
    assert find(ledger, 7).tally == Tally(done=1)
    assert find(ledger, 7).finished_at == LATER
    assert finish(ledger, LATER + timedelta(hours=1)) == []
    assert unpublished(ledger) == [notification]


def test_a_later_ingest_does_not_change_an_earlier_batch(desk: Desk, ledger: Ledger) -> None:
    """The batch shows how its own request ended, not what became of the image since."""
    send(desk, "2/1/p", 7, count=1)
    work(desk, {"2/1/p": BROKEN})
    assert finish(ledger) == [7]
    desk.send("2/1/p")
    assert find(ledger, 7).tally == Tally(failed=1)
    work(desk)
    assert find(ledger, 7).tally == Tally(failed=1, corrected=1)


def test_a_batch_says_which_of_its_images_were_corrected(desk: Desk, ledger: Ledger) -> None:
    """What happened in it stays; next to it it says what is done by now."""
    for name in ("corrected", "broken", "fine"):
        send(desk, f"2/1/{name}", 7, count=4)
    reject(desk, 7, "2/1/refused")
    work(desk, {"2/1/corrected": BROKEN, "2/1/broken": BROKEN})
    for name in ("corrected", "refused"):
        desk.send(f"2/1/{name}")
    work(desk)
    tally = find(ledger, 7).tally
    assert tally == Tally(done=1, failed=2, rejected=1, corrected=2)
    assert str(tally) == "4 listed = 1 done + 2 failed + 1 rejected + 0 pending; 2 corrected since"
    images = {image.image_id: (image.state, image.corrected) for image in ledger.batches.images(7, 2)}
    assert images == {
        "2/1/broken": ("failed", False),
        "2/1/corrected": ("failed", True),
        "2/1/fine": ("done", False),
        "2/1/refused": ("rejected", True),
    }


def test_a_superseding_request_completes_the_earlier_batch_too(desk: Desk, ledger: Ledger) -> None:
    """Otherwise a batch whose request was superseded would never end."""
    send(desk, "2/1/p", 7, count=1)
    send(desk, "2/1/p", 8, count=1)
    assert (find(ledger, 7).tally, find(ledger, 8).tally) == (Tally(pending=1), Tally(pending=1))
    work(desk)
    assert sorted(finish(ledger)) == [7, 8]


def test_what_is_asked_of_a_batch_reads_what_is_not_done(tmp_path: Path) -> None:
    """Otherwise each page and each tick would read all of a batch of a hundred thousand images."""
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        send(Desk(ledger), "2/1/a", 7, count=3)
        with statements() as asked:
            finish(ledger)
            find(ledger, 7)
            ledger.batches.images(7, 2, failures_only=True)
            ledger.batches.refused(7, 2)
            ledger.batches.ended_since(7, 2, NOW)
            ledger.reports.counts(Selection(batch=7))
            ledger.reports.images(Selection(batch=7, state="failed"))
        whole = [each for each in asked if each[0].startswith("SELECT") and " LIMIT " not in each[0]]
        with ledger._database.read() as connection:
            plans = [
                row[3]
                for statement, parameters in whole
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            ]
    searches = {plan.partition(" INDEX ")[2] for plan in plans if "batch" in plan or "otherwise" in plan}
    assert {search for search in searches if search.startswith("requests")} == {
        "requests_by_batch (batch=? AND finished_at=? AND customer=?)",
        "requests_by_batch (batch=? AND finished_at=?)",
        "requests_by_batch (batch=? AND finished_at>?)",
        "requests_ended_otherwise (batch=? AND customer=?)",
        "requests_ended_otherwise (batch=?)",
    }
    assert not [plan for plan in plans if plan.startswith(("SCAN requests", "SCAN messages"))]


def test_later_batches_of_all_its_images_supersede_a_batch(desk: Desk, ledger: Ledger) -> None:
    """As in the DLCS: requests without a batch, or for some of its images, do not supersede it."""
    for image in ("2/1/a", "2/1/b"):
        send(desk, image, 7, count=2)
    work(desk)
    send(desk, "2/1/a", 8)
    desk.send("2/1/b")
    assert not find(ledger, 7).superseded
    send(desk, "2/1/b", 9)
    assert find(ledger, 7).superseded
    assert not find(ledger, 8).superseded
    work(desk)
    finish(ledger)
    assert '"superseded":true' in unpublished(ledger)[0].body


def test_a_closed_batch_is_finished_when_its_images_have_ended(desk: Desk, ledger: Ledger) -> None:
    """A batch that declared no count can't end by itself; closing it must not cut off images in progress."""
    send(desk, "2/1/p", 7)
    work(desk)
    assert finish(ledger) == []
    assert ledger.batches.open_batches() == (1, 1)
    send(desk, "2/1/q", 7)
    assert ledger.batches.close(7, 2, now=NOW)
    assert not ledger.batches.close(7, 2, now=NOW)
    assert ledger.batches.open_batches() == (1, 0)
    assert finish(ledger) == []
    work(desk)
    assert finish(ledger) == [7]
    assert json.loads(unpublished(ledger)[0].body)["count"] == 2
    assert ledger.batches.open_batches() == (0, 0)


def test_a_batch_counts_images_of_all_lanes(desk: Desk, ledger: Ledger) -> None:
    send(desk, "2/1/a", 7, count=2)
    send(desk, "2/1/b", 7, lane=Lane.PRIORITY)
    work(desk, lane=Lane.PRIORITY)
    assert finish(ledger) == []
    work(desk)
    assert finish(ledger) == [7]


def test_batches_are_finished_up_to_the_limit_at_a_time(desk: Desk, ledger: Ledger) -> None:
    for number in (1, 2, 3):
        send(desk, f"2/1/p{number}", number, count=1)
    work(desk)
    found = [len(ledger.batches.finish_due(now=LATER, limit=2)) for _ in range(3)]
    assert found == [2, 1, 0]


def test_a_number_that_is_declared_is_taken(desk: Desk, ledger: Ledger) -> None:
    assert ledger.batches.next_id(2) == 1
    assert ledger.batches.declare(2, 10, now=NOW) == 1
    assert ledger.batches.declare(2, 10, now=NOW) == 2
    assert ledger.batches.declare(3, 10, now=NOW) == 1
    send(desk, "2/1/p", 40)
    assert ledger.batches.next_id(2) == 41


def test_a_batch_takes_the_same_declaration_again_and_no_other(desk: Desk, ledger: Ledger) -> None:
    send(desk, "2/1/p", 7)
    for _ in range(2):
        assert ledger.batches.declare(2, 1, batch_id=7, now=NOW) == 7
    with pytest.raises(UnusableBatchError, match="declared with 1 images; this manifest has 2"):
        ledger.batches.declare(2, 2, batch_id=7, now=NOW)
    work(desk)
    finish(ledger)
    with pytest.raises(UnusableBatchError, match="is finished"):
        ledger.batches.declare(2, 1, batch_id=7, now=NOW)
    ledger.batches.declare(2, 1, batch_id=8, now=NOW)
    ledger.batches.close(8, 2, now=NOW)
    with pytest.raises(UnusableBatchError, match="is closed"):
        ledger.batches.declare(2, 1, batch_id=8, now=NOW)


def test_the_newest_batches_come_first(desk: Desk, ledger: Ledger) -> None:
    for number in range(4):
        ledger.batches.declare(2, 1, now=NOW + timedelta(minutes=number))
    send(desk, "3/1/p", 9, count=1)
    work(desk)
    finish(ledger)
    assert [batch.id for batch in ledger.batches.newest(customer=2, limit=3)] == [4, 3, 2]
    assert {batch.customer for batch in ledger.batches.newest(unfinished=True)} == {2}
    assert [batch.tally for batch in ledger.batches.newest(customer=3)] == [Tally(done=1)]


def test_images_are_reported_with_the_reason_of_their_failure(desk: Desk, ledger: Ledger) -> None:
    for image in ("2/1/a", "2/1/b", "2/1/c"):
        send(desk, image, 7)
    reject(desk, 7, "2/1/bad")
    reject(desk, 7)
    work(desk, {"2/1/b": BROKEN})
    send(desk, "2/1/c", 7)
    listed = [(image.image_id, image.state, image.reason) for image in ledger.batches.images(7, 2)]
    assert listed == [
        ("2/1/a", "done", None),
        ("2/1/b", "failed", "It is broken (image_unreadable). Replace it"),
        ("2/1/bad", "rejected", "There is no such policy (unknown_policy). Correct it"),
        ("2/1/c", "pending", None),
        (None, "rejected", "There is no such policy (unknown_policy). Correct it"),
    ]
    failures = ledger.batches.images(7, 2, failures_only=True)
    assert [image.image_id for image in failures] == ["2/1/b", "2/1/bad", None]
    assert ledger.batches.ended_since(7, 2, NOW - timedelta(minutes=1)) == 2
    assert ledger.batches.ended_since(7, 2, NOW) == 0


def test_a_rejected_message_that_is_sent_again_counts_once(desk: Desk, ledger: Ledger) -> None:
    """It must not count as rejected and as its image at the same time, or the batch ends early."""
    message = reject(desk, 7, "2/1/bad")
    ledger.inbox.mark_requeued([message])
    assert find(ledger, 7).tally == Tally()
    send(desk, "2/1/bad", 7)
    assert find(ledger, 7).tally == Tally(pending=1)


def test_an_unsent_notification_is_retried_with_growing_delays(ledger: Ledger) -> None:
    """One failure postpones all of its topic, and the reason is kept for the operator, cut to its column."""
    for number in (1, 2):
        ledger.batches.declare(2, 1, batch_id=number, now=NOW)
        ledger.batches.close(number, 2, now=NOW)
    assert finish(ledger) == [1, 2]
    first, second = unpublished(ledger)
    due = ledger.outbox.mark_failed(first, "SNS does not answer" + "!" * 2000, now=LATER)
    assert due - LATER == timedelta(seconds=10)
    assert ledger.outbox.due(BATCH_COMPLETED, now=LATER) == []  # the other one would fare no better
    assert [each.id for each in ledger.outbox.due(BATCH_COMPLETED, now=due)] == [second.id, first.id]
    count, problem = ledger.outbox.unsent(BATCH_COMPLETED)
    assert count == 2
    assert problem is not None
    assert problem.startswith("SNS does not answer!")
    assert len(problem) == 1000
    again = ledger.outbox.get(first.id)
    assert again is not None
    assert (again.body, again.attempts) == (first.body, 1)
    assert ledger.outbox.mark_failed(again, "Still not", now=due) - due == timedelta(seconds=20)


def test_what_was_sent_is_not_sent_again(ledger: Ledger) -> None:
    ledger.batches.declare(2, 1, batch_id=7, now=NOW)
    ledger.batches.close(7, 2, now=NOW)
    finish(ledger)
    ledger.outbox.explain_unsent(BATCH_COMPLETED, "No topic")
    assert ledger.outbox.unsent(BATCH_COMPLETED) == (1, "No topic")
    (notification,) = unpublished(ledger)  # held, and due nevertheless
    assert notification.id == notification_id(7, 2)
    ledger.outbox.mark_published(notification.id, now=LATER)
    assert unpublished(ledger) == []
    assert ledger.outbox.unsent(BATCH_COMPLETED) == (0, None)
    sent = ledger.outbox.get(notification.id)
    assert sent is not None
    assert (sent.published_at, sent.attempts, sent.error) == (LATER, 1, None)
