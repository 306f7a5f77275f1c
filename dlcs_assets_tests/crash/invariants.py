"""What must be true after every history, whatever was killed in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.partition_key import partition_key
from dlcs_assets.domain.stages import STAGES
from dlcs_assets_tests.crash.expected import Expected, objects_of, transient_keys
from dlcs_assets_tests.crash.faults import FILLER
from dlcs_assets_tests.crash.record import History, Violation
from dlcs_assets_tests.crash.world import World

DONE_TWICE = """SELECT image_id, request_id FROM attempts JOIN requests ON id = request_id
    WHERE customer = ? AND result = 'done' GROUP BY request_id HAVING count(*) > 1"""
CLAIMS = "SELECT image_id FROM claims WHERE customer = ?"
OPEN_CHUNKS = "SELECT id, run_id FROM chunks WHERE customer = ? AND closed_at IS NULL"
UNREPORTED = """SELECT image_id, stage FROM outcomes WHERE reported = 0
    AND image_id IN (SELECT id FROM images WHERE customer = ?)"""
UNFINISHED = """SELECT image_id, state FROM requests WHERE customer = ?
    AND state NOT IN ('done', 'failed', 'rejected', 'superseded')"""
TRANSIENT = "SELECT key FROM objects WHERE customer = ? AND kind = 'transient'"
LEASES = "SELECT name FROM leases WHERE expires_at > datetime('now')"
REJECTED = "SELECT count(*) FROM messages WHERE batch = ? AND state = 'rejected'"
REJECTED_FOR = "SELECT code FROM messages WHERE batch = ? AND state = 'rejected'"
NOTIFICATIONS = "SELECT body, published_at FROM notifications WHERE body LIKE ?"


def states(world: World, customer: int) -> dict[str, tuple[str, str | None]]:
    """Return each image's state, and the reason for it."""
    return {image: (status.state, status.reason) for image, status in world.system.images(customer).items()}


def is_quiet(world: World, customer: int, count: int) -> str:
    """Say what is still going on, or nothing once all has come to rest."""
    rows = world.system.rows
    if rest := world.queued():
        return f"messages are in the queue: {rest}"
    seen = states(world, customer)
    ((rejected,),) = rows(REJECTED, customer)
    if len(seen) + rejected < count:
        return f"not all messages are known: {len(seen)} images, {rejected} rejected"
    for query in (UNFINISHED, CLAIMS, OPEN_CHUNKS, UNREPORTED, TRANSIENT):
        if found := rows(query, customer):
            return f"{query.split('FROM ')[1].split()[0]} are open: {found[:3]}"
    if leases := rows(LEASES):
        return f"leases are held: {leases}"
    if not [1 for _, published in _notifications(world, customer) if published]:
        return "the batch's end is not reported"
    return ""


def check(world: World, history: History, sent: Sequence[str], expected: Expected) -> list[Violation]:
    """Return what is wrong."""
    return [
        *_ends(world, history),
        *_objects(world, history, expected),
        *_messages(world, sent),
        *_batch(world, history),
        *_leftovers(world, history),
        *_dagster(world, history),
    ]


def _ends(world: World, history: History) -> Iterator[Violation]:
    seen = states(world, history.customer)
    for message in history.messages:
        if message.asset_id is None:
            continue
        state, reason = seen.get(message.asset_id, ("unknown", None))
        if state != ("done" if message.case else "failed"):
            yield f"{message.asset_id} ended {state}: {reason}"
        if message.code and f"({message.code})" not in (reason or ""):
            yield f"{message.asset_id} failed for another reason than {message.code}: {reason}"
    wanted = sorted(each.code for each in history.messages if each.asset_id is None and each.code)
    rejected = sorted({code for (code,) in world.system.rows(REJECTED_FOR, history.customer)})
    if rejected != wanted:
        yield f"messages were rejected for {rejected} and not for {wanted}"
    for image, request in world.system.rows(DONE_TWICE, history.customer):
        yield f"{image} was done twice under request {request}"


def _objects(world: World, history: History, expected: Expected) -> Iterator[Violation]:
    found = objects_of(world, history.customer)
    for message in history.messages:
        wanted = expected.of[message.case] if message.case else {}
        seen = found.pop(message.asset_id, {}) if message.asset_id else {}
        if seen.keys() != wanted.keys():
            more, less = sorted(seen.keys() - wanted.keys()), sorted(wanted.keys() - seen.keys())
            yield f"{message.asset_id} has {more}, and lacks {less}"
        for key in seen.keys() & wanted.keys():
            if message.case and not expected.is_right(world, message.case, message.asset_id or "", key, seen[key]):
                yield f"{message.asset_id} has something else at {key}"
    if found:
        yield f"objects of no image: {sorted(found)}"
    recorded = {
        (bucket, key)
        for bucket, key in world.system.rows("SELECT bucket, key FROM objects WHERE customer = ?", history.customer)
    }
    there = {
        (bucket, "/".join(filter(None, [image, rest])))
        for image, keys in objects_of(world, history.customer).items()
        for bucket, _, rest in (key.partition("/") for key in keys)
    }
    if recorded != there:
        yield f"ledger and S3 differ: {sorted(recorded ^ there)[:5]}"


def _messages(world: World, sent: Sequence[str]) -> Iterator[Violation]:
    known = {row[0] for row in world.system.rows("SELECT id FROM messages")}
    lost = [message for message in sent if message not in known]
    if lost:
        yield f"{len(lost)} messages were deleted that the ledger does not have: {lost[:3]}"


def _batch(world: World, history: History) -> Iterator[Violation]:
    found = world.ledger.batches.find(history.customer, customer=history.customer)
    if not found:
        yield "the batch is unknown"
        return
    tally = found[0].tally
    if (tally.listed, tally.done + tally.failed + tally.rejected) != (len(history.messages),) * 2:
        yield f"the batch does not balance: {tally}"
    bodies = {body for body, _ in _notifications(world, history.customer)}
    if len(bodies) != 1:
        yield f"the batch's end was reported as {sorted(bodies)}"
        return
    body = json.loads(bodies.pop())
    if (body["count"], body["completed"] + body["errors"]) != (len(history.messages),) * 2:
        yield f"the notification does not balance: {body}"


def _leftovers(world: World, history: History) -> Iterator[Violation]:
    if transient := transient_keys(world, history.customer):
        yield f"transient objects are left: {transient[:3]}"
    if folders := [path.name for path in world.scratch.iterdir() if path.name != FILLER]:
        yield f"scratch folders are left: {folders[:3]}"


def _dagster(world: World, history: History) -> Iterator[Violation]:
    done = {partition_key(AssetId.parse(each.asset_id)) for each in history.messages if each.case and each.asset_id}
    for stage in STAGES:
        shown = world.system.dagster.partitions(stage, f"/{history.customer}/")
        wrong = {key: shown.get(key, "not there") for key in done if shown.get(key) != "materialized"}
        if wrong:
            yield f"Dagster shows of {stage}: {dict(sorted(wrong.items())[:5])} ({len(wrong)} in all)"
    unfinished = [
        f"{run.id} {run.status}"
        for run in world.system.dagster.runs(customer=str(history.customer))
        if run.status not in {"SUCCESS", "FAILURE", "CANCELED"}
    ]
    if unfinished:
        yield f"runs that never end: {unfinished}"


def _notifications(world: World, customer: int) -> list[tuple[str, str | None]]:
    return [
        (body, published)
        for body, published in world.system.rows(NOTIFICATIONS, f"%{customer}%")
        if json.loads(body).get("customer") == customer
    ]
