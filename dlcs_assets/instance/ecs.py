"""Dagster's launcher for ECS, with runs that wait while AWS has no room for their tasks."""

from __future__ import annotations

import re
from typing import Any, Final

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


class PatientEcsRunLauncher(EcsRunLauncher[Any]):
    """Starts a task in ECS for each run; where there is no capacity, the run stays in Dagster's queue."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start a task. Raises NoCapacityError if one may start later."""
        try:
            super().launch_run(context)
        except Exception as error:
            if not may_pass(error):
                raise
            raise put_back(self._instance, context.dagster_run, f"ECS: {error}") from error


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
