"""One transaction that takes messages in. New and known images go the same way, many in a few statements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.ingest_request import BatchReference, IngestMessage, Registration, register
from dlcs_assets.domain.message_attributes import attributes_to_json
from dlcs_assets.domain.request_states import (
    SHOWN_STATES,
    UNSETTLED_MESSAGES,
    Event,
    MessageState,
    RequestState,
    ShownState,
)
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.ledger.accounting import RegistrationCheck, within_quota
from dlcs_assets.ledger.batches import note_batch
from dlcs_assets.ledger.deletions import forget_deletions, request_deletion
from dlcs_assets.ledger.overtaken import IMAGE_DELETED
from dlcs_assets.ledger.records import InboxMessage, Rejection, registration_columns, stage_results
from dlcs_assets.ledger.requests import NewRequest, create_requests
from dlcs_assets.ledger.tables import images, messages, requests, tombstones
from dlcs_assets.ledger.transitions import Reason, change_state
from dlcs_assets.ledger.uploads import is_new_upload, remember
from dlcs_assets.ledger.write_backs import add_unwritten

# Given what is recorded of an image that is done and its new registration, returns what has to be made again.
StageChoice = Callable[[AssetId, Registration, Mapping[Stage, StageResult]], frozenset[Stage]]


@dataclass(frozen=True, slots=True)
class IntakePolicy:
    """What the inbox asks others.

    `check` raises MessageRejectedError for a registration that can't work, and returns the customer's limit of images.
    `choose` is called where a message changes the registration of an image that is done; every other message requests
    all stages. `registration_wait` is how long a message waits for the registration of the image that it names.
    `writes_back`: a DLCS waits to hear how images end.
    """

    check: RegistrationCheck
    registration_wait: timedelta
    choose: StageChoice = lambda *_: frozenset(STAGES)
    writes_back: bool = False


@dataclass(frozen=True, slots=True)
class _Registered:
    """An image as it is registered, and `created` of the message that the registration is from."""

    registration: Registration
    asserted_at: datetime | None


class IntakeTransaction:
    """What a transaction knows about the images that its messages name, and what it is going to write.

    What the ledger knows is read at the start. What is to be written is collected, in the order of the messages, until
    `flush`, which must be called at the end. All images may be new, as those of a backlog are, or known, or named by
    several of the messages.
    """

    def __init__(self, connection: Connection, image_ids: Iterable[str], policy: IntakePolicy, now: datetime) -> None:
        self._connection = connection
        self._policy = policy
        self._check = within_quota(connection, policy.check)
        self._now = now
        self._images: dict[str, _Registered] = {}
        self._deleted_at: dict[str, datetime] = {}  # by image, of those with a tombstone
        self._waiting: set[str] = set()  # images with a request that waits for the registration
        self._image_rows: dict[str, dict[str, Any]] = {}
        self._new: set[str] = set()  # images that were not registered before
        self._requests: list[NewRequest] = []
        self._message_rows: list[dict[str, Any]] = []
        self._read(list(image_ids))

    def take_in(self, received: InboxMessage) -> MessageState:
        """Do what a message requests; return what became of it. One that can't be used is kept with its reason."""
        named, rejection = received.named, received.rejection
        customer = named.customer
        if named.batch and not received.forwarded:
            customer = note_batch(self._connection, named.batch, named.customer, self._now)
        state = MessageState.FORWARDED if received.forwarded else MessageState.IGNORED
        request_id: str | None = None
        if received.forwarded:
            remember(self._connection, received, self._now)
        elif received.deletion and not rejection:
            request_id = self._delete(received)
            state = MessageState.ACCEPTED if request_id else MessageState.IGNORED
        elif received.message and not rejection and is_new_upload(self._connection, received, self._now):
            try:
                state, request_id = self._request(received, received.message)
                remember(self._connection, received, self._now)
            except MessageRejectedError as error:
                rejection = Rejection(error.code, error.cause, error.remedy)
        if rejection:
            state = MessageState.REJECTED
            if self._policy.writes_back and named.asset_id and named.batch:
                failure = Reason(rejection.code, rejection.cause, rejection.remedy)
                batch, lane = named.batch.id, received.lane
                add_unwritten(self._connection, None, named.asset_id, failure, self._now, batch=batch, lane=lane)
        kept = state in UNSETTLED_MESSAGES
        self._message_rows.append(
            {
                "id": received.id,
                "queue": received.queue,
                "lane": received.lane,
                "received_at": self._now,
                "state": state,
                "image_id": str(named.asset_id) if named.asset_id else None,
                "customer": customer,
                "batch": named.batch.id if named.batch else None,
                "request_id": request_id,
                "body": received.body if kept else None,
                "attributes": attributes_to_json(received.attributes) if kept and received.attributes else None,
                "code": rejection.code if rejection else None,
                "cause": rejection.cause if rejection else None,
                "remedy": rejection.remedy if rejection else None,
            }
        )
        return state

    def flush(self) -> None:
        """Write what was collected."""
        if self._image_rows:
            _write_images(self._connection, list(self._image_rows.values()))
            self._image_rows.clear()
        if early := self._new & self._waiting:
            self._accept_early(early)
        if deleted := self._new & self._deleted_at.keys():
            forget_deletions(self._connection, deleted, self._now)
            for image_id in deleted:
                del self._deleted_at[image_id]
        self._new.clear()
        if self._requests:
            create_requests(self._connection, self._requests, self._now)
            self._waiting |= {str(new.asset_id) for new in self._requests if new.event is Event.REQUESTED_UNREGISTERED}
            self._requests.clear()
        if self._message_rows:
            self._find_customers()
            self._connection.execute(insert(messages), self._message_rows)
            self._message_rows.clear()

    def _find_customers(self) -> None:
        """Note whose batch a rejected message names, if only a later message of this transaction said so."""
        for row in self._message_rows:
            if row["customer"] is None and row["batch"] is not None and row["state"] is MessageState.REJECTED:
                row["customer"] = note_batch(self._connection, BatchReference(row["batch"], None), None, self._now)

    def _delete(self, received: InboxMessage) -> str | None:
        assert received.deletion is not None
        if received.only_registered and str(received.deletion.asset_id) not in self._images:
            return None
        self.flush()
        request_id = request_deletion(self._connection, received.deletion, self._now)
        self._read([str(received.deletion.asset_id)])
        return request_id

    def _request(self, received: InboxMessage, message: IngestMessage) -> tuple[MessageState, str | None]:
        image_id = str(message.asset_id)
        before = self._images.get(image_id)
        if before is None and (
            received.only_stale or self._was_deleted_since(image_id, message.created or received.sent_at)
        ):
            self._end_in_batch(message)
            return MessageState.IGNORED, None
        after = self._register(message)
        stages = self._stages(received, before, after) if after else frozenset(STAGES)
        if not stages:
            return MessageState.IGNORED, None
        new = NewRequest(
            message.asset_id,
            received.lane,
            due_at=self._now if after else self._now + self._policy.registration_wait,
            event=Event.REQUESTED if after else Event.REQUESTED_UNREGISTERED,
            batch=message.batch.id if message.batch else None,
            stages=stages,
        )
        self._requests.append(new)
        return (MessageState.ACCEPTED if after else MessageState.WAITING), new.id

    def _end_in_batch(self, message: IngestMessage) -> None:
        """Raise MessageRejectedError if the batch would wait for the image indefinitely: it was deleted before."""
        if message.batch is None:
            return
        customer, batch = message.asset_id.customer, message.batch.id
        if any(new.asset_id == message.asset_id and new.batch == batch for new in self._requests):
            return  # by an earlier message of this transaction
        asked = select(requests.c.id).where(
            requests.c.image_id == str(message.asset_id), requests.c.batch == batch, requests.c.customer == customer
        )
        if self._connection.execute(asked.limit(1)).first() is None:
            raise MessageRejectedError(
                IMAGE_DELETED.code,
                f"{message.asset_id} was deleted after this message was sent",
                remedy=IMAGE_DELETED.remedy,
            )

    def _register(self, message: IngestMessage) -> _Registered | None:
        """Register the image as the message says, unless it says nothing or is outdated; return what is registered."""
        image_id = str(message.asset_id)
        before = self._images.get(image_id)
        outdated = before and message.created and before.asserted_at and message.created < before.asserted_at
        if message.asset is None or outdated:
            return before
        registration = register(message.asset, before.registration if before else None)
        self._check(message.asset_id, registration)
        after = _Registered(registration, message.created or (before.asserted_at if before else None))
        self._images[image_id] = after
        self._image_rows[image_id] = {
            "id": image_id,
            "customer": message.asset_id.customer,
            "space": message.asset_id.space,
            "registered_at": self._now,
            "asserted_at": after.asserted_at,
            **registration_columns(registration),
        }
        if before is None:
            self._new.add(image_id)
            self._accept_collected(image_id)
        return after

    def _accept_collected(self, image_id: str) -> None:
        """Let the messages of this transaction that name an image by its id only wait no longer."""
        for new in self._requests:
            if new.event is Event.REQUESTED_UNREGISTERED and str(new.asset_id) == image_id:
                new.event, new.due_at = Event.REQUESTED, self._now
        for row in self._message_rows:
            if row["state"] is MessageState.WAITING and row["image_id"] == image_id:
                row |= {"state": MessageState.ACCEPTED, "body": None, "attributes": None}

    def _accept_early(self, image_ids: set[str]) -> None:
        """Let the messages of earlier transactions that name these images wait no longer."""
        change_state(self._connection, Event.REGISTERED, requests.c.image_id.in_(image_ids), due_at=self._now)
        self._connection.execute(
            update(messages)
            .where(messages.c.image_id.in_(image_ids), messages.c.state == MessageState.WAITING)
            .values(state=MessageState.ACCEPTED, body=None, attributes=None)
        )
        self._waiting -= image_ids

    def _stages(self, received: InboxMessage, before: _Registered | None, after: _Registered) -> frozenset[Stage]:
        """Return the stages that a message requests: all, or those that its change of the registration affects."""
        assert received.message is not None
        everything = frozenset(STAGES)
        asset_id = received.message.asset_id
        unchanged = before is not None and before.registration == after.registration
        if before is None or (unchanged and not received.only_stale):
            return everything
        if any(new.asset_id == asset_id for new in self._requests):
            return everything
        results = self._results_of_done(str(asset_id))
        if set(results) != set(STAGES):
            return everything
        stale = self._policy.choose(asset_id, after.registration, results)
        if received.only_stale and not stale:
            # Cached info.json documents say who may see the image, and earlier systems may have left other sizes: a run
            # of the last stage removes both.
            rules_before = (before.registration.roles, before.registration.channels)
            changed = rules_before != (after.registration.roles, after.registration.channels)
            return frozenset({Stage.THUMBNAILS}) if changed else frozenset()
        return stale or everything

    def _results_of_done(self, image_id: str) -> dict[Stage, StageResult]:
        """Return the last result of each stage of an image that is done; nothing otherwise."""
        current = select(requests.c.state).where(requests.c.image_id == image_id, requests.c.is_current)
        if SHOWN_STATES.get(self._connection.scalar(current) or "") is not ShownState.DONE:
            return {}
        of_image = stage_results(self._connection, [image_id]).get(image_id, {})
        return {stage: result for stage, (_, result) in of_image.items()}

    def _was_deleted_since(self, image_id: str, sent_at: datetime | None) -> bool:
        """Return whether an image was deleted after something about it was sent."""
        deleted_at = self._deleted_at.get(image_id)
        return deleted_at is not None and sent_at is not None and sent_at <= deleted_at

    def _read(self, image_ids: list[str]) -> None:
        """Read what the ledger knows about these images."""
        for known in (self._images, self._deleted_at):
            for image_id in image_ids:
                known.pop(image_id, None)
        self._waiting -= set(image_ids)
        if not image_ids:
            return
        registered = select(images.c.id, images.c.registration, images.c.asserted_at).where(images.c.id.in_(image_ids))
        for row in self._connection.execute(registered):
            self._images[row.id] = _Registered(Registration.of_json(row.registration), row.asserted_at)
        deleted = select(tombstones.c.image_id, tombstones.c.asserted_at).where(tombstones.c.image_id.in_(image_ids))
        self._deleted_at |= {row.image_id: row.asserted_at for row in self._connection.execute(deleted)}
        self._waiting |= set(
            self._connection.scalars(
                select(requests.c.image_id).where(
                    requests.c.image_id.in_(image_ids), requests.c.state == RequestState.WAITING
                )
            )
        )


def _write_images(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Insert images, or update the registration of those that are there."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(images)
    changed = {name: new.excluded[name] for name in ("registration", "asserted_at", "origin_bucket", "origin_key")}
    connection.execute(new.on_conflict_do_update(index_elements=["id"], set_=changed), rows)
