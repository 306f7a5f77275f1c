"""The policies of deploy/iam allow what the code asks AWS for, each part its own, and nothing by wildcard."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.domain.storage_keys import TRANSIENT_PREFIX
from dlcs_assets.settings import Settings
from dlcs_assets_tests.deploy.files import (
    DEPLOY,
    ECS_FILES,
    PARAMETERS,
    POLICIES,
    check_shape,
    load,
    load_named,
    name_of,
)
from dlcs_assets_tests.deploy.rights import (
    ALLOWED,
    CODE_SERVER,
    OPERATOR,
    RESTORE,
    SERVICES,
    USES,
    WITHOUT_RESOURCES,
    is_named,
)

PACKAGE = DEPLOY.parent / "dlcs_assets"
# Methods that boto3 adds to the service's own.
ADDED = frozenset({"upload_fileobj", "upload_file", "download_fileobj", "download_file", "get_paginator"})


def client_methods() -> frozenset[str]:
    import boto3
    from botocore import xform_name

    session = boto3.session.Session()._session
    models = (session.get_service_model(service) for service in SERVICES)
    return ADDED | {xform_name(operation) for model in models for operation in model.operation_names}


def calls() -> Iterator[tuple[str, str]]:
    """Yield each call of a client's method: the module it is in, and its name."""
    methods = client_methods()
    for path in PACKAGE.rglob("*.py"):
        module = str(path.relative_to(PACKAGE))
        if module.startswith("local/"):  # the stand-ins
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods:
                owner = ast.unparse(node.func.value)
                if "client" in owner or "sqs" in owner:
                    yield module, node.func.attr


def statements(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = load_named(name)["Statement"]
    return found


def actions(name: str) -> set[str]:
    return {action for statement in statements(name) for action in statement["Action"]}


def test_every_call_to_aws_is_listed_with_its_action() -> None:
    """The calls are found in the code, so that a new one cannot be forgotten."""
    found = set(calls())
    assert found - set(ALLOWED) == set()
    assert ("clients/sqs.py", "receive_message") in found


@pytest.mark.parametrize(("call", "needed"), ALLOWED.items(), ids=lambda value: str(value[-1]))
def test_the_parts_that_make_a_call_are_allowed_to(call: tuple[str, str], needed: tuple[str, tuple[str, ...]]) -> None:
    action, parts = needed
    assert call
    for part in parts:
        assert action in actions(part)


def test_no_part_is_allowed_an_action_that_it_does_not_need() -> None:
    """The actions of its policy are exactly those of the calls that it makes."""
    needed: dict[str, set[str]] = {}
    for action, parts in ALLOWED.values():
        for part in parts:
            needed.setdefault(part, set()).add(action)
    for part, its in needed.items():
        ours = {action for action in actions(part) if action.partition(":")[0] in SERVICES}
        assert ours == its


def allowed(part: str, resource: str) -> set[str]:
    """Return the actions that a part may do with a resource, by statements that name it."""
    return {action for each in statements(part) if resource in each.get("Resource", ()) for action in each["Action"]}


def test_every_setting_that_names_a_resource_is_listed() -> None:
    """A feature that is documented, and whose calls AWS would refuse, is none."""
    kinds = ("_queue_url", "_topic_arn", "_bucket", "_buckets")
    assert {name for name in Settings.model_fields if name.endswith(kinds)} == set(USES)


@pytest.mark.parametrize("setting", USES)
def test_what_a_setting_names_may_be_used(setting: str) -> None:
    for resource, parts in USES[setting].items():
        for part, needed in parts.items():
            assert needed - allowed(part, resource.format(**PARAMETERS)) == set()


@pytest.mark.parametrize("arn", ["arn:aws:s3:::*", "arn:aws:sqs:eu-west-1:1:*", "arn:aws:ecs:eu-west-1:1:task/*"])
def test_an_arn_with_a_wildcard_for_a_name_is_detected(arn: str) -> None:
    assert not is_named(arn)


@pytest.mark.parametrize("path", POLICIES, ids=name_of)
def test_no_action_and_no_resource_is_a_wildcard(path: Path) -> None:
    for statement in load(path)["Statement"]:
        assert statement["Effect"] == "Allow"
        assert not [action for action in statement["Action"] if "*" in action]
        for resource in statement.get("Resource", ()):
            if resource == "*":
                assert set(statement["Action"]) <= WITHOUT_RESOURCES
                assert statement["Condition"] == {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}
            else:
                assert is_named(resource)


@pytest.mark.parametrize("path", POLICIES, ids=name_of)
def test_iam_would_take_the_policy(path: Path) -> None:
    document = load(path)
    assert document["Version"] == "2012-10-17"
    names = [statement["Sid"] for statement in document["Statement"]]
    assert len(set(names)) == len(names)
    assert all(name.isalnum() for name in names)
    longest = 2048 if path.name == "trust.json" else 6144
    assert len("".join(path.read_text().split())) <= longest
    assert check_shape("iam", "CreatePolicy", {"PolicyName": path.stem, "PolicyDocument": path.read_text()}) == ""


def test_only_runs_and_operators_may_write_to_buckets() -> None:
    """The code server may delete, but only transient objects, which runs left. Restoring is a right of its own."""
    writing = {"s3:PutObject", "s3:DeleteObject"}
    writers = {path.stem for path in POLICIES if writing & actions(name_of(path))}
    assert writers == {"runs", "operator", "code-server", "restore"}
    assert "s3:DeleteObject" not in actions(RESTORE)
    (deletes,) = [each for each in statements(CODE_SERVER) if writing & set(each["Action"])]
    assert deletes["Action"] == ["s3:DeleteObject"]
    assert [resource.partition("/")[2] for resource in deletes["Resource"]] == [f"{TRANSIENT_PREFIX}*"]


def test_operators_write_into_our_own_buckets_to_try_them_only() -> None:
    for statement in statements(OPERATOR):
        if "s3:DeleteObject" in statement["Action"]:
            assert all(resource.endswith("/dlcs-doctor/*") for resource in statement["Resource"])


def test_the_image_server_and_appetiser_may_only_read() -> None:
    """The image server reads buckets, and Appetiser one object, with its binaries."""
    assert actions("iam/image-server.json") == {"s3:ListBucket", "s3:GetObject"}
    ((statement,)) = statements("iam/appetiser.json")
    assert statement["Action"] == ["s3:GetObject"]
    assert not statement["Resource"][0].endswith("*")


@pytest.mark.parametrize("name", ["webserver", "daemon"])
def test_the_ui_and_the_daemon_cannot_reach_images_and_messages(name: str) -> None:
    assert {action.partition(":")[0] for action in actions(f"iam/{name}.json")} <= {"ecs", "ec2", "iam", "logs"}


def test_the_daemon_may_start_every_kind_of_run() -> None:
    """It may pass on the roles of these task definitions, and no others."""
    runs = [load(path) for path in ECS_FILES if path.name.startswith("run")]
    (start,) = [each for each in statements("iam/daemon.json") if each["Action"] == ["ecs:RunTask"]]
    assert {each.rpartition("/")[2].rpartition(":")[0] for each in start["Resource"]} == {r["family"] for r in runs}
    (give,) = [each for each in statements("iam/daemon.json") if each["Action"] == ["iam:PassRole"]]
    assert set(give["Resource"]) == {run[kind] for run in runs for kind in ("taskRoleArn", "executionRoleArn")}
