"""`dlcs doctor` on the embedded stack: its services are the real ones, and so is their end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from dlcs_stack.stack import Component, RunningStack


def results(environment: dict[str, str], folder: Path) -> tuple[int, dict[str, str]]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DLCS_"))}
    done = subprocess.run(
        [Path(sys.executable).with_name("dlcs"), "doctor", "--json"],
        env={**inherited, **environment, "DLCS_IMAGES_IN_FLIGHT": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, {each["check"]: each["result"] for each in json.loads(done.stdout)}


def test_the_embedded_stack_is_healthy_until_a_service_ends(services: RunningStack, tmp_path: Path) -> None:
    """Only the ledger is a warning there: Dagster, which creates it, is not part of this stack."""
    status, found = results(dict(services.environment), tmp_path)
    assert status == 0
    assert {name for name, result in found.items() if result != "ok"} == {"ledger"}  # Dagster would have made it
    status, found = results({**services.environment, "DLCS_IMAGE_SERVER_SOURCES": "disk"}, tmp_path)
    assert (status, found["image server"]) == (0, "ok")
    services.stop(Component.IMAGE_SERVER)
    try:
        status, found = results(dict(services.environment), tmp_path)
    finally:
        services.start(Component.IMAGE_SERVER)
    assert status == 1
    assert found["image server"] == "fail"
    assert found["appetiser"] == "ok"
