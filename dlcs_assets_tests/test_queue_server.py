"""The bench's SQS does what moto's does, as far as ingest asks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from bench.queue_server import serving_queues


@pytest.fixture(params=["bench", "moto"])
def sqs(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "bench":
        with serving_queues() as queues:
            yield client(queues.url)
        return
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield client(f"http://{host}:{port}")
    server.stop()


def client(url: str) -> Any:
    import boto3

    return boto3.client(
        "sqs", endpoint_url=url, region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


@pytest.fixture
def url(sqs: Any) -> str:
    created: str = sqs.create_queue(QueueName="images", Attributes={"VisibilityTimeout": "1"})["QueueUrl"]
    return created


def depth(sqs: Any, url: str) -> tuple[int, int]:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return int(found[names[0]]), int(found[names[1]])


def test_messages_are_received_in_order_and_gone_once_deleted(sqs: Any, url: str) -> None:
    """The bench's queue must behave as SQS does, or what is measured with it means nothing."""
    entries = [{"Id": str(number), "MessageBody": f"body {number}"} for number in range(7)]
    sent = sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert depth(sqs, url) == (7, 0)
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"])["Messages"]
    assert [message["Body"] for message in received] == [f"body {number}" for number in range(7)]
    assert {message["MessageId"] for message in received} == {each["MessageId"] for each in sent["Successful"]}
    assert abs(int(received[0]["Attributes"]["SentTimestamp"]) / 1000 - time.time()) < 60
    assert depth(sqs, url) == (0, 7)
    gone = [{"Id": str(number), "ReceiptHandle": each["ReceiptHandle"]} for number, each in enumerate(received)]
    assert len(sqs.delete_message_batch(QueueUrl=url, Entries=gone)["Successful"]) == 7
    assert depth(sqs, url) == (0, 0)


def test_a_message_that_is_not_deleted_is_delivered_again(sqs: Any, url: str) -> None:
    sqs.send_message(QueueUrl=url, MessageBody="again")
    (first,) = sqs.receive_message(QueueUrl=url)["Messages"]
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    (second,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    assert second["MessageId"] == first["MessageId"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=second["ReceiptHandle"])
    assert depth(sqs, url) == (0, 0)


def test_attributes_of_messages_come_along(sqs: Any, url: str) -> None:
    attributes = {"modificationType": {"StringValue": "Delete", "DataType": "String"}}
    sqs.send_message(QueueUrl=url, MessageBody="x", MessageAttributes=attributes)
    (message,) = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    assert message["MessageAttributes"]["modificationType"]["StringValue"] == "Delete"


def test_a_missing_queue_is_reported_as_missing(sqs: Any, url: str) -> None:
    assert sqs.get_queue_url(QueueName="images")["QueueUrl"].endswith("/images")
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.receive_message(QueueUrl=url.replace("images", "others"))
