"""Dagster's loggers: lines of JSON in place of Dagster's own console logger, where the settings ask for them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import dagster as dg

from dlcs_assets.logs import OWN_LOGGER, log_json

CONSOLE: Final = "console"


def json_loggers() -> Mapping[str, dg.LoggerDefinition]:
    """Have this process log lines of JSON; return the loggers for Dagster's definitions."""
    log_json(logging.getLogger(OWN_LOGGER))
    of_runs = dg.LoggerDefinition(
        lambda _: log_json(logging.getLogger(f"{OWN_LOGGER}.run")), description="Lines of JSON, from INFO on."
    )
    return {CONSOLE: of_runs}


def run_config(log_format: str) -> dict[str, Any]:
    """Return the config of a run that is to log in that format: Dagster takes loggers only if a run names them."""
    return {"loggers": {CONSOLE: {}}} if log_format == "json" else {}
