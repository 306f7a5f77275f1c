"""One history: images are asked for, changed and deleted, faults strike, and once all is quiet nothing may be amiss."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import psutil

from dlcs_assets.ledger.reports import Selection
from dlcs_assets_tests.crash.acting import Actor, command
from dlcs_assets_tests.crash.evidence import keep_evidence
from dlcs_assets_tests.crash.expected import Expected
from dlcs_assets_tests.crash.faults import WATCHED, Fault, Striker, plan, plan_afterwards
from dlcs_assets_tests.crash.foreign import everything_else, plant
from dlcs_assets_tests.crash.invariants import check, check_limited, is_quiet, states
from dlcs_assets_tests.crash.lives import (
    CHANNELS,
    DELETED,
    DONE,
    FAILED,
    Act,
    Ending,
    Step,
    draw_life,
    spoiled_customers,
)
from dlcs_assets_tests.crash.record import FIRST_CUSTOMER, POISONOUS_IMAGE, REJECTED_IMAGE, History, Violation
from dlcs_assets_tests.crash.world import IMAGES_ALLOWED, LIMITED_CASE, World, dice_of
from dlcs_testing.whole_system import full_message

IMAGES: Final = 24
LIMITED_IMAGES: Final = IMAGES_ALLOWED + 2
POLL_SECONDS: Final = 0.3


def history_of(
    seed: int, world: World, *, faults: Sequence[Fault] | None = None, images: int = IMAGES, poison: str | None = None
) -> History:
    """Draw the history of a seed; of the faults only some, if they are given.

    `poison` is the address of an original that kills each run that asks for it: the history has an image of it, too.
    """
    dice = dice_of(seed)
    planned = [each for each in plan(dice) if faults is None or each.fault in faults]
    customer = FIRST_CUSTOMER + seed
    endings: dict[str, Ending] = {}
    steps: list[Step] = []
    for number in range(images):
        asset_id = f"{customer}/1/page-{number:02}"
        life, endings[asset_id] = draw_life(asset_id, dice)
        steps += life
    named = {step.asset_id for step in steps if step.in_batch}
    unusable = list(_unusable(world, customer, len(named) + 2))
    steps += [Step(Act.REGISTER, 0.0, 0.0, body=body) for body, _ in unusable]
    poisonous = f"{customer}/1/{POISONOUS_IMAGE}" if poison else None
    if poison and poisonous:
        body = json.dumps(full_message(poisonous, poison, CHANNELS[dice.randrange(len(CHANNELS))]))
        steps.append(Step(Act.REGISTER, 0.0, 0.0, body=body))
        endings[poisonous] = Ending(FAILED, code="run_lost")
    steps += spoiled_customers(dice)
    dice.shuffle(steps)
    history = History(seed, planned, steps, endings, len(named) + len(unusable), [code for _, code in unusable])
    history.poison = poisonous
    done = [image for image, ending in endings.items() if ending.state == DONE]
    history.deleted_afterwards = dice.sample(done, k=min(2, len(done)))
    history.afterwards = plan_afterwards(dice) if faults is None else None
    history.steps = [*steps, *_limited(history.limited_customer, dice.uniform(0, 5))]
    return history


def run(history: History, world: World, expected: Expected, *, timeout: float = 600) -> History:
    """Let the history happen, wait until all is quiet, and check what must be true then."""
    began = time.monotonic()
    world.aws.calm(history.seed)
    world.begin(history.customer, history.limited_customer, expected.limited_bytes)
    plant(world, history)
    before = everything_else(world, history)
    actor = Actor(world, history.customer, history.customer, history.in_batch)
    striker = Striker(world, dice_of(-history.seed))
    striker.arm(history.planned)
    acting = threading.Thread(target=actor.act, args=[history.steps], daemon=True)
    threads = [
        acting,
        *(
            threading.Thread(target=striker.strike, args=[each], daemon=True)
            for each in history.planned
            if each.fault in WATCHED
        ),
    ]
    for thread in threads:
        thread.start()
    began_faults = time.monotonic()
    for each in history.planned:
        if each.fault not in WATCHED:
            time.sleep(max(0.0, began_faults + each.at - time.monotonic()))
            striker.strike(each)
    for thread in threads:
        thread.join()
    history.violations = _await_quiet(world, history, actor.sent, timeout)
    world.aws.calm(history.seed)  # what was armed and never came is not to strike what follows
    history.violations += check_limited(world, history, limited=True)
    _operate(world, history, striker)
    history.violations += _await_quiet(world, history, actor.sent, timeout)
    history.struck = striker.struck
    history.counts = Counter(state for state, _ in states(world, history.customer).values())
    history.violations += check(world, history, actor.sent, expected)
    history.violations += check_limited(world, history, limited=False)
    after = everything_else(world, history)
    if before != after:
        changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        history.violations.append(f"foreign objects were touched: {changed[:5]} ({len(changed)} in all)")
    history.seconds = time.monotonic() - began
    return history


def _operate(world: World, history: History, striker: Striker) -> None:
    """Do what an operator does afterwards: another policy, more room, and images deleted; then a fault."""
    world.raise_limits()
    environment = {**os.environ, **world.stack.environment}
    command(environment, "reprocess", "--customer", str(history.customer), "--stale")
    refused = Selection(customer=history.limited_customer, code="quota_exceeded")
    world.ledger.reports.retry(refused, now=datetime.now(UTC))
    if history.deleted_afterwards:
        command(environment, "delete", "--yes", *history.deleted_afterwards)
    history.endings = {**history.endings, **dict.fromkeys(history.deleted_afterwards, Ending(DELETED))}
    if history.afterwards:
        striker.strike(history.afterwards)


def _unusable(world: World, customer: int, in_batch: int) -> Iterator[tuple[str, str]]:
    reference = {"batch": {"id": customer, "count": in_batch}}
    origin = world.uri(customer, 0, over_http=False)
    wrong = full_message(f"{customer}/1/{REJECTED_IMAGE}", origin, [{"channel": "thumbs", "policy": "nope"}])
    yield json.dumps(wrong | reference), "unknown_policy"
    yield json.dumps({"asset": {"origin": origin}, "customerId": customer} | reference), "asset_id_missing"


def _limited(customer: int, at: float) -> Iterator[Step]:
    """Yield more images than the customer may have, of which fewer fit into its bytes."""
    for number in range(LIMITED_IMAGES):
        yield Step(Act.REGISTER, at, 0.0, f"{customer}/1/limited-{number}", LIMITED_CASE)


def _await_quiet(world: World, history: History, sent: Sequence[str], timeout: float) -> list[Violation]:
    give_up = time.monotonic() + timeout
    why = "nothing was checked"
    while time.monotonic() < give_up:
        with suppress(psutil.NoSuchProcess):
            world.heal()
        looked = time.monotonic()
        why = is_quiet(world, history, sent)
        if not why:
            return []
        time.sleep(POLL_SECONDS)
        history.waits[why.partition(":")[0]] += time.monotonic() - looked
    kept = world.evidence / f"seed-{history.seed}-{datetime.now(UTC):%H%M%S}"
    keep_evidence(world, kept)
    return [f"not quiet after {timeout:.0f} s: {why}; see {kept}"]
