from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from dlcs_assets.definitions import build_definitions
from dlcs_assets.defs import tags
from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.partitions import WorkingSet, arrange, keys_in_use
from dlcs_assets.domain.stages import Stage
from dlcs_assets.settings import Settings

CATALOG = Catalog()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(CATALOG.partitions_name, ["a", "b", "c", "d", "e"])
        yield instance


def keys(instance: dg.DagsterInstance) -> str:
    return "".join(instance.get_dynamic_partitions(CATALOG.partitions_name))


def used(instance: dg.DagsterInstance) -> set[str]:
    graph = build_definitions(Settings()).get_repository_def().asset_graph
    return keys_in_use(instance, WorkingSet.of(instance, CATALOG), graph)


def run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, tags: dict[str, str]) -> None:
    job = build_definitions(Settings()).resolve_job_def("ingest")
    instance.create_run_for_job(job, status=status, tags=tags)


def test_a_range_is_in_the_order_in_which_keys_were_added(instance: dg.DagsterInstance) -> None:
    working_set = WorkingSet.of(instance, CATALOG)
    assert list(working_set.range("b", "d")) == ["b", "c", "d"]
    assert list(working_set.range("d", "b")) == []
    assert list(working_set.range("b", "unknown")) == []


@pytest.mark.parametrize(
    ("group", "expected"), [("bcd", True), ("c", True), ("bd", False), ("cb", False), ("dex", False), ("x", False)]
)
def test_a_group_is_a_range_only_if_contiguous_and_complete(
    instance: dg.DagsterInstance, group: str, expected: bool
) -> None:
    """A run covers all partitions from its first key to its last: no other image may lie between."""
    assert WorkingSet.of(instance, CATALOG).is_range(list(group)) is expected


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (["bcd"], "abcde"),  # is a range: nothing moves
        (["bd"], "acebd"),
        (["xy"], "abcdexy"),
        (["ax", "ce"], "bdaxce"),
        (["db", "c"], "acedb"),
    ],
)
def test_scattered_keys_become_ranges_and_others_keep_order(
    instance: dg.DagsterInstance, groups: list[str], expected: str
) -> None:
    """Keys of other runs must not move, or their ranges would cover other images."""
    arrange(instance, CATALOG, [list(group) for group in groups])
    assert keys(instance) == expected
    working_set = WorkingSet.of(instance, CATALOG)
    assert all(working_set.is_range(list(group)) for group in groups)


def test_what_is_known_of_a_key_survives_its_move(instance: dg.DagsterInstance) -> None:
    asset = CATALOG.asset(Stage.ORIGINAL)
    instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition="b"))
    arrange(instance, CATALOG, [["b", "d"]])
    partitions = CATALOG.partitions
    status = instance.get_status_by_partition(asset, ["b", "d"], partitions)
    assert status is not None
    assert [each.value if each else None for each in status.values()] == ["MATERIALIZED", None]


@pytest.mark.parametrize(
    "status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
)
def test_keys_of_a_run_that_has_not_ended_are_in_use(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    run(instance, status, {tags.RANGE_START: "b", tags.RANGE_END: "d"})
    run(instance, status, {"dagster/partition": "e"})
    assert used(instance) == {"b", "c", "d", "e"}


def test_keys_of_a_run_that_has_ended_are_free(instance: dg.DagsterInstance) -> None:
    run(instance, dg.DagsterRunStatus.FAILURE, {tags.RANGE_START: "a", tags.RANGE_END: "e"})
    run(instance, dg.DagsterRunStatus.SUCCESS, {"dagster/partition": "e"})
    assert used(instance) == set()
