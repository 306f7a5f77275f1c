"""Dagster's launcher for ECS, with runs that wait while AWS has no room for their tasks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import dagster as dg
from dagster._core.launcher import LaunchRunContext
from dagster_aws.ecs import EcsRunLauncher

from dlcs_assets.instance.capacity import put_back

# Codes by which AWS says that a call came too early, or that it has a fault of its own.
_PASSING: Final = frozenset(
    {
        "InternalFailure",
        "LimitExceededException",
        "RequestLimitExceeded",
        "RequestThrottledException",
        "ServerException",
    }
    | {"ServiceUnavailable", "ServiceUnavailableException", "SlowDown", "Throttling", "ThrottlingException"}
    | {"ThrottledException", "TooManyRequestsException", "UpdateInProgressException"}
)
# What RunTask answers while a cluster is full, grows, or has as many tasks as the account may have; from ECS's pages
# "API failures messages" and "service quotas".
_NO_ROOM: Final = re.compile(
    r"reason: (RESOURCE:|AGENT\b|EMPTY CAPACITY PROVIDER|NO ACTIVE INSTANCES)|Capacity is unavailable|"
    r"No Container Instances were found|limit on the number of (tasks|vCPUs)|Throttling|Rate exceeded",
    re.IGNORECASE,
)
_FAULTS_OF_AWS: Final = 500
_OWN_ARGUMENTS: Final = "ecs/run_task_kwargs"  # Dagster's tag: arguments of RunTask for one run


class PatientEcsRunLauncher(EcsRunLauncher[Any]):
    """Starts a task in ECS for each run; where there is no capacity, the run stays in Dagster's queue.

    Runs of `small_jobs` are tasks of `small_task_definition`: they convert nothing, and need no Appetiser. All of them
    are tasks of `capacity_provider`, where it is named: FARGATE_SPOT, for example.
    """

    def __init__(
        self,
        small_task_definition: str | None = None,
        small_jobs: Sequence[str] = (),
        capacity_provider: str | None = None,
        **config: Any,
    ) -> None:
        super().__init__(**config)
        self._small_task_definition = small_task_definition
        self._small_jobs = frozenset(small_jobs)
        self._capacity_provider = capacity_provider

    @classmethod
    def config_type(cls) -> Any:
        """Return the configuration of Dagster's launcher, and what is added."""
        return {
            **super().config_type(),  # type: ignore[no-untyped-call] # it has no types
            "small_task_definition": dg.Field(dg.StringSource, is_required=False),
            "small_jobs": dg.Field([str], is_required=False),
            "capacity_provider": dg.Field(dg.StringSource, is_required=False),
        }

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start a task. Raises NoCapacityError if one may start later."""
        try:
            super().launch_run(context._replace(dagster_run=self._with_arguments(context.dagster_run)))
        except Exception as error:
            if not may_pass(error):
                raise
            raise put_back(self._instance, context.dagster_run, f"ECS: {error}") from error

    def _with_arguments(self, run: dg.DagsterRun) -> dg.DagsterRun:
        """Return the run with what its task is to be; what the run itself says counts for more."""
        arguments: dict[str, Any] = {}
        if self._small_task_definition and run.job_name in self._small_jobs:
            arguments["taskDefinition"] = self._small_task_definition
        if self._capacity_provider:
            provider = {"capacityProvider": self._capacity_provider, "weight": 1}
            arguments["capacityProviderStrategy"] = [provider]
        if not arguments:
            return run
        own = json.loads(run.tags.get(_OWN_ARGUMENTS, "{}"))
        return run.with_tags({**run.tags, _OWN_ARGUMENTS: json.dumps({**arguments, **own})})


def may_pass(error: Exception) -> bool:
    """Return whether starting a task failed for a reason that time removes.

    A right that is missing, or a task definition that is not there, is no such one.
    """
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError  # noqa: A004 (botocore's name)

    if isinstance(
        error, ConnectionError | HTTPClientError
    ):  # no connection, or no answer: if a task was started, it stands by (0052)
        return True
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status >= _FAULTS_OF_AWS or error.response.get("Error", {}).get("Code") in _PASSING:
            return True
    return _NO_ROOM.search(str(error)) is not None
