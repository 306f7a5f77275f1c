"""The rows of the plan with services that are as Appetiser 2.1.0 and Cantaloupe 5.0.6 are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dlcs_assets.domain.image_servers import ImageServerKind
from dlcs_assets.domain.stages import Stage
from dlcs_assets_tests.ingest.rows import LISTED_BUCKET, ROWS, Row, check_done, ingest_rows, is_of
from dlcs_stack.stack import Component, Stack
from dlcs_testing.pipeline import Pipeline, running_pipeline

CANTALOUPE: dict[str, Any] = {"image_server_kind": ImageServerKind.CANTALOUPE}
AS_REAL = {Component.APPETISER: ("--faults",), Component.IMAGE_SERVER: ("--like", "cantaloupe-5.0.6")}
of_every_row = pytest.mark.parametrize("row", ROWS, ids=str)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Ingest one image per row."""
    folder = tmp_path_factory.mktemp("real-services")
    components = frozenset({Component.AWS, *AS_REAL})
    with (
        Stack(folder / "data", components=components, options=AS_REAL).running() as stack,
        running_pipeline(stack, folder, s3_origin_buckets=(LISTED_BUCKET,), **CANTALOUPE) as pipeline,
    ):
        pipeline.make_bucket(LISTED_BUCKET)
        ingest_rows(pipeline, ROWS)
        yield pipeline


@of_every_row
def test_every_row_is_done_and_shows_its_picture(pipeline: Pipeline, row: Row) -> None:
    if row.read == "nothing":
        assert pipeline.status(row.image).state == "done"
        assert pipeline.thumbs(f"{row.image}/") == {}
    else:
        check_done(pipeline, row)


@of_every_row
def test_what_is_stored_is_what_the_row_says(pipeline: Pipeline, row: Row) -> None:
    stored = {key: each.content_type for key, each in pipeline.storage(row.image).items() if is_of(row, key)}
    assert stored == {f"{row.image}{suffix}": content_type for suffix, content_type in row.stored.items()}
    assert tuple(pipeline.status(row.image).stages[stage].outcome for stage in Stage) == row.outcomes
