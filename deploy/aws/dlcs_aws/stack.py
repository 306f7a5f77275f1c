"""One template: everything of an installation, in the order in which its parts need each other."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam

from dlcs_aws.alarms import Alarms, add_budget
from dlcs_aws.choices import Choices
from dlcs_aws.database import add_database
from dlcs_aws.environment import Environment
from dlcs_aws.front_door import add_front_door
from dlcs_aws.image_servers import add_appetisers, add_image_servers, address, image_balancer
from dlcs_aws.messages import add_messages
from dlcs_aws.network import add_endpoints, add_network
from dlcs_aws.permissions import Permissions
from dlcs_aws.security import add_security_groups
from dlcs_aws.services import Services, add_cluster
from dlcs_aws.storage import add_buckets, add_scratch, bucket_names
from dlcs_aws.tasks import Tasks
from dlcs_aws.template import Template

_IN_THE_TASK = "http://127.0.0.1"


def write_stack(app: Any, name: str, choices: Choices) -> None:
    """Add a stack to the app, whose template needs neither assets nor a bootstrapped account."""
    synthesizer = cdk.DefaultStackSynthesizer(generate_bootstrap_version_rule=False)
    stack = cdk.Stack(
        app,
        name,
        synthesizer=synthesizer,
        description=f"Image ingest for the DLCS: {choices.size.name}, {choices.arrangement.value}",
    )
    template = Template(stack, choices)
    network = add_network(template)
    groups = add_security_groups(template, network)
    add_endpoints(template, network, groups)
    add_cluster(template)
    buckets = bucket_names(template)
    messages = add_messages(template, buckets)
    add_buckets(template, buckets, messages.queues["uploads_queue_url"].arn)
    permissions = Permissions(template, buckets, messages)
    instance_class = cdk.Fn.find_in_map("Scale", cdk.Fn.ref("RunsInFlight"), "DatabaseClass")
    database = add_database(template, network, groups["Database"], instance_class)
    environment = Environment(template, database, buckets, messages, permissions)
    shared = add_scratch(template, network, groups)
    balancer = image_balancer(template, network, groups)
    environment.services(
        address(balancer, 8182) if balancer else f"{_IN_THE_TASK}:8182",
        address(balancer, 8000) if shared else f"{_IN_THE_TASK}:8000",
    )
    secrets = {
        "ledger": database.ledger_secret,
        "dagster": database.dagster_secret,
        "master": database.master_secret,
    }
    tasks = Tasks(template, environment, permissions, shared, secrets)
    front = add_front_door(template, network, groups, environment)
    services = Services(template, network, groups, tasks, environment)
    services.add_code_server(permissions, database)
    services.add_daemon(tasks.add_runs())
    services.add_webserver(front.ui)
    services.add_view(permissions, front.view)
    tasks.add_operator()
    names, balanced = ["code-server", "daemon", "webserver", "view"], {}
    if balancer:
        balanced["ImageServer"] = add_image_servers(template, network, groups, tasks, environment, balancer)
        names.append("image-server")
    if balancer and shared:
        balanced["Appetiser"] = add_appetisers(template, network, groups, tasks, environment, balancer, shared)
        names.append("appetiser")
    Alarms(template, messages.alarms).add_all(messages, database, names, balanced, environment.metrics_namespace)
    add_budget(template, cdk.Fn.ref("AlarmEmail"))
    _let_people(template, permissions)
    template.show("StorageBucketName", buckets.storage, "Bucket of JP2s and kept originals")
    template.show("ThumbsBucketName", buckets.thumbs, "Bucket of thumbnails")
    template.show("UploadsBucketName", buckets.uploads, "Bucket of uploads")
    template.show("TaskSubnets", cdk.Fn.join(",", list(network.private)), "Where operators start tasks")
    template.show("TaskSecurityGroup", groups["Work"], "Their security group")
    template.finish()
    cdk.Tags.of(stack).add("dlcs:installation", cdk.Aws.STACK_NAME)


def _let_people(template: Template, permissions: Permissions) -> None:
    for name, statements, description in (
        ("OperatorPolicy", permissions.operator(), "For people who run dlcs"),
        ("RestorePolicy", permissions.restore(), "For an operator, while objects are restored"),
    ):
        document = {"Version": "2012-10-17", "Statement": statements}
        policy = iam.CfnManagedPolicy(template.stack, name, policy_document=document, description=description)
        template.show(f"{name}Arn", policy.ref, description)
