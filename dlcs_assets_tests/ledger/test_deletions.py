from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import delete, insert

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError, PermanentError, TransientError
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.stages import STAGES, Lane
from dlcs_assets.ledger.deletions import DeletionClaim
from dlcs_assets.ledger.records import Chunk
from dlcs_assets.ledger.reports import Selection
from dlcs_assets.ledger.tables import images, tombstones
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, Desk, end_chunk
from dlcs_testing.one_write import end_image

LATER = NOW + timedelta(minutes=1)


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
    (deletion,) = claimed.deletions
    desk.ledger.claims.begin(claimed.token, [deletion.request_id], now=NOW)
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


FAILURES = [
    PermanentError("storage_denied", "S3 refuses", remedy="See the role"),
    TransientError("storage_down", "S3 is away", remedy="Wait"),
]


def finish(desk: Desk, claimed: DeletionClaim, error: IngestError | None) -> RequestState:
    return desk.ledger.deletions.finish(claimed, claimed.deletions[0], error, schedule=SCHEDULE, now=NOW)


@pytest.mark.parametrize("error", [None, *FAILURES])
def test_a_deletion_of_an_image_registered_meanwhile_is_over(stored: Desk, error: IngestError | None) -> None:
    """However its run ends: failed, `dlcs retry` would take it up again, and delete what was ingested since."""
    request_deletion(stored)
    claimed = claim(stored)
    stored.send("2/1/a")
    assert finish(stored, claimed, error) is RequestState.SUPERSEDED
    stored.store("2/1/a", "b" * 64)
    stored.ledger.reports.retry(Selection(), now=NOW)
    assert not is_due(stored, Lane.DELETE)
    assert stored.state("2/1/a") == "done"


def test_a_failed_deletion_is_over_once_registered_again(stored: Desk) -> None:
    request_deletion(stored)
    assert finish(stored, claim(stored), FAILURES[0]) is RequestState.FAILED
    assert stored.state("2/1/a") == "failed"
    stored.send("2/1/a")
    assert stored.ledger.health.failed() == {}
    stored.ledger.reports.retry(Selection(), now=NOW)
    assert not is_due(stored, Lane.DELETE)


def test_a_deletion_without_tombstone_of_an_old_ledger_is_over(stored: Desk) -> None:
    """Ledgers of earlier versions have failed and reserved deletions of images that are registered again."""
    request_deletion(stored)
    chunk = reserve(stored)
    with stored.ledger._database.write() as connection:
        registered = {"id": "2/1/a", "customer": 2, "space": 1, "registration": {"origin": "a"}, "registered_at": NOW}
        connection.execute(insert(images), [registered])
        connection.execute(delete(tombstones))
    claimed = stored.ledger.deletions.claim(chunk.id, chunk.id, now=NOW)
    assert claimed is not None
    assert claimed.deletions == ()
    end_chunk(stored.ledger, chunk)
    assert not is_due(stored, Lane.DELETE)


@pytest.mark.parametrize("error", [*FAILURES, None])
def test_an_image_deleted_during_its_ingest_is_not_retried(desk: Desk, error: IngestError | None) -> None:
    """Without a registration no run could claim it: one was launched after another, and its batch never ended."""
    desk.send("2/1/a", batch=7)
    claimed = desk.claim()
    request_deletion(desk)
    if error is None:
        desk.ledger.claims.release_run(claimed.run_id, schedule=SCHEDULE, now=NOW)
    else:
        end_image(desk.ledger.results, claimed, claimed.items[0], error, schedule=SCHEDULE, now=NOW)
    assert not [lane for lane in Lane if lane is not Lane.DELETE and is_due(desk, lane)]
    assert finish(desk, claim(desk), None) is RequestState.DELETED
    assert desk.state("2/1/a") == "deleted"


def test_an_image_deleted_during_the_lookup_is_not_requested(stored: Desk) -> None:
    """Reprocessing reads the registrations first, and then requests the images page by page."""
    request_deletion(stored)
    stored.ledger.registrations.request([(AssetId(2, 1, "a"), frozenset(STAGES))], lane=Lane.BACKFILL, now=NOW)
    assert not is_due(stored, Lane.BACKFILL)


def test_a_deletion_is_over_once_another_took_its_place(stored: Desk) -> None:
    request_deletion(stored)
    claimed = claim(stored)
    stored.ledger.deletions.request([AssetDeleted(AssetId(2, 1, "a"), LATER, None, frozenset({"cdn"}), ())], now=NOW)
    assert finish(stored, claimed, FAILURES[1]) is RequestState.SUPERSEDED
    again = claim(stored)
    assert again.deletions[0].detail["delete_from"] == ["cdn"]
    assert finish(stored, again, None) is RequestState.DELETED
