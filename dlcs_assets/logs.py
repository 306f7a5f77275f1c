"""Logs as lines of JSON, for whatever collects the output of containers."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import dagster as dg

# Attributes of a record that are told if a call gave them, as `extra`.
FIELDS: Final = ("image", "request", "run", "stage", "code", "milliseconds")
OWN_LOGGER: Final = "dlcs_assets"
CONSOLE: Final = "console"


class JsonLines(logging.Formatter):
    """One object per record: `time` (UTC, Z), `level`, `logger`, `message`, what is known of FIELDS, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        dagster: Mapping[str, Any] = getattr(record, "dagster_meta", None) or {}
        moment = datetime.fromtimestamp(record.created, UTC)
        told: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            # Dagster's own form of the message repeats run and step.
            "message": dagster.get("orig_message") or record.getMessage(),
        }
        if dagster.get("run_id"):
            told["run"] = dagster["run_id"]
        told |= {name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str, ensure_ascii=False)


def log_json() -> Mapping[str, dg.LoggerDefinition]:
    """Have this process log lines of JSON; return the loggers for Dagster's definitions."""
    _write(logging.getLogger(OWN_LOGGER))
    of_runs = dg.LoggerDefinition(
        lambda _: _write(logging.getLogger(f"{OWN_LOGGER}.run")), description="Lines of JSON, from INFO on."
    )
    return {CONSOLE: of_runs}


def run_config(log_format: str) -> dict[str, Any]:
    """Return the config of a run that is to log in that format: Dagster takes loggers only if a run names them."""
    return {"loggers": {CONSOLE: {}}} if log_format == "json" else {}


def _write(logger: logging.Logger) -> logging.Logger:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    return logger
