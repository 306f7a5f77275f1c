"""`dlcs up` and `dlcs env`: the embedded stack, and how to reach it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer
from rich.console import Console

from dlcs_assets.cli.failure import CommandError
from dlcs_assets.cli.given_settings import GIVEN_SERVICES, Given, given_settings
from dlcs_assets.cli.output import VisibleConsole, echo, echo_data
from dlcs_assets.cli.start_checks import check_start
from dlcs_assets.clients.appetiser import Appetiser
from dlcs_assets.clients.image_server import ImageServer
from dlcs_assets.domain.redaction import shown_url
from dlcs_stack import data_folder
from dlcs_stack.stack import ALL, DAGSTER_DEV_PORT, SERVICES, VIEW_PORT, Component, RunningStack, Stack
from dlcs_stack.supervisor import Ready, ServiceFailedError

CHECK_INTERVAL: Final = timedelta(seconds=1)
INTERRUPTED: Final = 130  # the exit status of what Ctrl-C ended before it was through

DataOption = Annotated[Path, typer.Option("--data", help="Folder of the stack's data; emptied at each start.")]
UiPortOption = Annotated[
    int | None, typer.Option("--ui-port", help=f"Port of the Dagster UI; default: {DAGSTER_DEV_PORT} or a free one.")
]
ViewPortOption = Annotated[
    int | None, typer.Option("--view-port", help=f"Port of the pages of dlcs view; default: {VIEW_PORT} or a free one.")
]
UiHostOption = Annotated[
    list[str] | None,
    typer.Option("--ui-host", help="Name by which UI and pages are reached, in addition to localhost; repeatable."),
]
AwsPortOption = Annotated[int | None, typer.Option(help="Port of S3 and SQS; default: a free one.")]
AppetiserPortOption = Annotated[int | None, typer.Option(help="Port of Appetiser; default: a free one.")]
SharedDiskOption = Annotated[
    bool, typer.Option("--shared-disk", help="Let the image server read the runs' files, in place of S3.")
]
ImageServerPortOption = Annotated[int | None, typer.Option(help="Port of the image server; default: a free one.")]


def up(
    data: DataOption = data_folder.DEFAULT_FOLDER,
    ui_port: UiPortOption = None,
    aws_port: AwsPortOption = None,
    appetiser_port: AppetiserPortOption = None,
    image_server_port: ImageServerPortOption = None,
    *,
    view_port: ViewPortOption = None,
    ui_host: UiHostOption = None,
    services_only: Annotated[
        bool, typer.Option("--services-only", help="Leave Dagster out: for `dagster dev` with `dlcs env`.")
    ] = False,
    shared_disk: SharedDiskOption = False,
) -> None:
    """Start the embedded stack and keep it up until Ctrl-C."""
    ports = {
        Component.AWS: aws_port,
        Component.APPETISER: appetiser_port,
        Component.IMAGE_SERVER: image_server_port,
        Component.WEBSERVER: ui_port,
        Component.VIEW: view_port,
    }
    console = VisibleConsole(soft_wrap=True, highlight=False)
    with running(
        data, ports, console, services_only=services_only, shared_disk=shared_disk, ui_hosts=ui_host or ()
    ) as stack:
        option = "" if data == data_folder.DEFAULT_FOLDER else f" --data {shlex.quote(str(data))}"
        console.print(f'[bold]The stack is up.[/] In another terminal: eval "$(dlcs env{option})"')
        if not services_only:
            console.print(f"Images:  {stack.environment['DLCS_VIEW_URL']}")
            console.print(f"Dagster: {stack.environment['DLCS_UI_URL']}")
        console.print("Ctrl-C stops everything.")
        stay_up(stack)


def env(
    data: DataOption = data_folder.DEFAULT_FOLDER,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Print the environment of the running stack. Use it with `eval "$(dlcs env)"`."""
    try:
        environment = data_folder.read_state(data).environment
    except data_folder.NoStackError as error:
        echo(str(error), err=True)
        raise typer.Exit(1) from error
    if as_json:
        echo_data(json.dumps(environment, indent=2))
    else:
        for name, value in environment.items():
            echo_data(f"export {name}={shlex.quote(value)}")


@contextmanager
def running(
    data: Path,
    ports: Mapping[Component, int | None],
    console: Console,
    *,
    services_only: bool = False,
    shared_disk: bool = False,
    ui_hosts: Sequence[str] = (),
) -> Iterator[RunningStack]:
    """Run a stack for a command: a line for each service, one message for what fails, a quiet end on Ctrl-C or SIGTERM.

    What the environment says of the stack's own settings is respected or refused (`given_settings`). The UI gets the
    port of `dagster dev` where that is free, and the pages the next one, so that a bookmark finds them again.
    """
    chosen = {component: port for component, port in ports.items() if port is not None}

    def show(ready: Ready) -> None:
        name, seconds = ready.service.name, ready.took.total_seconds()
        console.print(f"[green]ready[/]  {name:<14}{ready.service.url or '':<26}{seconds:6.1f} s", markup=True)

    signal.signal(signal.SIGTERM, _interrupt)
    given = given_settings(os.environ, chosen, shared_disk=shared_disk)
    for line in given.remarks:
        console.print(line, markup=True)
    _check_services(given)
    components = (SERVICES if services_only else ALL) - set(given.services)

    def check(folder: Path, environment: Mapping[str, str]) -> None:
        for line in check_start(folder, environment, given, with_dagster=Component.DAEMON in components):
            console.print(line, markup=True)

    stack = Stack(
        data,
        components,
        chosen,
        given.settings,
        on_ready=show,
        before_start=check,
        preferred_ports={Component.WEBSERVER: DAGSTER_DEV_PORT, Component.VIEW: VIEW_PORT},
        hosts=ui_hosts,
    )
    started = False
    try:
        with stack.running() as up:
            started = True
            yield up
    except (ServiceFailedError, data_folder.StackRefusedError) as error:
        echo(str(error), err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        console.print("Stopped.")
        if not started:
            raise typer.Exit(INTERRUPTED) from None


def stay_up(stack: RunningStack) -> None:
    """Wait until Ctrl-C or SIGTERM; raises ServiceFailedError when a service ends."""
    while True:
        stack.check()
        time.sleep(CHECK_INTERVAL.total_seconds())


def _check_services(given: Given) -> None:
    for component, url in given.services.items():
        if not _answers(component, url):
            variable = GIVEN_SERVICES[component]
            raise CommandError(
                f"{variable} leads to {shown_url(url)}, where no {component} answers. Start it, or unset {variable} to "
                "have the embedded one."
            )


def _answers(component: Component, url: str) -> bool:
    if component is Component.APPETISER:
        with closing(Appetiser(url=url)) as appetiser:
            return appetiser.ping()
    with closing(ImageServer(url=url)) as server:
        return server.is_up()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
