from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench.queue_server import serving_queues
from dlcs_assets.clients.sqs import NewMessage, QueueDepth, QueueMessage, Queues
from dlcs_assets.domain.errors import PermanentError, ServiceDownError, TransientError
from dlcs_assets.domain.message_attributes import MessageAttribute
from dlcs_assets_tests.clients.conftest import Aws
from dlcs_testing.scripted_server import Answer, refused_url, scripted_server


@pytest.fixture
def queues(aws: Aws) -> Iterator[Queues]:
    resource = Queues(endpoint_url=aws.endpoint)
    yield resource
    resource.close()


@pytest.fixture
def url(aws: Aws) -> str:
    import boto3

    client = boto3.client("sqs", endpoint_url=aws.endpoint)
    try:
        return client.create_queue(QueueName=f"queue-{uuid.uuid4().hex}")["QueueUrl"]
    finally:
        client.close()


def plain(bodies: Iterable[str]) -> list[NewMessage]:
    return [NewMessage(body) for body in bodies]


def receive_all(queues: Queues, url: str) -> list[str]:
    bodies: list[str] = []
    while messages := queues.receive(url):
        bodies += [message.body for message in messages]
        queues.delete(url, messages)
    return bodies


def test_what_is_sent_is_received_with_its_time(queues: Queues, url: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert queues.send(url, plain(['{"id": "é"}'])) == 1
    (message,) = queues.receive(url, wait_seconds=1)
    assert message.body == '{"id": "é"}'
    assert message.id
    assert message.sent_at is not None
    assert before <= message.sent_at <= datetime.now(UTC) + timedelta(seconds=1)


def test_more_than_ten_messages_are_sent_in_batches(queues: Queues, url: str) -> None:
    bodies = [f"message {number}" for number in range(23)]
    assert queues.send(url, (NewMessage(body) for body in bodies)) == 23
    assert queues.depth(url) == QueueDepth(waiting=23, in_flight=0, delayed=0)
    assert sorted(receive_all(queues, url)) == sorted(bodies)
    assert queues.depth(url) == QueueDepth(waiting=0, in_flight=0, delayed=0)


def test_attributes_are_received_as_they_were_sent(queues: Queues, url: str) -> None:
    """Of every type that SQS has, with the label that a sender may give it."""
    attributes = {
        "IngestType": MessageAttribute("String", "IngestAdjunct"),
        "priority": MessageAttribute("Number.int", "7"),
        "trace": MessageAttribute("Binary", base64.b64encode(b"\x00\xff").decode()),
    }
    queues.send(url, [NewMessage("a", attributes), NewMessage("b")])
    received = {message.body: message.attributes for message in queues.receive(url)}
    assert received == {"a": attributes, "b": {}}


def test_no_more_are_received_than_requested(queues: Queues, url: str) -> None:
    queues.send(url, plain(["a", "b", "c"]))
    assert len(queues.receive(url, limit=2)) == 2
    assert queues.depth(url) == QueueDepth(waiting=1, in_flight=2, delayed=0)


@pytest.mark.usefixtures("aws")
def test_many_are_received_at_once_in_the_order_of_their_sending() -> None:
    bodies = [f"{number:02}" for number in range(45)]
    with serving_queues() as server:  # moto gives a message to several who ask at the same time
        queues, url = queues_at(server.url), server.answer("CreateQueue", {"QueueName": "images"})["QueueUrl"]
        for body in bodies:
            queues.send(url, plain([body]))
        received = queues.receive(url, limit=40)
        assert [message.body for message in received] == bodies[:40]
        queues.delete(url, received)
        assert receive_all(queues, url) == bodies[40:]
        assert queues.depth(url) == QueueDepth(waiting=0, in_flight=0, delayed=0)
        queues.close()


@pytest.mark.usefixtures("aws")
def test_a_message_that_comes_twice_at_once_is_given_once() -> None:
    message = {"MessageId": "1", "ReceiptHandle": "a", "Body": "b", "MD5OfBody": _md5("b")}
    with scripted_server(Answer(body=json.dumps({"Messages": [message]}).encode())) as server:
        queues = queues_at(server.url)
        assert [each.body for each in queues.receive(f"{server.url}/1/q", limit=20)] == ["b"]
        assert len(server.asked) == 2
        queues.close()


@pytest.mark.usefixtures("aws")
def test_a_failed_request_costs_nothing_that_others_received() -> None:
    message = {"MessageId": "1", "ReceiptHandle": "a", "Body": "b", "MD5OfBody": _md5("b")}
    with scripted_server(Answer(body=json.dumps({"Messages": [message]}).encode()), Answer(503)) as server:
        queues = queues_at(server.url, attempts=1)
        assert [each.body for each in queues.receive(f"{server.url}/1/q", limit=30)] == ["b"]
        with pytest.raises(TransientError):
            queues.receive(f"{server.url}/1/q", limit=30)
        queues.close()


@pytest.mark.usefixtures("aws")
def test_a_refused_deletion_keeps_no_other_from_being_made() -> None:
    message = QueueMessage("1", "b", "receipt", None)
    with scripted_server(Answer(400, b"{}"), reply(["0"], [])) as server:
        queues = queues_at(server.url, attempts=1)
        with pytest.raises(PermanentError):
            queues.delete(f"{server.url}/1/q", [message] * 11)
        queues.close()
        assert len(server.asked) == 2


def test_an_empty_queue_gives_nothing(queues: Queues, url: str) -> None:
    assert queues.receive(url) == []
    queues.delete(url, [])
    assert queues.send(url, []) == 0


def test_big_messages_are_sent_in_requests_that_sqs_takes(queues: Queues, url: str) -> None:
    bodies = [str(number) * 400_000 for number in range(5)]
    assert queues.send(url, plain(bodies)) == 5
    assert sorted(receive_all(queues, url)) == bodies


def test_a_message_that_sqs_cannot_take_is_permanent(queues: Queues, url: str) -> None:
    with pytest.raises(PermanentError) as caught:
        queues.send(url, plain(["x" * 1_200_000]))
    assert caught.value.code == "message_too_large"
    assert "larger than the 1048576" in caught.value.cause
    assert queues.depth(url).waiting == 0


def test_messages_of_more_than_256_kb_are_sent(queues: Queues, url: str) -> None:
    """The limit of SQS was 256 KiB until August 2025, and is 1 MiB since: it is not known here."""
    bodies = [str(number) * 900_000 for number in range(3)]
    assert queues.send_each(url, plain(bodies)) == [None, None, None]
    assert queues.depth(url).waiting == 3


def test_the_limit_is_that_of_the_queue(aws: Aws, queues: Queues) -> None:
    """The one that it refuses is alone in that, wherever it stands among the others."""
    import boto3

    client = boto3.client("sqs", endpoint_url=aws.endpoint)
    small = client.create_queue(QueueName=f"q-{uuid.uuid4().hex}", Attributes={"MaximumMessageSize": "1024"})[
        "QueueUrl"
    ]
    client.close()
    bodies = ["x" * (2000 if number in {0, 4, 11} else 100) for number in range(23)]
    errors = queues.send_each(small, plain(bodies))
    assert [number for number, error in enumerate(errors) if error] == [0, 4, 11]
    assert errors[4] is not None
    assert (errors[4].code, "2000 bytes is larger than the 1024" in errors[4].cause) == ("message_too_large", True)
    assert queues.depth(small).waiting == 20


def test_a_queue_that_is_gone_is_asked_once(queues: Queues, url: str) -> None:
    errors = queues.send_each(f"{url}-gone", plain(["a", "b", *("c" * 20)]))
    assert {error and error.code for error in errors} == {"queue_not_found"}
    assert len(errors) == 22


@pytest.mark.usefixtures("aws")
def test_what_is_the_senders_fault_is_not_sent_again() -> None:
    refusal = {"Successful": [], "Failed": [{"Id": "0", "SenderFault": True, "Code": "InvalidMessageContents"}]}
    json_type = (("Content-Type", "application/x-amz-json-1.0"),)
    with scripted_server(Answer(200, json.dumps(refusal).encode(), json_type), Answer(400, b"{}", json_type)) as server:
        queues = queues_at(server.url)
        (error,) = queues.send_each(f"{server.url}/1/q", plain(["a"]))
        queues.close()
        assert isinstance(error, PermanentError)
        assert (error.code, "InvalidMessageContents" in error.cause) == ("queue_refused", True)
        assert sum("SendMessageBatch" in str(asked.headers) for asked in server.asked) == 1


def test_a_queue_that_is_not_there_is_permanent(queues: Queues, url: str) -> None:
    with pytest.raises(PermanentError) as caught:
        queues.receive(url + "-no")
    assert caught.value.code == "queue_not_found"


def queues_at(url: str, **options: Any) -> Queues:
    return Queues(endpoint_url=url, region_name="us-east-1", first_delay_seconds=0.001, **options)


def reply(successful: list[str], failed: list[str]) -> Answer:
    body = {
        "Successful": [{"Id": i, "MessageId": i, "MD5OfMessageBody": _md5(i)} for i in successful],
        "Failed": [{"Id": i, "SenderFault": False, "Code": "InternalError"} for i in failed],
    }
    return Answer(200, json.dumps(body).encode(), (("Content-Type", "application/x-amz-json-1.0"),))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


@pytest.mark.usefixtures("aws")
def test_those_of_a_batch_that_failed_are_sent_again() -> None:
    with scripted_server(reply(["0", "2"], ["1"]), reply(["0"], [])) as server:
        queues = queues_at(server.url)
        assert queues.send(f"{server.url}/1/q", plain(["0", "1", "2"])) == 3
        queues.close()
        entries = [[e["MessageBody"] for e in json.loads(asked.body)["Entries"]] for asked in server.asked]
        assert entries == [["0", "1", "2"], ["1"]]


@pytest.mark.usefixtures("aws")
def test_what_was_not_sent_in_the_end_is_reported() -> None:
    with scripted_server(reply(["0"], ["1"]), reply([], ["0"])) as server:
        queues = queues_at(server.url, attempts=2)
        with pytest.raises(TransientError) as caught:
            queues.send(f"{server.url}/1/q", plain(["0", "1"]))
        queues.close()
        assert caught.value.code == "queue_not_sent"
        assert "1 of 2" in caught.value.cause


def test_messages_that_were_not_deleted_are_counted_at_the_end(queues: Queues, url: str) -> None:
    """A failure in the first batch must not keep the second from being deleted."""
    queues.send(url, plain(["a"]))
    (message,) = queues.receive(url)
    with scripted_server(reply([], ["0"])) as server:
        elsewhere = queues_at(server.url, attempts=1)
        with pytest.raises(TransientError) as caught:
            elsewhere.delete(f"{server.url}/1/q", [message] * 11)
        elsewhere.close()
        assert caught.value.code == "queue_not_deleted"
        assert "2 messages" in caught.value.cause  # of either batch the first
        assert len(server.asked) == 2


@pytest.mark.usefixtures("aws")
def test_an_sqs_that_is_down_is_a_service_down() -> None:
    queues = queues_at(refused_url(), attempts=1)
    with pytest.raises(ServiceDownError):
        queues.receive(f"{refused_url()}/1/q")
    queues.close()
