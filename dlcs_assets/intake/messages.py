"""Taking messages in: receive, parse, write to the ledger, and only then delete from the queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta

from dlcs_assets.clients.sqs import MAX_BATCH_SIZE, QueueMessage, Queues
from dlcs_assets.customers import customer_source
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel, check_requested
from dlcs_assets.domain.errors import IngestError, MessageRejectedError
from dlcs_assets.domain.image_servers import check_readable
from dlcs_assets.domain.ingest_request import IngestMessage, Registration, named_in, parse_message
from dlcs_assets.domain.ingest_spec import stale_stages
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import Lane, Stage
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.intake.uploads import read_record
from dlcs_assets.ledger.inbox import IntakePolicy
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.records import InboxMessage, IntakeCount, Rejection
from dlcs_assets.settings import Settings

MAX_MESSAGES_PER_TRANSACTION = 8 * MAX_BATCH_SIZE
QUICK_SECONDS = 0.5  # for one transaction, with what is received and deleted


@dataclass
class IntakeSummary:
    """What one tick took in."""

    received: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, count: IntakeCount) -> None:
        """Add the counts of one transaction."""
        for name, number in asdict(count).items():
            self.counts[name] = self.counts.get(name, 0) + number

    def __str__(self) -> str:
        counted = ", ".join(f"{number} {name}" for name, number in self.counts.items() if number)
        return f"{self.received} messages received" + (f" ({counted})" if counted else "")


def take_in(queues: Queues, ledger: Ledger, url: str, lane: Lane, settings: Settings) -> IntakeSummary:
    """Take ingest messages and S3 events in, waiting for the first to come, so that it is seen at once."""

    def read(message: QueueMessage) -> list[InboxMessage]:
        return read_message(message, url, lane, settings)

    return take_in_as(read, queues, ledger, url, settings, wait=settings.receive_wait)


def take_in_as(
    read: Callable[[QueueMessage], list[InboxMessage]],
    queues: Queues,
    ledger: Ledger,
    url: str,
    settings: Settings,
    *,
    wait: timedelta = timedelta(0),
    clock: Callable[[], float] = time.monotonic,
) -> IntakeSummary:
    """Take messages in until the queue is empty or the time budget is spent; `read` returns what they mean.

    The wait for the first message does not count: messages that come late in the wait are taken in together, too.
    Without customers in force (NoCustomersError) none is received: they stay in the queue.
    """
    customer_source(settings).customers()
    summary = IntakeSummary()
    limit = MAX_BATCH_SIZE
    seconds = wait.total_seconds()
    began = clock()
    messages = queues.receive(url, limit=limit, wait_seconds=seconds)
    began += min(clock() - began, seconds)
    deadline = began + settings.intake_budget.total_seconds()
    while messages:
        summary.received += len(messages)
        inbox = [entry for message in messages for entry in read(message)]
        summary.add(deliver(inbox, queues, ledger, settings))
        queues.delete(url, messages)
        before, began = began, clock()
        passed = began - before
        if began + passed > deadline:  # when the next would end, too, if it takes as long
            break
        limit = next_limit(limit, len(messages), passed)
        messages = queues.receive(url, limit=limit)
    return summary


def next_limit(limit: int, received: int, seconds: float) -> int:
    """Return how many messages to ask for next, when `received` of `limit` were taken in within `seconds`.

    Much of a backlog goes in one transaction, but not so much that the tick ends long after its time; for a few
    messages SQS is not asked again and again.
    """
    if received > limit / 2 and seconds < QUICK_SECONDS:
        return min(2 * limit, MAX_MESSAGES_PER_TRANSACTION)
    return MAX_BATCH_SIZE


def deliver(inbox: Sequence[InboxMessage], queues: Queues, ledger: Ledger, settings: Settings) -> IntakeCount:
    """Forward what is not ours, then write everything to the ledger, in one transaction."""
    forwarded = [entry.body for entry in inbox if entry.forwarded]
    if forwarded and settings.forward_queue_url:
        queues.send(settings.forward_queue_url, forwarded)
    return ledger.inbox.take_in(inbox, policy=intake_policy(settings), now=datetime.now(UTC))


def read_message(message: QueueMessage, url: str, lane: Lane, settings: Settings) -> list[InboxMessage]:
    """Parse one message from a queue into what the inbox takes; several for an S3 event with several records."""
    queue = url.rsplit("/", 1)[-1]
    try:
        parsed = parse_message(message.body)
    except MessageRejectedError as error:
        rejection = Rejection(error.code, error.cause, error.remedy)
        return [InboxMessage(message.id, queue, lane, message.body, None, rejection, salvaged=named_in(message.body))]
    if isinstance(parsed, IngestMessage):
        return [
            admit(
                InboxMessage(message.id, queue, lane, message.body, message=parsed, sent_at=message.sent_at), settings
            )
        ]
    if not parsed:
        return [InboxMessage(message.id, queue, lane, message.body)]
    entries = [
        read_record(
            record,
            InboxMessage(f"{message.id}#{number}", queue, lane, message.body if len(parsed) == 1 else record.body),
        )
        for number, record in enumerate(parsed)
    ]
    return [admit(entry, settings) for entry in entries]


def admit(entry: InboxMessage, settings: Settings) -> InboxMessage:
    """Forward or reject a message that is not ours."""
    message = entry.message
    if message is None:
        return entry
    ours = customer_source(settings).customers().find(message.asset_id.customer) is not None
    channels = (message.asset.channels if message.asset else None) or ()
    if ours and all(channel.channel is not Channel.IIIF_AV for channel in channels):
        return entry
    if settings.forward_queue_url:
        return replace(entry, message=None, forwarded=True)
    reason = (
        Rejection(
            "iiif_av_not_supported",
            "The image's delivery channel iiif-av is not ours",
            "Set DLCS_FORWARD_QUEUE_URL to the queue of the engine that makes audio and video",
        )
        if ours
        else Rejection(
            "customer_not_configured",
            f"Customer {message.asset_id.customer} is not configured here",
            "Add the customer to the customers file (without one, to DLCS_CUSTOMERS), or set DLCS_FORWARD_QUEUE_URL to "
            "the queue of the engine that has it",
        )
    )
    return replace(entry, rejection=reason)


def intake_policy(settings: Settings) -> IntakePolicy:
    """Return what decides about messages under these settings and the customers in force."""
    policy = ingest_policy(settings)

    def choose(asset_id: AssetId, registration: Registration, results: Mapping[Stage, StageResult]) -> frozenset[Stage]:
        return frozenset(stale_stages(asset_id, registration, results, policy))

    return IntakePolicy(
        check=lambda asset_id, registration: check_registration(asset_id, registration, settings),
        registration_wait=settings.registration_wait,
        choose=choose,
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
