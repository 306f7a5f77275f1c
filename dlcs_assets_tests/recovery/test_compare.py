"""Where ledger and S3 disagree, one kind after the other; each is repaired by what is asked for, and by no more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.results import ObjectKind, ObjectRecord
from dlcs_assets.domain.stages import STAGES, Lane, Stage
from dlcs_assets.domain.thumbnails import ThumbnailSet
from dlcs_assets.ledger.records import Chunk, new_id
from dlcs_assets.recovery.compare import Comparer, Kind
from dlcs_assets.recovery.inventory import Scope
from dlcs_assets.recovery.repair import BUSY, NO_ORIGIN, Repair
from dlcs_assets_tests.recovery.conftest import SCHEDULE, Library
from dlcs_testing.one_write import end_image

A = AssetId(2, 1, "a")
SMALLER = ThumbnailSet(open=(Size(100, 67),))


def pending(library: Library) -> dict[str, frozenset[Stage]]:
    due = library.ledger.dispatch.due(list(Lane), limit=100, now=datetime.now(UTC))
    return {str(each.asset_id): each.stages for each in due}


def delete_whole(library: Library, image: AssetId) -> None:
    """Delete an image as its run does, without its objects."""
    library.ledger.deletions.request([AssetDeleted(image, None, None, frozenset(), ())], now=datetime.now(UTC))
    due = library.ledger.dispatch.due([Lane.DELETE], limit=9, now=datetime.now(UTC))
    chunk = Chunk(new_id(), Lane.DELETE, image.customer, image.space, frozenset(), "/", "/", tuple(due))
    library.ledger.dispatch.reserve([chunk], datetime.now(UTC))
    claim = library.ledger.deletions.claim(chunk.id, "run", now=datetime.now(UTC))
    assert claim is not None
    library.ledger.deletions.finish(claim, claim.deletions[0], None, schedule=SCHEDULE, now=datetime.now(UTC))
    library.ledger.claims.release_run("run", schedule=SCHEDULE, now=datetime.now(UTC))


def missing_jp2(library: Library) -> None:
    library.storage.delete(library.storage.storage_bucket, ["2/1/a"])


def missing_original(library: Library) -> None:
    library.storage.delete(library.storage.storage_bucket, ["2/1/a/original"])


def damaged(library: Library) -> None:
    """As another program writes, which knows nothing of our checksums."""
    library.put_without_checksum(library.storage.storage_bucket, "2/1/a", b"half", "image/jp2")


def changed(library: Library) -> None:
    library.put(library.storage.storage_bucket, "2/1/a", b"a newer JP2 than the ledger knows", "image/jp2")


def sizes_without_one(library: Library) -> None:
    text = SMALLER.sizes_json().encode()
    library.put_without_checksum(library.storage.thumbs_bucket, "2/1/a/s.json", text, "application/json")


def leftover(library: Library) -> None:
    library.put(library.storage.thumbs_bucket, "2/1/a/open/1024.jpg", b"of an earlier policy")


def transient(library: Library) -> None:
    library.put(library.storage.storage_bucket, f"transient/2/1/a/{'0' * 32}", b"left by a run")


KINDS: list[tuple[Callable[[Library], None], Kind, str, frozenset[Stage]]] = [
    (missing_jp2, Kind.MISSING, "2/1/a", frozenset({Stage.JP2, Stage.THUMBNAILS})),
    (missing_original, Kind.MISSING, "2/1/a/original", frozenset(STAGES)),
    (damaged, Kind.DAMAGED, "2/1/a", frozenset({Stage.JP2, Stage.THUMBNAILS})),
    (changed, Kind.CHANGED, "2/1/a", frozenset()),
    (sizes_without_one, Kind.SIZES, "2/1/a/s.json", frozenset({Stage.THUMBNAILS})),
    (leftover, Kind.LEFTOVER, "2/1/a/open/1024.jpg", frozenset({Stage.THUMBNAILS})),
    (transient, Kind.TRANSIENT, f"transient/2/1/a/{'0' * 32}", frozenset()),
]


@pytest.mark.parametrize(("spoil", "kind", "key", "stages"), KINDS)
def test_each_disagreement_is_found_and_repaired(
    library: Library, spoil: Callable[[Library], None], kind: Kind, key: str, stages: frozenset[Stage]
) -> None:
    """Without --yes nothing happens, another kind is not touched, and another image never is."""
    library.ingest("2/1/a", keep=True)
    library.ingest("2/1/b", keep=True)
    assert library.findings() == []
    spoil(library)
    assert library.findings() == [(kind, key)]
    before = library.objects()
    library.repair(kind, dry_run=True)
    library.repair(*(other for other in Kind if other is not kind))
    assert (library.objects(), pending(library)) == (before, {})
    repair = library.repair(kind)
    assert (dict(repair.repaired.objects), dict(repair.repaired.skipped)) == ({kind: 1}, {})
    assert pending(library) == ({"2/1/a": stages} if stages else {})
    assert library.findings() == ([(kind, key)] if kind is Kind.TRANSIENT else [])


def test_a_repair_deletes_no_object(library: Library) -> None:
    """Whatever is asked for: deletions are left to runs and `reconcile`, which do it with a claim."""
    library.ingest("2/1/a", keep=True)
    for spoil, *_ in KINDS[3:]:
        spoil(library)
    library.ingest("2/1/gone")
    delete_whole(library, AssetId(2, 1, "gone"))
    library.put(library.storage.storage_bucket, "2/1/new", b"a JP2", "image/jp2")
    with library.inventory(Scope()) as inventory:
        before = [each for page in inventory.pages() for stored in page.values() for each in stored]
    library.repair(*Kind)
    with library.inventory(Scope()) as inventory:
        assert [each for page in inventory.pages() for stored in page.values() for each in stored] == before


def test_what_a_changed_object_is_now_is_on_record_then(library: Library) -> None:
    """Its stage is stale: how it was made is not known. The others keep what is known of them."""
    library.ingest("2/1/a")
    changed(library)
    library.repair(Kind.CHANGED)
    status = library.status("2/1/a")
    stored = next(each for each in status.objects if each.kind is ObjectKind.JP2)
    assert (stored.bytes, status.stages[Stage.JP2].facts["sha256"]) == (33, stored.sha256)
    assert (status.stages[Stage.JP2].recipe, status.stages[Stage.THUMBNAILS].recipe) == ({}, {"code": "1"})
    assert status.registration is not None
    assert status.registration.origin == "https://example.org/2/1/a.tif"


def test_other_bytes_of_the_same_size_are_found_with_checksums(library: Library) -> None:
    library.ingest("2/1/a")
    library.put(library.storage.storage_bucket, "2/1/a", b"A jp2 of 2/1/a", "image/jp2")
    assert library.findings() == []
    assert library.findings(checksums=True) == [(Kind.CHANGED, "2/1/a")]


def test_unrecorded_objects_of_an_image_are_recorded(library: Library) -> None:
    """The ledger is older than S3: the image has more thumbnails by now."""
    library.ingest("2/1/a", SMALLER)
    for key, data in (("open/400.jpg", b"larger"), ("s.json", b'{"o":[[400,267],[100,67]],"a":[]}')):
        library.put(library.storage.thumbs_bucket, f"2/1/a/{key}", data)
    assert library.findings() == [(Kind.CHANGED, "2/1/a/s.json"), (Kind.UNRECORDED, "2/1/a/open/400.jpg")]
    library.repair(Kind.UNRECORDED)
    assert library.findings() == []
    assert library.status("2/1/a").stages[Stage.THUMBNAILS].facts["sizes"] == [[400, 267], [100, 67]]


def test_an_image_that_the_ledger_lost_is_added(library: Library) -> None:
    library.ingest("2/1/a")
    library.lose()
    library.ingest("2/1/b")
    found = library.findings()
    assert {kind for kind, _ in found} == {Kind.UNKNOWN_IMAGE}
    assert len(found) == 4
    assert library.repair(Kind.UNKNOWN_IMAGE).repaired.objects[Kind.UNKNOWN_IMAGE] == 4
    assert library.findings() == []
    assert library.status("2/1/a").state == "done"


def test_objects_of_a_deleted_image_are_deleted_again(library: Library) -> None:
    library.ingest("2/1/a")
    delete_whole(library, A)
    assert [kind for kind, _ in library.findings()] == [Kind.DELETED] * 4
    library.repair(Kind.DELETED)
    assert library.status("2/1/a").state == "pending"
    assert [each.asset_id for each in library.ledger.dispatch.due([Lane.DELETE], limit=9, now=datetime.now(UTC))] == [A]


def test_transient_objects_are_put_on_record_for_reconcile(library: Library) -> None:
    library.ingest("2/1/a")
    transient(library)
    library.repair(Kind.TRANSIENT)
    left = library.ledger.results.left_transient(limit=9)
    assert [each.key for each in left] == [f"transient/2/1/a/{'0' * 32}"]
    library.repair(Kind.TRANSIENT)  # it is there: nothing happens


def test_an_object_of_no_image_is_not_compared(library: Library) -> None:
    """A control picture, which is on record for moments."""
    key = "transient/control/1"
    control = ObjectRecord(library.storage.storage_bucket, key, ObjectKind.TRANSIENT, 1, "", "image/jp2")
    library.ledger.results.add_control(control)
    library.put(control.bucket, key, b"x")
    assert library.findings() == []


def test_an_image_in_progress_is_not_compared(library: Library) -> None:
    """Its objects are being replaced. One that ended while the listing was made is not, either."""
    library.ingest("2/1/a")
    missing_jp2(library)
    with library.inventory(Scope()) as inventory:
        library.register("2/1/a")
        comparer = Comparer(library.ledger, library.storage)
        assert list(comparer.run(inventory, Scope())) == []
        assert comparer.compared.busy == 1
        claim = library.ledger.claims.claim_images([A], STAGES, "run", now=datetime.now(UTC))
        end_image(library.ledger.results, claim, claim.items[0], None, schedule=SCHEDULE, now=datetime.now(UTC))
        assert list(Comparer(library.ledger, library.storage).run(inventory, Scope())) == []


def test_an_image_that_was_requested_since_is_not_recorded(library: Library) -> None:
    library.ingest("2/1/a")
    changed(library)
    (found,) = library.compare()
    library.register("2/1/a")
    repair = Repair(library.ledger, library.storage, {Kind.CHANGED}, dry_run=False)
    repair.image(found)
    assert dict(repair.repaired.skipped) == {BUSY: 1}


def test_an_image_without_an_origin_is_not_requested(library: Library) -> None:
    """It would fail, and lose what it has."""
    library.ingest("2/1/a")
    library.lose()
    library.rebuild()
    missing_jp2(library)
    repair = library.repair(Kind.MISSING)
    assert dict(repair.repaired.skipped) == {NO_ORIGIN: 1}
    assert pending(library) == {}


def test_missing_objects_come_back_from_older_versions(library: Library) -> None:
    """Byte by byte, and no version is deleted; one that was lost before versions were kept cannot."""
    storage = library.storage
    library.ingest("2/1/early")
    for bucket in (storage.storage_bucket, storage.thumbs_bucket):
        storage.delete(bucket, storage.list_keys(bucket, ""))
    with closing(storage.s3.get_client()) as client:
        for bucket in (storage.storage_bucket, storage.thumbs_bucket):
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    library.ingest("2/1/a", keep=True)
    before = {key: storage.read_bytes(bucket, key) for bucket, key, *_ in library.objects() if "early" not in key}
    for bucket in (storage.storage_bucket, storage.thumbs_bucket):
        storage.delete(bucket, storage.list_keys(bucket, ""))
    assert library.repair(Kind.MISSING, from_versions=True).repaired.restored == 0
    repair = library.repair(Kind.GONE, from_versions=True)
    assert (repair.repaired.restored, repair.repaired.objects[Kind.GONE]) == (5, 4)
    assert {key: storage.read_bytes(bucket, key) for bucket, key, *_ in library.objects() if key in before} == before
    assert pending(library) == {"2/1/early": frozenset({Stage.JP2, Stage.THUMBNAILS})}
    assert library.findings(Scope(ids=("2/1/a",)), checksums=True) == []


def test_an_image_of_which_nothing_is_there_is_a_kind_of_its_own(library: Library) -> None:
    """It may have been deleted since the ledger's backup: who repairs what is missing does not bring it back."""
    library.ingest("2/1/a")
    for bucket in (library.storage.storage_bucket, library.storage.thumbs_bucket):
        library.storage.delete(bucket, library.storage.list_keys(bucket, ""))
    assert {kind for kind, _ in library.findings()} == {Kind.GONE}
    library.repair(Kind.MISSING)
    assert pending(library) == {}
    library.repair(Kind.GONE)
    assert pending(library) == {"2/1/a": frozenset({Stage.JP2, Stage.THUMBNAILS})}


def test_only_the_chosen_images_are_compared(library: Library) -> None:
    for image in ("2/1/a", "2/1/ab", "2/2/a", "3/1/a"):
        library.ingest(image)
        library.storage.delete(library.storage.storage_bucket, [image])
    chosen = [Scope(ids=("2/1/a",)), Scope(customer=2, space=1), Scope(customer=2), Scope(space=1), Scope()]
    expected = [["2/1/a"], ["2/1/a", "2/1/ab"], ["2/1/a", "2/1/ab", "2/2/a"], ["2/1/a", "2/1/ab", "3/1/a"]]
    assert [[key for _, key in library.findings(scope)] for scope in chosen[:4]] == expected
    assert len(library.findings()) == 4
