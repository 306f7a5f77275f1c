"""How images ended, in the DLCS's rows: those that its own engine leaves, in both layouts, in a real PostgreSQL."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url

from dlcs_assets.clients.dlcs_database import DlcsDatabase
from dlcs_assets.clients.dlcs_ends import Changed, DlcsEnd, Gone, Written, check_writing, write_end
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import PermanentError, TransientError
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.ingest_request import register
from dlcs_assets.domain.thumbnails import ThumbnailSet
from dlcs_testing import postgresql
from dlcs_testing.dlcs_database import SCHEMA, Dlcs

IMAGE = "99/1/demo"
OTHER = "99/1/other"
SIZES = ThumbnailSet(open=(Size(400, 300), Size(200, 150), Size(100, 75)))
WELL = DlcsEnd(
    AssetId.parse(IMAGE),
    width=4000,
    height=3000,
    location="s3://eu-west-1/dlcs-storage/99/1/demo",
    sizes=SIZES,
    size=5000,
    thumbnail_size=700,
)
NOT_FOUND = "Unable to get asset from origin"
UNKNOWN = {"Width": 0, "Height": 0, "Finished": None}


@pytest.fixture
def batch(dlcs: Dlcs) -> int:
    """Two images that a customer has submitted as a batch."""
    dlcs.customer(99)
    for image in (IMAGE, OTHER):
        dlcs.image(image, **UNKNOWN)
    return dlcs.submit(IMAGE, OTHER)


@pytest.mark.skipif(shutil.which("psql") is None, reason="no psql here")
def test_rows_are_those_that_the_recipe_leaves(
    dlcs: Dlcs, database: DlcsDatabase, postgresql_server: postgresql.Server
) -> None:
    """The recipe is a script for psql: it makes two images of a batch, ends one well, and fails the other."""
    prescribed = Dlcs.new(postgresql_server, dlcs.layout)
    script = ["psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", prescribed.url, "-f", str(SCHEMA / "ingest-writes.sql")]
    subprocess.run(script, check=True, stdout=subprocess.DEVNULL)
    dlcs.customer(99)
    for image in (IMAGE, OTHER):
        dlcs.image(image, **UNKNOWN)
    batch = dlcs.submit(IMAGE, OTHER)
    dlcs.execute("INSERT INTO \"Queues\" VALUES (99, 'priority', 0)")
    assert write_end(database, replace(WELL, batches={batch: "default"})) == Written()
    failed = DlcsEnd(AssetId.parse(OTHER), error=NOT_FOUND, batches={batch: "default"})
    result = write_end(database, failed)
    assert isinstance(result, Written)
    assert [(each.id, each.count, each.completed, each.errors) for each in result.finished] == [(batch, 2, 1, 1)]
    for image in (IMAGE, OTHER):
        assert dlcs.rows(image) == prescribed.rows(image)


IN_BATCH = {"Batches": [(1, 0, 2, False)], "Queues": [("default", 1)]}
FAILED = {"Batches": [(0, 1, 2, False)], "Queues": [("default", 1)]}
# What of the rows differs from those that the API made, by how the image ended: the lines of the table of outcomes.
OUTCOMES: dict[str, tuple[DlcsEnd, dict[str, Any]]] = {
    "image success": (
        WELL,
        {
            "Images": (4000, 3000, "image/tiff", "", False),
            "ImageLocation": ("s3://eu-west-1/dlcs-storage/99/1/demo", ""),
            "ImageStorage": (5000, 700, False),
            "ThumbSizes": ({"o": [[400, 300], [200, 150], [100, 75]], "a": []},),
            "CustomerStorage": (5000, 700),
            **IN_BATCH,
        },
    ),
    "file only, copied": (
        DlcsEnd(WELL.asset_id, size=300, thumbnail_size=0),
        {
            "Images": (0, 0, "image/tiff", "", False),
            "ImageStorage": (300, 0, False),
            "CustomerStorage": (300, 0),
            **IN_BATCH,
        },
    ),
    "file only, optimised origin": (
        DlcsEnd(WELL.asset_id, size=0, thumbnail_size=0, is_counted=False),
        {"Images": (0, 0, "image/tiff", "", False), **IN_BATCH},
    ),
    "none only": (
        DlcsEnd(WELL.asset_id, size=0, thumbnail_size=0),
        {"Images": (0, 0, "image/tiff", "", False), "ImageStorage": (0, 0, False), **IN_BATCH},
    ),
    "quota, pre-check": (
        DlcsEnd(WELL.asset_id, error="StoragePolicy size limit exceeded"),
        {"Images": (0, 0, "image/tiff", "StoragePolicy size limit exceeded", False), **FAILED},
    ),
    "quota, after download": (
        DlcsEnd(WELL.asset_id, error="StoragePolicy size limit exceeded", size=300),
        {
            "Images": (0, 0, "image/tiff", "StoragePolicy size limit exceeded", False),
            "ImageStorage": (300, 0, False),
            "CustomerStorage": (300, 0),
            **FAILED,
        },
    ),
    "failure in a worker": (
        DlcsEnd(WELL.asset_id, error=NOT_FOUND, width=4000, height=3000, location=WELL.location, size=5000),
        {
            "Images": (4000, 3000, "image/tiff", NOT_FOUND, False),
            "ImageLocation": (WELL.location, ""),
            "ImageStorage": (5000, 0, False),
            "CustomerStorage": (5000, 0),
            **FAILED,
        },
    ),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_each_outcome_leaves_the_rows_that_it_is_to_leave(
    dlcs: Dlcs, database: DlcsDatabase, batch: int, outcome: str
) -> None:
    """And a second time changes nothing."""
    end, changed = OUTCOMES[outcome]
    before = dlcs.rows(IMAGE)
    status = 3 if end.error is None else 2
    expected = before | changed | {"BatchAssets": [(batch, status, end.error)]}
    for _ in range(2):
        write_end(database, replace(end, batches={batch: "default"}))
        assert dlcs.rows(IMAGE) == expected


def test_an_error_is_cut_and_cleared_by_a_success(dlcs: Dlcs, database: DlcsDatabase, batch: int) -> None:
    write_end(database, DlcsEnd(WELL.asset_id, error="é" * 3000, batches={batch: "default"}))
    rows = dlcs.rows(IMAGE)
    assert rows["Images"][3] == "é" * 1000
    assert rows["BatchAssets"] == [(batch, 2, "é" * 3000)]
    write_end(database, replace(WELL, batches={batch: "default"}))
    rows = dlcs.rows(IMAGE)
    assert (rows["Images"][3], rows["BatchAssets"]) == ("", [(batch, 3, None)])


def test_totals_move_by_what_differs(dlcs: Dlcs, database: DlcsDatabase, batch: int) -> None:
    """The row of a space, and since 2026 that of space 0, is none of ours; nor are the bytes of adjuncts."""
    if dlcs.layout == "2026":
        dlcs.execute(
            'INSERT INTO "CustomerStorage" ("Customer", "Space", "NumberOfStoredImages", "TotalSizeOfStoredImages", '
            '"TotalSizeOfThumbnails") VALUES (99, 0, 1, 99, 9)'
        )
    write_end(database, replace(WELL, batches={batch: "default"}))
    if dlcs.layout == "2026":
        dlcs.execute('UPDATE "ImageStorage" SET "AdjunctSize" = 77')
    write_end(database, replace(WELL, size=4000, thumbnail_size=900))
    whole = '"Space" IS NULL' if dlcs.layout == "2026" else '"Space" = 0'
    query = (
        'SELECT "TotalSizeOfStoredImages", "TotalSizeOfThumbnails" FROM "CustomerStorage" WHERE "Customer" = 99 AND '
    )
    assert [tuple(row) for row in dlcs.execute(query + whole)] == [(4000, 900)]
    if dlcs.layout == "2026":
        assert [tuple(row) for row in dlcs.execute(f'{query} "Space" = 0')] == [(99, 9)]
        assert dlcs.execute('SELECT "AdjunctSize" FROM "ImageStorage"') == [(77,)]


def test_a_total_that_the_dlcs_has_not_made_yet_is_made(dlcs: Dlcs, database: DlcsDatabase) -> None:
    """As its engine of 2025 does. That of 2026 has it since the customer was made."""
    dlcs.image(IMAGE)
    write_end(database, WELL)
    rows = dlcs.execute('SELECT "Space", "StoragePolicy", "TotalSizeOfStoredImages" FROM "CustomerStorage"')
    assert [tuple(row) for row in rows] == ([(0, "default", 5000)] if dlcs.layout == "2025" else [])


def test_each_message_is_counted_down_once_in_its_queue(dlcs: Dlcs, database: DlcsDatabase, batch: int) -> None:
    """Asked for in two batches, and made once for both; a batch that it has ended in is counted down no more."""
    urgent = dlcs.submit(IMAGE, queue="priority")
    both = {batch: "default", urgent: "priority", 12: "default"}
    for _ in range(2):
        result = write_end(database, replace(WELL, batches=both))
        assert isinstance(result, Written)
        assert [each.id for each in result.finished] == [urgent]
        rows = dlcs.rows(IMAGE)
        assert rows["Queues"] == [("default", 1), ("priority", 0)]
        assert rows["BatchAssets"] == [(batch, 3, None), (urgent, 3, None)]
        assert rows["Batches"] == [(1, 0, 2, False), (1, 0, 1, True)]


@pytest.mark.parametrize(("before", "after"), [("image/unknown", "image/png"), ("image/tiff", "image/tiff")])
def test_a_media_type_takes_the_place_of_none(dlcs: Dlcs, database: DlcsDatabase, before: str, after: str) -> None:
    dlcs.image(IMAGE, MediaType=before)
    write_end(database, DlcsEnd(WELL.asset_id, media_type="image/png"))
    assert dlcs.rows(IMAGE)["Images"] == (3000, 2000, after, "", False)


@pytest.fixture
def ends(dlcs: Dlcs) -> Iterator[list[DlcsDatabase]]:
    """Two engines, each with its own connection."""
    with closing(DlcsDatabase(dlcs.url)) as one, closing(DlcsDatabase(dlcs.url)) as two:
        yield [one, two]


def test_two_engines_end_the_last_two_images_at_once(dlcs: Dlcs, ends: list[DlcsDatabase]) -> None:
    """Their transactions are open at the same time: one of the two counts both, and the batch ends once."""
    dlcs.customer(99)
    for number in range(5):
        images = [f"99/1/{number}-{name}" for name in "ab"]
        for image in images:
            dlcs.image(image, **UNKNOWN)
        batch = dlcs.submit(*images)
        start = threading.Barrier(2)

        def write(database: DlcsDatabase, image: str, batch: int = batch, start: threading.Barrier = start) -> int:
            start.wait()
            result = write_end(database, replace(WELL, asset_id=AssetId.parse(image), batches={batch: "default"}))
            assert isinstance(result, Written)
            return len(result.finished)

        with ThreadPoolExecutor(2) as threads:
            assert sum(threads.map(write, ends, images)) >= 1
        assert dlcs.rows(images[0])["Batches"][-1] == (2, 0, 2, True)
    assert dlcs.rows(images[0])["CustomerStorage"] == (10 * 5000, 10 * 700)
    assert dlcs.rows(images[0])["Queues"] == [("default", 0)]


def test_nothing_is_written_of_an_image_that_has_changed(dlcs: Dlcs, database: DlcsDatabase, batch: int) -> None:
    end = replace(WELL, registration=_registered(database), batches={batch: "default"})
    for change in ("\"Origin\" = 'https://example.org/new.tif'", "\"Roles\" = 'staff'"):
        dlcs.execute(f'UPDATE "Images" SET {change} WHERE "Id" = \'{IMAGE}\'')
        before = dlcs.rows(IMAGE)
        result = write_end(database, end)
        assert isinstance(result, Changed)
        assert dlcs.rows(IMAGE) == before
        end = replace(end, registration=register(result.asset.fields, None))
        assert end.registration == _registered(database)
    dlcs.execute('DELETE FROM "ImageDeliveryChannels" WHERE "Channel" = \'thumbs\'')
    assert isinstance(write_end(database, end), Changed)
    assert isinstance(write_end(database, replace(end, registration=_registered(database))), Written)


def test_nothing_is_written_of_an_image_that_was_deleted(dlcs: Dlcs, database: DlcsDatabase, batch: int) -> None:
    dlcs.execute(f'DELETE FROM "Images" WHERE "Id" = \'{IMAGE}\'')
    before = dlcs.rows(IMAGE)
    assert write_end(database, replace(WELL, batches={batch: "default"})) == Gone()
    assert dlcs.rows(IMAGE) == before


def test_what_the_write_itself_changes_is_no_change(dlcs: Dlcs, database: DlcsDatabase) -> None:
    """A media type that the DLCS did not know, and the signature of an address, which is kept here until the end."""
    dlcs.image(IMAGE, MediaType="image/unknown", Origin="https://example.org/a.tif?X-Amz-Signature=abc")
    end = replace(WELL, media_type="image/png", registration=_registered(database))
    for _ in range(2):
        assert write_end(database, end) == Written()


def test_a_lock_that_others_hold_ends_the_wait(
    dlcs: Dlcs, database: DlcsDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image is tried again later, and others are not held up by it."""
    dlcs.image(IMAGE)
    monkeypatch.setattr("dlcs_assets.clients.dlcs_database._LOCK_TIMEOUT_SECONDS", 1)
    engine = create_engine(dlcs.url.replace("postgresql:", "postgresql+psycopg2:"))
    with engine.connect() as other:
        other.exec_driver_sql(f'SELECT 1 FROM "Images" WHERE "Id" = \'{IMAGE}\' FOR UPDATE')
        with pytest.raises(TransientError, match="ended the query: LockNotAvailable"):
            write_end(database, WELL)
    engine.dispose()
    assert write_end(database, WELL) == Written()


def test_each_right_that_is_missing_to_write_is_named(dlcs: Dlcs) -> None:
    tables = [row[0] for row in dlcs.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^[A-Z]'")]
    writer = dlcs.reader(*tables)
    user = make_url(writer.url).username

    def missing() -> str:
        with closing(DlcsDatabase(writer.url)) as database, pytest.raises(PermanentError) as raised:
            check_writing(database)
        return raised.value.cause.partition("does not let its user ")[2]

    inserted = ["ImageLocation", "ImageStorage", "AssetApplicationMetadata", "CustomerStorage", "Queues"]
    assert missing() == f"INSERT {', '.join(inserted)}"
    for table in inserted:
        dlcs.execute(f'GRANT INSERT ON "{table}" TO {user}')
    dlcs.execute(f'GRANT UPDATE ("Width", "Height", "MediaType", "Error", "Ingesting") ON "Images" TO {user}')
    assert missing() == (
        "UPDATE Images.Finished, ImageLocation, ImageStorage, AssetApplicationMetadata, BatchAssets, Batches, "
        "CustomerStorage, Queues"
    )
    dlcs.execute(f'GRANT UPDATE ("Finished") ON "Images" TO {user}')
    for table in ("ImageLocation", "ImageStorage", "AssetApplicationMetadata", "BatchAssets", "Batches"):
        dlcs.execute(f'GRANT UPDATE ON "{table}" TO {user}')
    assert missing() == "UPDATE CustomerStorage, Queues"
    for table in ("CustomerStorage", "Queues"):
        dlcs.execute(f'GRANT UPDATE ON "{table}" TO {user}')
    dlcs.customer(99)
    dlcs.image(IMAGE)
    with closing(DlcsDatabase(writer.url)) as database:
        check_writing(database)
        assert write_end(database, replace(WELL, batches={dlcs.submit(IMAGE): "default"}))


def test_an_end_cannot_be_written_while_the_database_is_away(dlcs: Dlcs) -> None:
    away = make_url(dlcs.url).set(query={"host": "/nowhere"}).render_as_string(hide_password=False)
    with closing(DlcsDatabase(away)) as database, pytest.raises(TransientError, match="does not answer"):
        write_end(database, WELL)


def _registered(database: DlcsDatabase) -> Any:
    return register(database.assets([IMAGE])[IMAGE].fields, None)
