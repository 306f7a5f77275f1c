"""How many images ended when, on both databases."""

from __future__ import annotations

from datetime import timedelta

from dlcs_assets.domain.errors import PermanentError, TransientError
from dlcs_assets.domain.request_states import ShownState
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import Lane, Outcome, Stage
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.rates import Ended
from dlcs_assets_tests.ledger.conftest import NOW, Desk
from dlcs_testing.one_write import commit_stage

MINUTE = timedelta(minutes=1)
TORN = PermanentError("torn", "It is torn", remedy="Send another", stage=Stage.JP2)
BUSY = TransientError("busy", "It is busy", remedy="Wait", stage=Stage.JP2)


def test_images_count_in_the_time_in_which_their_run_ended(desk: Desk, ledger: Ledger) -> None:
    desk.run(NOW, [("2/1/a", None, 1), ("2/1/b", TORN, 1)])
    desk.run(NOW + MINUTE, [("2/1/c", None, 1), ("2/1/d", BUSY, 1)])
    done, failed, pending = ShownState.DONE, ShownState.FAILED, ShownState.PENDING
    assert ledger.rates.ended(NOW, NOW + MINUTE) == Ended({done: 1, failed: 1}, {"torn": 1})
    assert ledger.rates.ended(NOW + MINUTE, NOW + 2 * MINUTE) == Ended({done: 1, pending: 1}, {})
    assert ledger.rates.ended(NOW - MINUTE, NOW) == Ended()
    assert ledger.rates.ended(NOW, NOW + 2 * MINUTE).by_state == {done: 2, failed: 1, pending: 1}


def test_a_run_that_has_not_ended_does_not_count(desk: Desk, ledger: Ledger) -> None:
    desk.send("2/1/a")
    desk.claim()
    assert ledger.rates.ended(NOW - MINUTE, NOW + MINUTE) == Ended()
    assert ledger.rates.seconds(NOW - MINUTE, NOW + MINUTE) == {}


def test_the_time_of_a_stage_is_the_median(desk: Desk, ledger: Ledger) -> None:
    """One image that took long does not stand for all; nor do results of other requests for the same images."""
    desk.run(NOW, [("2/1/a", None, 2), ("2/1/b", None, 3), ("2/1/c", None, 100), ("2/1/d", TORN, 5)])
    assert ledger.rates.seconds(NOW, NOW + MINUTE) == {Stage.JP2: 3}
    ledger.registrations.request(
        [(item.asset_id, frozenset(Stage)) for item in ledger.registrations.entries()], lane=Lane.INGEST, now=NOW
    )
    claim = desk.claim("run-later")
    for item in claim.items:
        again = StageResult(Stage.JP2, Outcome.CONVERTED, "v2", {"milliseconds": 7000})
        commit_stage(ledger.results, claim, item, again, now=NOW)
    assert ledger.rates.seconds(NOW, NOW + MINUTE) == {}
