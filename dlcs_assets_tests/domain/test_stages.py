from __future__ import annotations

import pytest

from dlcs_assets.domain.stages import Lane


@pytest.mark.parametrize(
    ("new", "old", "lane"),
    [
        (Lane.INGEST, Lane.BACKFILL, Lane.INGEST),
        (Lane.BACKFILL, Lane.INGEST, Lane.INGEST),
        (Lane.BACKFILL, Lane.RETRY, Lane.RETRY),
        (Lane.BACKFILL, Lane.PRIORITY, Lane.PRIORITY),
        (Lane.INGEST, Lane.PRIORITY, Lane.PRIORITY),
        (Lane.INGEST, Lane.RETRY, Lane.INGEST),
        (Lane.MANUAL, Lane.INGEST, Lane.MANUAL),
        (Lane.DELETE, Lane.PRIORITY, Lane.DELETE),
        (Lane.INGEST, Lane.DELETE, Lane.INGEST),
    ],
)
def test_a_replacing_request_has_the_more_urgent_lane_of_both(new: Lane, old: Lane, lane: Lane) -> None:
    """A backfill must not slow down an image that is due as an arrival."""
    assert new.or_better([old]) is lane


def test_every_lane_can_replace_every_other() -> None:
    assert all(new.or_better(Lane) in Lane for new in Lane)
