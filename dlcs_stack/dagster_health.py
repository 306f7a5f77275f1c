"""Whether Dagster is ready: its webserver and daemon are checked over the GraphQL that the UI itself uses."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, Final

from dlcs_stack.supervisor import HEALTH_TIMEOUT, BrokenServiceError, Health, fetch

WORKSPACE_QUERY: Final = """{ workspaceOrError { __typename
  ... on PythonError { message }
  ... on Workspace { locationEntries { name loadStatus
    locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
DAEMONS_QUERY: Final = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"


def code_server_health(path: Path) -> Health:
    """Ready when a server listens at the socket; whether the definitions load is left to the webserver."""

    def health() -> str | None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(HEALTH_TIMEOUT.total_seconds())
            try:
                connection.connect(str(path))
            except OSError as error:
                return f"{path}: {error}"
        return None

    return health


def webserver_health(url: str) -> Health:
    """Ready when the webserver answers and every code location is loaded; broken when one cannot be."""

    def health() -> str | None:
        try:
            workspace = _query(url, WORKSPACE_QUERY)["workspaceOrError"]
        except OSError as error:
            return f"{url}: {error}"
        if workspace["__typename"] != "Workspace":
            raise BrokenServiceError(workspace.get("message", workspace["__typename"]))
        for entry in workspace["locationEntries"]:
            loaded = entry["locationOrLoadError"]
            if entry["loadStatus"] != "LOADED" or loaded is None:
                return f"the code location {entry['name']} is loading"
            if loaded["__typename"] == "PythonError":
                raise BrokenServiceError(f"the code location {entry['name']} does not load: {loaded['message']}")
        return None

    return health


def daemon_health(webserver_url: str) -> Health:
    """Ready when every daemon that this instance needs has sent its heartbeat."""

    def health() -> str | None:
        try:
            statuses = _query(webserver_url, DAEMONS_QUERY)["instance"]["daemonHealth"]["allDaemonStatuses"]
        except OSError as error:
            return f"the webserver does not answer: {error}"
        silent = [each["daemonType"] for each in statuses if each["required"] and not each["healthy"]]
        return f"no heartbeat yet of {', '.join(silent)}" if silent else None

    return health


def _query(url: str, query: str) -> dict[str, Any]:
    answer = json.loads(fetch(f"{url}/graphql", json.dumps({"query": query}).encode()))
    if answer.get("data") is None:
        raise BrokenServiceError(f"GraphQL: {answer.get('errors')}")
    data: dict[str, Any] = answer["data"]
    return data
