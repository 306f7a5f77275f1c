"""Roles and policies of the templates allow what the code asks AWS for, each part its own, and nothing by wildcard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dlcs_assets.domain.storage_keys import TRANSIENT_PREFIX
from dlcs_assets_tests.deploy.files import load_named
from dlcs_assets_tests.deploy.rights import (
    ALLOWED,
    CODE_SERVER,
    OPERATOR,
    RESTORE,
    RUNS,
    SERVICES,
    USES,
    WITHOUT_RESOURCES,
    is_named,
)
from dlcs_assets_tests.deploy.templates import OPTIONAL, TEMPLATES, Resolved, read

PARTS = {RUNS: "RunRole", CODE_SERVER: "CodeServerRole", OPERATOR: "OperatorPolicy", RESTORE: "RestorePolicy"}
# What the files of deploy/iam call what the template makes or is given.
NAMES = {
    "REGION": "eu-west-1",
    "ACCOUNT": "123456789012",
    "STORAGE_BUCKET": "dlcs-123456789012-storage",
    "THUMBS_BUCKET": "dlcs-123456789012-thumbs",
    "ORIGIN_BUCKET": "dlcs-123456789012-uploads",
    "SCANS_BUCKET": "example-library-scans",
    "INGEST_QUEUE": "dlcs-ingest",
    "PRIORITY_QUEUE": "dlcs-priority",
    "UPLOADS_QUEUE": "dlcs-uploads",
    "UPDATE_QUEUE": "dlcs-update",
    "DELETE_QUEUE": "dlcs-delete",
    "FORWARD_QUEUE": "dlcs-engine-image",
    "BATCH_COMPLETED_TOPIC": "dlcs-batch-completed",
    "INVALIDATION_TOPIC": "dlcs-invalidation",
    "ALARM_TOPIC": "dlcs-alarms",
}
FORMER = {
    "DaemonRole": "daemon",
    "WebserverRole": "webserver",
    "ImageServerRole": "image-server",
    "LedgerExecutionRole": "execution",
    "RunRole": "runs",
    "CodeServerRole": "code-server",
    "OperatorPolicy": "operator",
    "RestorePolicy": "restore",
}
WRITING = {"s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}


@pytest.fixture(params=TEMPLATES, ids=lambda path: path.stem)
def template(request: pytest.FixtureRequest) -> Resolved:
    return read(request.param, **OPTIONAL)


def documents(template: Resolved) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each role's and each policy's own document."""
    for name in template.named("AWS::IAM::Role"):
        for policy in template.properties(name).get("Policies", ()):
            yield name, policy["PolicyDocument"]
    for name in template.named("AWS::IAM::ManagedPolicy"):
        yield name, template.properties(name)["PolicyDocument"]


def statements(template: Resolved, part: str) -> list[dict[str, Any]]:
    return [each for name, document in documents(template) if name == part for each in document["Statement"]]


def actions(template: Resolved, part: str) -> set[str]:
    return {action for each in statements(template, part) for action in each["Action"]}


@pytest.mark.parametrize(("call", "needed"), ALLOWED.items(), ids=lambda value: str(value[-1]))
def test_the_parts_that_make_a_call_are_allowed_to(
    template: Resolved, call: tuple[str, str], needed: tuple[str, tuple[str, ...]]
) -> None:
    action, parts = needed
    assert call
    for part in parts:
        assert action in actions(template, PARTS[part])


@pytest.mark.parametrize("setting", USES)
def test_what_a_setting_names_may_be_used(template: Resolved, setting: str) -> None:
    for resource, parts in USES[setting].items():
        arn = resource.format(**NAMES)
        for part, needed in parts.items():
            found = [each for each in statements(template, PARTS[part]) if arn in each["Resource"]]
            assert needed <= {action for each in found for action in each["Action"]}


@pytest.mark.parametrize("part", FORMER)
def test_no_part_may_do_more_than_by_the_former_files(template: Resolved, part: str) -> None:
    """In the actions; the other tests are about resources. A run has Appetiser's right in its task, too."""
    files = [FORMER[part], *(["appetiser"] if part == "RunRole" else [])]
    former = {
        action for name in files for each in load_named(f"iam/{name}.json")["Statement"] for action in each["Action"]
    }
    assert actions(template, part) == former


def test_no_part_is_allowed_an_action_that_it_does_not_need(template: Resolved) -> None:
    needed: dict[str, set[str]] = {}
    for action, parts in ALLOWED.values():
        for part in parts:
            needed.setdefault(part, set()).add(action)
    for part, its in needed.items():
        ours = {action for action in actions(template, PARTS[part]) if action.partition(":")[0] in SERVICES}
        assert ours == its


def test_no_action_and_no_resource_is_a_wildcard(template: Resolved) -> None:
    for name, document in documents(template):
        for statement in document["Statement"]:
            assert statement["Effect"] == "Allow"
            assert not [action for action in statement["Action"] if "*" in action], name
            for resource in statement["Resource"]:
                if resource == "*":
                    assert set(statement["Action"]) <= WITHOUT_RESOURCES
                    assert statement["Condition"] == {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}
                else:
                    assert is_named(resource)


def test_no_policy_of_aws_is_attached_but_to_monitoring(template: Resolved) -> None:
    attached = {
        name: found
        for name in template.named("AWS::IAM::Role")
        if (found := template.properties(name).get("ManagedPolicyArns"))
    }
    assert attached == {
        "DatabaseMonitoringRole": ["arn:aws:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"]
    }


def test_roles_are_for_tasks_of_this_account_only(template: Resolved) -> None:
    for name in template.named("AWS::IAM::Role"):
        (trust,) = template.properties(name)["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}


def test_only_runs_and_operators_may_write_to_buckets(template: Resolved) -> None:
    """Sensors and small runs delete: transient objects, and what is deleted on request."""
    writers = {name for name, _ in documents(template) if WRITING & actions(template, name)}
    people = {"OperatorRole", "OperatorPolicy", "RestorePolicy"}
    assert writers == {"RunRole", "SmallRunRole", "CodeServerRole", *people}
    for name in ("SmallRunRole", "CodeServerRole"):
        assert WRITING & actions(template, name) == {"s3:DeleteObject"}
    (deletes,) = [each for each in statements(template, "CodeServerRole") if WRITING & set(each["Action"])]
    assert [resource.partition("/")[2] for resource in deletes["Resource"]] == [f"{TRANSIENT_PREFIX}*"]
    for statement in statements(template, "OperatorPolicy"):
        if "s3:DeleteObject" in statement["Action"]:
            assert all(resource.endswith("/dlcs-doctor/*") for resource in statement["Resource"])


def test_what_only_reads_may_only_read(template: Resolved) -> None:
    for name in ("ImageServerRole", "ViewRole"):
        assert actions(template, name) == {"s3:ListBucket", "s3:GetObject"}


@pytest.mark.parametrize("name", ["WebserverRole", "DaemonRole"])
def test_the_ui_and_the_daemon_cannot_reach_images_and_messages(template: Resolved, name: str) -> None:
    assert {action.partition(":")[0] for action in actions(template, name)} <= {"ecs", "ec2", "iam", "logs"}


def test_the_daemon_starts_runs_and_passes_on_their_roles_only(template: Resolved) -> None:
    runs = [template.properties(name) for name in ("RunTask", "SmallRunTask")]
    (start,) = [each for each in statements(template, "DaemonRole") if each["Action"] == ["ecs:RunTask"]]
    assert {each.rpartition("/")[2].rpartition(":")[0] for each in start["Resource"]} == {r["Family"] for r in runs}
    (give,) = [each for each in statements(template, "DaemonRole") if each["Action"] == ["iam:PassRole"]]
    assert set(give["Resource"]) == {run[kind] for run in runs for kind in ("TaskRoleArn", "ExecutionRoleArn")}


def test_tasks_read_the_secrets_of_their_containers_only(template: Resolved) -> None:
    """The master's password is read for the code server's task, and the ledger's for none of the UI and the daemon."""
    tasks = [template.properties(name) for name in template.named("AWS::ECS::TaskDefinition")]
    wanted: dict[str, set[str]] = {}
    for task in tasks:
        role = task["ExecutionRoleArn"].rpartition("/")[2]
        secrets = [
            each["ValueFrom"] for container in task["ContainerDefinitions"] for each in container.get("Secrets", ())
        ]
        wanted.setdefault(role, set()).update(":".join(each.split(":")[:7]) for each in secrets)
    for role, needed in wanted.items():
        reading = [each for each in statements(template, role) if "secretsmanager:GetSecretValue" in each["Action"]]
        assert {resource for each in reading for resource in each["Resource"]} == needed


def test_a_managed_policy_fits_into_what_iam_takes(template: Resolved) -> None:
    for name, document in documents(template):
        longest = 6144 if name.endswith("Policy") else 10240
        assert len(str(document)) <= longest
        names = [statement["Sid"] for statement in document["Statement"]]
        assert len(set(names)) == len(names)
        assert all(each.isalnum() for each in names)
