"""The smaller template, deployed by moto's CloudFormation as far as that goes: what it makes is what tasks name."""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from dlcs_assets_tests.deploy.templates import FOLDER, REGION, STACK, Resolved, read
from dlcs_stack.supervisor import free_port
from dlcs_testing.waiting import eventually

# Types that moto's CloudFormation passes over; tests on the template are about them.
LEFT_OUT = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::Budgets::Budget",
    "AWS::CloudWatch::Alarm",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::SecretsManager::Secret",
    "AWS::ServiceDiscovery::PrivateDnsNamespace",
    "AWS::ServiceDiscovery::Service",
}
# What the settings of a task name, by the type of the resource.
NAMED = {
    "AWS::SQS::Queue": {
        "DLCS_INGEST_QUEUE_URL": "IngestQueue",
        "DLCS_PRIORITY_QUEUE_URL": "PriorityQueue",
        "DLCS_UPLOADS_QUEUE_URL": "UploadsQueue",
        "DLCS_UPDATE_QUEUE_URL": "UpdateQueue",
        "DLCS_DELETE_QUEUE_URL": "DeleteQueue",
    },
    "AWS::SNS::Topic": {
        "DLCS_BATCH_COMPLETED_TOPIC_ARN": "BatchCompletedTopic",
        "DLCS_ALERT_TOPIC_ARN": "AlarmTopic",
    },
    "AWS::S3::Bucket": {
        "DLCS_STORAGE_BUCKET": "StorageBucket",
        "DLCS_THUMBS_BUCKET": "ThumbsBucket",
        "DLCS_ORIGIN_BUCKET": "UploadsBucket",
    },
}


def filled_in(template: Resolved, expression: Any) -> Any:  # noqa: PLR0911 (a gap of moto each)
    """Return an expression with what moto can't work out replaced by what it comes to."""
    if isinstance(expression, list):
        # moto keeps an AWS::NoValue in a list.
        return [filled_in(template, each) for each in expression if template.value([each])]
    match expression:
        case {"Ref": "DatabaseParameters"}:
            return "default.postgres"  # where moto needs the group's name, it has the group
        case {"Fn::GetAtt": [_, "MasterUserSecret.SecretArn"]}:
            return template.value(expression)
        case {"Ref": name} | {"Fn::GetAtt": [name, _]} if is_left_out(template, name):
            return template.value(expression)
        case {"Fn::Select": [number, {"Fn::Cidr": [_, _, bits]}]}:
            network = ipaddress.ip_network(template.properties("Vpc")["CidrBlock"])
            return str(list(network.subnets(new_prefix=32 - int(bits)))[number])
        case {"Fn::Select": [number, {"Fn::GetAZs": _}]}:
            return f"{REGION}{'abc'[number]}"
        case dict():
            return {name: filled_in(template, each) for name, each in expression.items()}
    return expression


def is_left_out(template: Resolved, name: str) -> bool:
    return template.document["Resources"].get(name, {}).get("Type") in LEFT_OUT


def for_moto(template: Resolved) -> str:
    resources = {}
    for name, resource in template.document["Resources"].items():
        if is_left_out(template, name):
            continue
        resources[name] = filled_in(template, {key: each for key, each in resource.items() if key != "DependsOn"})
        needed = resource.get("DependsOn", [])
        needed = [needed] if isinstance(needed, str) else needed
        resources[name]["DependsOn"] = [each for each in needed if not is_left_out(template, each)]
    return json.dumps({**template.document, "Resources": resources, "Outputs": {}})


@dataclass(frozen=True)
class Deployed:
    template: Resolved
    endpoint: str
    resources: dict[str, dict[str, Any]]  # by their names in the template

    def client(self, service: str) -> Any:
        return client(service, self.endpoint)

    def physical(self, name: str) -> str:
        found = self.resources[name]["PhysicalResourceId"]
        assert isinstance(found, str)
        return found

    def task(self, name: str) -> dict[str, Any]:
        described = self.client("ecs").describe_task_definition(taskDefinition=self.physical(name))
        found: dict[str, Any] = described["taskDefinition"]
        return found


def client(service: str, endpoint: str) -> Any:
    import boto3

    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client(service, endpoint_url=endpoint, region_name=REGION, **keys)  # type: ignore[call-overload]


@contextmanager
def moto() -> Iterator[str]:
    """Run moto in a process of its own, as what it has is the whole process's; yield its address."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: is_listening(port))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    with moto() as endpoint:
        certificate = client("acm", endpoint).request_certificate(DomainName="ingest.example.org")
        template = read(FOLDER / "templates" / "small.json", CertificateArn=certificate["CertificateArn"])
        formation = client("cloudformation", endpoint)
        formation.create_stack(
            StackName=STACK,
            TemplateBody=for_moto(template),
            Parameters=[{"ParameterKey": name, "ParameterValue": each} for name, each in template.given.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        pages = formation.get_paginator("list_stack_resources").paginate(StackName=STACK)
        found = {each["LogicalResourceId"]: each for page in pages for each in page["StackResourceSummaries"]}
        yield Deployed(template, endpoint, found)


def test_every_resource_is_made_or_its_type_left_out(deployed: Deployed) -> None:
    template = deployed.template
    kinds = {each["Type"] for each in template.document["Resources"].values()}
    assert kinds >= LEFT_OUT
    wanted = {name for kind in kinds - LEFT_OUT for name in template.named(kind)}
    assert set(deployed.resources) - {""} == wanted  # moto lists one more, without a name
    assert {each["ResourceStatus"] for each in deployed.resources.values()} == {"CREATE_COMPLETE"}


def test_no_type_is_left_out_that_moto_takes() -> None:
    from moto.cloudformation import parsing

    assert LEFT_OUT & set(parsing.get_model_map()) == set()


@pytest.mark.parametrize(
    ("task", "name"), [("RunTask", "run"), ("SmallRunTask", "run"), ("CodeServerTask", "code-server")]
)
def test_tasks_are_given_the_names_of_what_was_made(deployed: Deployed, task: str, name: str) -> None:
    (container,) = [each for each in deployed.task(task)["containerDefinitions"] if each["name"] == name]
    given = {each["name"]: each["value"] for each in container["environment"]}
    for kind, settings in NAMED.items():
        assert set(deployed.template.named(kind)) == set(settings.values())
        for setting, resource in settings.items():
            assert given[setting] == deployed.physical(resource)


def test_queues_buckets_and_topics_answer_by_those_names(deployed: Deployed) -> None:
    sqs, s3, sns = (deployed.client(each) for each in ("sqs", "s3", "sns"))
    for resource in NAMED["AWS::SQS::Queue"].values():
        found = sqs.get_queue_attributes(QueueUrl=deployed.physical(resource), AttributeNames=["All"])["Attributes"]
        assert found["VisibilityTimeout"] == "120"
    for resource in NAMED["AWS::S3::Bucket"].values():
        s3.head_bucket(Bucket=deployed.physical(resource))
    for resource in NAMED["AWS::SNS::Topic"].values():
        arn = deployed.physical(resource)
        assert sns.get_topic_attributes(TopicArn=arn)["Attributes"]["TopicArn"] == arn


def test_containers_write_to_a_log_group_that_was_made(deployed: Deployed) -> None:
    group = deployed.physical("LogGroup")
    for name in deployed.template.named("AWS::ECS::TaskDefinition"):
        for container in deployed.task(name)["containerDefinitions"]:
            assert container["logConfiguration"]["options"]["awslogs-group"] == group
    found = deployed.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert group in [each["logGroupName"] for each in found]


def test_roles_have_their_policies(deployed: Deployed) -> None:
    iam = deployed.client("iam")
    for name in deployed.template.named("AWS::IAM::Role"):
        policies = deployed.template.properties(name).get("Policies", [])
        found = iam.list_role_policies(RoleName=deployed.physical(name))["PolicyNames"]
        assert sorted(found) == sorted(each["PolicyName"] for each in policies)
