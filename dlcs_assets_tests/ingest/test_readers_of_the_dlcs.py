"""Orchestrator, Thumbs, API, portal and CleanupHandler find what they ask of an image that is done, in both layouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
from pydantic import SecretStr

from dlcs_testing.dlcs_database import Dlcs
from dlcs_testing.dlcs_readers import Readers
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline

IMAGE = "2/1/page"
DEFAULT = (("iiif-img", "default"), ("thumbs", "default"))
FILE = ("file", "none")
STALE = f"{IMAGE}/info/cantaloupe/v3/info.json"


@pytest.fixture
def engine(pipeline: Pipeline, dlcs: Dlcs) -> Pipeline:
    """An installation for a customer of a DLCS, in whose storage an info.json is left of an earlier image."""
    dlcs.limit("default", 1000, 10**9)
    dlcs.customer(2)
    pipeline.use(database_url=SecretStr(dlcs.url))
    pipeline.put(pipeline.settings.storage_bucket, STALE)
    return pipeline


@dataclass(frozen=True)
class Served:
    """How an image is to be delivered."""

    channels: tuple[tuple[str, str], ...]
    columns: Mapping[str, object] = field(default_factory=dict)


IMAGES = {
    "default": Served(DEFAULT),
    "use-original and file": Served((("iiif-img", "use-original"), ("thumbs", "default"), FILE)),
    "restricted": Served(DEFAULT, {"Roles": "https://example.org/staff", "MaxUnauthorised": 200}),
    "thumbnails only": Served((("thumbs", "default"),)),
    "file only": Served((FILE,)),
    "none": Served((("none", "none"),)),
}


@pytest.mark.parametrize("name", IMAGES)
def test_no_reader_of_an_image_that_is_done_complains(engine: Pipeline, dlcs: Dlcs, name: str) -> None:
    """Nor after it was asked for again, with another original."""
    served = IMAGES[name]
    unknown = {"Width": 0, "Height": 0, "Finished": None, "MediaType": "image/jpeg"}
    dlcs.image(
        IMAGE, *served.channels, **{**unknown, **served.columns, "Origin": engine.serve("page.jpg", jpeg(480, 320))}
    )
    for picture in (jpeg(480, 320), jpeg(300, 400)):
        engine.serve("page.jpg", picture)
        engine.send({"id": IMAGE, "batchId": dlcs.submit(IMAGE)})
        readers = Readers(engine, dlcs, IMAGE)
        assert {"API", "portal"} <= readers.complaints().keys()
        engine.settle()
        assert readers.complaints() == {}


def loses_a_thumbnail(engine: Pipeline, _: Dlcs) -> None:
    engine.s3.delete_object(Bucket=engine.settings.thumbs_bucket, Key=f"{IMAGE}/open/100.jpg")


def has_an_old_info(engine: Pipeline, _: Dlcs) -> None:
    engine.put(engine.settings.storage_bucket, STALE)


def lists_no_size(engine: Pipeline, _: Dlcs) -> None:
    engine.put(engine.settings.thumbs_bucket, f"{IMAGE}/s.json", b'{"o":[],"a":[]}')


def loses_its_image(engine: Pipeline, _: Dlcs) -> None:
    engine.s3.delete_object(Bucket=engine.settings.storage_bucket, Key=IMAGE)


FAULTS: Mapping[str, tuple[str, Callable[[Pipeline, Dlcs], None] | str]] = {
    "an old info.json": ("Orchestrator", has_an_old_info),
    "no image": ("Orchestrator", loses_its_image),
    "no size": ("Orchestrator", 'UPDATE "Images" SET "Width" = 0'),
    "a thumbnail less": ("Thumbs", loses_a_thumbnail),
    "an empty list": ("Thumbs", lists_no_size),
    "no end": ("API", 'UPDATE "Images" SET "Finished" = NULL'),
    "a batch that waits": ("portal", 'UPDATE "Batches" SET "Finished" = NULL'),
    "a full queue": ("portal", 'UPDATE "Queues" SET "Size" = 1'),
    "other sizes": ("CleanupHandler", """UPDATE "AssetApplicationMetadata" SET "MetadataValue" = '{"o":[],"a":[]}'"""),
    # The last one: totals move by differences, and this one has no other side.
    "other bytes": ("API", 'UPDATE "ImageStorage" SET "Size" = 1'),
}


def test_each_reader_complains_about_what_is_its_own(engine: Pipeline, dlcs: Dlcs) -> None:
    """That they find nothing means something: of each fault the reader that would meet it says so."""
    origin = engine.serve("page.jpg", jpeg(480, 320))
    dlcs.image(IMAGE, *DEFAULT, MediaType="image/jpeg", Width=0, Height=0, Finished=None, Origin=origin)
    readers = Readers(engine, dlcs, IMAGE)
    for fault, (reader, made) in FAULTS.items():
        engine.send({"id": IMAGE, "batchId": dlcs.submit(IMAGE)})
        engine.settle()
        assert readers.complaints() == {}, fault
        if isinstance(made, str):
            dlcs.execute(made)
        else:
            made(engine, dlcs)
        assert reader in readers.complaints(), fault
        dlcs.execute('UPDATE "Batches" SET "Finished" = now()')
        dlcs.execute('UPDATE "Queues" SET "Size" = 0')
