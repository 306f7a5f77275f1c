"""Messages taken in: each becomes a request, waits for its image's registration, or is kept with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, update

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.ingest_request import IngestMessage, Registration, register
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import STAGES, RequestState, Stage
from dlcs_assets.ledger.accounting import RegistrationCheck, within_quota
from dlcs_assets.ledger.batches import note_batch
from dlcs_assets.ledger.bulk_intake import Newcomers, registration_values
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.deletions import ask_to_delete, restore, was_deleted_since
from dlcs_assets.ledger.records import (
    InboxMessage,
    IntakeCount,
    Rejection,
    stage_results,
    stages_text,
)
from dlcs_assets.ledger.requests import create_request
from dlcs_assets.ledger.tables import images, messages, requests
from dlcs_assets.ledger.uploads import forget_requeued, is_new_upload, remember

# Given what is recorded of an image that is done and what was registered newly, returns what has to be done again.
StageChoice = Callable[[AssetId, Registration, Mapping[Stage, StageResult]], frozenset[Stage]]


@dataclass(frozen=True, slots=True)
class IntakePolicy:
    """What the inbox asks others.

    `check` raises MessageRejectedError for a registration that can't work, and returns the customer's limit of images.
    `choose` is asked where a message changes the registration of an image that is done; every other message asks for
    all stages. `registration_wait` is how long a message waits for the registration of the image that it names.
    """

    check: RegistrationCheck
    registration_wait: timedelta
    choose: StageChoice = lambda *_: frozenset(STAGES)


UNKNOWN_IMAGE = Rejection(
    "image_unknown",
    "The message names an image that is not registered",
    "Register the image with a full message (asset with origin), then send this one again: dlcs rejected --requeue",
)


class Inbox:
    """The way in. Taking the same message in twice has no effect, so a message may be deleted late, or never."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take_in(
        self,
        received: Sequence[InboxMessage],
        *,
        policy: IntakePolicy,
        now: datetime,
    ) -> IntakeCount:
        """Write all messages in one transaction."""
        count: Counter[str] = Counter()
        with self._database.write() as connection:
            policy = replace(policy, check=within_quota(connection, policy.check))
            forget_requeued(connection, received)
            known = set(
                connection.scalars(select(messages.c.id).where(messages.c.id.in_([message.id for message in received])))
            )
            newcomers = Newcomers(connection, received, now)
            rows: list[dict[str, Any]] = []
            for message in received:
                if message.id in known:
                    count["duplicates"] += 1
                    continue
                known.add(message.id)
                row = _take_in_one(connection, message, policy, newcomers, now)
                count[row["state"]] += 1
                if row["state"] == "waiting":  # another one of these may be what it waits for
                    connection.execute(insert(messages), [row])
                else:
                    rows.append(row)
            newcomers.write()
            if rows:
                connection.execute(insert(messages), rows)
        return IntakeCount(**count)

    def reject_overdue(self, now: datetime) -> int:
        """Reject what waited in vain for the registration of its image; return how many."""
        with self._database.write() as connection:
            overdue = connection.execute(
                select(requests.c.id).where(requests.c.state == RequestState.WAITING, requests.c.due_at <= now)
            ).all()
            for row in overdue:
                connection.execute(
                    update(requests)
                    .where(requests.c.id == row.id)
                    .values(
                        state=RequestState.REJECTED,
                        finished_at=now,
                        error_code=UNKNOWN_IMAGE.code,
                        error_cause=UNKNOWN_IMAGE.cause,
                        error_remedy=UNKNOWN_IMAGE.remedy,
                    )
                )
                connection.execute(
                    update(messages)
                    .where(messages.c.request_id == row.id, messages.c.state == "waiting")
                    .values(state="rejected", **_columns(UNKNOWN_IMAGE))
                )
        return len(overdue)

    def rejected(self, limit: int = 1000) -> list[dict[str, Any]]:
        """Return the rejected messages, the newest first: id, queue, lane, received_at, image_id, body and reason."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(messages)
                .where(messages.c.state == "rejected")
                .order_by(messages.c.received_at.desc(), messages.c.id)
                .limit(limit)
            ).mappings()
            return [dict(row) for row in rows]

    def mark_requeued(self, message_ids: Sequence[str]) -> None:
        """Note that rejected messages were sent to their queue again."""
        with self._database.write() as connection:
            connection.execute(
                update(messages).where(messages.c.id.in_(message_ids)).values(state="requeued", body=None)
            )


def _take_in_one(
    connection: Connection,
    received: InboxMessage,
    policy: IntakePolicy,
    newcomers: Newcomers,
    now: datetime,
) -> dict[str, Any]:
    """Do what a message asks for; return its row in the ledger."""
    named = received.named
    row: dict[str, Any] = {
        **dict.fromkeys(("request_id", "body", "code", "cause", "remedy")),
        "id": received.id,
        "queue": received.queue,
        "lane": received.lane,
        "received_at": now,
        "image_id": str(named.asset_id) if named.asset_id else None,
        "customer": named.customer,
        "batch": named.batch.id if named.batch else None,
    }
    if named.batch and not received.forwarded:
        row["customer"] = note_batch(connection, named.batch, named.customer, now)
    rejection = received.rejection
    state = "forwarded" if received.forwarded else "ignored"
    if received.deletion and not rejection:
        newcomers.mark_known(received.deletion.asset_id)
        row["request_id"] = ask_to_delete(connection, received.deletion, now)
        state = "accepted" if row["request_id"] else "ignored"
    if received.message and not rejection and not received.forwarded and is_new_upload(connection, received, now):
        try:
            row["request_id"] = newcomers.add(received, policy.check)
            state = "accepted"
            if row["request_id"] is None:
                state, row["request_id"] = _request(connection, received, policy, now)
            remember(connection, received, now)
        except MessageRejectedError as error:
            rejection = Rejection(error.code, error.cause, error.remedy)
    if received.forwarded:
        remember(connection, received, now)
    if rejection:
        state = "rejected"
        row |= _columns(rejection)
    if state in {"rejected", "waiting"}:
        row["body"] = received.body
    return row | {"state": state}


def _request(
    connection: Connection,
    received: InboxMessage,
    policy: IntakePolicy,
    now: datetime,
) -> tuple[str, str | None]:
    message = received.message
    assert message is not None
    before = _registration(connection, str(message.asset_id))
    if before is None and (
        received.only_outdated or was_deleted_since(connection, message.asset_id, message.created or received.sent_at)
    ):
        return "ignored", None
    registered = _register(connection, message, policy.check, now)
    stages = frozenset(STAGES)
    if registered:
        stages = _stages(connection, received, before, policy.choose)
    if not stages:
        return "ignored", None
    if registered and before is None:
        restore(connection, message.asset_id)
    request_id = create_request(
        connection,
        message.asset_id,
        stages=stages_text(stages),
        lane=received.lane,
        batch=message.batch.id if message.batch else None,
        state=RequestState.PENDING if registered else RequestState.WAITING,
        due_at=now if registered else now + policy.registration_wait,
        now=now,
    )
    return ("accepted" if registered else "waiting"), request_id


def _stages(
    connection: Connection, received: InboxMessage, before: Registration | None, choose: StageChoice
) -> frozenset[Stage]:
    """Return what the message is to have done: by itself all; where it changed the registration, what that changes."""
    assert received.message is not None
    everything = frozenset(STAGES)
    asset_id = received.message.asset_id
    image_id = str(asset_id)
    after = _registration(connection, image_id)
    if before is None or after is None or (before == after and not received.only_outdated):
        return everything
    newest = (
        select(requests.c.state)
        .where(requests.c.image_id == image_id, requests.c.state != RequestState.SUPERSEDED)
        .order_by(requests.c.id.desc())
        .limit(1)
    )
    results = {stage: result for stage, (_, result) in stage_results(connection, [image_id]).get(image_id, {}).items()}
    if connection.scalar(newest) != RequestState.DONE or set(results) != set(STAGES):
        return everything
    outdated = choose(asset_id, after, results)
    if received.only_outdated and not outdated:
        # Cached info.json documents tell who may see the picture, and earlier systems may have left other sizes: a run
        # of the last stage removes both.
        changed = (before.roles, before.channels) != (after.roles, after.channels)
        return frozenset({Stage.THUMBNAILS}) if changed else frozenset()
    return outdated or everything


def _registration(connection: Connection, image_id: str) -> Registration | None:
    found = connection.scalar(select(images.c.registration).where(images.c.id == image_id))
    return None if found is None else Registration.of_json(found)


def _register(connection: Connection, message: IngestMessage, check: RegistrationCheck, now: datetime) -> bool:
    """Register the image as the message says, or leave it as it is; False if there is nothing to leave."""
    image_id = str(message.asset_id)
    row = connection.execute(select(images).where(images.c.id == image_id)).one_or_none()
    before = Registration.of_json(row.registration) if row else None
    outdated = row is not None and message.created and row.asserted_at and message.created < row.asserted_at
    if message.asset is None or outdated:
        return row is not None
    after = register(message.asset, before)
    check(message.asset_id, after)
    values = registration_values(after) | {"asserted_at": message.created or (row.asserted_at if row else None)}
    if row:
        connection.execute(update(images).where(images.c.id == image_id).values(**values))
        return True
    connection.execute(
        insert(images).values(
            id=image_id,
            customer=message.asset_id.customer,
            space=message.asset_id.space,
            registered_at=now,
            **values,
        )
    )
    connection.execute(  # short messages that came before this registration
        update(requests)
        .where(requests.c.image_id == image_id, requests.c.state == RequestState.WAITING)
        .values(state=RequestState.PENDING, due_at=now)
    )
    connection.execute(
        update(messages)
        .where(messages.c.image_id == image_id, messages.c.state == "waiting")
        .values(state="accepted", body=None)
    )
    return True


def _columns(rejection: Rejection) -> dict[str, str]:
    return {"code": rejection.code, "cause": rejection.cause, "remedy": rejection.remedy}
