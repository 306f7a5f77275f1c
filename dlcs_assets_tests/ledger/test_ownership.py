"""A ledger works for one Dagster instance."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.database import NotOwnerError
from dlcs_assets.ledger.workers import Entry
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, Desk

OURS, OTHERS = "ours", "others"


def take_over(ledger: Ledger, instance: str) -> tuple[tuple[str, ...], int]:
    found = ledger.ownership.take_over(instance, "machine:/home", schedule=SCHEDULE, now=NOW)
    return found.runs, found.images


def test_the_first_instance_owns_a_ledger_and_others_are_refused(ledger: Ledger) -> None:
    assert ledger.ownership.current() is None
    ledger.ownership.require(OURS, "one:/dagster", now=NOW)
    ledger.ownership.require(OURS, "another machine:/dagster", now=NOW)
    with pytest.raises(NotOwnerError) as refused:
        ledger.ownership.require(OTHERS, "two:/dagster", now=NOW + timedelta(seconds=20))
    assert "belongs to Dagster instance ours (one:/dagster)" in str(refused.value)
    assert "last seen 20 s ago" in str(refused.value)
    assert str(refused.value).endswith("dlcs ledger take-over others")


def test_of_instances_that_come_at_once_one_owns_the_ledger(url: str) -> None:
    ledgers = [Ledger(url) for _ in range(6)]

    def require(number: int) -> bool:
        try:
            ledgers[number].ownership.require(f"instance-{number % 3}", "m:/d", now=NOW)
        except NotOwnerError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        welcome = list(pool.map(require, range(6)))
    owner = ledgers[0].ownership.current()
    assert owner is not None
    assert [f"instance-{n % 3}" for n in range(6) if welcome[n]] == [owner.instance_id] * 2
    for ledger in ledgers:
        ledger.close()


def test_an_owner_is_seen_once_a_minute(ledger: Ledger) -> None:
    for seconds in (0, 30, 61):
        ledger.ownership.require(OURS, f"m:/{seconds}", now=NOW + timedelta(seconds=seconds))
    owner = ledger.ownership.current()
    assert owner is not None
    assert (owner.name, owner.seen_at, owner.since) == ("m:/61", NOW + timedelta(seconds=61), NOW)


def test_a_former_owner_can_write_nothing_more(url: str) -> None:
    """Whatever its processes are at: a tick, a run, maintenance. Reading is harmless."""
    ours = Desk(Ledger(url, writer=OURS))
    ours.ledger.ownership.require(OURS, "m:/d", now=NOW)
    ours.send("2/1/a")
    person = Ledger(url)
    take_over(person, OTHERS)
    with pytest.raises(NotOwnerError):
        ours.send("2/1/b")
    with pytest.raises(NotOwnerError):
        ours.reserve()
    with pytest.raises(NotOwnerError):
        ours.ledger.retention.enforce(history=NOW + timedelta(days=1), bodies=NOW)
    with pytest.raises(NotOwnerError), ours.ledger.dispatch.lease("dispatch"):
        raise AssertionError
    assert ours.ledger.dispatch.due([Lane.INGEST], limit=5, now=NOW)
    Desk(person).send("2/1/c")  # the command line is no instance
    others = Ledger(url, writer=OTHERS)
    Desk(others).send("2/1/d")
    for ledger in (ours.ledger, person, others):
        ledger.close()


def test_a_take_over_makes_what_was_in_progress_due_again(desk: Desk) -> None:
    """No attempt is lost: nothing was wrong with the images. The former runs publish nothing more."""
    desk.ledger.ownership.require(OURS, "m:/d", now=NOW)
    desk.send("2/1/held")
    claim = desk.claim("run-1")
    desk.ledger.workers.enter("run-1", ttl=timedelta(minutes=1), now=NOW)
    desk.send("2/1/reserved")
    assert desk.reserve() is not None
    assert take_over(desk.ledger, OTHERS) == (("run-1",), 2)
    assert desk.ledger.claims.held_under(claim.token) == set()
    assert desk.ledger.dispatch.in_flight() == {}
    due = desk.ledger.dispatch.due(list(Lane), limit=5, now=NOW)
    assert sorted(str(image.asset_id) for image in due) == ["2/1/held", "2/1/reserved"]
    again = desk.claim("run-2", Lane.RETRY)
    assert [item.attempt for item in again.items] == [1, 1]
    assert desk.ledger.ownership.in_progress().runs == ("run-2",)


def test_the_owner_taking_over_changes_nothing(desk: Desk) -> None:
    desk.ledger.ownership.require(OURS, "m:/d", now=NOW)
    desk.send("2/1/held")
    claim = desk.claim("run-1")
    assert take_over(desk.ledger, OURS) == ((), 0)
    assert desk.ledger.claims.held_under(claim.token) == {"2/1/held"}


def test_what_was_taken_over_is_not_ended_by_the_former_run(url: str) -> None:
    """Its process lives on, and releases what it holds at its end, by its token."""
    ours = Desk(Ledger(url, writer=OURS))
    ours.send("2/1/a")
    former = ours.claim("run-1")
    assert ours.ledger.workers.enter("run-1", ttl=timedelta(minutes=1), now=NOW) is Entry.MINE
    others = Desk(Ledger(url, writer=OTHERS))
    take_over(others.ledger, OTHERS)
    assert others.claim("run-2", Lane.RETRY).items
    with pytest.raises(NotOwnerError):
        ours.ledger.claims.release(former.token, "run-1", schedule=SCHEDULE, now=NOW)
    with pytest.raises(NotOwnerError):
        ours.ledger.workers.beat("run-1", now=NOW)
    assert others.state("2/1/a") == "running"
    # What it may have stored since its last check is the one thing that it has to report.
    ours.ledger.claims.request_again(AssetId(2, 1, "a"), now=NOW)
    ours.ledger.close()
    others.ledger.close()
