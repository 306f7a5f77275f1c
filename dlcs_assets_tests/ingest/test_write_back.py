"""How images end is written to the DLCS's database, of either layout: by the run, and later if it is away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from dlcs_assets.customers import customer_source
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.ingest.write_back import write_due
from dlcs_testing.dlcs_database import Dlcs
from dlcs_testing.installation import full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline

IMAGE, OTHER = "2/1/page", "2/1/other"
UNKNOWN = {"Width": 0, "Height": 0, "Finished": None}
LATER = timedelta(hours=1)


@pytest.fixture
def engine(pipeline: Pipeline, dlcs: Dlcs) -> Pipeline:
    """An installation for a customer of a DLCS."""
    dlcs.limit("default", 1000, 10**9)
    dlcs.customer(2)
    dlcs.policy(2, "thumbs", "small", '["!90,90"]')
    pipeline.use(database_url=SecretStr(dlcs.url))
    return pipeline


def add(engine: Pipeline, dlcs: Dlcs, image: str, *channels: tuple[str, str], **columns: Any) -> None:
    """Add an image of the DLCS, with an original unless the columns name another one."""
    name = image.rpartition("/")[2]
    origin = {} if "Origin" in columns else {"Origin": engine.serve(f"{name}.jpg", jpeg(480, 320))}
    dlcs.image(image, *channels, **{"MediaType": "image/jpeg", **UNKNOWN, **origin, **columns})


def submit(engine: Pipeline, dlcs: Dlcs, *images: str, queue: str = "default") -> int:
    """Submit images as a batch, as the API does."""
    batch = dlcs.submit(*images, queue=queue)
    lane = "priority" if queue == "priority" else "ingest"
    engine.send(*({"id": image, "batchId": batch} for image in images), queue=lane)
    return batch


def write_later(engine: Pipeline, after: timedelta = LATER) -> tuple[int, IngestError | None]:
    """Do what `reconcile` does, when all that waits is due."""
    assert engine.settings.database_url is not None
    url = engine.settings.database_url.get_secret_value()
    return write_due(engine.ledger, url, now=datetime.now(UTC) + after)


@contextmanager
def away(dlcs: Dlcs) -> Iterator[None]:
    """Have the database refuse all that is to be written, while what is in force of it stays so."""
    dlcs.execute('ALTER TABLE "ImageStorage" RENAME TO "Away"')
    yield
    dlcs.execute('ALTER TABLE "Away" RENAME TO "ImageStorage"')


def test_a_batch_ends_in_the_dlcs_and_is_reported_once(engine: Pipeline, dlcs: Dlcs) -> None:
    add(engine, dlcs, IMAGE)
    add(engine, dlcs, OTHER, Origin="http://127.0.0.1:1/none.jpg", MediaType="image/jpeg")
    engine.use(attempts=1)
    batch = submit(engine, dlcs, IMAGE, OTHER, queue="priority")
    engine.settle()
    assert engine.states() == {IMAGE: "done", OTHER: "failed"}
    stored, thumbnails = engine.storage(IMAGE)[IMAGE], engine.thumbs(f"{IMAGE}/")
    listed = json.loads(thumbnails[f"{IMAGE}/s.json"].data)
    size = len(stored.data)
    of_thumbnails = sum(len(each.data) for key, each in thumbnails.items() if key.endswith(".jpg"))
    rows = dlcs.rows(IMAGE)
    assert rows == {
        "Images": (480, 320, "image/jpeg", "", False),
        "ImageLocation": (f"s3://{engine.settings.storage_bucket}/{IMAGE}", ""),
        "ImageStorage": (size, of_thumbnails, False),
        "ThumbSizes": (listed,),
        "BatchAssets": [(batch, 3, None)],
        "Batches": [(1, 1, 2, True)],
        "CustomerStorage": (size, of_thumbnails),
        "Queues": [("priority", 0)],
    }
    assert listed["o"] == [[480, 320], [400, 267], [200, 133], [100, 67]]
    failed, cause = dlcs.rows(OTHER), engine.status(OTHER).error_cause
    assert failed["Images"] == (0, 0, "image/jpeg", cause, False)
    assert failed["BatchAssets"] == [(batch, 2, cause)]
    assert [failed[name] for name in ("ImageLocation", "ImageStorage", "ThumbSizes")] == [None] * 3
    (found,) = engine.ledger.batches.find(batch)
    assert found.finished_at is not None
    (sent,) = engine.ledger.outbox.due("batch-completed", now=datetime.now(UTC) + LATER)
    body = json.loads(sent.body)
    assert (body["id"], body["count"], body["completed"], body["errors"]) == (batch, 2, 1, 1)
    assert write_later(engine) == (0, None)


ONLY_REGISTERED = {"ImageLocation": None, "ThumbSizes": None}
CHANNELS: dict[str, tuple[list[tuple[str, str]], int, dict[str, Any]]] = {
    "file, copied": ([("file", "none")], 1, {"ImageStorage": True, **ONLY_REGISTERED}),
    "none": ([("none", "none")], 0, {"ImageStorage": True, **ONLY_REGISTERED}),
    "thumbs": ([("thumbs", "small")], 0, {"ImageStorage": True, "ImageLocation": None}),
    "use-original": ([("iiif-img", "use-original")], 1, {"ImageStorage": True, "ImageLocation": True}),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_rows_are_those_of_the_channels(engine: Pipeline, dlcs: Dlcs, name: str) -> None:
    channels, kept, expected = CHANNELS[name]
    add(engine, dlcs, IMAGE, *channels)
    batch = submit(engine, dlcs, IMAGE)
    engine.settle()
    rows = dlcs.rows(IMAGE)
    objects = engine.storage(IMAGE)
    assert len(objects) == kept
    size = sum(len(each.data) for each in objects.values())
    thumbnails = sum(len(each.data) for key, each in engine.thumbs(f"{IMAGE}/").items() if key.endswith(".jpg"))
    assert rows["ImageStorage"] == (size, thumbnails, False)
    assert rows["CustomerStorage"] == (size, thumbnails)
    assert {table: rows[table] is not None or None for table in expected} == expected
    if rows["ImageLocation"]:
        assert rows["ImageLocation"] == (f"s3://{engine.settings.storage_bucket}/{IMAGE}/original", "")
    assert (rows["Images"][3:], rows["BatchAssets"]) == (("", False), [(batch, 3, None)])


def test_an_image_waits_while_the_dlcs_is_away_and_stays_made(engine: Pipeline, dlcs: Dlcs) -> None:
    """It is pending, with that reason, and uses up no attempt; its batch ends when the database is there again."""
    add(engine, dlcs, IMAGE)
    add(engine, dlcs, OTHER, Origin="http://127.0.0.1:1/none.jpg")
    engine.use(attempts=1)
    batch = submit(engine, dlcs, IMAGE, OTHER)
    customer_source(engine.settings).customers()
    before = {image: dlcs.rows(image) for image in (IMAGE, OTHER)}
    with away(dlcs):
        assert len(engine.settle()) == 2
        for image in (IMAGE, OTHER):
            status = engine.status(image)
            assert (status.state, status.error_code) == ("pending", "dlcs_database_refused")
            assert "lacks the table ImageStorage" in str(status.error_cause)
            assert status.request_id is not None
            assert engine.ledger.reports.attempts(status.request_id)[0].result == "pending"
        made, chunks = engine.storage(IMAGE), len(engine.chunks)
        assert set(made) == {IMAGE}
        count, problem = write_later(engine)
        assert count == 0
        assert "lacks the table ImageStorage" in str(problem)
        assert engine.ledger.write_backs.unwritten()[0] == 2
    assert {image: dlcs.rows(image) for image in (IMAGE, OTHER)} == before
    assert write_later(engine, 2 * LATER) == (2, None)
    assert engine.states() == {IMAGE: "done", OTHER: "failed"}
    assert engine.status(OTHER).error_code != "dlcs_database_refused"
    assert (engine.storage(IMAGE), len(engine.chunks)) == (made, chunks)
    assert dlcs.rows(IMAGE)["Batches"] == [(1, 1, 2, True)]
    (found,) = engine.ledger.batches.find(batch)
    assert found.finished_at is not None
    assert engine.ledger.write_backs.unwritten() == (0, None)


def test_an_image_that_changed_meanwhile_is_made_again(engine: Pipeline, dlcs: Dlcs) -> None:
    """Nothing is written of what was made by what the DLCS said before."""
    add(engine, dlcs, IMAGE)
    submit(engine, dlcs, IMAGE)
    dlcs.execute("""UPDATE "Images" SET "Roles" = 'https://example.org/staff', "MaxUnauthorised" = 0""")
    (first, second) = engine.settle()
    assert (first.state, second.state) == ("pending", "done")
    rows = dlcs.rows(IMAGE)
    assert rows["ThumbSizes"][0]["o"] == []
    assert rows["ThumbSizes"][0]["a"]
    assert (rows["Images"][4], rows["Batches"]) == (False, [(1, 0, 1, True)])


def test_an_image_that_was_deleted_meanwhile_is_deleted(engine: Pipeline, dlcs: Dlcs) -> None:
    add(engine, dlcs, IMAGE)
    submit(engine, dlcs, IMAGE)
    dlcs.execute('DELETE FROM "Images"')
    engine.settle()
    assert engine.states() == {IMAGE: "deleted"}
    assert (engine.storage(IMAGE), engine.thumbs(f"{IMAGE}/")) == ({}, {})


def test_an_image_that_the_dlcs_never_had_ends_as_it_is(engine: Pipeline) -> None:
    """A message said all of it, and none of the DLCS's."""
    engine.send(full_message(IMAGE, engine.serve("page.jpg", jpeg(480, 320)), "file"))
    engine.settle()
    assert engine.states() == {IMAGE: "done"}


def test_a_newer_batch_ends_the_older_one_too(engine: Pipeline, dlcs: Dlcs) -> None:
    add(engine, dlcs, IMAGE)
    for queue in ("default", "priority"):
        submit(engine, dlcs, IMAGE, queue=queue)
    engine.settle()
    rows = dlcs.rows(IMAGE)
    assert rows["Batches"] == [(1, 0, 1, True), (1, 0, 1, True)]
    assert rows["Queues"] == [("default", 0), ("priority", 0)]


def test_totals_are_what_is_stored_after_a_second_time(engine: Pipeline, dlcs: Dlcs) -> None:
    add(engine, dlcs, IMAGE)
    submit(engine, dlcs, IMAGE)
    engine.settle()
    before = dlcs.rows(IMAGE)
    engine.send({"id": IMAGE})
    engine.settle()
    after = dlcs.rows(IMAGE)
    for rows in (before, after):
        assert rows["CustomerStorage"] == rows["ImageStorage"][:2]
    assert (after["Batches"], after["Queues"]) == (before["Batches"], before["Queues"])


def test_a_quota_is_refused_in_the_words_of_the_dlcs(engine: Pipeline, dlcs: Dlcs) -> None:
    dlcs.execute('UPDATE "StoragePolicies" SET "MaximumTotalSizeOfStoredImages" = 10')
    add(engine, dlcs, IMAGE)
    submit(engine, dlcs, IMAGE)
    engine.settle()
    rows = dlcs.rows(IMAGE)
    assert rows["Images"][3:] == ("StoragePolicy size limit exceeded", False)
    assert (rows["ImageLocation"], rows["ImageStorage"]) == (None, None)


def test_a_rejected_message_ends_its_image_in_the_batch(engine: Pipeline, dlcs: Dlcs) -> None:
    """An origin that may not be read is found when the message is taken in; no run hears of it."""
    add(engine, dlcs, IMAGE, Origin="s3://not-ours/a.jpg")
    batch = submit(engine, dlcs, IMAGE)
    engine.settle()
    (kept,) = engine.ledger.inbox.rejected()
    assert write_later(engine) == (1, None)
    rows = dlcs.rows(IMAGE)
    assert (rows["BatchAssets"], rows["Batches"]) == ([(batch, 2, kept["cause"])], [(0, 1, 1, True)])


def lose_run(engine: Pipeline) -> None:
    """Let a run begin the image that is due, and die."""
    claim = engine.claim(engine.due()[0])
    engine.ledger.claims.begin(claim.token, [claim.items[0].request_id], now=datetime.now(UTC))
    engine.ledger.claims.release_run(claim.run_id, schedule=engine.options.schedule, now=datetime.now(UTC))


def test_a_run_that_died_is_written_back_by_reconcile(engine: Pipeline, dlcs: Dlcs) -> None:
    """No run is left that could: the image has no attempt any more."""
    engine.use(attempts=1)
    add(engine, dlcs, IMAGE)
    submit(engine, dlcs, IMAGE)
    lose_run(engine)
    assert engine.states() == {IMAGE: "failed"}
    assert write_later(engine) == (1, None)
    assert dlcs.rows(IMAGE)["Batches"] == [(0, 1, 1, True)]


def test_what_was_withdrawn_ends_only_where_the_dlcs_waits(engine: Pipeline, dlcs: Dlcs) -> None:
    """The image of a batch is waited for; one that a person renews here is not, and stays as it was."""
    for image in (IMAGE, OTHER):
        add(engine, dlcs, image)
    batch = submit(engine, dlcs, IMAGE, OTHER)
    engine.settle()
    before = dlcs.rows(OTHER)
    again = submit(engine, dlcs, IMAGE)
    for claim in (engine.claim(engine.due()[0]), engine.claim_images(OTHER)):
        schedule, now = engine.options.schedule, datetime.now(UTC)
        engine.ledger.claims.release_run(claim.run_id, schedule=schedule, now=now, terminated=True)
    assert write_later(engine) == (2, None)
    assert engine.states() == {IMAGE: "done", OTHER: "done"}
    assert {**dlcs.rows(OTHER), "Batches": before["Batches"]} == before
    rows = dlcs.rows(IMAGE)
    assert rows["BatchAssets"] == [(batch, 3, None), (again, 2, rows["Images"][3])]
    assert (rows["Images"][4], rows["Batches"]) == (False, [(2, 0, 2, True), (0, 1, 1, True)])
    assert rows["ImageLocation"] is not None


def test_an_older_end_is_written_in_its_batch_only(engine: Pipeline, dlcs: Dlcs) -> None:
    """It comes late: what a newer request has made of the image stays in the DLCS."""
    engine.use(attempts=1)
    add(engine, dlcs, IMAGE)
    submit(engine, dlcs, IMAGE)
    lose_run(engine)
    engine.send({"id": IMAGE})
    engine.settle()
    before = dlcs.rows(IMAGE)
    assert write_later(engine) == (1, None)
    after = dlcs.rows(IMAGE)
    assert {name for name in after if after[name] != before[name]} == {"BatchAssets", "Batches", "Queues"}
    assert (after["Images"][3:], after["Batches"]) == (("", False), [(0, 1, 1, True)])


def test_an_image_that_is_not_renewed_stays_done(engine: Pipeline, dlcs: Dlcs) -> None:
    """Its origin is gone, and the DLCS's database is away, too: neither makes a failure of what is right."""
    add(engine, dlcs, IMAGE)
    submit(engine, dlcs, IMAGE)
    engine.settle()
    before = dlcs.rows(IMAGE)
    del engine.origin.by_path["/page.jpg"]
    for is_away in (False, True):
        with away(dlcs) if is_away else nullcontext():
            (ended,) = engine.run_by_hand(IMAGE)
        assert (ended.state, ended.error and ended.error.code) == ("not_renewed", "origin_not_found")
        assert engine.states() == {IMAGE: "done"}
        assert write_later(engine) == (int(is_away), None)
        assert dlcs.rows(IMAGE) == before


def test_a_list_of_no_sizes_is_left_out(engine: Pipeline, dlcs: Dlcs) -> None:
    """The DLCS answers to it with an error, and without it with 404."""
    engine.use(default_thumbnail_sizes=("100,",))
    add(engine, dlcs, IMAGE, ("iiif-img", "default"), Origin=engine.serve("small.jpg", jpeg(40, 30)))
    submit(engine, dlcs, IMAGE)
    engine.settle()
    assert engine.states() == {IMAGE: "done"}
    assert engine.thumbs(f"{IMAGE}/") == {}
    assert dlcs.rows(IMAGE)["ThumbSizes"] == ({"o": [], "a": []},)
