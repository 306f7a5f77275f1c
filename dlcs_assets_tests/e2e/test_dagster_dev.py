"""Plain `dagster dev` in the checkout, with the environment of `dlcs env`, is the same system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dlcs_stack.stack import SERVICES, Component, Stack
from dlcs_stack.supervisor import free_port
from dlcs_testing.pictures import jpeg
from dlcs_testing.whole_system import System, full_message

pytestmark = pytest.mark.e2e
CHECKOUT = Path(__file__).parents[2]


def test_dagster_dev_works_with_the_environment_of_dlcs_env(tmp_path: Path) -> None:
    """Plain `dagster dev` next to the services of the embedded stack ingests an image by its sensors."""
    port = free_port()
    scripts = Path(sys.executable).parent
    command = f'eval "$(dlcs env --data {tmp_path}/stack)" && exec dagster dev --port {port}'
    surroundings = {"PATH": f"{scripts}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    with (
        Stack(tmp_path / "stack", components=SERVICES, ports={Component.WEBSERVER: port}).running() as services,
        (tmp_path / "dagster-dev.log").open("wb") as log,
        subprocess.Popen(
            ["sh", "-c", command], cwd=CHECKOUT, env=surroundings, stdout=log, stderr=log, start_new_session=True
        ) as dagster_dev,
    ):
        try:
            system = System(services.environment)
            system.send(full_message("7/1/page", system.upload("7/1/page", jpeg(320, 240))))
            system.await_end(["7/1/page"])
            system.await_materialized("@7/1/page", 1)
            (run,) = system.dagster.runs(customer="7")
            assert run.tags["dagster/sensor_name"] == "sqs_ingest"
        except AssertionError as error:
            error.add_note((tmp_path / "dagster-dev.log").read_text()[-5000:])
            raise
        finally:
            dagster_dev.send_signal(signal.SIGINT)
            dagster_dev.wait(30)
