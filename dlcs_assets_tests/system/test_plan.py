"""Every row of the plan from the message to the objects, in one run: it is the rows that differ, not the runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from dlcs_assets.domain.stages import Stage
from dlcs_assets_tests.ingest.rows import (
    COPIED,
    HEIGHT,
    JPEG,
    LISTED_BUCKET,
    NOT_REQUIRED,
    ROWS,
    SIZES,
    WIDTH,
    Row,
    is_of,
    origin_of,
)
from dlcs_assets_tests.system.running import running_system
from dlcs_stack.stack import RunningStack
from dlcs_testing.harness import System
from dlcs_testing.installation import full_message
from dlcs_testing.looking import decoded, shows

if TYPE_CHECKING:
    pass

every_row = pytest.mark.parametrize("row", ROWS, ids=str)


@pytest.fixture(scope="module")
def system(services: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Ingest one image per row."""
    with running_system(
        services, tmp_path_factory.mktemp("plan"), s3_origin_buckets=(LISTED_BUCKET,), chunks_in_flight=1
    ) as system:
        system.use(s3_endpoint_url=system.s3_proxy.url)
        system.make_bucket(LISTED_BUCKET)
        for row in ROWS:
            # Left by an earlier ingest: everything under the id that is not of the new set is to go.
            system.put(system.settings.thumbs_bucket, f"{row.image}/open/77.jpg")
            system.put(system.settings.storage_bucket, f"{row.image}/info/cantaloupe/v3/info.json")
            system.send(full_message(row.image, origin_of(row, system), row.channels, mediaType=row.media_type))
        system.settle()
        yield system


def test_one_run_did_all_rows_and_is_green(system: System) -> None:
    (run,) = system.runs
    assert run.is_success
    assert system.states() == {row.image: "done" for row in ROWS}


@every_row
def test_the_ledger_and_dagster_name_the_row_and_its_outcomes(system: System, row: Row) -> None:
    status = system.status(row.image)
    assert status.state == "done"
    assert status.stages[Stage.ORIGINAL].facts["plan"] == row.plan
    assert tuple(status.stages[stage].outcome for stage in Stage) == row.outcomes
    assert tuple(system.metadata(row.image, stage)["outcome"] for stage in Stage) == row.outcomes
    assert system.partition(row.image) == ("materialized",) * 3


@every_row
def test_the_storage_bucket_has_exactly_what_the_row_says(system: System, row: Row) -> None:
    stored = {key: each.content_type for key, each in system.storage(row.image).items() if is_of(row, key)}
    assert stored == {f"{row.image}{suffix}": content_type for suffix, content_type in row.stored.items()}


@every_row
def test_what_is_stored_is_the_image_or_the_very_bytes(system: System, row: Row) -> None:
    for suffix in row.stored:
        data = system.storage()[f"{row.image}{suffix}"].data
        if suffix == "/original" or row.outcomes[1] is COPIED:
            assert data == row.bytes
        else:
            assert decoded(data).format == "JPEG2000"
            assert decoded(data).size == (WIDTH, HEIGHT)
            assert shows(data, row.picture)


@every_row
def test_the_thumbnails_have_the_listed_sizes_and_show_the_image(system: System, row: Row) -> None:
    """The list is the object s.json; rows without thumbnails have no objects at all."""
    found = system.thumbs(f"{row.image}/")
    if row.outcomes[2] is NOT_REQUIRED:
        assert found == {}
        return
    sizes = found.pop(f"{row.image}/s.json")
    assert sizes.content_type == "application/json"
    assert sizes.data == json.dumps({"o": SIZES, "a": []}, separators=(",", ":")).encode()
    assert set(found) == {f"{row.image}/open/{width}.jpg" for width, _ in SIZES}
    for width, height in SIZES:
        thumbnail = found[f"{row.image}/open/{width}.jpg"]
        assert thumbnail.content_type == JPEG
        assert decoded(thumbnail.data).format == "JPEG"
        assert decoded(thumbnail.data).size == (width, height)
        assert shows(thumbnail.data, row.picture)


@every_row
def test_the_origin_is_fetched_as_often_as_the_row_says(system: System, row: Row) -> None:
    if row.at == "http":
        # Not even a look without a fetch: media type and policies need none here.
        assert [each.method for each in system.origin.asked if each.path == f"/{row.image}"] == ["GET"] * row.fetches
    else:
        bucket = system.settings.origin_bucket if row.at == "portal" else LISTED_BUCKET
        # The proxy sees our own requests; the image server reads S3 by itself. What it read there is compared with.
        compared = row.read == "origin" and not row.fetches
        asked = [each for each in system.s3_proxy.asked if each.path == f"/{bucket}/{row.image}"]
        assert sum(each.method == "GET" and not each.ranged for each in asked) == row.fetches + compared


@every_row
def test_appetiser_is_called_as_often_as_the_row_says(system: System, row: Row) -> None:
    asked = [json.loads(each.body) for each in system.appetiser.asked]
    assert sum(body["imageId"] == row.image.rpartition("/")[2] for body in asked) == row.converts


@every_row
def test_the_image_server_reads_what_the_row_says(system: System, row: Row) -> None:
    storage, request = system.settings.storage_bucket, system.status(row.image).request_id
    expected = {
        "jp2": {f"s3://{storage}/{row.image}"},
        "original": {f"s3://{storage}/{row.image}/original"},
        "transient": {f"s3://{storage}/transient/{row.image}/{request}"},
        "origin": {f"s3://{system.settings.origin_bucket}/{row.image}"},
        "nothing": set(),
    }
    asked = {each.path.removeprefix("/iiif/3/") for each in system.image_server.asked}
    identifiers = {path.partition("/full/")[0].partition("/info.json")[0] for path in asked}
    assert {identifier for identifier in identifiers if is_of(row, identifier)} == expected[row.read]


def test_nothing_is_left_over(system: System) -> None:
    assert system.storage("transient/") == {}
    assert system.left_in_scratch() == []
    assert system.waiting_messages() == 0
    kept: dict[str, Any] = {key: each for key, each in system.storage().items() if "/info/" in key}
    assert kept == {}


@every_row
def test_the_ledger_accounts_for_every_object_and_no_other(system: System, row: Row) -> None:
    everything = {**system.storage(row.image), **system.thumbs(row.image)}
    there = {key: len(each.data) for key, each in everything.items() if is_of(row, key)}
    assert {record.key: record.bytes for record in system.status(row.image).objects} == there
