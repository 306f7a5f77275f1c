"""What outsiders and operators do in a history: messages, notifications, commands, edits of the customers file."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger.engine import UNAVAILABLE
from dlcs_assets.ledger.reports import Selection
from dlcs_assets_tests.crash.lives import CHANNELS, Act, Step
from dlcs_assets_tests.crash.world import World
from dlcs_stack import aws
from dlcs_testing.whole_system import full_message

MESSAGES_PER_CALL: Final = 10
PAUSE_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 120  # a ledger is locked for less


@dataclass
class Actor:
    """Takes the steps of a history, each at its time; `sent` are the ids of all messages."""

    world: World
    customer: int
    batch: int
    count: int  # of the batch
    zero: datetime = field(default_factory=lambda: datetime.now(UTC))
    sent: list[str] = field(default_factory=list)

    def act(self, steps: Sequence[Step]) -> None:
        """Take the steps in their order; those that come at once go in one call."""
        began = time.monotonic()
        waiting = sorted(steps, key=lambda step: step.at)
        while waiting:
            time.sleep(max(0.0, began + waiting[0].at - time.monotonic()))
            passed = time.monotonic() - began
            due = [step for step in waiting if step.at <= passed]
            waiting = waiting[len(due) :]
            self._take(due)

    def _take(self, due: Sequence[Step]) -> None:
        messages = [step for step in due if step.act in {Act.REGISTER, Act.NAME}]
        self._send(aws.INGEST_QUEUE, [step.body or self._message(step) for step in messages])
        self._send(aws.DELETE_QUEUE, [self._deletion(step) for step in due if step.act is Act.NOTIFY_DELETION])
        for step in due:
            match step.act:
                case Act.SPOIL_CUSTOMERS:
                    self.world.customers_file.write_text("customers: [1, 2")
                case Act.RESTORE_CUSTOMERS:
                    self.world.write_customers()
                case Act.DELETE | Act.RETRY | Act.REPROCESS:
                    _insist(lambda step=step: self._operate(step))  # type: ignore[misc] # a default binds it

    def _operate(self, step: Step) -> None:
        ledger, asset_id, now = self.world.ledger, AssetId.parse(str(step.asset_id)), datetime.now(UTC)
        match step.act:
            case Act.DELETE:
                deleted = AssetDeleted(asset_id, self._moment(step.said), None, frozenset(), ())
                ledger.deletions.request([deleted], now=now)
            case Act.RETRY:
                ledger.reports.retry(Selection(ids=(str(asset_id),)), now=now)
            case Act.REPROCESS:
                ledger.registrations.request([(asset_id, step.stages)], lane=Lane.BACKFILL, now=now)

    def _moment(self, said: float) -> datetime:
        return self.zero + timedelta(seconds=said)

    def _message(self, step: Step) -> str:
        case = step.case
        if case is None:
            body: dict[str, Any] = {"id": step.asset_id}
        else:
            customer = AssetId.parse(str(step.asset_id)).customer
            origin = self.world.uri(customer, case.picture, over_http=case.over_http)
            body = full_message(str(step.asset_id), origin, CHANNELS[case.channels])
        batch = {"batch": {"id": self.batch, "count": self.count}} if step.in_batch else {}
        return json.dumps(body | {"created": self._moment(step.said).isoformat()} | batch)

    def _deletion(self, step: Step) -> str:
        """Return a notification as SNS wraps it."""
        message = {"asset": {"id": step.asset_id}, "deleteFrom": []}
        return json.dumps(
            {
                "Type": "Notification",
                "TopicArn": "arn:aws:sns:eu-west-1:1:asset-modified",
                "Message": json.dumps(message),
                "Timestamp": self._moment(step.said).isoformat(),
                "MessageAttributes": {"messageType": {"Type": "String", "Value": "Delete"}},
            }
        )

    def _send(self, queue: str, bodies: Sequence[str]) -> None:
        for start in range(0, len(bodies), MESSAGES_PER_CALL):
            part = bodies[start : start + MESSAGES_PER_CALL]
            answer = self.world.sqs.send_message_batch(
                QueueUrl=aws.queue_url(self.world.aws.target, queue),
                Entries=[{"Id": str(number), "MessageBody": body} for number, body in enumerate(part)],
            )
            self.sent += [each["MessageId"] for each in answer["Successful"]]


def command(environment: Mapping[str, str], *arguments: str) -> None:
    """Call `dlcs`."""
    program = Path(sys.executable).parent / "dlcs"
    called = subprocess.run(
        [str(program), *arguments], env={**environment}, check=False, capture_output=True, text=True, timeout=120
    )
    assert called.returncode == 0, called.stdout + called.stderr


def _insist(call: Callable[[], None]) -> None:
    """Do what an operator does whose command fails because the ledger is locked: call it again."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except UNAVAILABLE:
            if time.monotonic() > give_up:
                raise
        time.sleep(PAUSE_SECONDS)
