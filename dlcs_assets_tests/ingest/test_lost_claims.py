"""Runs that stood still, lost their images to others, and continue: what is registered last is what is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.clients.storage import Storage, StoredObject
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ingest import guard, held_image, jp2
from dlcs_assets.ingest.deletion import DeletionEnded, delete_images
from dlcs_assets.ingest.policy import retry_schedule
from dlcs_assets.ledger.claims import Claim
from dlcs_assets.ledger.database import ClaimLostError
from dlcs_assets.ledger.deletions import DeletionClaim
from dlcs_assets.ledger.records import new_id
from dlcs_testing.installation import full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline

PAGE, OTHER = "2/1/page", "2/1/other"
DELETION = {"asset": {"id": PAGE}, "deleteFrom": []}


@dataclass(kw_only=True, eq=False)
class LateStorage(Storage):
    """Storage whose next call of this name takes effect only after something else has happened."""

    late: str = ""
    meanwhile: Callable[[], object] = lambda: None

    def _wait(self, call: str) -> None:
        if self.late == call:
            self.late = ""
            self.meanwhile()

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        self._wait("delete")
        super().delete(bucket, keys)

    def put_file(self, *arguments: Any, **named: Any) -> StoredObject:
        self._wait("put_file")
        return super().put_file(*arguments, **named)


def late_storage(pipeline: Pipeline, call: str, meanwhile: Callable[[], object]) -> LateStorage:
    own = pipeline.services.storage
    options = {each.name: getattr(own, each.name) for each in fields(Storage) if each.init}
    return LateStorage(**options, late=call, meanwhile=meanwhile)


def send(pipeline: Pipeline, image: str = PAGE, width: int = 60) -> None:
    origin = pipeline.serve(f"{width}.jpg", jpeg(width, 40))
    pipeline.send(full_message(image, origin, "iiif-img,thumbs"))


def delete_claim(pipeline: Pipeline) -> DeletionClaim:
    (chunk,) = pipeline.due()
    assert chunk.lane is Lane.DELETE
    pipeline.ledger.dispatch.reserve([chunk], datetime.now(UTC))
    claim = pipeline.ledger.deletions.claim(chunk.id, new_id(), now=datetime.now(UTC))
    assert claim is not None
    return claim


def delete(pipeline: Pipeline, claim: DeletionClaim, storage: Storage) -> list[DeletionEnded]:
    schedule = retry_schedule(pipeline.settings)
    beat = timedelta(seconds=1)
    return list(delete_images(claim, pipeline.ledger, storage, schedule, tells_cdn=False, heartbeat=beat))


def release(pipeline: Pipeline, run_id: str) -> None:
    """Do what reconcile does with a run that gives no sign of life."""
    schedule = retry_schedule(pipeline.settings)
    pipeline.ledger.claims.release_run(run_id, schedule=schedule, now=datetime.now(UTC))


def found(pipeline: Pipeline, image: str = PAGE) -> list[str]:
    return sorted([*pipeline.storage(image), *pipeline.thumbs(image)])


def test_what_a_late_deletion_takes_is_made_again(pipeline: Pipeline) -> None:
    """Between the run's last check and the call to S3, others deleted the image, and it was registered again."""
    send(pipeline)
    pipeline.settle()
    whole = found(pipeline)
    pipeline.send(DELETION, queue="delete")
    claim = delete_claim(pipeline)

    def others() -> None:
        release(pipeline, claim.run_id)
        pipeline.settle()
        send(pipeline)
        pipeline.settle()
        assert found(pipeline) == whole

    (ended,) = delete(pipeline, claim, late_storage(pipeline, "delete", others))

    assert ended.state is None
    pipeline.settle()
    assert pipeline.status(PAGE).state == "done"
    assert found(pipeline) == whole


def test_a_deletion_that_has_lost_its_claim_deletes_no_more(pipeline: Pipeline) -> None:
    """The thumbnails are deleted first; before the rest the claim is checked again."""
    send(pipeline)
    pipeline.settle()
    pipeline.send(DELETION, queue="delete")
    claim = delete_claim(pipeline)
    delete(pipeline, claim, late_storage(pipeline, "delete", lambda: release(pipeline, claim.run_id)))
    assert PAGE in pipeline.storage(PAGE)
    pipeline.settle()
    assert found(pipeline) == []
    assert pipeline.status(PAGE).state == "deleted"


def test_a_lost_claim_does_not_end_the_run(pipeline: Pipeline) -> None:
    """The other deletions of the chunk take place."""
    for image in (OTHER, PAGE):
        send(pipeline, image)
    pipeline.settle()
    for image in (OTHER, PAGE):
        pipeline.send(DELETION | {"asset": {"id": image}}, queue="delete")
    claim = delete_claim(pipeline)
    assert [str(deletion.asset_id) for deletion in claim.deletions] == [OTHER, PAGE]
    lost = DeletionClaim(new_id(), claim.run_id, claim.deletions[:1])
    both = DeletionClaim(claim.token, claim.run_id, claim.deletions)
    assert [ended.state for ended in delete(pipeline, lost, pipeline.services.storage)] == [None]
    assert [ended.state for ended in delete(pipeline, both, pipeline.services.storage)] == [RequestState.DELETED] * 2


def test_a_long_deletion_keeps_its_claims(pipeline: Pipeline) -> None:
    """Without a heartbeat, reconcile would take a run for lost that has many images, or a slow S3."""
    send(pipeline)
    pipeline.settle()
    pipeline.send(DELETION, queue="delete")
    claim = delete_claim(pipeline)
    before = pipeline.ledger.health.oldest_heartbeat()
    assert before is not None
    seen: list[datetime] = []

    def wait_for_a_beat() -> None:
        while (beat := pipeline.ledger.health.oldest_heartbeat()) == before:
            assert datetime.now(UTC) - before < timedelta(seconds=30)
        assert beat is not None
        seen.append(beat)

    delete(pipeline, claim, late_storage(pipeline, "delete", wait_for_a_beat))
    assert seen


@pytest.mark.parametrize("deleted", [False, True])
def test_what_a_late_ingest_stores_does_not_stay(pipeline: Pipeline, deleted: bool) -> None:
    """Its upload arrived after others had the image: registered otherwise and done, or deleted."""
    send(pipeline, width=60)
    (chunk,) = pipeline.due()
    claim = pipeline.claim(chunk)

    def others() -> None:
        release(pipeline, claim.run_id)
        if deleted:
            pipeline.send(DELETION, queue="delete")
        else:
            send(pipeline, width=90)
        pipeline.settle()

    pipeline.services.storage.close()
    late = late_storage(pipeline, "put_file", others)
    pipeline.__dict__["services"] = replace(pipeline.services, storage=late)
    assert pipeline.run(claim)[-1].state is None
    pipeline.close()
    pipeline.settle()
    status = pipeline.status(PAGE)
    if deleted:
        assert status.state == "deleted"
        assert found(pipeline) == []
    else:
        assert status.state == "done"
        (sha256,) = {each.sha256 for each in status.objects if each.key == PAGE}
        assert pipeline.services.storage.digest(pipeline.settings.storage_bucket, PAGE).sha256 == sha256  # type: ignore[union-attr] # it is there


def test_what_is_on_record_is_overwritten_by_a_reading_of_now(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the guard read a second ago is not enough: another run may have stored something there since."""
    send(pipeline, width=60)
    pipeline.settle()
    before = pipeline.storage(PAGE)
    send(pipeline, width=90)
    (chunk,) = pipeline.due()
    claim = pipeline.claim(chunk)
    convert = jp2._convert

    def converted_late(*arguments: Any) -> Path:
        path = convert(*arguments)
        release(pipeline, claim.run_id)
        return path

    monkeypatch.setattr(jp2, "_convert", converted_late)
    monkeypatch.setattr(guard, "READ_EVERY_SECONDS", 3600)
    monkeypatch.setattr(held_image, "TRUSTED_FOR_SECONDS", 3600)
    assert pipeline.run(claim)[-1].state is None
    assert pipeline.storage(PAGE) == before


def keep_checking(by: guard.Guard, asset_id: AssetId, *, trusted_for: float) -> None:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        by.check(asset_id, trusted_for=trusted_for)
        time.sleep(0.01)


class TestGuard:
    """A run's guard, without its thread."""

    @pytest.fixture
    def claim(self, pipeline: Pipeline) -> Claim:
        send(pipeline)
        (chunk,) = pipeline.due()
        return pipeline.claim(chunk)

    @pytest.fixture
    def still(self, pipeline: Pipeline, claim: Claim) -> guard.Guard:
        found = guard.Guard(pipeline.ledger, claim.token)
        found.stop()
        return found

    def test_a_reading_that_is_too_old_is_not_trusted(
        self, pipeline: Pipeline, claim: Claim, still: guard.Guard
    ) -> None:
        """The thread that reads stands still, as in a process that is stopped: two seconds later it counts no more."""
        (item,) = claim.items
        still.check(item.asset_id)
        release(pipeline, claim.run_id)
        with pytest.raises(ClaimLostError):
            keep_checking(still, item.asset_id, trusted_for=guard.TRUSTED_FOR_SECONDS)

    def test_a_check_of_this_moment_reads(self, pipeline: Pipeline, claim: Claim, still: guard.Guard) -> None:
        (item,) = claim.items
        still.check(item.asset_id)
        release(pipeline, claim.run_id)
        with pytest.raises(ClaimLostError):
            still.check(item.asset_id, trusted_for=0)

    def test_a_guard_notices_a_loss_by_itself(self, pipeline: Pipeline, claim: Claim) -> None:
        """A check need not read, however long what was read is trusted."""
        watching = guard.Guard(pipeline.ledger, claim.token)
        (item,) = claim.items
        watching.check(item.asset_id)
        release(pipeline, claim.run_id)
        with pytest.raises(ClaimLostError):
            keep_checking(watching, item.asset_id, trusted_for=3600)
        watching.stop()
