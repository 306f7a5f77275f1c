"""A subscriber: a topic, and a queue that gets what is published there, as it was published."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from dlcs_assets.clients.aws import make_client


@dataclass(frozen=True)
class Subscriber:
    """What listens to a topic of its own."""

    sns: Any
    sqs: Any
    topic: str
    queue: str

    def received(self) -> list[str]:
        """Take from the queue what has been published."""
        return [message["Body"] for message in self.messages()]

    def messages(self) -> list[dict[str, Any]]:
        """Take from the queue what has been published, with its attributes."""
        taken: list[dict[str, Any]] = []
        wanted = {"QueueUrl": self.queue, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
        while found := self.sqs.receive_message(**wanted).get("Messages"):
            for message in found:
                taken.append(message)
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return taken


@contextmanager
def subscriber() -> Iterator[Subscriber]:
    """Make a topic, and subscribe to it."""
    name = f"topic-{uuid.uuid4().hex}"
    with closing(make_client("sns")) as sns, closing(make_client("sqs")) as sqs:
        topic, queue = sns.create_topic(Name=name)["TopicArn"], sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
        yield Subscriber(sns, sqs, topic, queue)
