"""One history: fifty images are asked for, faults strike, and once all is quiet nothing may be amiss."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

import psutil

from dlcs_assets_tests.crash.expected import CHANNELS, Case, Expected
from dlcs_assets_tests.crash.faults import Fault, Striker, plan
from dlcs_assets_tests.crash.invariants import check, is_quiet, states
from dlcs_assets_tests.crash.record import FIRST_CUSTOMER, History, Message, Violation
from dlcs_assets_tests.crash.world import PICTURES, World, dice_of
from dlcs_testing.whole_system import full_message

IMAGES: Final = 50
MESSAGES_PER_CALL: Final = 10
POLL_SECONDS: Final = 0.3


def history_of(seed: int, world: World, *, faults: Sequence[Fault] | None = None, images: int = IMAGES) -> History:
    """Draw the history of a seed; of the faults only some, if they are given."""
    dice = dice_of(seed)
    planned = [each for each in plan(dice) if faults is None or each.fault in faults]
    return History(seed, planned, list(_messages(seed, world, dice, images)))


def run(history: History, world: World, expected: Expected, *, timeout: float = 600) -> History:
    """Let the history happen, wait until all is quiet, and check what must be true then."""
    began = time.monotonic()
    world.aws.calm(history.seed)
    world.bring(history.customer)
    striker = Striker(world, dice_of(-history.seed))
    striker.arm(history.planned)
    watching = [each for each in history.planned if each.fault is Fault.CLAIMED]
    threads = [threading.Thread(target=striker.strike, args=[each], daemon=True) for each in watching]
    for thread in threads:
        thread.start()
    sent = _send(world, history.messages)
    began_faults = time.monotonic()
    for each in history.planned:
        if each.fault is not Fault.CLAIMED:
            time.sleep(max(0.0, began_faults + each.at - time.monotonic()))
            striker.strike(each)
    for thread in threads:
        thread.join()
    world.heal()
    quiet = _await_quiet(world, history, timeout)
    world.aws.calm(history.seed)  # what was armed and never came is not to strike the next history
    history.struck = striker.struck
    history.counts = Counter(state for state, _ in states(world, history.customer).values())
    history.violations = [*quiet, *check(world, history, sent, expected)]
    history.seconds = time.monotonic() - began
    return history


def _messages(seed: int, world: World, dice: random.Random, images: int) -> Iterator[Message]:
    customer = FIRST_CUSTOMER + seed
    reference = {"batch": {"id": customer, "count": images}}

    def message(asset_id: str, origin: str, channels: Sequence[Mapping[str, str]]) -> str:
        return json.dumps(full_message(asset_id, origin, channels) | reference)

    drawn: list[Message] = []
    for number in range(images - 4):
        asset_id = f"{customer}/1/page-{number:02}"
        case = Case(dice.randrange(len(CHANNELS)), dice.randrange(PICTURES), over_http=dice.random() < 0.5)
        origin = world.uri(customer, case.picture, over_http=case.over_http)
        drawn.append(Message(message(asset_id, origin, CHANNELS[case.channels]), asset_id, case))
    for over_http in (False, True):
        asset_id = f"{customer}/1/missing-{'http' if over_http else 's3'}"
        origin = world.uri(customer, PICTURES + 1, over_http=over_http)
        drawn.append(Message(message(asset_id, origin, CHANNELS[0]), asset_id, code="origin_not_found"))
    asset_id = f"{customer}/1/wrong"
    wrong = message(asset_id, world.uri(customer, 0, over_http=False), [{"channel": "thumbs", "policy": "nope"}])
    drawn.append(Message(wrong, None, code="unknown_policy"))
    nameless = json.dumps(
        {"asset": {"origin": world.uri(customer, 0, over_http=False)}, "customerId": customer} | reference
    )
    drawn.append(Message(nameless, None, code="asset_id_missing"))
    dice.shuffle(drawn)
    yield from drawn


def _send(world: World, messages: Sequence[Message]) -> list[str]:
    """Put all on the queue; return the ids by which SQS knows them."""
    ids: list[str] = []
    for start in range(0, len(messages), MESSAGES_PER_CALL):
        part = messages[start : start + MESSAGES_PER_CALL]
        answer = world.sqs.send_message_batch(
            QueueUrl=world.queue_url,
            Entries=[{"Id": str(number), "MessageBody": each.body} for number, each in enumerate(part)],
        )
        ids += [each["MessageId"] for each in answer["Successful"]]
    return ids


def _await_quiet(world: World, history: History, timeout: float) -> list[Violation]:
    give_up = time.monotonic() + timeout
    why = "nothing was checked"
    while time.monotonic() < give_up:
        with suppress(psutil.NoSuchProcess):
            world.heal()
        looked = time.monotonic()
        why = is_quiet(world, history.customer, len(history.messages))
        if not why:
            return []
        time.sleep(POLL_SECONDS)
        history.waits[why.partition(":")[0]] += time.monotonic() - looked
    return [f"not quiet after {timeout:.0f} s: {why}"]
