"""The definitions as Dagster sees them, and as its command line finds them in a checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dlcs_assets.definitions import build_definitions
from dlcs_assets.defs.checks import STAGE_CHECKS
from dlcs_assets.domain.stages import Stage
from dlcs_assets.settings import Settings

CHECKOUT = Path(__file__).parents[2]
ASSETS = {f"dlcs/{name}" for name in (*(stage.value for stage in Stage), "ledger")}
TARGETS = {
    "sqs_ingest": {"ingest"},
    "sqs_priority": {"ingest"},
    "s3_uploads": {"ingest"},
    "s3_sweep": {"ingest"},
    "due_images": {"ingest"},
    "backfills": {"ingest"},
    "reconcile": set(),
    "watch": set(),
    "batches": set(),
    "configuration": set(),
    "asset_modified": {"delete_images"},
}
# Of the kinds that Dagster's UI knows, those used here.
WITH_ICONS = {"s3", "sqlite", "postgres"}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(Settings())


def dg_command(*arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DLCS_", "DAGSTER_"))}
    command = [str(Path(sys.executable).parent / "dg"), *arguments]
    environment["VIRTUAL_ENV"] = sys.prefix
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_dg_check_defs_finds_them_sound() -> None:
    dg_command("check", "defs")


def test_dg_list_defs_lists_them() -> None:
    found: dict[str, list[dict[str, Any]]] = json.loads(dg_command("list", "defs", "--json"))
    assert {each["asset_key"] for each in found["assets"]} == ASSETS
    assert {each["name"] for each in found["sensors"]} == set(TARGETS)
    assert {each["name"] for each in found["jobs"]} >= {"ingest", "reprocess_images", "delete_images", "maintenance"}


def test_sensors_have_the_targets_they_launch(definitions: dg.Definitions) -> None:
    sensors = definitions.get_repository_def().sensor_defs
    assert {sensor.name: {target.job_name for target in sensor.targets} for sensor in sensors} == TARGETS


def test_assets_have_owners_icons_and_plain_first_sentences(definitions: dg.Definitions) -> None:
    """The UI's lists show the first sentence of a description as it is written."""
    for spec in definitions.resolve_all_asset_specs():
        assert spec.owners
        assert spec.kinds
        assert spec.kinds <= WITH_ICONS
        first = str(spec.description).split(". ")[0]
        assert first[-1] not in ":;,"
        assert not set("*`[") & set(first)


def test_the_ui_links_to_the_code_of_the_assets(definitions: dg.Definitions) -> None:
    specs = {spec.key.path[-1]: spec for spec in definitions.resolve_all_asset_specs()}
    references = specs[Stage.JP2.value].metadata["dagster/code_references"]
    assert [Path(each.file_path).name for each in references.code_references] == ["assets.py"]


def test_a_prefix_of_its_own_names_everything_apart() -> None:
    definitions = build_definitions(Settings(asset_key_prefix="maps"))
    specs = definitions.resolve_all_asset_specs()
    assert {spec.key.path[0] for spec in specs} == {"maps"}
    names = {
        spec.partitions_def.name for spec in specs if isinstance(spec.partitions_def, dg.DynamicPartitionsDefinition)
    }
    assert names == {"maps_images"}


def test_the_job_of_the_sensors_evaluates_no_checks(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    checks = {key.name for key in graph.asset_check_keys}
    assert checks > {check.name for check in STAGE_CHECKS}
    job = definitions.resolve_job_def("ingest")
    assert [node.name for node in job.nodes] == ["ingest_images"]
