from __future__ import annotations

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger.deletions import DeletionClaim
from dlcs_assets.ledger.records import Chunk
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, Desk, end_chunk


def request_deletion(desk: Desk) -> None:
    desk.ledger.deletions.request([AssetDeleted(AssetId(2, 1, "a"), None, None, frozenset(), ())], now=NOW)


def reserve(desk: Desk) -> Chunk:
    chunk = desk.reserve(Lane.DELETE)
    assert chunk is not None
    return chunk


def claim(desk: Desk) -> DeletionClaim:
    chunk = reserve(desk)
    claimed = desk.ledger.deletions.claim(chunk.id, chunk.id, now=NOW)
    assert claimed is not None
    assert len(claimed.deletions) == 1
    return claimed


def is_due(desk: Desk, lane: Lane) -> bool:
    return bool(desk.ledger.dispatch.due([lane], limit=10, now=NOW))


@pytest.fixture
def stored(desk: Desk) -> Desk:
    desk.store("2/1/a")
    return desk


def test_a_deletion_whose_run_was_killed_is_retried(stored: Desk) -> None:
    request_deletion(stored)
    claimed = claim(stored)
    stored.ledger.claims.release_run(claimed.run_id, schedule=SCHEDULE, now=NOW)
    assert is_due(stored, Lane.DELETE)


def test_an_image_registered_again_in_time_is_not_deleted(stored: Desk) -> None:
    """The chunk with the deletion is there already; tried again after the ingest, it would delete the new objects."""
    request_deletion(stored)
    chunk = reserve(stored)
    stored.send("2/1/a")
    claimed = stored.ledger.deletions.claim(chunk.id, chunk.id, now=NOW)
    assert claimed is not None
    assert claimed.deletions == ()
    end_chunk(stored.ledger, chunk)
    assert not is_due(stored, Lane.DELETE)
    assert is_due(stored, Lane.INGEST)


def test_a_deletion_is_not_retried_for_a_registered_image(stored: Desk) -> None:
    request_deletion(stored)
    claimed = claim(stored)
    stored.send("2/1/a")
    stored.ledger.claims.release_run(claimed.run_id, schedule=SCHEDULE, now=NOW)
    assert not is_due(stored, Lane.DELETE)
    assert is_due(stored, Lane.INGEST)
