"""One failure outside costs one message: the others are taken in, and lanes are dispatched all the same."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import create_engine, insert

from dlcs_assets.clients.aws import make_client
from dlcs_assets.clients.sns import Notifications
from dlcs_assets.clients.sqs import NewMessage, QueueMessage, Queues
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.ingest_request import BatchReference
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ingest.publishing import REFUSED_BY_TOPIC, publish_due
from dlcs_assets.intake.messages import IntakeSummary, deliver, read_message, take_in_as
from dlcs_assets.ledger.records import InboxMessage, new_id
from dlcs_assets.ledger.tables import notifications
from dlcs_assets_tests.intake.notifications import asset, notification
from dlcs_testing.harness import System, full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.proxy import proxy_to

FOREIGN = full_message("3/1/page", "https://example.org/page.jpg", "file")


@pytest.fixture
def system(make_system: Callable[..., System]) -> System:
    return make_system(customers=(2,))


def ours(system: System, name: str = "page") -> dict[str, Any]:
    return full_message(f"2/1/{name}", system.serve("page.jpg", jpeg(300, 200)), "file")


def bodies(system: System, url: str) -> list[str]:
    found = system.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [message["Body"] for message in found]


def test_a_forward_queue_that_is_gone_holds_nothing_up(system: System) -> None:
    """The foreign message is kept with its reason; ours, received with it, is ingested by a run of the same tick."""
    system.use(forward_queue_url=f"{system.settings.ingest_queue_url}-gone")
    system.send(FOREIGN, ours(system))
    assert len(system.tick("sqs_ingest").runs) == 1
    assert system.status("2/1/page").state == "done"
    (kept,) = system.ledger.inbox.rejected()
    assert (kept["code"], kept["image_id"]) == ("not_forwarded", "3/1/page")
    assert "queue_not_found" in kept["cause"]
    assert json.loads(kept["body"]) == FOREIGN
    assert system.waiting_messages() == 0


def test_only_the_message_that_is_too_large_is_not_forwarded(system: System) -> None:
    elsewhere = system.make_queue("small", MaximumMessageSize="1024")
    system.use(forward_queue_url=elsewhere)
    large = full_message("3/1/large", "https://example.org/page.jpg", "file", roles=["x" * 300_000])
    system.send(large)
    system.send(FOREIGN, ours(system))
    assert len(system.tick("sqs_ingest").runs) == 1
    assert [json.loads(body) for body in bodies(system, elsewhere)] == [FOREIGN]
    (kept,) = system.ledger.inbox.rejected()
    assert (kept["image_id"], "message_too_large" in kept["cause"]) == ("3/1/large", True)


def test_what_cannot_be_forwarded_now_waits_in_its_queue(system: System) -> None:
    """And is forwarded once, when SQS takes messages again; what came with it is done long before."""
    elsewhere = system.make_queue("elsewhere")
    at_once = system.make_queue("again", VisibilityTimeout="0")  # what is left is received by the next tick
    system.use(forward_queue_url=elsewhere, ingest_queue_url=at_once, intake_budget=timedelta(0))
    with proxy_to(system.stack.environment["AWS_ENDPOINT_URL"]) as proxy:
        proxy.refusing["elsewhere-"] = (503, "busy")
        with Queues(endpoint_url=proxy.url, attempts=1) as queues:
            system.__dict__["queues"] = queues
            system.send(FOREIGN, ours(system))
            assert len(system.tick("sqs_ingest").runs) == 1
            said = system.skip_reason("sqs_ingest")
        del system.__dict__["queues"]
    assert "1 stay in the queue for now: Sending to" in said
    assert (system.status("2/1/page").state, system.ledger.inbox.rejected()) == ("done", [])
    assert "1 forwarded" in system.skip_reason("sqs_ingest")
    assert "0 messages received" in system.skip_reason("sqs_ingest")
    assert [json.loads(body) for body in bodies(system, elsewhere)] == [FOREIGN]


def test_what_is_forwarded_keeps_all_its_attributes(system: System) -> None:
    """An adjunct, whose id looks like that of an image here; without a queue to forward to it is kept as it came."""
    attributes = {
        "IngestType": {"DataType": "String", "StringValue": "IngestAdjunct"},
        "trace": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    body = json.dumps({"id": "2/1/page", "assetId": "2/1/book", "batchId": 4})
    queue = system.settings.ingest_queue_url
    system.sqs.send_message(QueueUrl=queue, MessageBody=body, MessageAttributes=attributes)
    system.tick("sqs_ingest")
    (kept,) = system.ledger.inbox.rejected()
    assert (kept["code"], kept["image_id"], kept["batch"]) == ("ingest_type_not_supported", None, None)
    with Queues(endpoint_url=system.stack.environment["AWS_ENDPOINT_URL"]) as queues:
        queues.send(str(queue), [NewMessage(kept["body"], kept["attributes"])])  # as `dlcs rejected --requeue` does
    elsewhere = system.make_queue("elsewhere")
    system.use(forward_queue_url=elsewhere)
    system.tick("sqs_ingest")
    (sent,) = system.sqs.receive_message(QueueUrl=elsewhere, MessageAttributeNames=["All"])["Messages"]
    assert (sent["Body"], sent["MessageAttributes"]) == (body, attributes)
    assert system.states() == {}


def test_a_message_that_comes_twice_is_forwarded_once(system: System) -> None:
    """It could not be deleted from its queue after it had been forwarded."""
    elsewhere = system.make_queue("elsewhere")
    system.use(forward_queue_url=elsewhere)
    message = QueueMessage("m1", json.dumps(FOREIGN), "receipt", None)
    url = str(system.settings.ingest_queue_url)
    for _ in range(2):
        deliver(read_message(message, url, Lane.INGEST, system.settings), system.queues, system.ledger, system.settings)
    assert len(bodies(system, elsewhere)) == 1


@pytest.mark.parametrize("sensor", ["sqs_ingest", "sqs_priority"])
def test_a_queue_that_is_gone_does_not_hold_up_its_lane(system: System, sensor: str) -> None:
    """The tick launches what is due; one with nothing to launch fails, so that it is seen."""
    lane = Lane(sensor.removeprefix("sqs_"))
    message = QueueMessage("m1", json.dumps(ours(system)), "receipt", None)
    deliver(read_message(message, "q", lane, system.settings), system.queues, system.ledger, system.settings)
    setting = f"{lane}_queue_url"
    system.use(**{setting: f"{getattr(system.settings, setting)}-gone"})
    assert len(system.tick(sensor).runs) == 1
    assert system.status("2/1/page").state == "done"
    with pytest.raises(PermanentError, match="queue_not_found"):
        system.tick(sensor)


def test_a_queue_of_updates_that_is_gone_holds_up_no_deletion(system: System) -> None:
    system.send(ours(system))
    system.settle()
    system.use(update_queue_url=f"{system.settings.update_queue_url}-gone")
    gone = asset("2/1/page", "", "file:none")
    message = {"asset": gone, "customerPathElement": {"id": 2, "name": "library"}, "deleteFrom": []}
    system.send(notification(message, messageType="Delete"), queue=system.settings.delete_queue_url)
    assert len(system.tick("asset_modified").runs) == 1
    assert (system.storage(), system.states()) == ({}, {"2/1/page": "deleted"})
    with pytest.raises(PermanentError, match="queue_not_found"):
        system.tick("asset_modified")


def test_a_message_that_breaks_its_reader_is_kept_alone(system: System, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the bug is. Nothing of the message is in the log: that is where secrets would come in."""

    def read(message: QueueMessage) -> list[InboxMessage]:
        if "poison" in message.body:
            raise KeyError(message.body)
        return read_message(message, "q", Lane.INGEST, system.settings)

    system.send('{"poison": "s3cret"}', ours(system))
    taken = take_in(system, read)
    assert (taken.counts["accepted"], taken.counts["rejected"]) == (1, 1)
    (kept,) = system.ledger.inbox.rejected()
    assert (kept["code"], kept["body"]) == ("message_unreadable", '{"poison": "s3cret"}')
    assert "KeyError at test_outside_failures.py" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_message_that_the_ledger_refuses_is_kept_alone(system: System, caplog: pytest.LogCaptureFixture) -> None:
    """A number that is too large for the database would end every transaction that it is part of."""

    def read(message: QueueMessage) -> list[InboxMessage]:
        (entry,) = read_message(message, "q", Lane.INGEST, system.settings)
        if entry.message and "page-3" in message.body:
            entry = replace(entry, message=replace(entry.message, batch=BatchReference(2**70)))
        return [entry]

    system.send(*(ours(system, f"page-{number}") for number in range(8)))
    taken = take_in(system, read)
    assert (taken.counts["accepted"], taken.counts["rejected"]) == (7, 1)
    (kept,) = system.ledger.inbox.rejected()
    assert (kept["code"], "2/1/page-3" in kept["body"]) == ("message_not_written", True)
    assert "example.org" not in caplog.text
    assert system.waiting_messages() == 0


def take_in(system: System, read: Callable[[QueueMessage], list[InboxMessage]]) -> IntakeSummary:
    return take_in_as(read, system.queues, system.ledger, str(system.settings.ingest_queue_url), system.settings)


def test_a_notification_that_is_refused_delays_no_other(system: System) -> None:
    """SNS takes no message of more than 256 KiB, whenever it comes."""
    sns = system.notifications
    topic = make_topic()
    outbox = system.ledger.outbox
    write_notifications(system, ["large" * 100_000, *(f"small {number}" for number in range(3))])
    assert publish_due(outbox, "t", partial(sns.publish, topic)) == 3
    count, problem = outbox.unsent("t")
    assert count == 1
    assert problem is not None
    assert "topic_refused" in problem
    write_notifications(system, ["small 4"])
    assert publish_due(outbox, "t", partial(sns.publish, topic)) == 1  # at once: it did not wait with the other


def test_a_topic_that_is_gone_is_asked_a_few_times(system: System) -> None:
    outbox = system.ledger.outbox
    write_notifications(system, [f"{number}" for number in range(20)])
    with proxy_to(system.stack.environment["AWS_ENDPOINT_URL"]) as proxy:
        with Notifications(endpoint_url=proxy.url) as sns:
            assert publish_due(outbox, "t", partial(sns.publish, f"{make_topic()}-gone")) == 0
        assert len(proxy.asked) == REFUSED_BY_TOPIC
    assert outbox.due("t", now=datetime.now(UTC)) == []


def make_topic() -> str:
    with closing(make_client("sns")) as client:
        return str(client.create_topic(Name=f"topic-{uuid.uuid4().hex}")["TopicArn"])


def write_notifications(system: System, written: Sequence[str]) -> None:
    now = datetime.now(UTC)
    rows = [
        {"id": new_id(), "topic": "t", "body": body, "attributes": {}, "created_at": now, "due_at": now, "attempts": 0}
        for body in written
    ]
    engine = create_engine(system.settings.ledger_url)
    with engine.begin() as connection:
        connection.execute(insert(notifications), rows)
    engine.dispose()


def test_a_bucket_that_is_gone_holds_up_no_other_bucket(system: System) -> None:
    other = f"other-{system.settings.storage_bucket}"
    system.make_bucket(other)
    system.put(other, "transient/2/1/b/r")
    system.send(ours(system))
    system.settle()
    for bucket, key in ((f"{other}-gone", "transient/2/1/a/r"), (other, "transient/2/1/b/r")):
        system.execute(
            "INSERT INTO transient_objects (bucket, key, image_id, bytes, sha256, content_type)"
            " VALUES (?, ?, '2/1/page', 1, '', '')",
            *(bucket, key),
        )
    said = system.skip_reason("reconcile")
    assert "1 transient objects deleted" in said.lower()
    assert "storage_not_found" in said.lower()
    assert system.objects(other) == {}
