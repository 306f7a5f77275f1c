"""SQS queues: taking messages, deleting those that are safe elsewhere, sending."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dlcs_assets.clients.aws import aws_errors, client_config, make_client
from dlcs_assets.clients.http import Peer, one_line
from dlcs_assets.clients.lazy import LazyClient
from dlcs_assets.clients.retrying import Retrying
from dlcs_assets.domain.errors import IngestError, PermanentError, TransientError
from dlcs_assets.domain.message_attributes import MessageAttribute
from dlcs_assets.domain.redaction import shown_url

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.type_defs import MessageAttributeValueOutputTypeDef

T = TypeVar("T")

_PEER: Final = Peer(
    "SQS",
    "queue",
    is_internal=True,
    remedy="Check that SQS answers, that the queue exists, and that the credentials are valid.",
)
MAX_BATCH_SIZE: Final = 10  # messages that SQS gives, or takes, in one request
_REQUESTS_IN_FLIGHT: Final = 8
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_LONGEST_WAIT_SECONDS: Final = 20
_NOT_FOUND: Final = f"{_PEER.code}_not_found"


@dataclass(frozen=True)
class QueueMessage:
    """A message as received. `receipt_handle` is what it is deleted by, and good for this receipt only.

    `attributes` are what its sender said of it.
    """

    id: str
    body: str
    receipt_handle: str
    sent_at: datetime | None
    attributes: Mapping[str, MessageAttribute] = field(default_factory=dict)


@dataclass(frozen=True)
class NewMessage:
    """A message to send."""

    body: str
    attributes: Mapping[str, MessageAttribute] = field(default_factory=dict)


@dataclass(frozen=True)
class QueueDepth:
    """About how many messages a queue holds: to be received, received and not yet deleted, not yet visible."""

    waiting: int
    in_flight: int
    delayed: int


@dataclass(kw_only=True, eq=False)
class Queues(LazyClient["SQSClient"]):
    """SQS, whichever queue. All methods raise the errors of the error tree, codes `queue_*`."""

    region_name: str | None = None
    endpoint_url: str | None = None
    connect_timeout_seconds: float = 5.0
    timeout_seconds: float = 30.0
    attempts: int = 3
    first_delay_seconds: float = 0.2

    def receive(self, url: str, *, limit: int = MAX_BATCH_SIZE, wait_seconds: float = 0) -> list[QueueMessage]:
        """Take up to `limit` messages, waiting up to `wait_seconds` for the first; the earliest sent come first.

        SQS gives ten at most: for more it is asked several times at once. What comes twice is given once. If some of
        the requests fail, what the others were given is returned; raises if they were given nothing.
        """
        sizes = [min(MAX_BATCH_SIZE, limit - start) for start in range(0, limit, MAX_BATCH_SIZE)]
        if len(sizes) == 1:
            return self._receive(url, limit, wait_seconds)
        with ThreadPoolExecutor(_REQUESTS_IN_FLIGHT) as threads:
            parts = [threads.submit(self._receive, url, size, wait_seconds) for size in sizes]
        errors = [error for part in parts if (error := part.exception())]
        messages = {message.id: message for part in parts if not part.exception() for message in part.result()}
        if errors and not messages:
            raise errors[0]
        return sorted(messages.values(), key=lambda message: message.sent_at or _LONG_AGO)

    def _receive(self, url: str, limit: int, wait_seconds: float) -> list[QueueMessage]:
        with aws_errors(_PEER, f"Receiving from {shown_url(url)}"):
            answer = self._sqs().receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=limit,
                WaitTimeSeconds=min(round(wait_seconds), _LONGEST_WAIT_SECONDS),
                MessageSystemAttributeNames=["SentTimestamp"],
                MessageAttributeNames=["All"],
            )
        return [
            QueueMessage(
                message["MessageId"],
                message["Body"],
                message["ReceiptHandle"],
                _moment(message.get("Attributes", {}).get("SentTimestamp")),
                {name: _received(value) for name, value in message.get("MessageAttributes", {}).items()},
            )
            for message in answer.get("Messages", [])
        ]

    def delete(self, url: str, messages: Iterable[QueueMessage]) -> None:
        """Delete messages. All are tried; raises if any is left, which then comes again."""

        def request(batch: Sequence[QueueMessage]) -> set[int]:
            entries = [{"Id": str(i), "ReceiptHandle": m.receipt_handle} for i, m in enumerate(batch)]
            with aws_errors(_PEER, f"Deleting from {shown_url(url)}"):
                answer = self._sqs().delete_message_batch(QueueUrl=url, Entries=entries)  # type: ignore[arg-type]  # plain dicts
            return {int(failure["Id"]) for failure in answer.get("Failed", [])}

        left, refusal = 0, None
        for batch in _in_tens(messages):
            try:
                left += len(self._one_batch(batch, request))
            except PermanentError as error:  # of this request: the others are made nevertheless
                refusal = error
        if refusal:
            raise refusal
        if left:
            raise TransientError(
                "queue_not_deleted",
                f"SQS kept {left} messages of {shown_url(url)} that were to be deleted",
                remedy=_PEER.remedy,
            )

    def send(self, url: str, messages: Iterable[NewMessage]) -> int:
        """Send messages and return how many. Raises if any was not taken: the others have been sent."""
        errors = self.send_each(url, messages)
        failed = [error for error in errors if error]
        if not failed:
            return len(errors)
        first = failed[0]
        if len(failed) == len(errors):
            raise first
        raise type(first)(
            first.code,
            f"SQS took {len(errors) - len(failed)} of {len(errors)} messages: {first.cause}",
            remedy=first.remedy,
        )

    def send_each(self, url: str, messages: Iterable[NewMessage]) -> list[IngestError | None]:
        """Send messages; return for each why it was not sent, in their order, and None for those that were.

        SQS alone says what it takes, so that its limits are nowhere else: a request that it refuses is cut in halves
        until those that it refuses are alone. If it does not answer, or has no such queue, the rest is not tried.
        """
        sending = _Sending(url, list(messages))
        numbers = range(len(sending.messages))
        try:
            for batch in _in_tens(numbers):
                self._send_batch(sending, batch)
        except IngestError as error:
            sending.errors |= {number: error for number in numbers if number not in sending.ended}
        return [sending.errors.get(number) for number in numbers]

    def _send_batch(self, sending: _Sending, numbers: Sequence[int]) -> None:
        """Send the messages of these numbers. Raises what keeps the queue from taking any message."""

        def request(batch: Sequence[int]) -> set[int]:
            entries = [_entry(i, sending.messages[number]) for i, number in enumerate(batch)]
            with aws_errors(_PEER, f"Sending to {shown_url(sending.url)}"):
                answer = self._sqs().send_message_batch(QueueUrl=sending.url, Entries=entries)  # type: ignore[arg-type]  # plain dicts
            sending.sent.update(batch[int(taken["Id"])] for taken in answer.get("Successful", []))
            refused = {int(failure["Id"]): failure for failure in answer.get("Failed", [])}
            for i, failure in refused.items():
                if failure["SenderFault"]:
                    reason = one_line(f"{failure['Code']} {failure.get('Message', '')}")
                    self._refuse(sending, batch[i], f"Sending to {shown_url(sending.url)}: {reason}")
            return {i for i, failure in refused.items() if not failure["SenderFault"]}

        try:
            for number in self._one_batch(numbers, request):
                cause = f"{shown_url(sending.url)} did not take a message, though SQS was asked {self.attempts} times"
                sending.errors[number] = TransientError("queue_not_sent", cause, remedy=_PEER.remedy)
        except PermanentError as error:
            left = [number for number in numbers if number not in sending.ended]
            if error.code == _NOT_FOUND:
                raise
            if len(left) == 1:
                self._refuse(sending, left[0], error.cause)
                return
            for half in (left[: len(left) // 2], left[len(left) // 2 :]):
                self._send_batch(sending, half)

    def _refuse(self, sending: _Sending, number: int, cause: str) -> None:
        """Note why SQS refuses one message, in words of ours where it is its size."""
        size, largest = _size(sending.messages[number]), self._largest(sending.url)
        if largest is not None and size > largest:
            sending.errors[number] = PermanentError(
                "message_too_large",
                f"A message of {size} bytes is larger than the {largest} that {shown_url(sending.url)} takes",
                remedy="Send less in one message, or raise the queue's MaximumMessageSize.",
            )
        else:
            sending.errors[number] = PermanentError("queue_refused", cause, remedy=_PEER.remedy)

    def _largest(self, url: str) -> int | None:
        """Ask how large a message of the queue may be; None if it does not say."""
        try:
            with aws_errors(_PEER, f"Asking for the limits of {shown_url(url)}"):
                found = self._sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["MaximumMessageSize"])
        except IngestError:
            return None
        return int(found.get("Attributes", {}).get("MaximumMessageSize", 0)) or None

    def depth(self, url: str) -> QueueDepth:
        """Ask about how many messages there are."""
        with aws_errors(_PEER, f"Asking for the depth of {shown_url(url)}"):
            found = self._sqs().get_queue_attributes(
                QueueUrl=url,
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesNotVisible",
                    "ApproximateNumberOfMessagesDelayed",
                ],
            )["Attributes"]
        return QueueDepth(
            waiting=int(found["ApproximateNumberOfMessages"]),
            in_flight=int(found["ApproximateNumberOfMessagesNotVisible"]),
            delayed=int(found["ApproximateNumberOfMessagesDelayed"]),
        )

    def _one_batch(self, batch: Sequence[T], request: Callable[[Sequence[T]], set[int]]) -> Sequence[T]:
        """Make a request for the batch, again for what of it failed; return what failed to the end."""
        remaining = batch

        def attempt() -> None:
            nonlocal remaining
            failed = request(remaining)
            remaining = [item for index, item in enumerate(remaining) if index in failed]
            if remaining:
                raise _PartOfBatchError("queue_failed", "SQS did not take all of a batch", remedy=_PEER.remedy)

        try:
            Retrying(self.attempts, self.timeout_seconds, self.first_delay_seconds, 5).call(attempt)
        except _PartOfBatchError:
            return remaining
        return ()

    def _sqs(self) -> SQSClient:
        return self._client.get(self._make_client)

    def _make_client(self) -> SQSClient:
        config = client_config(
            attempts=self.attempts,
            connections=_REQUESTS_IN_FLIGHT,
            connect_timeout_seconds=self.connect_timeout_seconds,
            read_timeout_seconds=self.timeout_seconds + _LONGEST_WAIT_SECONDS,
        )
        client: SQSClient = make_client(
            "sqs", region_name=self.region_name, endpoint_url=self.endpoint_url, config=config
        )
        return client


class _PartOfBatchError(TransientError):
    """Some of a batch were not taken."""


@dataclass
class _Sending:
    """Messages on their way to a queue, by number: which were sent, and why others were not."""

    url: str
    messages: Sequence[NewMessage]
    sent: set[int] = field(default_factory=set)
    errors: dict[int, IngestError] = field(default_factory=dict)

    @property
    def ended(self) -> set[int]:
        """The numbers of those whose fate is known."""
        return self.sent | self.errors.keys()


def _received(value: MessageAttributeValueOutputTypeDef) -> MessageAttribute:
    if "BinaryValue" in value:
        return MessageAttribute(value["DataType"], base64.b64encode(value["BinaryValue"]).decode())
    return MessageAttribute(value["DataType"], value.get("StringValue", ""))


def _entry(number: int, message: NewMessage) -> dict[str, Any]:
    """Return a message as SQS takes it."""
    attributes = {
        name: {"DataType": attribute.type, "BinaryValue": base64.b64decode(attribute.value)}
        if attribute.is_binary
        else {"DataType": attribute.type, "StringValue": attribute.value}
        for name, attribute in message.attributes.items()
    }
    entry = {"Id": str(number), "MessageBody": message.body}
    return {**entry, "MessageAttributes": attributes} if attributes else entry


def _size(message: NewMessage) -> int:
    """Return about how many bytes SQS counts."""
    said = "".join(f"{name}{attribute.type}{attribute.value}" for name, attribute in message.attributes.items())
    return len(f"{message.body}{said}".encode(errors="replace"))


def _moment(milliseconds: str | None) -> datetime | None:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC) if milliseconds else None


def _in_tens(items: Iterable[T]) -> Iterator[Sequence[T]]:
    everything = list(items)
    for start in range(0, len(everything), MAX_BATCH_SIZE):
        yield everything[start : start + MAX_BATCH_SIZE]
