"""A small SQS: what ingest asks of it, with a receive that takes the same time however many messages wait.

moto looks through all messages at each receive; with a backlog of 100,000 that is what would be measured.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import json
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from dlcs_testing.http_serving import Answer, serving

VISIBILITY_SECONDS: Final = 120.0
NOT_THERE: Final = "AWS.SimpleQueueService.NonExistentQueue"


@dataclass
class Message:
    """A message, and the receipt by which it may be deleted now."""

    id: str
    body: str
    sent: float
    attributes: dict[str, Any]
    receipt: str = ""
    received: int = 0


@dataclass
class Queue:
    """Messages that wait, in their order; those that were received, by when they come back."""

    url: str
    visibility_seconds: float = VISIBILITY_SECONDS
    waiting: deque[Message] = field(default_factory=deque)
    in_flight: list[tuple[float, str, Message]] = field(default_factory=list)  # a heap
    by_receipt: dict[str, Message] = field(default_factory=dict)
    lock: threading.Condition = field(default_factory=threading.Condition)

    def send(self, body: str, attributes: dict[str, Any]) -> Message:
        """Add a message."""
        message = Message(str(uuid.uuid4()), body, time.time(), attributes)
        with self.lock:
            self.waiting.append(message)
            self.lock.notify()
        return message

    def receive(self, most: int, wait_seconds: float, visibility_seconds: float | None) -> list[Message]:
        """Take up to `most` messages; wait for the first one."""
        give_up = time.monotonic() + wait_seconds
        hidden = self.visibility_seconds if visibility_seconds is None else visibility_seconds
        with self.lock:
            self._bring_back()
            while not self.waiting and (left := give_up - time.monotonic()) > 0:
                self.lock.wait(min(left, 0.2))
                self._bring_back()
            taken = [self.waiting.popleft() for _ in range(min(most, len(self.waiting)))]
            for message in taken:
                message.receipt, message.received = str(uuid.uuid4()), message.received + 1
                self.by_receipt[message.receipt] = message
                heapq.heappush(self.in_flight, (time.time() + hidden, message.receipt, message))
        return taken

    def delete(self, receipt: str) -> None:
        """Delete what was received under the receipt."""
        with self.lock:
            self.by_receipt.pop(receipt, None)

    def counts(self) -> tuple[int, int]:
        """Return how many wait, and how many were received."""
        with self.lock:
            self._bring_back()
            return len(self.waiting), len(self.by_receipt)

    def _bring_back(self) -> None:
        now = time.time()
        while self.in_flight and self.in_flight[0][0] <= now:
            _, receipt, message = heapq.heappop(self.in_flight)
            if self.by_receipt.pop(receipt, None) is not None:
                self.waiting.appendleft(message)


class QueueServer:
    """The JSON protocol of SQS (`X-Amz-Target: AmazonSQS.*`) for standard queues."""

    def __init__(self) -> None:
        self.url = ""
        self._queues: dict[str, Queue] = {}

    def answer(self, action: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked. Raises LookupError for a queue that is not there, NotImplementedError for what it can't."""
        if action == "CreateQueue":
            return {"QueueUrl": self._create(asked).url}
        if action == "GetQueueUrl":
            return {"QueueUrl": self._queues[asked["QueueName"]].url}
        queue = self._queues[str(asked["QueueUrl"]).rpartition("/")[2]]
        act = getattr(self, f"_{action}", None)
        if act is None:
            raise NotImplementedError(action)
        answer: dict[str, Any] = act(queue, asked)
        return answer

    def _create(self, asked: dict[str, Any]) -> Queue:
        name = asked["QueueName"]
        queue = self._queues.setdefault(name, Queue(f"{self.url}/000000000000/{name}"))
        self._SetQueueAttributes(queue, asked)
        return queue

    def _SetQueueAttributes(self, queue: Queue, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 (SQS's names)
        if seconds := asked.get("Attributes", {}).get("VisibilityTimeout"):
            queue.visibility_seconds = float(seconds)
        return {}

    def _SendMessage(self, queue: Queue, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 (as above)
        message = queue.send(asked["MessageBody"], asked.get("MessageAttributes", {}))
        return {"MessageId": message.id, "MD5OfMessageBody": _md5(message.body)}

    def _SendMessageBatch(self, queue: Queue, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 (as above)
        done = [{"Id": entry["Id"], **self._SendMessage(queue, entry)} for entry in asked["Entries"]]
        return {"Successful": done, "Failed": []}

    def _ReceiveMessage(self, queue: Queue, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 (as above)
        taken = queue.receive(
            asked.get("MaxNumberOfMessages", 1), asked.get("WaitTimeSeconds", 0), asked.get("VisibilityTimeout")
        )
        return {"Messages": [_as_sqs_returns(message) for message in taken]} if taken else {}

    def _DeleteMessage(self, queue: Queue, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 (as above)
        queue.delete(asked["ReceiptHandle"])
        return {}

    def _DeleteMessageBatch(self, queue: Queue, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 (as above)
        for entry in asked["Entries"]:
            queue.delete(entry["ReceiptHandle"])
        return {"Successful": [{"Id": entry["Id"]} for entry in asked["Entries"]], "Failed": []}

    def _GetQueueAttributes(self, queue: Queue, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 (as above)
        waiting, in_flight = queue.counts()
        known = {
            "ApproximateNumberOfMessages": str(waiting),
            "ApproximateNumberOfMessagesNotVisible": str(in_flight),
            "ApproximateNumberOfMessagesDelayed": "0",
            "VisibilityTimeout": str(int(queue.visibility_seconds)),
        }
        names = asked.get("AttributeNames", [])
        return {"Attributes": {name: value for name, value in known.items() if name in names or "All" in names}}


def _as_sqs_returns(message: Message) -> dict[str, Any]:
    return {
        "MessageId": message.id,
        "ReceiptHandle": message.receipt,
        "Body": message.body,
        "MD5OfBody": _md5(message.body),
        "MessageAttributes": message.attributes,
        "Attributes": {
            "SentTimestamp": str(round(message.sent * 1000)),
            "ApproximateReceiveCount": str(message.received),
        },
    }


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def answer_of(queues: QueueServer, headers: dict[str, str], body: bytes) -> Answer:
    """Answer a request of SQS's JSON protocol."""
    action = headers.get("x-amz-target", "").rpartition(".")[2]
    more = {"Content-Type": "application/x-amz-json-1.0"}
    try:
        status, reply = 200, queues.answer(action, json.loads(body or b"{}"))
    except LookupError:
        status, reply = 400, {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no such queue"}
    except NotImplementedError:
        status, reply = 400, {"__type": "com.amazonaws.sqs#UnsupportedOperation", "message": action}
    if status != 200:
        more["x-amzn-query-error"] = f"{NOT_THERE};Sender"
    return Answer(status, json.dumps(reply).encode(), more)


@contextmanager
def serving_queues() -> Iterator[QueueServer]:
    """Serve on a free port of the loopback address."""
    queues = QueueServer()
    with serving(lambda _method, _path, headers, body: answer_of(queues, headers, body)) as url:
        queues.url = url
        yield queues


def main() -> None:
    """Serve a queue with a backlog of full messages until killed; say where, as a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.queue_server")
    parser.add_argument("--backlog", type=int, default=0)
    backlog = parser.parse_args().backlog
    with serving_queues() as queues:
        url = queues.answer("CreateQueue", {"QueueName": "images"})["QueueUrl"]
        for number in range(backlog):
            asset = {"id": f"2/{1 + number % 7}/page-{number:06}", "origin": f"https://example.org/{number}.jpg"}
            queues.answer("SendMessage", {"QueueUrl": url, "MessageBody": json.dumps({"asset": asset})})
        sys.stdout.write(json.dumps({"endpoint": queues.url, "url": url}) + "\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
