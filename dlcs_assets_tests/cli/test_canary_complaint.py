"""What a canary checks once it has ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from dlcs_assets.cli.canary import complaint, picture
from dlcs_assets.cli.clients import make_storage
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.results import ObjectKind, ObjectRecord
from dlcs_assets.ledger.reports import ImageStatus
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline

IMAGE = "2/1/canary"
COLOUR = (200, 90, 40)


@pytest.fixture
def storage(pipeline: Pipeline) -> Iterator[Storage]:
    with closing(make_storage(pipeline.settings)) as storage:
        yield storage


@pytest.fixture
def status(pipeline: Pipeline) -> ImageStatus:
    return pipeline.ingest(IMAGE, pipeline.serve("canary.jpg", picture(COLOUR)), "iiif-img:default,thumbs")


def a_thumbnail(status: ImageStatus) -> ObjectRecord:
    return next(stored for stored in status.objects if stored.kind is ObjectKind.THUMBNAIL)


def test_one_that_came_through_whole_has_no_complaint(storage: Storage, status: ImageStatus) -> None:
    assert complaint(status, COLOUR, storage) == ""


def test_one_that_shows_another_picture_is_reported(storage: Storage, status: ImageStatus) -> None:
    """As of an image server that gives what it has in its cache."""
    assert "shows another picture" in complaint(status, (40, 90, 200), storage)


def test_an_object_that_is_missing_is_reported(pipeline: Pipeline, storage: Storage, status: ImageStatus) -> None:
    stored = a_thumbnail(status)
    pipeline.s3.delete_object(Bucket=stored.bucket, Key=stored.key)
    assert complaint(status, COLOUR, storage) == f"s3://{stored.bucket}/{stored.key} is missing"


def test_an_object_that_was_changed_is_reported(pipeline: Pipeline, storage: Storage, status: ImageStatus) -> None:
    stored = a_thumbnail(status)
    pipeline.put(stored.bucket, stored.key, jpeg(60, 40))
    assert complaint(status, COLOUR, storage) == f"s3://{stored.bucket}/{stored.key} is not what was stored"


def test_one_without_a_jp2_is_reported(pipeline: Pipeline, storage: Storage) -> None:
    only = pipeline.ingest(IMAGE, pipeline.serve("canary.jpg", picture(COLOUR)), "thumbs")
    assert "there is no JP2" in complaint(only, COLOUR, storage)
