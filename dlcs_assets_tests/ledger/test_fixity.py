from __future__ import annotations

from datetime import timedelta

import pytest

from dlcs_assets.domain.results import ObjectKind, ObjectRecord
from dlcs_assets.ledger.fixity import Deposit
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, Desk
from dlcs_testing.one_write import add_transient, end_image

HOUR = timedelta(hours=1)


@pytest.fixture
def two(desk: Desk) -> Desk:
    desk.store("2/1/one")
    desk.store("2/1/two")
    return desk


def next_images(desk: Desk, limit: int) -> list[str]:
    return [deposit.image_id for deposit in desk.ledger.fixity.next(limit)]


def test_objects_never_audited_come_first_then_the_longest_ago(two: Desk) -> None:
    """Otherwise an audit of limited size would read the same objects each night."""
    fixity = two.ledger.fixity
    (first,) = fixity.next(1)
    assert fixity.record(first, None, now=NOW)
    (second,) = fixity.next(1)
    assert {first.image_id, second.image_id} == {"2/1/one", "2/1/two"}
    assert fixity.record(second, None, now=NOW + HOUR)
    assert next_images(two, 2) == [first.image_id, second.image_id]
    assert next_images(two, 1) == [first.image_id]


def test_what_is_in_progress_is_not_audited(desk: Desk) -> None:
    desk.store("2/1/one", end=False)
    assert next_images(desk, 9) == []


def test_a_transient_object_is_not_audited(desk: Desk) -> None:
    """It may have been deleted a moment ago: that is no damage."""
    desk.send("2/1/one")
    claim = desk.claim()
    (item,) = claim.items
    stored = ObjectRecord("storage", "transient/2/1/one/r", ObjectKind.TRANSIENT, 10, "a" * 64, "image/jpeg")
    add_transient(desk.ledger.results, claim, item, stored)
    end_image(desk.ledger.results, claim, item, None, schedule=SCHEDULE, now=NOW)
    assert desk.ledger.fixity.next(9) == []


def test_an_image_requested_during_its_audit_has_no_result(desk: Desk) -> None:
    desk.store("2/1/one")
    (deposit,) = desk.ledger.fixity.next(1)
    desk.send("2/1/one")
    assert not desk.ledger.fixity.record(deposit, "missing", now=NOW)
    assert desk.ledger.fixity.damaged() == []


def test_an_image_reprocessed_during_its_audit_has_no_result(desk: Desk) -> None:
    desk.store("2/1/one")
    (deposit,) = desk.ledger.fixity.next(1)
    desk.store("2/1/one", "b" * 64)
    assert not desk.ledger.fixity.record(deposit, "other bytes", now=NOW)
    assert desk.ledger.fixity.damaged() == []


def test_damage_is_known_until_the_image_is_reprocessed(two: Desk) -> None:
    (deposit,) = [each for each in two.ledger.fixity.next(2) if each.image_id == "2/1/one"]
    two.ledger.fixity.record(deposit, "missing", now=NOW)
    assert two.ledger.fixity.damaged() == [Deposit("storage", "2/1/one", "2/1/one", 10, "a" * 64, "missing")]
    two.store("2/1/one")
    assert two.ledger.fixity.damaged() == []


def test_damage_that_is_gone_at_the_next_audit_is_forgotten(desk: Desk) -> None:
    desk.store("2/1/one")
    (deposit,) = desk.ledger.fixity.next(1)
    desk.ledger.fixity.record(deposit, "missing", now=NOW)
    desk.ledger.fixity.record(deposit, None, now=NOW + HOUR)
    assert desk.ledger.fixity.damaged() == []
