"""Whose messages are taken in: of customers that are configured here. Others are forwarded, rejected, or wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from dlcs_assets.customers import customer_source
from dlcs_assets.domain.customers import Customer
from dlcs_assets.domain.delivery import Channel, check_requested
from dlcs_assets.domain.errors import IngestError, MessageRejectedError, ServiceDownError
from dlcs_assets.ledger.records import InboxMessage, Rejection
from dlcs_assets.settings import Settings

LONGEST_WAIT: Final = timedelta(days=1)  # for a configuration that cannot be read: SQS deletes what waits for days


def may_be_ours(customer: int, settings: Settings) -> bool:
    """Return whether a customer is configured here, or may be once the configuration can be read again."""
    source = customer_source(settings)
    return source.find(customer) is not None or source.outdated() is not None


def unsure_entries(inbox: Sequence[InboxMessage], settings: Settings) -> dict[str, IngestError]:
    """Return, by id, why entries wait that the configuration in force would refuse, and the newest one may not.

    Of a customer that is not known, or with a policy that is not, while what is configured cannot be read. It may have
    been read since `may_be_ours` was asked about an entry: that one comes again. None waits longer than LONGEST_WAIT.
    """
    source = customer_source(settings)
    outdated, now = source.outdated(), datetime.now(UTC)
    found: dict[str, IngestError] = {}
    for entry in inbox:
        if entry.rejection or entry.forwarded or not (entry.message or entry.deletion):
            continue
        if entry.sent_at is not None and now - entry.sent_at >= LONGEST_WAIT:
            continue
        number = entry.named.customer
        customer = source.find(number) if number is not None else None
        if entry.deletion:
            unsure = entry.only_registered and (customer is not None or outdated is not None)
        else:
            unsure = customer is None or (outdated is not None and not _knows_policies(customer, entry))
        if unsure:
            found[entry.id] = ServiceDownError(
                "configuration_outdated",
                outdated or f"Customer {number} was not known a moment ago",
                remedy="Correct the customers file, or let the DLCS's database answer: then messages continue.",
            )
    return found


def _knows_policies(customer: Customer, entry: InboxMessage) -> bool:
    asset = entry.message.asset if entry.message else None
    try:
        check_requested(asset.channels if asset else None, customer.policies)
    except MessageRejectedError:
        return False
    return True


def admit(entry: InboxMessage, settings: Settings) -> InboxMessage:
    """Forward or reject a message that is not ours. One that may be ours stays as it is: `deliver` lets it wait."""
    message = entry.message
    if message is None or entry.rejection:
        return entry
    ours = may_be_ours(message.asset_id.customer, settings)
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
