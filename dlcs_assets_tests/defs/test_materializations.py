from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.materializations import Upstream, materialization, newest
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.recipe import CODE_VERSIONS
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import STAGES, Outcome, Stage

IMAGE = AssetId.parse("2/1/a,b")
KEY = "@2/1/a%2Cb"
CATALOG = Catalog()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def event(instance: dg.DagsterInstance, stage: Stage, version: str = "v1", **more: Any) -> dg.AssetMaterialization:
    facts = more.pop("facts", {})
    result = StageResult(stage, Outcome.MADE, version, facts)
    return materialization(
        IMAGE,
        "request-1",
        result,
        catalog=CATALOG,
        made_from=Upstream(instance, CATALOG).tags(stage, [KEY]).get(KEY),
        **more,
    )


def report(instance: dg.DagsterInstance, stage: Stage, version: str = "v1") -> int:
    instance.report_runless_asset_event(event(instance, stage, version))
    record = newest(instance, CATALOG.asset(stage), KEY)
    assert record is not None
    return record.storage_id


def test_it_names_asset_partition_request_outcome_and_versions(instance: dg.DagsterInstance) -> None:
    made = event(instance, Stage.ORIGINAL)
    assert (made.asset_key, made.partition) == (dg.AssetKey(["dlcs", "original"]), KEY)
    assert (made.description, made.metadata["outcome"].value) == ("made", "made")
    assert made.tags == {"dagster/data_version": "v1", "dagster/code_version": "1", "dlcs/request": "request-1"}
    assert set(CODE_VERSIONS) == set(STAGES)


def test_it_points_at_the_newest_record_of_what_it_was_made_from(instance: dg.DagsterInstance) -> None:
    report(instance, Stage.ORIGINAL, "v1")
    second = report(instance, Stage.ORIGINAL, "v2")
    tags = event(instance, Stage.JP2).tags or {}
    assert tags["dagster/input_event_pointer/dlcs/original"] == str(second)
    assert tags["dagster/input_data_version/dlcs/original"] == "v2"


def test_without_anything_upstream_there_is_no_pointer(instance: dg.DagsterInstance) -> None:
    report(instance, Stage.ORIGINAL)
    assert "dagster/input_event_pointer/dlcs/jp2" not in (event(instance, Stage.THUMBNAILS).tags or {})


def test_another_image_is_never_what_it_was_made_from(instance: dg.DagsterInstance) -> None:
    report(instance, Stage.ORIGINAL)
    assert Upstream(instance, CATALOG).tags(Stage.JP2, ["@2/1/another"]) == {}


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("bytes", 12, dg.MetadataValue.int(12)),
        ("tile_ready", True, dg.MetadataValue.bool(True)),
        ("sizes", [[400, 300], [100, 75]], dg.MetadataValue.text("400 x 300, 100 x 75")),
        ("left_out", ["a: b", "c: d"], dg.MetadataValue.text("a: b; c: d")),
        ("origin", "https://example.org/a.jpg", dg.MetadataValue.text("https://example.org/a.jpg")),
        ("origin", "s3://bucket/key", dg.MetadataValue.text("s3://bucket/key")),
        ("sha256", "https://not-an-origin", dg.MetadataValue.text("https://not-an-origin")),
    ],
)
def test_facts_are_shown_as_what_they_are(
    instance: dg.DagsterInstance, name: str, value: object, shown: dg.MetadataValue[Any]
) -> None:
    assert event(instance, Stage.THUMBNAILS, facts={name: value}).metadata[name] == shown


def test_a_thumbnail_is_shown_and_links_are_links(instance: dg.DagsterInstance) -> None:
    made = event(instance, Stage.THUMBNAILS, picture=b"jpeg", links={"info": "https://example.org/info.json"})
    assert made.metadata["picture"] == dg.MetadataValue.md("![picture](data:image/jpeg;base64,anBlZw==)")
    assert made.metadata["info"] == dg.MetadataValue.url("https://example.org/info.json")
    assert "picture" not in event(instance, Stage.THUMBNAILS).metadata
