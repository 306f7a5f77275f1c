"""Sums that are made in the background: a page never waits for long, and never shows half of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from dlcs_assets.ledger.accounting import Accounting, Usage
from dlcs_assets.view.totals import FRESH, Totals

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


class Slow(Accounting):
    """Sums up when it may, and counts how often."""

    def __init__(self) -> None:
        self.times = 0
        self.may_go_on = threading.Event()
        self.fails = False

    def by_space(self, customer: int | None = None, space: int | None = None) -> list[Usage]:
        assert (customer, space) == (None, None)
        self.times += 1
        assert self.may_go_on.wait(60)
        if self.fails:
            raise RuntimeError("secret")
        return [Usage(2, 1, images=self.times)]


def images(totals: Totals, accounting: Accounting) -> Sequence[int] | None:
    summed = totals.get(accounting)
    return None if summed is None else [each.images for each in summed.spaces]


def test_a_page_does_not_wait_for_a_long_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask, one sum is made."""
    monkeypatch.setattr("dlcs_assets.view.totals._PATIENCE_SECONDS", 0.01)
    accounting = Slow()
    with closing(Totals(lambda: NOW)) as totals:
        assert [images(totals, accounting) for _ in range(3)] == [None, None, None]
        accounting.may_go_on.set()
    assert (images_of(totals), accounting.times) == ([1], 1)


def images_of(totals: Totals) -> Sequence[int]:
    assert totals._summed is not None
    return [each.images for each in totals._summed.spaces]


def test_old_sums_are_shown_until_there_are_new_ones() -> None:
    accounting, now = Slow(), [NOW]
    accounting.may_go_on.set()
    with closing(Totals(lambda: now[0])) as totals:
        assert images(totals, accounting) == [1]
        now[0] += FRESH
        assert (images(totals, accounting), accounting.times) == ([1], 1)
        accounting.may_go_on.clear()
        now[0] += timedelta(seconds=1)
        assert images(totals, accounting) == [1]
        accounting.may_go_on.set()
    assert images_of(totals) == [2]


def test_a_sum_that_fails_is_made_again_by_the_next_page(caplog: pytest.LogCaptureFixture) -> None:
    accounting = Slow()
    accounting.may_go_on.set()
    accounting.fails = True
    with closing(Totals(lambda: NOW)) as totals:
        assert images(totals, accounting) is None
        accounting.fails = False
        assert images(totals, accounting) == [2]
    assert "cannot be summed up" in caplog.text
    assert "secret" not in caplog.text
