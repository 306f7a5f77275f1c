"""The embedded stack: AWS, Appetiser, image server, Dagster's webserver and daemon, pages, and what they share.

with Stack(folder).running() as stack:
    subprocess.run([...], env={**os.environ, **stack.environment})
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml  # type: ignore[import-untyped]  # it has no types

from dlcs_stack import aws, dagster_health, data_folder
from dlcs_stack.ports import Ports
from dlcs_stack.supervisor import Health, Ready, Service, Supervisor, free_port, http_health

EXTRA: Final = "dlcs-assets[local]"
NEEDED_MODULES: Final = ("moto", "flask", "numpy")  # what the extra installs
HOST: Final = "127.0.0.1"
DAGSTER_DEV_PORT: Final = 3000
VIEW_PORT: Final = 3001
DAGSTER_TIMEOUT: Final = timedelta(seconds=120)
# The options of `dagster` that name the definitions to load.
DEFINITIONS: Final = ("--module-name", "dlcs_assets.definitions", "--attribute", "defs")
LOCATION: Final = "dlcs-assets"  # as in workspace.yaml
CODE_SERVER_SOCKET: Final = "code-server"
WORKSPACE: Final = "dagster/workspace.yaml"  # in the data folder
REQUEST_LOG: Final = "image-server.requests.jsonl"  # one line of JSON for each request, next to the log


def _instance_file() -> Path:
    """Return the dagster.yaml of the embedded stack: in a wheel next to this module, in a checkout at its top."""
    shipped = Path(__file__).with_name("dagster.yaml")
    return shipped if shipped.exists() else Path(__file__).parents[1] / "dagster.yaml"


INSTANCE: Final = _instance_file()


class Component(StrEnum):
    """A service of the stack; its value is the name of its log as well."""

    AWS = "aws"
    APPETISER = "appetiser"
    IMAGE_SERVER = "image-server"
    CODE_SERVER = "code-server"
    WEBSERVER = "webserver"
    DAEMON = "daemon"
    VIEW = "view"


ALL: Final = frozenset(Component)
SERVICES: Final = frozenset({Component.AWS, Component.APPETISER, Component.IMAGE_SERVER})
DAGSTER: Final = frozenset({Component.CODE_SERVER, Component.WEBSERVER, Component.DAEMON})


@dataclass(frozen=True)
class RunningStack:
    """A stack that is up. `environment` is what any client, Dagster included, needs to work with it."""

    data: Path
    environment: Mapping[str, str]
    _supervisor: Supervisor
    _services: Mapping[Component, Service]

    def check(self) -> None:
        """Raise ServiceFailedError if a service has ended by itself; a code server that has is started again."""
        before = self._supervisor.pids()
        self._supervisor.check()
        if self._supervisor.pids() != before:
            self.note()

    def stop(self, component: Component) -> None:
        """Stop one service, as if it had failed."""
        self._supervisor.stop(component)

    def start(self, component: Component) -> None:
        """Start a service that was stopped; it has forgotten what it kept in memory."""
        self._supervisor.start(self._services[component])
        self.note()

    def note(self) -> None:
        """Write what is up into the data folder, for `dlcs env` and for tests that look up processes."""
        state = data_folder.StackState(os.getpid(), self._supervisor.pids(), dict(self.environment))
        data_folder.write_state(self.data, state)

    def url(self, component: Component) -> str | None:
        """Return where the service itself listens, whatever the settings say."""
        return self._services[component].url

    def log(self, component: Component) -> Path:
        """Return the file to which the service writes."""
        return self._services[component].log


@dataclass(frozen=True)
class Stack:
    """What is to be started, and where. Ports that are not given are free ones."""

    data: Path = data_folder.DEFAULT_FOLDER
    components: frozenset[Component] = ALL
    ports: Mapping[Component, int] = field(default_factory=dict)
    settings: Mapping[str, str] = field(
        default_factory=dict
    )  # DLCS_* variables, in addition to the stack's own or in their place
    options: Mapping[Component, Sequence[str]] = field(default_factory=dict)  # of services of ours, for tests
    definitions: Sequence[str] = DEFINITIONS
    instance: Path = INSTANCE
    on_ready: Callable[[Ready], None] | None = None
    before_start: Callable[[Path, Mapping[str, str]], None] | None = None  # given the data folder and the environment
    preferred_ports: Mapping[Component, int] = field(default_factory=dict)  # taken if they are free
    hosts: Sequence[str] = ()  # names by which UI and pages are reached, in addition to this machine's own addresses

    @contextmanager
    def running(self) -> Iterator[RunningStack]:
        """Start everything, afresh, and stop it at the end; raises StackRefusedError or ServiceFailedError.

        Buckets, queues, ledger and Dagster's history are parts of one whole. The first two live in memory, so what
        an earlier stack left of the others in the data folder is removed.
        """
        _check_installation()
        with (
            Ports() as claimed,
            data_folder.claimed(self.data) as data,
            # Not in the data folder: sockets lie here, and their paths must be short.
            TemporaryDirectory(prefix="dlcs-", ignore_cleanup_errors=True) as temporary,
            Supervisor(self.on_ready) as supervisor,
        ):
            own = self._environment(data, self._choose(claimed))
            environment = {**own, **self.settings}
            surroundings = {**_inherited(), "TMPDIR": temporary, **environment}
            socket = Path(temporary) / CODE_SERVER_SOCKET
            scratch = Path(environment["DLCS_SCRATCH"])
            self._prepare(data, socket, scratch)
            scratch.mkdir(parents=True, exist_ok=True)  # the user's own may be read by an Appetiser of another user
            if self.before_start:
                self.before_start(data, environment)
            services = {Component(each.name): each for each in self._services(data, own, surroundings, socket)}
            supervisor.start(*services.values())
            stack = RunningStack(data, environment, supervisor, services)
            stack.note()
            yield stack

    def _choose(self, claimed: Ports) -> dict[Component, int]:
        """Return a port for each service, that of Dagster's own UI for the webserver where that is free.

        A taken port is refused here: the server that has it would answer the health check in our service's place.
        """
        chosen: dict[Component, int] = {}
        for component in sorted(self.components - {Component.CODE_SERVER}):  # which has a socket
            given, preferred = self.ports.get(component), self.preferred_ports.get(component)
            if given is not None and not claimed.claim(given):
                raise data_folder.StackRefusedError(
                    f"Port {given}, which {component} was given, is in use; choose another one"
                )
            if given is not None:
                chosen[component] = given
            elif preferred is not None and claimed.claim(preferred):
                chosen[component] = preferred
            else:
                chosen[component] = claimed.take()
        return chosen

    def _prepare(self, data: Path, socket: Path, scratch: Path) -> None:
        location = {"grpc_server": {"socket": str(socket), "location_name": LOCATION}}
        with data_folder.private_files():
            for name in ("dagster", "logs"):
                (data / name).mkdir()
            if scratch.is_relative_to(data):
                scratch.mkdir(parents=True)
            shutil.copyfile(self.instance, data / "dagster" / "dagster.yaml")
            (data / WORKSPACE).write_text(yaml.safe_dump({"load_from": [location]}))

    def _environment(self, data: Path, chosen: Mapping[Component, int]) -> dict[str, str]:
        listening = ALL - {Component.CODE_SERVER}
        elsewhere = {component: self.ports.get(component) or free_port() for component in listening - chosen.keys()}
        ports = {**elsewhere, **chosen}
        if Component.WEBSERVER not in self.components and Component.WEBSERVER not in self.ports:
            ports[Component.WEBSERVER] = DAGSTER_DEV_PORT
        url = {component: f"http://{HOST}:{port}" for component, port in ports.items()}
        endpoint = url[Component.AWS]
        return {
            "AWS_ENDPOINT_URL": endpoint,
            **aws.CREDENTIALS,
            "DLCS_INGEST_QUEUE_URL": aws.queue_url(endpoint, aws.INGEST_QUEUE),
            "DLCS_PRIORITY_QUEUE_URL": aws.queue_url(endpoint, aws.PRIORITY_QUEUE),
            "DLCS_UPLOADS_QUEUE_URL": aws.queue_url(endpoint, aws.UPLOADS_QUEUE),
            "DLCS_UPDATE_QUEUE_URL": aws.queue_url(endpoint, aws.UPDATE_QUEUE),
            "DLCS_DELETE_QUEUE_URL": aws.queue_url(endpoint, aws.DELETE_QUEUE),
            "DLCS_BATCH_COMPLETED_TOPIC_ARN": aws.topic_arn(aws.BATCH_COMPLETED),
            "DLCS_STORAGE_BUCKET": aws.STORAGE_BUCKET,
            "DLCS_THUMBS_BUCKET": aws.THUMBS_BUCKET,
            "DLCS_ORIGIN_BUCKET": aws.ORIGIN_BUCKET,
            "DLCS_APPETISER_URL": url[Component.APPETISER],
            "DLCS_IMAGE_SERVER_URL": url[Component.IMAGE_SERVER],
            "DLCS_IMAGE_SERVER_KIND": "embedded",
            "DLCS_LEDGER_URL": f"sqlite:///{data / 'ledger.db'}",
            "DLCS_SCRATCH": str(data / "scratch"),
            "DLCS_PRIVATE_NETWORKS": "127.0.0.0/8",  # a user who tries it has originals on this machine
            "DLCS_UI_URL": url[Component.WEBSERVER],
            **({"DLCS_VIEW_URL": url[Component.VIEW]} if Component.VIEW in self.components else {}),
            "DAGSTER_HOME": str(data / "dagster"),
        }

    def _services(
        self, data: Path, own: Mapping[str, str], surroundings: Mapping[str, str], socket: Path
    ) -> list[Service]:
        """List what to start: each listens where `own` says; the environment it gets may lead elsewhere."""
        endpoint, ui = own["AWS_ENDPOINT_URL"], own["DLCS_UI_URL"]
        appetiser, images = own["DLCS_APPETISER_URL"], own["DLCS_IMAGE_SERVER_URL"]
        scratch, logs = surroundings["DLCS_SCRATCH"], data / "logs"
        scripts = Path(sys.executable).parent
        workspace = str(data / WORKSPACE)
        doors = [part for host in self.hosts for part in ("--allow-host", host)]

        def service(component: Component, command: list[str], health: Health, **more: Any) -> Service:
            log = logs / f"{component}.log"
            return Service(component, command, log, health, environment=surroundings, **more)

        view = own.get("DLCS_VIEW_URL", "")
        services = [
            service(
                Component.AWS,
                [*_module("aws"), *_listen(endpoint)],
                aws.health(endpoint),
                url=endpoint,
            ),
            service(
                Component.APPETISER,
                [
                    *(*_module("appetiser"), *_listen(appetiser), "--roots", scratch),
                    *self.options.get(Component.APPETISER, ()),
                ],
                http_health(f"{appetiser}/ping"),
                url=appetiser,
            ),
            service(
                Component.IMAGE_SERVER,
                [
                    *(*_module("image_server"), *_listen(images)),
                    *("--s3-endpoint", endpoint, "--path-root", scratch),
                    *("--request-log", str(logs / REQUEST_LOG)),
                    *self.options.get(Component.IMAGE_SERVER, ()),
                ],
                http_health(f"{images}/health", also={403}),  # Cantaloupe's answer, if it is to be like that
                url=images,
            ),
            service(
                Component.CODE_SERVER,
                [
                    *(str(scripts / "dagster"), "api", "grpc", "--socket", str(socket), "--location-name", LOCATION),
                    # The first for the reason of -P in _module; and the webserver reports what cannot be loaded.
                    *("--empty-working-directory", "--lazy-load-user-code", *self.definitions),
                ],
                dagster_health.code_server_health(socket),
                ready_timeout=DAGSTER_TIMEOUT,
                restarts=True,
            ),
            service(
                Component.WEBSERVER,
                # Dagster's own, behind a front door.
                [sys.executable, "-P", "-m", "dlcs_assets.instance.webserver", "-w", workspace, *_listen(ui), *doors],
                dagster_health.webserver_health(ui),
                url=ui,
                after=tuple({Component.CODE_SERVER} & self.components),
                ready_timeout=DAGSTER_TIMEOUT,
            ),
            service(
                Component.DAEMON,
                [str(scripts / "dagster-daemon"), "run", "-w", workspace],
                dagster_health.daemon_health(ui),
                # Its sensors ask the queues at once; and two processes that make the same new SQLite history at the
                # same time can leave it marked with the wrong revision.
                after=tuple({Component.AWS, Component.WEBSERVER} & self.components),
                ready_timeout=DAGSTER_TIMEOUT,
            ),
            service(
                Component.VIEW,
                [sys.executable, "-P", "-m", "dlcs_assets.view", *_listen(view), *doors],
                http_health(f"{view}/health"),
                url=view,
            ),
        ]
        return [each for each in services if each.name in self.components]


def _check_installation() -> None:
    missing = [name for name in NEEDED_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise data_folder.StackRefusedError(
            f"The embedded stack needs {', '.join(missing)} in addition to what is installed: pip install '{EXTRA}'"
        )


def _module(name: str) -> list[str]:
    # -P: a file in the current folder that is called like one of the standard library's modules is not imported.
    return [sys.executable, "-P", "-m", f"dlcs_stack.{name}"]


def _listen(url: str) -> list[str]:
    return ["--host", HOST, "--port", url.rpartition(":")[2]]


def _inherited() -> dict[str, str]:
    """Return what the services get of the user's environment: nothing of AWS, and no proxy before the loopback."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    no_proxy = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), HOST, "localhost")))
    return {**inherited, "NO_PROXY": no_proxy, "no_proxy": no_proxy, "PYTHONUNBUFFERED": "1"}
