from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dlcs_assets.defs.jobs.prune_partitions import Window, choose

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
ORDER = list("abcde")


def days_ago(days: int) -> datetime:
    return NOW - timedelta(days=days)


@pytest.mark.parametrize(("most", "leaving"), [(9, "ad"), (4, "ad"), (3, "ad"), (2, "adb"), (1, "adbe"), (0, "adbe")])
def test_partitions_quiet_for_the_window_are_pruned(most: int, leaving: str) -> None:
    """Of the rest the longest quiet are, down to the limit; a requested image (c) stays even beyond it."""
    quiet = {"a": days_ago(9), "b": days_ago(3), "c": None, "d": days_ago(8), "e": days_ago(1)}
    assert "".join(choose(ORDER, quiet, Window(days_ago(7), most))) == leaving


def test_partitions_unknown_to_the_ledger_are_pruned_first() -> None:
    """They do not count towards the limit: known images must not be pruned because of them."""
    quiet = {"b": days_ago(3), "c": days_ago(2)}
    assert choose(ORDER, quiet, Window(days_ago(7), 2)) == ["a", "d", "e"]
    assert choose(ORDER, quiet, Window(days_ago(7), 1)) == ["a", "d", "e", "b"]
