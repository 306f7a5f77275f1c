from __future__ import annotations

import re
from pathlib import Path

import pytest

import dlcs_assets
from dlcs_assets.domain.request_states import Event
from dlcs_assets.ledger.tables import requests
from dlcs_assets.ledger.transitions import Reason, add_requests, change_state
from dlcs_assets_tests.ledger.conftest import NOW, Desk

PACKAGE = Path(dlcs_assets.__file__).parent
WRITER = PACKAGE / "ledger" / "transitions.py"
MIGRATIONS = PACKAGE / "ledger" / "migrations"
# By SQLAlchemy, whatever the table is imported as a part of, or by plain SQL.
WRITES = re.compile(r"\b(insert|update)\(\s*(\w+\.)*requests\s*\)|\b(INSERT\s+INTO|UPDATE)\s+requests\b", re.IGNORECASE)


def test_one_module_writes_the_state_of_requests() -> None:
    others = [path for path in PACKAGE.rglob("*.py") if path != WRITER and MIGRATIONS not in path.parents]
    assert len(others) > 100
    assert [str(path) for path in others if WRITES.search(path.read_text())] == []
    assert WRITES.search(WRITER.read_text())


def test_an_event_is_refused_without_what_it_sets(desk: Desk) -> None:
    with desk.ledger._database.write() as connection:
        with pytest.raises(ValueError, match="the event cancelled sets finished_at"):
            change_state(connection, Event.CANCELLED, failure=Reason("a", "b", "c"))
        with pytest.raises(ValueError, match="the event cancelled sets error_code"):
            change_state(connection, Event.CANCELLED, now=NOW)
        with pytest.raises(ValueError, match="the event reserved sets chunk_id"):
            change_state(connection, Event.RESERVED)
        with pytest.raises(ValueError, match="no request is made by the event claimed"):
            add_requests(connection, Event.CLAIMED, [])


def test_a_request_in_another_state_is_skipped(desk: Desk) -> None:
    desk.send("2/1/a")
    with desk.ledger._database.write() as connection:
        assert change_state(connection, Event.CLAIMED, requests.c.image_id == "2/1/a") == 0
    assert desk.state("2/1/a") == "pending"
