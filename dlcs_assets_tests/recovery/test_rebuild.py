"""A ledger that is made from what S3 has: what it knows, what it says that it does not know, what it skips."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.stages import Lane, Stage
from dlcs_assets.domain.thumbnails import ThumbnailSet
from dlcs_assets.recovery.inventory import PAGE, Inventory, Scope
from dlcs_assets.recovery.rebuild import Rebuild
from dlcs_assets_tests.recovery.conftest import OPEN, Library

# S3 lists 2/1/page-1 between 2/1/page and 2/1/page/original.
NAMES = ["2/1/page", "2/1/page-1", "2/1/page.1", "2/10/été 1%", "3/1/(a)'&+"]


def test_all_objects_are_as_they_were_recorded(library: Library) -> None:
    """Keys, kinds, sizes, checksums and content types, whatever the ids; and nothing of it is made again."""
    for name in NAMES:
        library.ingest(name, keep=True)
    before = library.objects()
    versions = {name: library.status(name).stages[Stage.THUMBNAILS].data_version for name in NAMES}
    library.lose()
    assert set(library.rebuild()) == set(NAMES)
    assert library.objects() == before
    for name in NAMES:
        status = library.status(name)
        assert (status.state, status.lane, list(status.stages)) == ("done", "manual", list(Stage))
        assert status.stages[Stage.THUMBNAILS].data_version == versions[name]
    assert library.findings() == []
    assert library.ledger.dispatch.due(list(Lane), limit=9, now=datetime.now(UTC)) == []


def test_a_dry_run_reports_the_same_and_writes_nothing(library: Library) -> None:
    library.ingest("2/1/a")
    library.ingest("2/1/b", None, keep=True)
    library.lose()
    planned = library.rebuild(dry_run=True)
    assert library.ledger.rebuilding.is_empty()
    assert planned == library.rebuild()
    assert not library.ledger.rebuilding.is_empty()


def test_what_the_ledger_knows_is_not_changed(library: Library) -> None:
    """Neither an image that is registered, nor one that waits, nor one that was deleted."""
    library.ingest("2/1/a", roles=("clickthrough",))
    library.register("2/1/b")
    library.put(library.storage.storage_bucket, "2/1/b", b"a JP2", "image/jp2")
    library.put(library.storage.storage_bucket, "2/1/c", b"a JP2", "image/jp2")
    deleted = AssetDeleted(AssetId(2, 1, "c"), None, None, frozenset(), ())
    library.ledger.deletions.request([deleted], now=datetime.now(UTC))
    before = [library.status(image) for image in ("2/1/a", "2/1/b", "2/1/c")]
    assert library.rebuild() == {}
    assert [library.status(image) for image in ("2/1/a", "2/1/b", "2/1/c")] == before


def test_a_rebuild_that_was_ended_continues_where_it_was(library: Library) -> None:
    """Each image is added once, whenever it is ended; what was added is not read again."""
    count = PAGE + 20
    for number in range(count):
        library.put(library.storage.storage_bucket, f"2/1/{number:04}", b"a JP2", "image/jp2")
    run = Rebuild(library.ledger, library.storage, dry_run=False)
    with library.inventory(Scope()) as inventory:
        next(run.run(inventory, Scope()))
    assert len(library.rebuild()) == count - PAGE
    assert library.ledger.reports.counts()["done"] == count


@pytest.mark.parametrize(
    ("thumbnails", "limit"),
    [
        (OPEN, -1),
        (ThumbnailSet(auth=(Size(400, 267), Size(100, 67))), 0),
        (ThumbnailSet(open=(Size(100, 67),), auth=(Size(400, 267),)), 100),
        (None, 0),
    ],
)
def test_no_image_is_more_open_than_its_thumbnails(
    library: Library, thumbnails: ThumbnailSet | None, limit: int
) -> None:
    """Also if a message without roles and maxUnauthorised has it made again: what it omits keeps its value."""
    library.ingest("2/1/a", thumbnails)
    library.lose()
    library.rebuild()
    library.register("2/1/a", origin="https://example.org/a.tif")
    registration = library.ledger.reports.registration(AssetId(2, 1, "a"))
    assert registration is not None
    assert (registration.origin, registration.max_unauthorised) == ("https://example.org/a.tif", limit)


def test_what_s3_does_not_say_is_named_for_each_image(library: Library) -> None:
    library.ingest("2/1/a", None)
    library.lose()
    rebuilt = library.rebuild()["2/1/a"]
    assert rebuilt.unknown == (
        "origin",
        "delivery channels and policies",
        "roles",
        "width and height",
        "who may see it: taken as restricted",
        "whether the JP2 was converted or copied",
    )
    assert rebuilt.to_json()["state"] == "done"


def test_objects_of_other_systems_are_read_for_a_checksum(library: Library) -> None:
    """The DLCS's engine stores none with them."""
    library.ingest("2/1/a")
    before = library.objects()
    for bucket, key, _, _, _, content_type in before:
        data = library.storage.read_bytes(bucket, key)
        library.put_without_checksum(bucket, key, data, content_type)
    library.lose()
    rebuilt = library.rebuild()["2/1/a"]
    assert library.objects() == before
    assert "checksums from when it was stored" in rebuilt.unknown


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b'{"o":[[400,267],[200,133],[100,67]],"a":[]}', "s.json names thumbnails that are missing: 200"),
        (b'{"o":', "s.json cannot be read"),
        (b"\xff", "s.json cannot be read"),
        (b'{"o":[["x",1]]}', "s.json cannot be read"),
        (b"[]", "s.json cannot be read"),
        (None, "there are thumbnails, and no s.json"),
    ],
)
def test_an_incomplete_image_is_failed_with_what_is_missing(library: Library, text: bytes | None, why: str) -> None:
    library.ingest("2/1/a")
    thumbs = library.storage.thumbs_bucket
    if text is None:
        library.storage.delete(thumbs, ["2/1/a/s.json"])
    else:
        library.put(thumbs, "2/1/a/s.json", text, "application/json")
    library.lose()
    library.rebuild()
    status = library.status("2/1/a")
    assert (status.state, status.error_code) == ("failed", "found_incomplete")
    assert status.error_cause == f"Found when the ledger was rebuilt: {why}"


def test_what_is_not_under_our_keys_is_counted_and_left(library: Library) -> None:
    storage = library.storage
    others = ["2/1/a/info/cantaloupe/v3/info.json", "readme.txt", "02/1/x", "2/1", "2/x/1", "transient/2/1/a/short"]
    for key in others:
        library.put(storage.storage_bucket, key, b"x")
    for key in ["2/1/a/low.jpg", "2/1/a/full/100,67/0/default.jpg", "2/1/a/open/1e3.jpg"]:
        library.put(storage.thumbs_bucket, key, b"x")
    library.put(storage.storage_bucket, f"transient/2/1/a/{'0' * 32}", b"x")
    with library.inventory(Scope()) as inventory:
        assert dict(inventory.others) == {storage.storage_bucket: len(others), storage.thumbs_bucket: 3}
    run = Rebuild(library.ledger, storage, dry_run=False)
    with library.inventory(Scope()) as inventory:
        assert list(run.run(inventory, Scope())) == []
    assert (run.totals.transient, run.totals.states.total()) == (1, 0)
    assert library.ledger.rebuilding.is_empty()


@pytest.mark.parametrize(
    ("scope", "images"),
    [
        (Scope(), NAMES),
        (Scope(customer=2), NAMES[:4]),
        (Scope(customer=2, space=1), NAMES[:3]),
        (Scope(space=1), [*NAMES[:3], NAMES[4]]),
        (Scope(ids=("2/1/page", "3/1/(a)'&+")), [NAMES[0], NAMES[4]]),
        (Scope(ids=("2/1/absent",)), []),
    ],
)
def test_only_the_chosen_images_are_added(library: Library, scope: Scope, images: list[str]) -> None:
    """An id does not take along those that begin alike."""
    for name in NAMES:
        library.ingest(name, keep=True)
    library.lose()
    assert set(library.rebuild(scope)) == set(images)
    for name in images:
        assert len(library.status(name).objects) == 5


def test_an_object_that_cannot_be_read_skips_its_image(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archived one that was put without a checksum, say: the others are added, and it is named."""
    for image in ("2/1/a", "2/1/b"):
        library.put_without_checksum(library.storage.storage_bucket, image, b"a JP2", "image/jp2")
    digest = type(library.storage).digest

    def refuse(storage: object, bucket: str, key: str) -> object:
        if key == "2/1/a":
            raise PermanentError("storage_archived", "it is archived", remedy="Restore it")
        return digest(storage, bucket, key)  # type: ignore[arg-type]

    monkeypatch.setattr(type(library.storage), "digest", refuse)
    rebuilt = library.rebuild()
    assert {image: each.state for image, each in rebuilt.items()} == {"2/1/a": "skipped", "2/1/b": "done"}
    assert "storage_archived" in (rebuilt["2/1/a"].why or "")
    assert library.ledger.rebuilding.known(["2/1/a", "2/1/b"]) == {"2/1/b"}


def test_memory_does_not_grow_with_the_number_of_images(library: Library) -> None:
    """The listing is sorted in a file; of the images a page at a time is in memory."""
    peaks = []
    for count in (2 * PAGE, 8 * PAGE):
        with Inventory("storage", "thumbs") as inventory:
            rows = ((f"2/1/{number:06}", "storage", f"2/1/{number:06}", 1, "e", 0.0) for number in range(count))
            inventory._file.executemany("INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?)", rows)
            tracemalloc.start()
            assert sum(1 for _ in Rebuild(library.ledger, library.storage).run(inventory, Scope())) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
