from __future__ import annotations

from contextlib import closing

import pytest
from sqlalchemy import select

from dlcs_assets.domain.request_states import ShownState
from dlcs_assets.ledger import Ledger, image_counts
from dlcs_assets.ledger.reports import Selection
from dlcs_assets.ledger.tables import image_counts as counts_table
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, Desk
from dlcs_testing.one_write import end_image


def sessions(ledger: Ledger) -> set[int]:
    with ledger._database.read() as connection:
        return set(connection.scalars(select(counts_table.c.session)))


def test_what_sessions_count_each_for_itself_is_added_up(desk: Desk, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that one process requests and another ends counts once, before and after."""
    for image in ("2/1/a", "2/2/b", "3/1/c"):
        desk.send(image)
    claim = desk.claim()
    with closing(Ledger(url)) as other:
        end_image(other.results, claim, claim.items[0], None, schedule=SCHEDULE, now=NOW)
    counted = {chosen: desk.ledger.reports.counts(chosen) for chosen in (Selection(), Selection(customer=2, space=1))}
    assert {state: number for state, number in counted[Selection()].items() if number} == {
        ShownState.DONE: 1,
        ShownState.RUNNING: 2,
    }
    desk.ledger.reports.add_up_counts()
    several = len(sessions(desk.ledger))
    monkeypatch.setattr(image_counts, "ROWS_LEFT", 0)
    desk.ledger.reports.add_up_counts()
    assert sessions(desk.ledger) == {image_counts.ADDED_UP}
    assert several == (1 if url.startswith("sqlite") else 2)
    assert {chosen: desk.ledger.reports.counts(chosen) for chosen in counted} == counted
