"""Each outcome leaves the DLCS the rows that are prescribed, from a message to the end of a run."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from dlcs_assets.ingest.write_back import write_due
from dlcs_testing.dlcs_database import Dlcs
from dlcs_testing.dlcs_recipe import Prescribed, follow_recipe
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline
from dlcs_testing.postgresql import Server

IMAGE, ORIGINAL = "2/1/page", "2/1/page/original"
PICTURE = jpeg(480, 320)
EXCEEDED = "StoragePolicy size limit exceeded"
DEFAULT = (("iiif-img", "default"), ("thumbs", "default"))
FILE = ("file", "none")

Columns = Mapping[str, str]


@pytest.fixture
def prescribed(dlcs: Dlcs, postgresql_server: Server) -> Dlcs:
    """A database of the same layout, with the same customer, in which the recipe is followed."""
    other = Dlcs.new(postgresql_server, dlcs.layout)
    for each in (dlcs, other):
        each.limit("default", 1000, 10**9)
        each.customer(2)
    return other


def thumbnail_bytes(engine: Pipeline) -> int:
    return sum(len(found.data) for key, found in engine.thumbs(f"{IMAGE}/").items() if key.endswith(".jpg"))


def is_as_it_is(_: Pipeline, __: Dlcs) -> Columns:
    """Prepare nothing: all goes well."""
    return {}


def is_of_an_optimised_origin(engine: Pipeline, dlcs: Dlcs) -> Columns:
    dlcs.strategy(2, "uploads", "^s3://", "s3-ambient", optimised=True)
    return {"Origin": engine.upload(IMAGE, PICTURE)}


def exceeds_at_once(_: Pipeline, dlcs: Dlcs) -> Columns:
    dlcs.execute('UPDATE "StoragePolicies" SET "MaximumTotalSizeOfStoredImages" = 0')
    return {}


def exceeds_with_its_jp2(_: Pipeline, dlcs: Dlcs) -> Columns:
    limit = {"limit": len(PICTURE) + 100}
    dlcs.execute('UPDATE "StoragePolicies" SET "MaximumTotalSizeOfStoredImages" = :limit', limit)
    return {}


def has_no_origin(engine: Pipeline, _: Dlcs) -> Columns:
    return {"Origin": f"{engine.origin.url}/nothing.jpg"}


def loses_its_thumbnails(engine: Pipeline, _: Dlcs) -> Columns:
    engine.use(attempts=1)
    engine.image_server.refusing["/iiif/"] = (400, "no")
    return {}


@dataclass(frozen=True)
class Outcome:
    """A line of the table: what makes an image end so, its channels, what is stored then, and why it has failed."""

    prepare: Callable[[Pipeline, Dlcs], Columns]
    channels: tuple[tuple[str, str], ...]
    keys: tuple[str, ...] = ()
    thumbnails: bool = False
    is_counted: bool = True
    error: str | None = None  # a part of it

    def prescribed(self, engine: Pipeline) -> Prescribed:
        """Return what is to be written, from what S3 has."""
        objects, thumbnails = engine.storage(f"{IMAGE}"), engine.thumbs(f"{IMAGE}/")
        assert (tuple(objects), bool(thumbnails)) == (self.keys, self.thumbnails)
        stored = (sum(len(found.data) for found in objects.values()), thumbnail_bytes(engine))
        has_image = IMAGE in objects
        sizes = thumbnails.get(f"{IMAGE}/s.json")
        return Prescribed(
            *((480, 320) if has_image else (0, 0)),
            error=None if self.error is None else dlcs_error(engine, self.error),
            location=f"s3://{engine.settings.storage_bucket}/{IMAGE}" if has_image else None,
            stored=stored if self.is_counted else None,
            sizes=sizes.data.decode() if sizes else None,
        )


def dlcs_error(engine: Pipeline, part: str) -> str:
    """Return why an image has failed, in the words of the DLCS where it has some."""
    status = engine.status(IMAGE)
    assert part in str(status.error_cause)
    return part if part == EXCEEDED else str(status.error_cause)


OUTCOMES: dict[str, Outcome] = {
    "image success": Outcome(is_as_it_is, DEFAULT, (IMAGE,), thumbnails=True),
    "file only, copied": Outcome(is_as_it_is, (FILE,), (ORIGINAL,)),
    "file only, optimised origin": Outcome(is_of_an_optimised_origin, (FILE,), is_counted=False),
    "none only": Outcome(is_as_it_is, (("none", "none"),)),
    "quota, pre-check": Outcome(exceeds_at_once, DEFAULT, is_counted=False, error=EXCEEDED),
    "quota, after download": Outcome(exceeds_with_its_jp2, (*DEFAULT, FILE), (ORIGINAL,), error=EXCEEDED),
    "failure, nothing collected": Outcome(has_no_origin, (*DEFAULT, FILE), is_counted=False, error="404"),
    "failure, the image collected": Outcome(loses_its_thumbnails, DEFAULT, (IMAGE,), error="400"),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_outcome_leaves_the_rows_of_the_recipe(
    pipeline: Pipeline, dlcs: Dlcs, prescribed: Dlcs, outcome: str
) -> None:
    chosen = OUTCOMES[outcome]
    batch = submit(pipeline, dlcs, prescribed, *chosen.channels, **chosen.prepare(pipeline, dlcs))
    pipeline.settle()
    follow_recipe(prescribed, IMAGE, batch, chosen.prescribed(pipeline))
    assert dlcs.rows(IMAGE) == prescribed.rows(IMAGE)
    assert dlcs.rows(IMAGE)["Batches"][0][3]
    assert dlcs.execute('SELECT "Finished" >= "Created" FROM "Images"') == [(True,)]


def test_an_image_of_another_engine_leaves_no_row(pipeline: Pipeline, dlcs: Dlcs, prescribed: Dlcs) -> None:
    """Sound and film: the message is passed on, and its engine ends the image."""
    elsewhere = pipeline.sqs.create_queue(QueueName=f"elsewhere-{uuid.uuid4().hex}")["QueueUrl"]
    pipeline.use(forward_queue_url=elsewhere)
    video = {"Family": "T", "MediaType": "video/mp4"}
    submit(pipeline, dlcs, prescribed, ("iiif-av", "default-video"), **video)
    assert pipeline.settle() == []
    assert pipeline.queues.receive(elsewhere) != []
    assert dlcs.rows(IMAGE) == prescribed.rows(IMAGE)
    assert dlcs.rows(IMAGE)["Images"][4]


def test_what_cannot_be_written_leaves_no_row_until_it_can(pipeline: Pipeline, dlcs: Dlcs, prescribed: Dlcs) -> None:
    """The DLCS's engine leaves the image there for all time."""
    batch = submit(pipeline, dlcs, prescribed, *DEFAULT)
    dlcs.execute('ALTER TABLE "ImageLocation" RENAME TO "Away"')
    pipeline.settle()
    dlcs.execute('ALTER TABLE "Away" RENAME TO "ImageLocation"')
    assert dlcs.rows(IMAGE) == prescribed.rows(IMAGE)
    write_due(pipeline.ledger, dlcs.url, now=datetime.now(UTC) + timedelta(hours=1))
    follow_recipe(prescribed, IMAGE, batch, OUTCOMES["image success"].prescribed(pipeline))
    assert dlcs.rows(IMAGE) == prescribed.rows(IMAGE)


def submit(engine: Pipeline, dlcs: Dlcs, prescribed: Dlcs, *channels: tuple[str, str], **columns: str) -> int:
    """Submit an image as the API does, in both databases, with a message in one of them."""
    origin = engine.serve("page.jpg", PICTURE)
    unknown = {"Width": 0, "Height": 0, "Finished": None, "MediaType": "image/jpeg", "Origin": origin}
    for each in (prescribed, dlcs):
        each.image(IMAGE, *channels, **{**unknown, **columns})
        batch = each.submit(IMAGE)
    engine.use(database_url=SecretStr(dlcs.url))
    engine.send(json.dumps({"id": {"customer": 2, "space": 1, "asset": "page"}, "batchId": batch}))
    return batch
