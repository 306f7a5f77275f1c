"""A batch from its first message to its notification, with all that goes wrong on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dlcs_assets.clients.sns import Notifications
from dlcs_assets.domain.batch import Batch
from dlcs_assets.ingest.batches import finish_batches
from dlcs_assets.ledger.batches import BATCH_COMPLETED
from dlcs_testing.harness import System
from dlcs_testing.installation import Installation, full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline
from dlcs_testing.scripted_server import refused_url
from dlcs_testing.subscriber import Subscriber, subscriber

BATCH = 12


@pytest.fixture
def listen() -> Iterator[Callable[[Installation], Subscriber]]:
    """Make a topic for a system, and let it publish there."""
    with ExitStack() as stack:

        def listen_to(system: Installation) -> Subscriber:
            made = stack.enter_context(subscriber())
            system.use(batch_completed_topic_arn=made.topic)
            return made

        yield listen_to


def in_batch(message: dict[str, Any], count: int | None = None, batch: int = BATCH) -> dict[str, Any]:
    reference = {"id": batch, **({} if count is None else {"count": count})}
    return {**{name: value for name, value in message.items() if name != "batchId"}, "batch": reference}


def light(image: str, count: int | None = None, batch: int = BATCH) -> dict[str, Any]:
    """Return a message for an image that nothing is made of."""
    return in_batch(full_message(image, "https://example.org/x.jpg", "none"), count, batch)


def look(system: Installation, batch: int = BATCH) -> Batch:
    """Return the batch, and check that its numbers balance."""
    (found,) = system.ledger.batches.find(batch)
    tally = found.tally
    assert tally.listed == tally.done + tally.failed + tally.rejected + tally.pending + tally.running
    images = system.ledger.batches.images(batch, found.customer)
    assert len(images) == tally.listed
    states = [image.state for image in images]
    assert [states.count(name) for name in ("done", "failed", "rejected")] == [tally.done, tally.failed, tally.rejected]
    return found


def bad_messages(count: int) -> list[dict[str, Any]]:
    """Return seven messages of the batch that end as errors, each in its own way."""
    missing = "http://127.0.0.1:9/"
    return [
        in_batch(full_message("2/1/bad-policy", missing, "thumbs:nope"), count),
        in_batch(full_message("2/1/bad-channel", missing, "img"), count),
        in_batch(full_message("2/1/bad-origin", "ftp://example.org/x", "none"), count),
        in_batch({"asset": {"id": "2/1/no-origin"}}, count),
        in_batch({"asset": {"id": "2/x/bad-id", "origin": missing}}, count),
        in_batch({"asset": {"origin": missing}}, count),
        in_batch({"asset": {"id": "2/1/bad-roles", "origin": missing, "roles": 7}}, count),
    ]


def test_a_batch_of_100_balances_always_and_is_reported_once(
    make_pipeline: Callable[..., Pipeline], listen: Callable[[Installation], Subscriber]
) -> None:
    """Its messages are of every kind: light, whole, bad, and one that is sent twice."""
    pipeline = make_pipeline(chunk_size=20, images_in_flight=16)
    listener = listen(pipeline)
    notifications = Notifications()
    count = 100
    page = pipeline.serve("page.jpg", jpeg(60, 40))
    bad = bad_messages(count)
    messages = [light(f"2/1/p{number}", count) for number in range(83)]
    messages += [in_batch(full_message(f"2/1/real-{n}", page, "iiif-img,thumbs"), count) for n in range(5)]
    messages += [in_batch(full_message(f"2/1/file-{n}", page, "file"), count) for n in range(5)]
    messages = [*bad[:3], *messages, *bad[3:], light("2/1/p0", count)]  # and one that comes twice

    def finish() -> None:
        finish_batches(pipeline.ledger, notifications, listener.topic)

    with closing(notifications):
        for start in range(0, len(messages), 22):
            assert all(batch.finished_at is None for batch in pipeline.ledger.batches.find(BATCH))
            assert listener.received() == []
            pipeline.send(*messages[start : start + 22])
            for step in (pipeline.work, finish):
                step()
                batch = look(pipeline)
                assert batch.tally.listed < count or batch.has_ended
        pipeline.settle()
        finish()
    assert look(pipeline).finished_at is not None
    assert (look(pipeline).tally.completed, look(pipeline).tally.errors) == (93, 7)
    (body,) = listener.received()
    notification = json.loads(body)
    assert (notification["count"], notification["completed"], notification["errors"]) == (100, 93, 7)


def test_a_batch_from_both_queues_ends_with_its_last_image(
    system: System, listen: Callable[[Installation], Subscriber]
) -> None:
    """An image that is sent to both queues counts once."""
    listener = listen(system)
    url = system.serve("page.jpg", jpeg(60, 40))
    priority = system.settings.priority_queue_url
    system.send(*(light(f"2/1/p{n}", 6) for n in range(3)))
    system.send(*(light(f"2/1/p{n}", 6) for n in range(2, 5)), queue=priority)
    system.settle()
    assert look(system).standing == "open: 1 of 6 images have not been received yet"
    assert listener.received() == []
    system.send(in_batch(full_message("2/1/p5", f"{url}-missing", "file"), 6))
    system.settle()
    (body,) = listener.received()
    assert json.loads(body)["errors"] == 1
    assert "1 failed" in str(look(system).tally)


def test_a_notification_is_published_again_if_its_sender_died(
    system: System, listen: Callable[[Installation], Subscriber]
) -> None:
    """If it dies between publishing and recording that, the same body is published twice."""
    listener = listen(system)
    system.send(light("2/1/p", 1))
    system.tick("sqs_ingest")
    (batch,) = system.ledger.batches.finish_due(now=datetime.now(UTC))
    (notification,) = system.ledger.outbox.due(BATCH_COMPLETED, now=datetime.now(UTC))
    system.notifications.publish(listener.topic, notification.body, notification.attributes)  # and then it died
    reason = system.skip_reason("batches")
    assert reason == "0 batches open; 1 notifications sent"
    first, second = listener.received()
    assert first == second == notification.body
    assert batch.id == json.loads(first)["id"]
    assert system.skip_reason("batches") == "0 batches open"


def test_a_tick_says_which_batches_are_open_finished_and_unsent(
    system: System, listen: Callable[[Installation], Subscriber]
) -> None:
    system.send(light("2/1/p", 1), light("2/1/q", 2, batch=13), light("2/1/r", batch=14))
    system.tick("sqs_ingest")
    reason = system.skip_reason("batches")
    assert reason.startswith("2 batches open (1 without a count: see dlcs batch close); 1 finished: 12 of customer 2; ")
    assert reason.endswith("1 notifications unsent: no topic is configured: set DLCS_BATCH_COMPLETED_TOPIC_ARN")
    listener = listen(system)
    assert system.skip_reason("batches").endswith("; 1 notifications sent")
    assert len(listener.received()) == 1


def test_a_topic_that_is_down_delays_only_the_notification(
    system: System, listen: Callable[[Installation], Subscriber]
) -> None:
    """The batches are finished, and their notifications are sent once the topic answers."""
    listener = listen(system)
    system.__dict__["notifications"] = Notifications(endpoint_url=refused_url())
    system.send(light("2/1/p", 1), light("2/1/q", 1, batch=13))
    system.tick("sqs_ingest")
    reason = system.skip_reason("batches")
    assert "2 finished: 12 of customer 2, 13 of customer 2; 2 notifications unsent: Publishing to arn:aws:sns" in reason
    assert "nothing answers there (topic_unavailable)" in reason
    del system.__dict__["notifications"]
    assert "2 notifications unsent" in system.skip_reason("batches")  # it is not asked again at once
    assert listener.received() == []
    system.execute("UPDATE notifications SET due_at = created_at")
    assert system.skip_reason("batches") == "0 batches open; 2 notifications sent"
    assert sorted(json.loads(body)["id"] for body in listener.received()) == [12, 13]


def test_an_undeclared_batch_is_reported_after_it_was_closed(
    system: System, listen: Callable[[Installation], Subscriber]
) -> None:
    """Its messages name no count, so that only closing it says how many images it has."""
    listener = listen(system)
    system.send(light("2/1/p"), light("2/1/q"))
    system.settle()
    assert look(system).finished_at is None
    system.ledger.batches.close(BATCH, 2, now=datetime.now(UTC))
    system.settle()
    assert [json.loads(body)["count"] for body in listener.received()] == [2]


def test_a_batch_replaced_by_another_is_reported_as_superseded(
    system: System, listen: Callable[[Installation], Subscriber]
) -> None:
    """Every one of its images was submitted again with the later batch."""
    listener = listen(system)
    system.send(light("2/1/p", 1))
    system.send(light("2/1/p", 1, batch=13))
    system.settle()
    notification = {json.loads(body)["id"]: json.loads(body)["superseded"] for body in listener.received()}
    assert sorted(notification) == [12, 13]
    assert sorted(notification.values()) == [False, True]  # SQS keeps no order: whichever came first


def test_a_message_without_a_registration_counts_as_an_error(
    make_system: Callable[..., System], listen: Callable[[Installation], Subscriber]
) -> None:
    """A short message waits for its registration; when the wait is over, its batch can end."""
    system = make_system(registration_wait=timedelta(0))
    listener = listen(system)
    system.send(in_batch({"id": "2/1/unknown"}, 1))
    system.tick("sqs_ingest")
    assert look(system).tally.pending == 1
    system.settle()
    assert look(system).tally.rejected == 1
    assert [json.loads(body)["errors"] for body in listener.received()] == [1]
