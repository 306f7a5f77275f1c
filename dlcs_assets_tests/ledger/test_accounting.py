from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.ingest_request import AssetFields, IngestMessage
from dlcs_assets.domain.quota import MIN_BYTES
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult
from dlcs_assets.domain.stages import STAGES, Lane, Outcome, Stage
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.accounting import Usage
from dlcs_assets.ledger.inbox import IntakePolicy
from dlcs_assets.ledger.records import InboxMessage, IntakeCount, new_id
from dlcs_assets.ledger.results import Claim, ClaimLostError
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, Desk
from dlcs_testing.one_write import add_transient, commit_stage, end_image, reserve_quota

JP2, ORIGINAL, TRANSIENT = ObjectKind.JP2, ObjectKind.ORIGINAL, ObjectKind.TRANSIENT
THUMBNAIL, SIZES = ObjectKind.THUMBNAIL, ObjectKind.SIZES
NOT_FOUND = PermanentError("origin_not_found", "It is gone", remedy="Find it", stage=Stage.ORIGINAL)
LIMIT = 1000
WORKERS = 4
SPAWN = multiprocessing.get_context("spawn")


class ClaimedImage:
    """One image in progress, and what is done with it."""

    def __init__(self, ledger: Ledger, image: str) -> None:
        self.image = image
        self.results = ledger.results
        self.asset_id = AssetId.parse(image)
        self.run_id = new_id()
        self.claim: Claim = ledger.claims.claim_images([self.asset_id], STAGES, self.run_id, now=NOW)
        (self.item,) = self.claim.items

    def reserve(self, new: int, *replaces: ObjectKind, limit: int = LIMIT) -> None:
        reserve_quota(self.results, self.claim, self.item, limit=limit, new=new, replaces=replaces)

    def commit(self, stage: Stage, **sizes: int) -> None:
        """Record a stage with an object of each of these kinds, named with its size."""
        stored = tuple(
            ObjectRecord("bucket", f"{self.image}/{kind}", ObjectKind(kind), size, "a" * 64, "image/jp2")
            for kind, size in sizes.items()
        )
        result = StageResult(stage, Outcome.CONVERTED, "v1", {}, stored)
        commit_stage(self.results, self.claim, self.item, result, now=NOW)

    def store_for_a_while(self, size: int) -> None:
        stored = ObjectRecord("bucket", f"transient/{self.image}", ObjectKind.TRANSIENT, size, "a" * 64, "image/jp2")
        add_transient(self.results, self.claim, self.item, stored)

    def finish(self, error: PermanentError | None = None) -> RequestState:
        return end_image(self.results, self.claim, self.item, error, schedule=SCHEDULE, now=NOW)


def keep(desk: Desk, image: str, **sizes: int) -> None:
    """Let an image be done, with what it has in storage."""
    desk.send(image)
    claimed = ClaimedImage(desk.ledger, image)
    if "transient" in sizes:
        claimed.store_for_a_while(sizes["transient"])
    claimed.commit(Stage.ORIGINAL, **{kind: size for kind, size in sizes.items() if kind == "original"})
    claimed.commit(Stage.JP2, **{kind: size for kind, size in sizes.items() if kind == "jp2"})
    claimed.commit(Stage.THUMBNAILS, **{kind: size for kind, size in sizes.items() if kind in {"thumbnail", "sizes"}})
    claimed.finish()


def begin(desk: Desk, image: str) -> ClaimedImage:
    desk.send(image)
    return ClaimedImage(desk.ledger, image)


def reserved(desk: Desk) -> int:
    return desk.ledger.accounting.totals(2).reserved


def test_totals_count_stored_objects_by_customer_and_space(desk: Desk) -> None:
    """Transient originals and s.json do not count, and customer 22 is not part of customer 2."""
    keep(desk, "2/1/a", original=50, jp2=100, thumbnail=10)
    keep(desk, "2/1/b", transient=1000, thumbnail=200, sizes=30)
    keep(desk, "2/3/c", jp2=7)
    keep(desk, "22/1/d", original=5)
    desk.send("2/4/e")
    accounting = desk.ledger.accounting
    assert accounting.totals(2) == Usage(2, None, images=4, source=157, thumbnails=210)
    assert accounting.totals(2, 1) == Usage(2, 1, images=2, source=150, thumbnails=210)
    assert accounting.totals(3) == Usage(3, None)
    assert accounting.by_space() == [
        Usage(2, 1, images=2, source=150, thumbnails=210),
        Usage(2, 3, images=1, source=7),
        Usage(2, 4, images=1),
        Usage(22, 1, images=1, source=5),
    ]
    assert accounting.by_space(22) == [Usage(22, 1, images=1, source=5)]


def test_ingesting_an_image_again_replaces_what_it_counted(desk: Desk) -> None:
    """The engine adds to the total without taking away: 1510 and 2820 it would say."""
    keep(desk, "2/1/a", jp2=500, thumbnail=800)
    keep(desk, "2/1/a", jp2=1010, thumbnail=2020)
    assert desk.ledger.accounting.totals(2) == Usage(2, None, images=1, source=1010, thumbnails=2020)


def test_a_reservation_counts_for_other_images_but_not_its_own(desk: Desk) -> None:
    """An image that asks a second time must not be refused because of its own reservation."""
    first, second = begin(desk, "2/1/a"), begin(desk, "2/3/b")
    first.reserve(600, JP2)
    assert desk.ledger.accounting.by_space(2) == [Usage(2, 1, images=1, reserved=600), Usage(2, 3, images=1)]
    with pytest.raises(PermanentError) as refused:
        second.reserve(401, JP2)
    assert "has 0, 600 reserved by images in progress; this image needs 401" in refused.value.cause
    second.reserve(400, JP2)
    first.reserve(600, JP2)
    assert reserved(desk) == 1000


@pytest.mark.parametrize(("counted", "room"), [(0, 600), (300, 600), (900, 100)])
def test_the_larger_of_two_totals_holds(desk: Desk, counted: int, room: int) -> None:
    """Another system counts what it has stored itself, too, or does not count what is stored from here."""
    keep(desk, "2/1/a", jp2=400)
    check = partial(desk.ledger.accounting.check, AssetId.parse("2/1/b"), LIMIT, replaces=[JP2], counted=counted)
    check(new=room)
    with pytest.raises(PermanentError):
        check(new=room + 1)


def test_a_refusal_leaves_the_reservation_as_it_was(desk: Desk) -> None:
    claimed = begin(desk, "2/1/a")
    claimed.reserve(MIN_BYTES, JP2)
    with pytest.raises(PermanentError):
        claimed.reserve(LIMIT + 1, JP2)
    assert reserved(desk) == MIN_BYTES


def test_another_customers_images_are_not_counted(desk: Desk) -> None:
    keep(desk, "22/1/a", jp2=LIMIT)
    begin(desk, "22/1/b").reserve(LIMIT, JP2, limit=2 * LIMIT)
    begin(desk, "2/1/a").reserve(LIMIT, JP2)
    assert reserved(desk) == LIMIT


def test_what_is_committed_is_no_longer_reserved(desk: Desk) -> None:
    """Counted twice it would keep others out of room that is there."""
    claimed = begin(desk, "2/1/a")
    claimed.reserve(MIN_BYTES, JP2, ORIGINAL)
    claimed.reserve(600, ORIGINAL)
    claimed.commit(Stage.ORIGINAL, original=600)
    assert desk.ledger.accounting.totals(2) == Usage(2, None, images=1, source=600)
    claimed.reserve(400, JP2)
    claimed.commit(Stage.JP2, jp2=400)
    assert desk.ledger.accounting.totals(2) == Usage(2, None, images=1, source=1000)


def test_a_transient_original_does_not_use_up_the_reservation(desk: Desk) -> None:
    """Room that is reserved for the JP2 must not go to another image before the JP2 is stored."""
    claimed = begin(desk, "2/1/a")
    claimed.reserve(MIN_BYTES, JP2)
    claimed.store_for_a_while(5000)
    claimed.commit(Stage.ORIGINAL)
    assert reserved(desk) == MIN_BYTES


def test_only_the_growth_of_a_reingested_image_is_reserved(desk: Desk) -> None:
    """What it has stored counts already: reserved as well it would count twice."""
    keep(desk, "2/1/a", jp2=950)
    claimed = ClaimedImage(desk.ledger, "2/1/a")
    claimed.reserve(MIN_BYTES, JP2)
    assert reserved(desk) == 0
    claimed.reserve(1000, JP2)
    assert reserved(desk) == 50
    claimed.commit(Stage.JP2, jp2=1000)
    assert desk.ledger.accounting.totals(2) == Usage(2, None, images=1, source=1000)


def test_room_that_an_image_gives_up_is_free_once_committed(desk: Desk) -> None:
    """Until then its old JP2 is there, and it stays if the image fails."""
    keep(desk, "2/1/a", jp2=1000)
    shrinking, other = ClaimedImage(desk.ledger, "2/1/a"), begin(desk, "2/1/b")
    shrinking.reserve(300, JP2)
    with pytest.raises(PermanentError):
        other.reserve(MIN_BYTES, JP2)
    shrinking.commit(Stage.JP2, jp2=300)
    other.reserve(700, JP2)


@pytest.mark.parametrize("error", [None, NOT_FOUND])
def test_the_end_of_an_image_frees_what_it_reserved(desk: Desk, error: PermanentError | None) -> None:
    claimed = begin(desk, "2/1/a")
    claimed.reserve(LIMIT, JP2)
    claimed.finish(error)
    assert reserved(desk) == 0


def test_a_run_that_lost_its_claim_reserves_nothing(desk: Desk) -> None:
    claimed = begin(desk, "2/1/a")
    desk.ledger.claims.release_run(claimed.run_id, schedule=SCHEDULE, now=NOW)
    with pytest.raises(ClaimLostError):
        claimed.reserve(MIN_BYTES, JP2)
    assert reserved(desk) == 0


def reserve_and_die(url: str, run_id: str) -> None:
    ledger = Ledger(url)
    claim = ledger.claims.claim_images([AssetId(2, 1, "a")], STAGES, run_id, now=NOW)
    reserve_quota(ledger.results, claim, claim.items[0], limit=LIMIT, new=LIMIT, replaces=[JP2])
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_run_reserved_is_free_once_it_is_released(desk: Desk, url: str) -> None:
    """The reservation of a process that was killed must not keep other images out indefinitely."""
    desk.send("2/1/a")
    process = SPAWN.Process(target=reserve_and_die, args=(url, "run-1"))
    process.start()
    process.join()
    assert (process.exitcode, reserved(desk)) == (-signal.SIGKILL, LIMIT)
    assert list(desk.ledger.claims.active_runs()) == ["run-1"]
    desk.ledger.claims.release_run("run-1", schedule=SCHEDULE, now=NOW)
    assert reserved(desk) == 0
    begin(desk, "2/1/b").reserve(LIMIT, JP2)


def ingest(ledger: Ledger, image: str, size: int) -> bool:
    """Do what a run does with an image; return whether it fitted in."""
    claimed = ClaimedImage(ledger, image)
    try:
        claimed.reserve(MIN_BYTES, JP2)
        claimed.store_for_a_while(size)
        claimed.commit(Stage.ORIGINAL)
        claimed.reserve(size, JP2)
    except PermanentError as error:
        claimed.finish(error)
        return False
    claimed.commit(Stage.JP2, jp2=size)
    claimed.finish()
    return True


def test_threads_racing_for_the_last_bytes_stay_within_the_quota(desk: Desk, url: str) -> None:
    """Checking and reserving must be one step, or two images each find room for one."""
    images = [[f"2/{worker}/image-{number}" for number in range(5)] for worker in range(1, WORKERS + 1)]
    for image in [image for chosen in images for image in chosen]:
        desk.send(image)
    together = threading.Barrier(WORKERS)
    most: list[int] = []

    def work(chosen: list[str]) -> int:
        ledger = Ledger(url)
        together.wait()
        fitted = 0
        for image in chosen:
            fitted += ingest(ledger, image, 250)
            usage = ledger.accounting.totals(2)
            most.append(usage.source + usage.reserved)
        ledger.close()
        return fitted

    with ThreadPoolExecutor(WORKERS) as pool:
        fitted = sum(pool.map(work, images))
    assert max(most) <= LIMIT
    assert desk.ledger.accounting.totals(2) == Usage(2, None, images=20, source=250 * fitted)
    # What others have reserved just then may keep out one that would have fitted in, but not the first two.
    assert 2 <= fitted <= 4


def ingest_all(url: str, images: list[str], size: int) -> None:
    ledger = Ledger(url)
    for image in images:
        ingest(ledger, image, size)
    ledger.close()


def test_processes_racing_for_the_last_bytes_stay_in_the_quota(desk: Desk, url: str) -> None:
    """The same for runs in processes of their own, where no lock of Python's helps."""
    images = [[f"2/{worker}/image-{number}" for number in range(5)] for worker in range(1, 4)]
    for image in [image for chosen in images for image in chosen]:
        desk.send(image)
    processes = [SPAWN.Process(target=ingest_all, args=(url, chosen, 300)) for chosen in images]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    usage = desk.ledger.accounting.totals(2)
    assert (usage.reserved, usage.source) in {(0, 600), (0, 900)}


def take_in(ledger: Ledger, *images: str, limit: int = 3) -> IntakeCount:
    """Send full messages in one transaction; customer 2 may have up to `limit` images, others any number."""
    received = [
        InboxMessage(
            new_id(),
            "q",
            Lane.INGEST,
            "body",
            IngestMessage(AssetId.parse(image), asset=AssetFields("https://example.org/page.jpg")),
        )
        for image in images
    ]
    rules = IntakePolicy(lambda asset_id, _: limit if asset_id.customer == 2 else None, timedelta(minutes=10))
    return ledger.inbox.take_in(received, policy=rules, now=NOW)


def test_beyond_the_limit_only_new_images_are_rejected(ledger: Ledger) -> None:
    """A customer at its limit must still be able to ingest again what it has."""
    assert take_in(ledger, "2/1/a", "2/3/b").accepted == 2
    count = take_in(ledger, "2/1/c", "2/1/d", "2/1/c", "2/1/a", "2/1/e")
    assert (count.accepted, count.rejected) == (3, 2)
    rejected = ledger.inbox.rejected()
    assert {(row["code"], row["image_id"]) for row in rejected} == {
        ("quota_images_exceeded", "2/1/d"),
        ("quota_images_exceeded", "2/1/e"),
    }
    assert "2/1/d: customer 2 may have 3 images and has 3" in {row["cause"] for row in rejected}
    assert ledger.accounting.totals(2).images == 3
    assert take_in(ledger, "2/1/a", limit=1).accepted == 1


def test_a_raised_limit_lets_images_in_again(ledger: Ledger) -> None:
    take_in(ledger, "2/1/a", "2/1/b", limit=1)
    assert take_in(ledger, "2/1/b", limit=2).accepted == 1


def test_a_customer_without_a_limit_has_none(ledger: Ledger) -> None:
    assert take_in(ledger, "22/1/a", "22/1/b", limit=0).accepted == 2


def test_messages_racing_for_the_last_image_stay_in_the_limit(url: str) -> None:
    """Counting and registering must be one step, for several sensors at once."""
    together = threading.Barrier(WORKERS)

    def work(worker: int) -> int:
        ledger = Ledger(url)
        together.wait()
        accepted = sum(take_in(ledger, *(f"2/{worker}/{n}-{m}" for m in range(3)), limit=10).accepted for n in range(3))
        ledger.close()
        return accepted

    with ThreadPoolExecutor(WORKERS) as pool:
        assert sum(pool.map(work, range(1, WORKERS + 1))) == 10
