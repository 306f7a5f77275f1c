"""The cluster and its services: code server, daemon, webserver and pages of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_logs as logs
from aws_cdk import aws_servicediscovery as servicediscovery

from dlcs_aws.database import Database
from dlcs_aws.environment import Environment
from dlcs_aws.network import Network
from dlcs_aws.permissions import LOG_GROUP, Permissions, add_role, daemon, webserver
from dlcs_aws.tasks import CODE_SERVER_NAME, Tasks, log, port_is_open
from dlcs_aws.template import Template, after

CLUSTER: Final = "${AWS::StackName}"
RUN_FAMILIES: Final = ("${AWS::StackName}-run", "${AWS::StackName}-small-run")
_WORKSPACE: Final = "/dagster/workspace.yaml"


def add_cluster(template: Template) -> None:
    """Add the cluster and the log group. What a run's task does not say about capacity is said by the launcher."""
    stack, size = template.stack, template.choices.size
    cluster = ecs.CfnCluster(
        stack,
        "Cluster",
        cluster_name=cdk.Fn.sub(CLUSTER),
        cluster_settings=[{"name": "containerInsights", "value": "enabled"}],
        capacity_providers=["FARGATE", "FARGATE_SPOT"],
    )
    template.show("ClusterName", cluster.ref, "The cluster")
    group = logs.CfnLogGroup(stack, "LogGroup", log_group_name=cdk.Fn.sub(LOG_GROUP), retention_in_days=size.log_days)
    group.apply_removal_policy(cdk.RemovalPolicy.RETAIN)
    template.show("LogGroupName", group.ref, "Where all parts write their logs")


def add_service(template: Template, network: Network, name: str, task: str, group: str, **more: Any) -> Any:
    """Add a service. A deployment whose tasks don't become healthy is taken back."""
    logical = "".join(part.capitalize() for part in name.split("-")) + "Service"
    return ecs.CfnService(
        template.stack,
        logical,
        service_name=name,
        cluster=cdk.Fn.ref("Cluster"),
        task_definition=task,
        launch_type="FARGATE",
        platform_version="LATEST",
        network_configuration={
            "awsvpcConfiguration": {
                "subnets": list(network.private),
                "securityGroups": [group],
                "assignPublicIp": "DISABLED",
            }
        },
        enable_ecs_managed_tags=True,
        propagate_tags="SERVICE",
        **{"deployment_configuration": rolling(100, 200), **more},
    )


def rolling(least: int, most: int) -> dict[str, Any]:
    """Return how a deployment replaces tasks, in percent, and that it is taken back if they fail."""
    breaker = {"enable": True, "rollback": True}
    return {"minimumHealthyPercent": least, "maximumPercent": most, "deploymentCircuitBreaker": breaker}


class Services:
    """Adds the services of Dagster, each after what it needs."""

    def __init__(
        self,
        template: Template,
        network: Network,
        groups: Mapping[str, str],
        tasks: Tasks,
        environment: Environment,
    ) -> None:
        self._template, self._network, self._groups = template, network, groups
        self._tasks, self._environment = tasks, environment
        size = template.choices.size
        self._capacity = template.ask(
            "How much",
            "RunCapacity",
            "Capacity of runs: spot is cheaper, and may be taken away, after which a run's images are due again.",
            default=size.run_capacity,
            allowed_values=["FARGATE", "FARGATE_SPOT"],
        )
        self._code_server = cdk.Fn.join("", [f"{CODE_SERVER_NAME}.", cdk.Aws.STACK_NAME, ".internal"])

    def add_code_server(self, permissions: Permissions, database: Database) -> None:
        """Add the code server. Its task first makes roles and databases, so that the others find them."""
        stack = self._template.stack
        command = ["dagster", "api", "grpc", "-h", "0.0.0.0", "-p", "4000", "-m", "dlcs_assets.definitions"]  # noqa: S104 (in a container, behind its security group)
        container = self._tasks.ours(
            CODE_SERVER_NAME,
            self._environment.of_ledger(),
            [*command, "-a", "defs", "--location-name", "dlcs-assets"],
            portMappings=[{"name": CODE_SERVER_NAME, "containerPort": 4000, "protocol": "tcp"}],
            healthCheck=port_is_open(4000),
            dependsOn=[{"containerName": "database", "condition": "SUCCESS"}],
            stopTimeout=60,
        )
        role = add_role(stack, "CodeServerRole", permissions.code_server())
        task = self._tasks.add(
            CODE_SERVER_NAME,
            (self._tasks.roles.preparing, role),
            (1024, 2048),
            [container, database.preparation(log("database"))],
        )
        namespace = servicediscovery.CfnPrivateDnsNamespace(
            stack, "Namespace", name=cdk.Fn.join("", [cdk.Aws.STACK_NAME, ".internal"]), vpc=self._network.vpc
        )
        registry = servicediscovery.CfnService(
            stack,
            "CodeServerName",
            name=CODE_SERVER_NAME,
            namespace_id=namespace.ref,
            dns_config={"dnsRecords": [{"type": "A", "ttl": 10}], "routingPolicy": "MULTIVALUE"},
        )
        service = add_service(
            self._template,
            self._network,
            CODE_SERVER_NAME,
            task,
            self._groups["CodeServer"],
            desired_count=1,
            service_registries=[{"registryArn": registry.attr_arn}],
        )
        after(service, "Database", "LogGroup", *self._ways_in())

    def _ways_in(self) -> list[str]:
        """Return the rules without which a task can't reach what it starts with."""
        rules = ["CodeServerToDatabase5432In", "CodeServerToDatabase5432Out"]
        if self._template.choices.network == "new":
            rules += ["PrivateWayOut1", "PrivateWayOut2", "PrivateSubnet1Routes", "PrivateSubnet2Routes"]
        return rules

    def _of_dagster(self) -> tuple[list[Any], list[Any]]:
        variables, secrets = self._environment.of_history()
        run, small_run = (cdk.Fn.sub(family) for family in RUN_FAMILIES)
        more = {
            "DAGSTER_CODE_SERVER_HOST": self._code_server,
            "DAGSTER_RUN_TASK_DEFINITION": run,
            "DAGSTER_SMALL_RUN_TASK_DEFINITION": small_run,
            "DAGSTER_RUN_CAPACITY": self._capacity,
            "DAGSTER_RUNS_IN_FLIGHT": self._environment.runs_in_flight,
        }
        return [*variables, *({"name": name, "value": value} for name, value in more.items())], secrets

    def add_daemon(self, run_roles: tuple[str, str]) -> None:
        """Add the daemon. There is one at a time: the former one ends before the next begins."""
        passed = [*run_roles, self._tasks.roles.ledger]
        role = add_role(self._template.stack, "DaemonRole", daemon(CLUSTER, RUN_FAMILIES, passed))
        container = self._tasks.ours(
            "daemon", self._of_dagster(), ["dagster-daemon", "run", "-w", _WORKSPACE], stopTimeout=60
        )
        task = self._tasks.add("daemon", (self._tasks.roles.history, role), (512, 2048), [container])
        service = add_service(
            self._template,
            self._network,
            "daemon",
            task,
            self._groups["Work"],
            desired_count=1,
            deployment_configuration=rolling(0, 100),
        )
        after(service, "CodeServerService", "RunTask", "SmallRunTask", "WorkToCodeServer4000In")

    def add_webserver(self, target: str) -> None:
        """Add the UI, which is reached from its load balancer only."""
        role = add_role(self._template.stack, "WebserverRole", webserver(CLUSTER))
        serve = ["python", "-m", "dlcs_assets.instance.webserver", "-w", _WORKSPACE, "-h", "0.0.0.0", "-p", "3000"]  # noqa: S104 (as above)
        container = self._tasks.ours(
            "webserver",
            self._of_dagster(),
            [*serve, "--allow-host", self._environment.ui_host],
            portMappings=[{"name": "webserver", "containerPort": 3000, "protocol": "tcp"}],
        )
        task = self._tasks.add("webserver", (self._tasks.roles.history, role), (512, 2048), [container])
        self._behind("webserver", task, target, 3000, "UiRule")

    def add_view(self, permissions: Permissions, target: str) -> None:
        """Add the pages of images."""
        role = add_role(self._template.stack, "ViewRole", permissions.view())
        serve = ["python", "-m", "dlcs_assets.view", "--host", "0.0.0.0", "--port", "3001"]  # noqa: S104 (as above)
        container = self._tasks.ours(
            "view",
            self._environment.of_ledger(),
            [*serve, "--allow-host", self._environment.view_host],
            portMappings=[{"name": "view", "containerPort": 3001, "protocol": "tcp"}],
        )
        task = self._tasks.add("view", (self._tasks.roles.ledger, role), (512, 1024), [container])
        self._behind("view", task, target, 3001, "ViewRule")

    def _behind(self, name: str, task: str, target: str, port: int, rule: str) -> None:
        service = add_service(
            self._template,
            self._network,
            name,
            task,
            self._groups["Web"],
            desired_count=self._template.choices.size.webservers,
            health_check_grace_period_seconds=120,
            load_balancers=[{"containerName": name, "containerPort": port, "targetGroupArn": target}],
        )
        after(service, "CodeServerService", rule, "WebToCodeServer4000In", f"FrontToWeb{port}In")
