"""Every file of deploy/ is what the tool that takes it understands, and names what there is."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

import pytest
import yaml  # type: ignore[import-untyped] # it has no types

from dlcs_assets.settings import Settings
from dlcs_assets_tests.deploy.files import (
    DEPLOY,
    ECS_FILES,
    JSON_FILES,
    PARAMETERS,
    check_shape,
    load,
    load_named,
    name_of,
)

ROOT = DEPLOY.parent
YAML_FILES = sorted(DEPLOY.rglob("*.yaml"))
SETTINGS = {f"DLCS_{name.upper()}" for name in Settings.model_fields}
# Largest memory (MiB) and the steps below it that Fargate has for each number of CPU units.
FARGATE = {
    256: (512, 2048),
    512: (1024, 4096),
    1024: (2048, 8192),
    2048: (4096, 16384),
    4096: (8192, 30720),
    8192: (16384, 61440),
}


@pytest.mark.parametrize("path", JSON_FILES, ids=name_of)
def test_a_json_file_is_json_once_its_parameters_are_in_it(path: Path) -> None:
    assert load(path)
    assert "${" not in Template(path.read_text()).substitute(PARAMETERS)


def test_every_parameter_is_used_and_has_a_value() -> None:
    used = {name for path in JSON_FILES for name in re.findall(r"\$\{(\w+)\}", path.read_text())}
    assert used == set(PARAMETERS)
    assert all(PARAMETERS.values())


@pytest.mark.parametrize("path", YAML_FILES, ids=name_of)
def test_a_yaml_file_is_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)


@pytest.mark.parametrize(
    "path",
    [path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".pyc"],
    ids=lambda path: str(path.relative_to(DEPLOY)),
)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    assert set(re.findall(r"\bDLCS_[A-Z0-9_]+", path.read_text())) <= SETTINGS


@pytest.mark.parametrize("path", ECS_FILES, ids=name_of)
def test_ecs_would_take_the_task_definition(path: Path) -> None:
    task = load(path)
    assert check_shape("ecs", "RegisterTaskDefinition", task) == ""
    cpu, memory = int(task["cpu"]), int(task["memory"])
    least, most = FARGATE[cpu]
    assert least <= memory <= most
    containers = task["containerDefinitions"]
    assert sum(each.get("cpu", 0) for each in containers) <= cpu
    assert sum(each.get("memory", 0) for each in containers) <= memory
    assert 21 <= task.get("ephemeralStorage", {"sizeInGiB": 21})["sizeInGiB"] <= 200


@pytest.mark.parametrize("path", ECS_FILES, ids=name_of)
def test_a_container_waits_only_for_those_with_a_health_check(path: Path) -> None:
    """ECS never starts a container that waits for the health of one without a check."""
    containers = {each["name"]: each for each in load(path)["containerDefinitions"]}
    for container in containers.values():
        for needed in container.get("dependsOn", ()):
            assert needed["condition"] == "HEALTHY"
            assert "healthCheck" in containers[needed["containerName"]]


@pytest.mark.parametrize("path", ECS_FILES, ids=name_of)
def test_what_a_container_mounts_is_a_volume_of_its_task(path: Path) -> None:
    task = load(path)
    volumes = {each["name"] for each in task.get("volumes", ())}
    mounted = {mount["sourceVolume"] for each in task["containerDefinitions"] for mount in each.get("mountPoints", ())}
    assert mounted == volumes


@pytest.mark.parametrize("path", ECS_FILES, ids=name_of)
def test_no_password_is_written_into_a_task_definition(path: Path) -> None:
    secret = {"DLCS_LEDGER_URL", "DAGSTER_POSTGRES_PASSWORD", "AWS_SECRET_ACCESS_KEY"}
    for container in load(path)["containerDefinitions"]:
        assert not secret & {each["name"] for each in container.get("environment", ())}
        assert all(":secret:dlcs-system/" in each["valueFrom"] for each in container.get("secrets", ()))


@pytest.mark.parametrize("name", ["run", "run-sidecar", "run-efs"])
def test_a_run_has_time_to_stop_and_shares_its_scratch_folder(name: str) -> None:
    """The containers next to it read what it writes to scratch."""
    task = load_named(f"ecs/{name}.json")
    run, *others = task["containerDefinitions"]
    environment = {each["name"]: each["value"] for each in run["environment"]}
    (mount,) = run["mountPoints"]
    assert run["stopTimeout"] == 120
    assert environment["DLCS_SCRATCH"].startswith(mount["containerPath"] + "/")
    assert environment["DLCS_SLOTS"].startswith(mount["containerPath"] + "/")
    assert all(each["mountPoints"][0]["sourceVolume"] == mount["sourceVolume"] for each in others)


def test_an_image_server_that_shares_the_disk_only_reads_it() -> None:
    """The run asks it for paths instead of S3 keys."""
    sidecar = load_named("ecs/run-sidecar.json")
    run, _, image_server = sidecar["containerDefinitions"]
    assert image_server["mountPoints"][0]["readOnly"]
    assert {"name": "DLCS_IMAGE_SERVER_SOURCES", "value": "disk"} in run["environment"]
    (apart,) = load_named("ecs/image-server-efs.json")["containerDefinitions"]
    assert apart["mountPoints"][0]["readOnly"]


def test_the_ui_and_the_daemon_get_nothing_but_the_history() -> None:
    for name in ("webserver", "daemon"):
        (container,) = load_named(f"ecs/{name}.json")["containerDefinitions"]
        names = {each["name"] for each in (*container["environment"], *container["secrets"])}
        assert not [each for each in names if each.startswith("DLCS_")]


def test_cloudwatch_would_take_the_alarms() -> None:
    alarms = load_named("cloudwatch/alarms.json")
    assert [check_shape("cloudwatch", "PutMetricAlarm", alarm) for alarm in alarms] == [""] * len(alarms)
    names = [alarm["AlarmName"] for alarm in alarms]
    assert len(set(names)) == len(names)
    assert check_shape("events", "PutRule", load_named("cloudwatch/failed-tasks-rule.json")) == ""


def test_the_image_gets_dagsters_storage_and_its_driver() -> None:
    assert "-r pyproject.toml --extra aws" in (DEPLOY / "Dockerfile").read_text()
    locked = (ROOT / "requirements.lock").read_text()
    releases = dict(re.findall(r"^(dagster-postgres|dagster-aws)==(\S+)", locked, flags=re.MULTILINE))
    assert releases["dagster-postgres"] == releases["dagster-aws"]


def test_what_a_container_image_copies_is_in_the_build_context() -> None:
    """Each source of a COPY exists, and .dockerignore lets it through."""
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for dockerfile in DEPLOY.rglob("Dockerfile"):
        copied = re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile.read_text(), flags=re.MULTILINE)
        for source in " ".join(copied).split():
            assert any(source == each or source.startswith(f"{each}/") for each in [*kept, "dlcs.yam[l]"])
            assert list(ROOT.glob(source)) or source == "dlcs.yam[l]"


def test_the_container_does_not_run_as_root() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER dlcs"]


def test_compose_has_both_services_for_each_choice_of_profiles() -> None:
    """Exactly one container answers as image server and one as Appetiser."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for arrangement in ("s3", "shared"):
        for backing in ("trial", "kakadu"):
            chosen = {arrangement, backing}
            up = {name for name, each in services.items() if chosen & set(each.get("profiles", chosen))}
            names = [
                alias
                for name in up
                for alias in (name, *services[name].get("networks", {}).get("default", {}).get("aliases", ()))
            ]
            assert names.count("image-server") == 1
            assert names.count("appetiser") == 1


def test_compose_shows_the_ui_to_its_own_machine_only() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    ports = [port for each in services.values() for port in each.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
