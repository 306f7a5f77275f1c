"""What must be true after every history, whatever was killed in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.partition_key import partition_key
from dlcs_assets.domain.stages import STAGES
from dlcs_assets_tests.crash.expected import Expected, objects_of, transient_keys
from dlcs_assets_tests.crash.faults import FILLER
from dlcs_assets_tests.crash.foreign import planted
from dlcs_assets_tests.crash.lives import DELETED, DONE, FAILED
from dlcs_assets_tests.crash.record import REJECTED_IMAGE, History, Violation
from dlcs_assets_tests.crash.world import World

DONE_TWICE = """SELECT image_id, request_id FROM attempts JOIN requests ON id = request_id
    WHERE customer = ? AND result = 'done' GROUP BY image_id, request_id HAVING count(*) > 1"""
CLAIMS = "SELECT image_id FROM claims WHERE customer = ?"
OPEN_CHUNKS = "SELECT id, run_id FROM chunks WHERE customer = ? AND closed_at IS NULL"
UNREPORTED = """SELECT image_id, stage FROM outcomes WHERE NOT reported
    AND image_id IN (SELECT id FROM images WHERE customer = ?)"""
UNFINISHED = """SELECT image_id, state FROM requests WHERE customer = ?
    AND state NOT IN ('done', 'not_renewed', 'failed', 'rejected', 'deleted', 'superseded', 'cancelled')"""
TRANSIENT = "SELECT key FROM transient_objects WHERE image_id IN (SELECT image_id FROM requests WHERE customer = ?)"
LEASES = "SELECT name, expires_at FROM leases"
# Charged for a run that the poisonous image was in, or failed for any. A run may be lost for other reasons, too.
CHARGED = """SELECT DISTINCT image_id, requests.state, attempts.error_cause
    FROM attempts JOIN requests ON id = request_id
    WHERE customer = ? AND image_id <> ? AND attempts.error_code = 'run_lost'
    AND ((requests.state = 'failed' AND requests.error_code = 'run_lost') OR (attempts.error_cause LIKE ?
    AND run_id IN (SELECT run_id FROM attempts JOIN requests ON id = request_id WHERE image_id = ?)))"""
ALONE = "%by itself%"  # what is said of an attempt that was lost
OUTCOMES = "SELECT DISTINCT image_id FROM outcomes WHERE image_id IN (SELECT image_id FROM requests WHERE customer = ?)"
DELETED_BEFORE = "image_deleted"
LIMITED_IMAGES_REFUSED = 2
LAST_GOOD = ".yaml"  # the customers file that was in force last
REJECTED_FOR = "SELECT code FROM messages WHERE batch = ? AND state = 'rejected'"
NOTIFICATIONS = "SELECT body, published_at FROM notifications WHERE body LIKE ?"


def states(world: World, customer: int) -> dict[str, tuple[str, str | None]]:
    """Return each image's state, and the reason for it."""
    return {image: (status.state, status.reason) for image, status in world.system.images(customer).items()}


def is_quiet(world: World, history: History, sent: Sequence[str]) -> str:
    """Say what is still going on, or nothing once all has come to rest."""
    rows = world.system.rows
    if rest := world.queued():
        return f"messages are in the queue: {rest}"
    if missing := _unknown(world, sent):
        return f"not all messages are known: {len(missing)}"
    for query in (UNFINISHED, CLAIMS, OPEN_CHUNKS, UNREPORTED, TRANSIENT):
        for customer in (history.customer, history.limited_customer):
            if found := rows(query, customer):
                return f"{query.split('FROM ')[1].split()[0]} are open: {found[:3]}"
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ")
    if leases := [name for name, expires_at in rows(LEASES) if str(expires_at) > now]:
        return f"leases are held: {leases}"
    if not [1 for _, published in _notifications(world, history.customer) if published]:
        return "the batch's end is not reported"
    return ""


def check(world: World, history: History, sent: Sequence[str], expected: Expected) -> list[Violation]:
    """Return what is wrong."""
    return [
        *_ends(world, history),
        *_charged(world, history),
        *_objects(world, history, expected),
        *_messages(world, sent),
        *_batch(world, history),
        *_leftovers(world, history),
        *_dagster(world, history),
    ]


def check_limited(world: World, history: History, *, limited: bool) -> list[Violation]:
    """Return what is wrong with the customer that may have less than it asks for, before or after there is room."""
    customer = history.limited_customer
    seen = Counter(state for state, _ in states(world, customer).values())
    refused = LIMITED_IMAGES_REFUSED
    wanted = Counter(done=2, failed=2, rejected=refused) if limited else Counter(done=4, rejected=refused)
    found = []
    if seen != wanted:
        found.append(f"of the customer with limits {dict(seen)} and not {dict(wanted)}: {states(world, customer)}")
    reasons = {reason or "" for state, reason in states(world, customer).values() if state == "failed"}
    if other := [reason for reason in reasons if "(quota_exceeded)" not in reason]:
        found.append(f"images failed for other reasons than the quota: {other}")
    return found + list(_differences(world, history, customer))


def _ends(world: World, history: History) -> Iterator[Violation]:
    seen = states(world, history.customer)
    for asset_id, ending in history.endings.items():
        state, reason = seen.pop(asset_id, ("unknown", None))
        if state != ending.state:
            yield f"{asset_id} ended {state} and not {ending.state}: {reason}"
        elif ending.code and f"({ending.code})" not in (reason or ""):
            yield f"{asset_id} failed for another reason than {ending.code}: {reason}"
    del seen[f"{history.customer}/1/{REJECTED_IMAGE}"]
    if seen:
        yield f"other images are known: {seen}"
    wanted = set(history.unusable)
    rejected = {code for (code,) in world.system.rows(REJECTED_FOR, history.customer)} - {DELETED_BEFORE}
    if rejected != wanted:
        yield f"messages were rejected for {rejected} and not for {wanted}"
    for image, request in world.system.rows(DONE_TWICE, history.customer):
        yield f"{image} was done twice under request {request}"


def _charged(world: World, history: History) -> Iterator[Violation]:
    """Of a history with a poisonous image, yield the others that lost an attempt by it."""
    if history.poison is None:
        return
    for image, state, why in world.system.rows(CHARGED, history.customer, history.poison, ALONE, history.poison):
        yield f"{image} ({state}) was charged in the company of {history.poison}: {why}"


def _objects(world: World, history: History, expected: Expected) -> Iterator[Violation]:
    found = objects_of(world, history.customer)
    for asset_id, ending in history.endings.items():
        seen = found.pop(asset_id, {})
        if ending.state == FAILED:  # what it had before it was registered otherwise stays
            continue
        case = ending.case if ending.state == DONE else None
        wanted = expected.of[case] if case else {}
        if seen.keys() != wanted.keys():
            more, less = sorted(seen.keys() - wanted.keys()), sorted(wanted.keys() - seen.keys())
            yield f"{asset_id}, {ending.state}, has {more}, and lacks {less}"
        for key in seen.keys() & wanted.keys():
            if case and not expected.is_right(world, case, asset_id, key, seen[key]):
                yield f"{asset_id} has something else at {key}"
    yield from _differences(world, history, history.customer)
    outcomes = {image for (image,) in world.system.rows(OUTCOMES, history.customer)}
    if dead := [image for image in outcomes if history.endings[image].state == DELETED]:
        yield f"deleted images have results: {dead}"


def _differences(world: World, history: History, customer: int) -> Iterator[Violation]:
    recorded = {(stored.bucket, stored.key) for stored in world.system.recorded_objects(customer)}
    foreign = set(planted(history))
    # A killed attempt may have stored what no later one makes: deleted with the image, or by its next ingest.
    failed = {image for image, (state, _) in states(world, customer).items() if state == FAILED}
    there: set[tuple[str, str]] = set()
    may_be_there: set[tuple[str, str]] = set()
    for image, keys in objects_of(world, customer).items():
        for key in keys:
            bucket, _, rest = key.partition("/")
            whole = "/".join(filter(None, [image, rest]))
            if whole not in foreign:
                (may_be_there if image in failed else there).add((bucket, whole))
    if lacking := sorted(recorded - there - may_be_there):
        yield f"S3 lacks what the ledger has: {lacking[:5]}"
    if more := sorted(there - recorded):
        yield f"S3 has what the ledger lacks: {more[:5]}"


def _unknown(world: World, sent: Sequence[str]) -> list[str]:
    known = {row[0] for row in world.system.rows("SELECT id FROM messages")}
    return [message for message in sent if message not in known]


def _messages(world: World, sent: Sequence[str]) -> Iterator[Violation]:
    if lost := _unknown(world, sent):
        yield f"{len(lost)} messages were deleted that the ledger does not have: {lost[:3]}"


def _batch(world: World, history: History) -> Iterator[Violation]:
    found = world.ledger.batches.find(history.customer, customer=history.customer)
    if not found:
        yield "the batch is unknown"
        return
    tally = found[0].tally
    if (tally.listed, tally.done + tally.failed + tally.rejected) != (history.in_batch,) * 2:
        yield f"the batch does not balance: {tally}"
    bodies = {body for body, _ in _notifications(world, history.customer)}
    if len(bodies) != 1:
        yield f"the batch's end was reported as {sorted(bodies)}"
        return
    body = json.loads(bodies.pop())
    if (body["count"], body["completed"] + body["errors"]) != (history.in_batch,) * 2:
        yield f"the notification does not balance: {body}"


def _leftovers(world: World, history: History) -> Iterator[Violation]:
    foreign = set(planted(history))
    if transient := [key for key in transient_keys(world, history.customer) if key not in foreign]:
        yield f"transient objects are left: {transient[:3]}"
    if folders := [path.name for path in world.scratch.iterdir() if path.name != FILLER and path.suffix != LAST_GOOD]:
        yield f"scratch folders are left: {folders[:3]}"


def _dagster(world: World, history: History) -> Iterator[Violation]:
    done = {partition_key(AssetId.parse(image)) for image, ending in history.endings.items() if ending.state == DONE}
    for stage in STAGES:
        shown = world.system.dagster.partitions(stage, f"@{history.customer}/")
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
