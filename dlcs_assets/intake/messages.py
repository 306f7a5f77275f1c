"""Taking messages in: receive, parse, write to the ledger, and only then delete from the queue."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta

from dlcs_assets.clients.sqs import MAX_BATCH_SIZE, NewMessage, QueueMessage, Queues
from dlcs_assets.customers import NoCustomersError, customer_source
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import check_requested
from dlcs_assets.domain.errors import IngestError, MessageRejectedError, PermanentError, where_raised
from dlcs_assets.domain.image_servers import check_readable
from dlcs_assets.domain.ingest_request import (
    IngestMessage,
    Named,
    OtherMessage,
    Registration,
    named_in,
    parse_message,
)
from dlcs_assets.domain.ingest_spec import stale_stages
from dlcs_assets.domain.message_attributes import ingest_type
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import Lane, Stage
from dlcs_assets.domain.text import shown_text
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.intake.admission import admit, unsure_entries
from dlcs_assets.intake.resolving import resolve
from dlcs_assets.intake.uploads import read_record
from dlcs_assets.ledger.encryption import WrongKeyError
from dlcs_assets.ledger.engine import UNAVAILABLE
from dlcs_assets.ledger.inbox import IntakePolicy
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.records import InboxMessage, IntakeCount, Rejection
from dlcs_assets.settings import Settings

log = logging.getLogger(__name__)

MAX_MESSAGES_PER_TRANSACTION = 8 * MAX_BATCH_SIZE
QUICK_SECONDS = 0.5  # for one transaction, with what is received and deleted


@dataclass(frozen=True)
class Delivery:
    """What became of the entries of some messages.

    `waiting` are the ids of those that could not be forwarded, or looked up in the DLCS, for now, or that a
    configuration refuses which is not the newest; they are in no ledger, and their messages must stay in the queue.
    `problem` says why.
    """

    count: IntakeCount
    waiting: frozenset[str] = frozenset()
    problem: IngestError | None = None

    def leaves_any(self, entries: Sequence[InboxMessage]) -> bool:
        """Return whether one of the entries waits."""
        return any(entry.id in self.waiting for entry in entries)


@dataclass
class IntakeSummary:
    """What one tick took in. `error` is what ended it early: what it took in before that is taken in all the same."""

    received: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    problem: IngestError | None = None
    error: IngestError | None = None

    def add(self, delivery: Delivery) -> None:
        """Add what became of the entries of one transaction."""
        for name, number in asdict(delivery.count).items():
            self.counts[name] = self.counts.get(name, 0) + number
        self.waiting += len(delivery.waiting)
        self.problem = delivery.problem or self.problem

    def __str__(self) -> str:
        counted = ", ".join(f"{number} {name}" for name, number in self.counts.items() if number)
        text = f"{self.received} messages received" + (f" ({counted})" if counted else "")
        if self.waiting:
            text += f"; {self.waiting} stay in the queue for now: {self.problem}"
        return f"{text}; then: {self.error}" if self.error else text


def take_in(queues: Queues, ledger: Ledger, url: str, lane: Lane, settings: Settings) -> IntakeSummary:
    """Take ingest messages and S3 events in, waiting for the first to come, so that it is seen at once."""

    def read(message: QueueMessage) -> list[InboxMessage]:
        return read_message(message, url, lane, settings)

    return take_in_as(read, queues, ledger, url, settings, lane=lane, wait=settings.receive_wait)


def take_in_as(
    read: Callable[[QueueMessage], list[InboxMessage]],
    queues: Queues,
    ledger: Ledger,
    url: str,
    settings: Settings,
    *,
    lane: Lane = Lane.INGEST,
    wait: timedelta = timedelta(0),
    clock: Callable[[], float] = time.monotonic,
) -> IntakeSummary:
    """Take messages in until the queue is empty or the time budget is spent; `read` returns what they mean.

    The wait for the first message does not count: messages that come late in the wait are taken in together, too.
    Without customers in force (NoCustomersError) none is received: they stay in the queue. A queue that cannot be read
    is in the summary, not raised: the caller has other things to do.
    """
    customer_source(settings).customers()
    summary = IntakeSummary()
    limit = MAX_BATCH_SIZE
    seconds = wait.total_seconds()
    began = clock()
    try:
        messages = queues.receive(url, limit=limit, wait_seconds=seconds)
        began += min(clock() - began, seconds)
        deadline = began + settings.intake_budget.total_seconds()
        while messages:
            summary.received += len(messages)
            entries = [_entries(message, read, url, lane) for message in messages]
            delivered = deliver([entry for of in entries for entry in of], queues, ledger, settings)
            summary.add(delivered)
            settled = [each for each, of in zip(messages, entries, strict=True) if not delivered.leaves_any(of)]
            queues.delete(url, settled)
            before, began = began, clock()
            passed = began - before
            if began + passed > deadline:  # when the next would end, too, if it takes as long
                break
            limit = next_limit(limit, len(messages), passed)
            messages = queues.receive(url, limit=limit)
    except NoCustomersError:
        raise
    except IngestError as error:
        summary.error = error
    return summary


def _entries(
    message: QueueMessage, read: Callable[[QueueMessage], list[InboxMessage]], url: str, lane: Lane
) -> list[InboxMessage]:
    """Return what the inbox takes of a message: an entry too if reading it fails, which must not hold up the others."""
    try:
        return read(message)
    except NoCustomersError:
        raise
    except Exception as error:  # noqa: BLE001 (a bug costs one message)
        log.error("message %s of %s cannot be read: %s", message.id, url, where_raised(error))  # noqa: TRY400 (its text may hold the message)
        reason = _unexpected("message_unreadable", "Reading the message", error)
        return [replace(inbox_message(message, url, lane), rejection=reason)]


def next_limit(limit: int, received: int, seconds: float) -> int:
    """Return how many messages to ask for next, when `received` of `limit` were taken in within `seconds`.

    Much of a backlog goes in one transaction, but not so much that the tick ends long after its time; for a few
    messages SQS is not asked again and again.
    """
    if received > limit / 2 and seconds < QUICK_SECONDS:
        return min(2 * limit, MAX_MESSAGES_PER_TRANSACTION)
    return MAX_BATCH_SIZE


def deliver(inbox: Sequence[InboxMessage], queues: Queues, ledger: Ledger, settings: Settings) -> Delivery:
    """Look up in the DLCS what is named only, forward what is not ours, write everything to the ledger.

    The last in one transaction. What can never be forwarded is rejected, with its reason; what cannot be now, or cannot
    be looked up, waits in its queue, and so does what the newest configuration may know while it cannot be read.
    Neither holds up the others.
    """
    resolved = resolve(inbox, settings)
    inbox = [
        admit(resolved.entries[entry.id], settings) if entry.id in resolved.entries else entry
        for entry in inbox
        if entry.id not in resolved.waiting
    ]
    unsure = unsure_entries(inbox, settings)
    inbox = [entry for entry in inbox if entry.id not in unsure]
    errors = _forward(inbox, queues, ledger, settings)
    waiting = {id_: error for id_, error in errors.items() if not isinstance(error, PermanentError)} | unsure
    entries = [
        _not_forwarded(entry, errors[entry.id]) if entry.id in errors else entry
        for entry in inbox
        if entry.id not in waiting
    ]
    return Delivery(
        _write(entries, ledger, intake_policy(settings)),
        resolved.waiting | waiting.keys(),
        resolved.error or next(iter(waiting.values()), None),
    )


def _forward(
    inbox: Sequence[InboxMessage], queues: Queues, ledger: Ledger, settings: Settings
) -> dict[str, IngestError]:
    """Forward each message that is to be, unless it was before; return why others were not, by id."""
    to_forward = {entry.id: NewMessage(entry.body, entry.attributes) for entry in inbox if entry.forwarded}
    if not to_forward or not settings.forward_queue_url:
        return {}
    for known in ledger.inbox.known(to_forward):
        del to_forward[known]
    errors = queues.send_each(settings.forward_queue_url, to_forward.values())
    return {id_: error for id_, error in zip(to_forward, errors, strict=True) if error}


def _not_forwarded(entry: InboxMessage, error: IngestError) -> InboxMessage:
    rejection = Rejection(
        "not_forwarded",
        f"The message is not for this installation, and could not be forwarded: {error.cause} ({error.code})",
        "Correct DLCS_FORWARD_QUEUE_URL, or that queue's policy or limits; then: dlcs rejected --requeue",
    )
    named = entry.salvaged or replace(named_in(entry.body), batch=None)  # its batch is another engine's
    return replace(entry, forwarded=False, rejection=rejection, salvaged=named)


def _write(entries: Sequence[InboxMessage], ledger: Ledger, policy: IntakePolicy) -> IntakeCount:
    """Write entries to the ledger in one transaction, or in several if one of them is what makes it fail."""
    try:
        return ledger.inbox.take_in(entries, policy=policy, now=datetime.now(UTC))
    except (IngestError, WrongKeyError, *UNAVAILABLE):
        raise  # it is not for what is in them
    except Exception as error:
        if len(entries) > 1:
            half = len(entries) // 2
            return _write(entries[:half], ledger, policy) + _write(entries[half:], ledger, policy)
        if not entries or entries[0].rejection:
            raise
        entry = entries[0]
        log.error("message %s of %s cannot be written: %s", entry.id, entry.queue, where_raised(error))  # noqa: TRY400 (its text may hold the message)
        reason = _unexpected("message_not_written", "Writing the message to the ledger", error)
        refused = InboxMessage(
            entry.id, entry.queue, entry.lane, entry.body, rejection=reason, attributes=entry.attributes
        )
        return ledger.inbox.take_in([refused], policy=policy, now=datetime.now(UTC))


def _unexpected(code: str, what: str, error: Exception) -> Rejection:
    return Rejection(
        code,
        f"{what} ended in an unexpected error: {type(error).__name__}",
        "The traceback is in the log of the code server; please report it. Then: dlcs rejected --requeue",
    )


def read_message(message: QueueMessage, url: str, lane: Lane, settings: Settings) -> list[InboxMessage]:
    """Parse one message from a queue into what the inbox takes; several for an S3 event with several records."""
    received = inbox_message(message, url, lane)
    try:
        parsed = parse_message(message.body, ingest_type(message.attributes), asset_kind=settings.ingest_type)
    except MessageRejectedError as error:
        rejection = Rejection(error.code, error.cause, error.remedy)
        return [replace(received, rejection=rejection, salvaged=named_in(message.body))]
    if isinstance(parsed, OtherMessage):
        return [_of_another_kind(received, parsed, settings)]
    if isinstance(parsed, IngestMessage):
        return [admit(replace(received, message=parsed, sent_at=message.sent_at), settings)]
    if not parsed:
        return [received]
    entries = [
        read_record(
            record,
            replace(received, id=f"{message.id}#{number}", body=message.body if len(parsed) == 1 else record.body),
        )
        for number, record in enumerate(parsed)
    ]
    return [admit(entry, settings) for entry in entries]


def inbox_message(message: QueueMessage, url: str, lane: Lane) -> InboxMessage:
    """Return a message as the inbox takes it, before its body is read."""
    return InboxMessage(message.id, url.rsplit("/", 1)[-1], lane, message.body, attributes=message.attributes)


def _of_another_kind(entry: InboxMessage, other: OtherMessage, settings: Settings) -> InboxMessage:
    """Forward or reject what is about no asset; neither an image nor a batch of ours is in it."""
    entry = replace(entry, salvaged=Named(customer=other.customer))
    if settings.forward_queue_url:
        return replace(entry, forwarded=True)
    rejection = Rejection(
        "ingest_type_not_supported",
        f"The message is of the type {shown_text(other.kind) or '(empty)'}, and only {settings.ingest_type} is ours",
        "Set DLCS_FORWARD_QUEUE_URL to the queue of the engine that does it, or DLCS_INGEST_TYPE if this is the type "
        "of assets; then: dlcs rejected --requeue",
    )
    return replace(entry, rejection=rejection)


def intake_policy(settings: Settings) -> IntakePolicy:
    """Return what decides about messages under these settings and the customers in force."""
    policy = ingest_policy(settings)

    def choose(asset_id: AssetId, registration: Registration, results: Mapping[Stage, StageResult]) -> frozenset[Stage]:
        return frozenset(stale_stages(asset_id, registration, results, policy))

    return IntakePolicy(
        check=lambda asset_id, registration: check_registration(asset_id, registration, settings),
        registration_wait=settings.registration_wait,
        choose=choose,
        writes_back=settings.database_url is not None,
    )


def check_registration(asset_id: AssetId, registration: Registration, settings: Settings) -> int | None:
    """Raise MessageRejectedError for a registration that clearly can't be ingested.

    Returns how many images the customer may have; None: any number.
    """
    customers = customer_source(settings).customers()
    try:
        customer = customers.get(asset_id.customer)
        check_requested(registration.channels, customer.policies)
        if not settings.thumbnails_of_jp2:
            check_readable(registration.channels)
        customer.origin(
            registration.origin,
            portal_bucket=settings.origin_bucket,
            own_buckets=(settings.storage_bucket, settings.thumbs_bucket),
        )
    except IngestError as error:
        raise MessageRejectedError(error.code, f"{asset_id}: {error.cause}", remedy=error.remedy) from error
    return customer.quota.images
