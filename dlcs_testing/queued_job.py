"""A job that does nothing, and runs of it in Dagster's queue: for what happens before a run begins."""

from __future__ import annotations

import sys

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

LOCATION = "dlcs-assets"


@dg.op
def nothing() -> None:
    """Do nothing."""


@dg.job(executor_def=dg.in_process_executor)
def queued_job() -> None:
    """Do nothing, soon."""
    nothing()


def remote_origin(job: str) -> RemoteJobOrigin:
    """Return where the daemon finds a job: runs in the queue have to say that."""
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=__name__, attribute="queued_job")
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, LOCATION)
    return RemoteRepositoryOrigin(location, "__repository__").get_job_origin(job)


def queued_run(instance: dg.DagsterInstance) -> str:
    """Put a run into the queue, as the daemon does for a sensor; return its id."""
    run = instance.create_run_for_job(
        queued_job,
        status=dg.DagsterRunStatus.NOT_STARTED,
        job_code_origin=ReconstructableJob.for_module(__name__, "queued_job").get_python_origin(),
        remote_job_origin=remote_origin(queued_job.name),
    )
    instance.report_dagster_event(dg.DagsterEvent.job_enqueue(run), run_id=run.run_id)
    return run.run_id
