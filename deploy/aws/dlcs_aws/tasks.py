"""Task definitions: containers, their sizes, and what they wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_ecs as ecs

from dlcs_aws.choices import Arrangement
from dlcs_aws.environment import Environment
from dlcs_aws.permissions import LOG_GROUP, Permissions, add_execution_role, add_role, scratch
from dlcs_aws.settings import SECRETS
from dlcs_aws.storage import Scratch
from dlcs_aws.template import Template

CODE_SERVER_NAME: Final = "code-server"
_PORT_OPEN: Final = "exec 3<>/dev/tcp/127.0.0.1/{port}"
_DISK_GIB: Final = 100  # of a run: two hundred originals in progress


@dataclass(frozen=True)
class Images:
    """The container images."""

    ours: str
    appetiser: str
    image_server: str


@dataclass(frozen=True)
class Roles:
    """ARNs of the roles by which ECS starts tasks, by the secrets that it reads for them."""

    plain: str
    history: str
    ledger: str
    preparing: str


class Tasks:
    """Makes the task definitions of one template."""

    def __init__(
        self,
        template: Template,
        environment: Environment,
        permissions: Permissions,
        shared: Scratch | None,
        secrets: Mapping[str, str],
    ) -> None:
        self._template, self._environment = template, environment
        self._permissions, self._shared = permissions, shared
        arrangement = template.choices.arrangement
        self.images = Images(
            template.ask("Images", "Image", "Image that deploy/Dockerfile makes, in a repository below dlcs/."),
            template.ask("Images", "AppetiserImage", "Appetiser's image, in a repository below dlcs/."),
            "" if arrangement is Arrangement.APPETISER else _ask_cantaloupe(template),
        )
        by_hand = [name for name, _ in SECRETS.values()]
        history, ledger = [secrets["dagster"]], [secrets["dagster"], secrets["ledger"]]
        stack = template.stack
        self.roles = Roles(
            plain=add_execution_role(stack, "PlainExecutionRole", []),
            history=add_execution_role(stack, "HistoryExecutionRole", history),
            ledger=add_execution_role(stack, "LedgerExecutionRole", ledger, by_hand),
            preparing=add_execution_role(stack, "PreparingExecutionRole", [*ledger, secrets["master"]], by_hand),
        )

    def add(
        self,
        name: str,
        roles: tuple[str, str],
        size: tuple[int, int],
        containers: Sequence[Mapping[str, Any]],
        **more: Any,
    ) -> str:
        """Add a definition: roles of execution and task, processor units and MiB. Return its ARN."""
        execution_role, task_role = roles
        cpu, memory = size
        definition = ecs.CfnTaskDefinition(
            self._template.stack,
            "".join(part.capitalize() for part in name.split("-")) + "Task",
            family=cdk.Fn.sub(f"${{AWS::StackName}}-{name}"),
            requires_compatibilities=["FARGATE"],
            network_mode="awsvpc",
            runtime_platform={"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
            execution_role_arn=execution_role,
            task_role_arn=task_role,
            cpu=str(cpu),
            memory=str(memory),
            container_definitions=list(containers),
            **more,
        )
        return str(definition.ref)

    def ours(
        self, name: str, environment: tuple[list[Any], list[Any]], command: Sequence[str] = (), **more: Any
    ) -> dict[str, Any]:
        """Return a container of our own image."""
        variables, secrets = environment
        container = {
            "name": name,
            "image": self.images.ours,
            "essential": True,
            "environment": variables,
            "secrets": secrets,
            "linuxParameters": {"initProcessEnabled": True},
            "logConfiguration": log(name),
            **more,
        }
        return {**container, "command": list(command)} if command else container

    def add_runs(self) -> tuple[str, str]:
        """Add the definition of runs, and of those that need no Appetiser; return their roles."""
        arrangement, on_efs = self._template.choices.arrangement, self._template.choices.on_efs
        statements = self._permissions.runs()
        if on_efs and self._shared is not None:
            statements += scratch(self._shared, self._shared.writer, writes=True)
        else:
            statements += self._permissions.appetiser()
        role = add_role(self._template.stack, "RunRole", statements)
        beside = [] if on_efs else [self.appetiser(4096 if arrangement is Arrangement.SIDECAR else 3072)]
        if arrangement is Arrangement.SIDECAR:
            beside.append(self.image_server("-Xmx4g", mounts=True, cpu=3072, memory=6144))
        container = self.ours(
            "run",
            self._environment.of_ledger(),
            cpu=1024,
            memory=3072,
            mountPoints=[_mount(read_only=False)],
            dependsOn=[{"containerName": each["name"], "condition": "HEALTHY"} for each in beside],
            stopTimeout=120,
        )
        size = (4096, 12288)
        if arrangement is Arrangement.SIDECAR:
            size = (8192, 20480)
        elif on_efs:
            size = (1024, 4096)
        disk = {} if on_efs else {"ephemeral_storage": {"sizeInGiB": _DISK_GIB}}
        self.add(
            "run", (self.roles.ledger, role), size, [container, *beside], volumes=[self._volume(writes=True)], **disk
        )
        small_role = add_role(self._template.stack, "SmallRunRole", self._permissions.small_runs())
        small = self.ours("run", self._environment.of_ledger(), stopTimeout=120)
        self.add("small-run", (self.roles.ledger, small_role), (512, 2048), [small])
        return role, small_role

    def add_operator(self) -> None:
        """Add a definition for `dlcs` in the network: doctor, unless another command is given."""
        role = add_role(self._template.stack, "OperatorRole", self._permissions.operator())
        container = self.ours("operator", self._environment.of_ledger(), ["dlcs", "doctor"])
        self.add("operator", (self.roles.ledger, role), (512, 2048), [container])

    def appetiser(self, cpu: int) -> dict[str, Any]:
        """Return Appetiser's container."""
        ping = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ping', timeout=4)"
        return {
            "name": "appetiser",
            "image": self.images.appetiser,
            "essential": True,
            "cpu": cpu,
            "memory": 8192,
            "environment": [
                {"name": "AWS_DEFAULT_REGION", "value": cdk.Aws.REGION},
                {"name": "KDU_BINARIES", "value": self._permissions.kakadu},
            ],
            "portMappings": [{"containerPort": 8000, "protocol": "tcp"}],
            "mountPoints": [_mount(read_only=False)],
            "healthCheck": _health("CMD", "python3", "-c", ping),
            "linuxParameters": {"initProcessEnabled": True},
            "logConfiguration": log("appetiser"),
        }

    def image_server(self, heap: str, *, mounts: bool, **size: int) -> dict[str, Any]:
        """Return Cantaloupe's container. It only reads the scratch folder, where it sees it."""
        container: dict[str, Any] = {
            "name": "image-server",
            "image": self.images.image_server,
            "essential": True,
            **size,
            "environment": [
                {"name": "AWS_REGION", "value": cdk.Aws.REGION},
                {"name": "S3SOURCE_REGION", "value": cdk.Aws.REGION},
                {"name": "JAVA_TOOL_OPTIONS", "value": heap},
            ],
            "portMappings": [{"containerPort": 8182, "protocol": "tcp"}],
            "healthCheck": port_is_open(8182),
            "linuxParameters": {"initProcessEnabled": True},
            "logConfiguration": log("image-server"),
        }
        return {**container, "mountPoints": [_mount(read_only=True)]} if mounts else container

    def add_image_server(self) -> str:
        """Add the definition of the image server as a service."""
        statements = self._permissions.image_server()
        volumes: dict[str, Any] = {}
        if self._shared is not None:
            statements += scratch(self._shared, self._shared.reader, writes=False)
            volumes = {"volumes": [self._volume(writes=False)]}
        role = add_role(self._template.stack, "ImageServerRole", statements)
        container = self.image_server("-Xmx6g", mounts=self._shared is not None)
        return self.add(
            "image-server",
            (self.roles.plain, role),
            (2048, 8192),
            [container],
            ephemeral_storage={"sizeInGiB": 50},
            **volumes,
        )

    def add_appetiser(self, shared: Scratch) -> str:
        """Add the definition of Appetiser as a service."""
        statements = [*self._permissions.appetiser(), *scratch(shared, shared.writer, writes=True)]
        role = add_role(self._template.stack, "AppetiserRole", statements)
        volume = shared.volume(shared.writer)
        return self.add("appetiser", (self.roles.plain, role), (4096, 8192), [self.appetiser(4096)], volumes=[volume])

    def _volume(self, *, writes: bool) -> dict[str, Any]:
        if self._shared is None:
            return {"name": "scratch"}
        return self._shared.volume(self._shared.writer if writes else self._shared.reader)


def _ask_cantaloupe(template: Template) -> str:
    return template.ask(
        "Images", "CantaloupeImage", "Image that deploy/cantaloupe/Dockerfile makes, in a repository below dlcs/."
    )


def log(part: str) -> dict[str, Any]:
    """Return where a container writes its log: a stream of its own in the group of all."""
    options = {
        "awslogs-group": cdk.Fn.sub(LOG_GROUP),
        "awslogs-region": cdk.Aws.REGION,
        "awslogs-stream-prefix": part,
    }
    return {"logDriver": "awslogs", "options": options}


def port_is_open(port: int) -> dict[str, Any]:
    """Return a check that costs a millisecond: bash connects to the port."""
    return _health("CMD", "bash", "-c", _PORT_OPEN.format(port=port))


def _health(*command: str) -> dict[str, Any]:
    return {"command": list(command), "interval": 10, "timeout": 5, "retries": 3, "startPeriod": 120}


def _mount(*, read_only: bool) -> dict[str, Any]:
    return {"sourceVolume": "scratch", "containerPath": "/scratch", "readOnly": read_only}
