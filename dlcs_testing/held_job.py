"""A job that works until it is released, with the ledger as its resource: for processes that work on one run.

`HELD_JOB_FOLDER` is where it writes who works on it, and waits for the file `release`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._grpc.types import ExecuteRunArgs, ResumeRunArgs

from dlcs_assets.defs.ledgers import LedgerResource
from dlcs_assets.ledger import Ledger

LONGEST_SECONDS = 120


@dg.op
def hold(ledger: dg.ResourceParam[Ledger]) -> None:
    """Work, for as long as the test says."""
    folder = Path(os.environ["HELD_JOB_FOLDER"])
    assert ledger.ownership.current()
    with (folder / "workers").open("a") as workers:
        workers.write(f"{os.getpid()}\n")
    give_up = time.monotonic() + LONGEST_SECONDS
    while not (folder / "release").exists() and time.monotonic() < give_up:
        time.sleep(0.02)


@dg.job(
    resource_defs={
        "ledger": LedgerResource(url=dg.EnvVar("DLCS_LEDGER_URL"), heartbeat_seconds=0.2, claim_ttl_seconds=5)
    },
    executor_def=dg.in_process_executor,
)
def held_job() -> None:
    """Hold on."""
    hold()


def starting_run(instance: dg.DagsterInstance) -> str:
    """Make a run as a launcher gets it; return its id."""
    origin = ReconstructableJob.for_module(__name__, "held_job").get_python_origin()
    run = instance.create_run_for_job(held_job, job_code_origin=origin)
    is_starting_again(instance, run.run_id)
    return run.run_id


def is_starting_again(instance: dg.DagsterInstance, run_id: str) -> None:
    """Have Dagster believe that the run is being launched: a second launcher saw it at the same moment."""
    event = dg.DagsterEvent(dg.DagsterEventType.PIPELINE_STARTING.value, held_job.name)
    instance.report_dagster_event(event, run_id=run_id)


def command(instance: dg.DagsterInstance, run_id: str, *, resume: bool = False) -> list[str]:
    """Return the command with which launchers start the process of a run."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    kind: Any = ResumeRunArgs if resume else ExecuteRunArgs
    arguments: list[str] = kind(run.job_code_origin, run_id, instance.get_ref()).get_command_args()
    return [sys.executable, "-m", "dagster", *arguments[1:]]
