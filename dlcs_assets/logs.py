"""Logs as lines of JSON, for whatever collects the output of containers."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from dlcs_assets.domain.text import is_visible, visible

# Attributes of a record that are written if a call set them, as `extra`.
FIELDS: Final = ("image", "request", "run", "stage", "code", "milliseconds")
OWN_LOGGER: Final = "dlcs_assets"
_LAYOUT: Final = "\n\t"  # of messages and tracebacks


# Below WARNING they log addresses with their signatures, headers, and the bodies of requests and answers.
_TALKATIVE: Final = ("boto3", "botocore", "httpcore", "httpx", "paramiko", "s3transfer", "urllib3")


def keep_libraries_quiet() -> None:
    """Have clients of ours log warnings only, whatever level the root logger has (`python_logs` in dagster.yaml)."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


class JsonLines(logging.Formatter):
    """One object per record: `time` (UTC, Z), `level`, `logger`, `message`, what is known of FIELDS, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        dagster: Mapping[str, Any] = getattr(record, "dagster_meta", None) or {}
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            # Dagster's own form of the message repeats run and step.
            "message": dagster.get("orig_message") or record.getMessage(),
        }
        if dagster.get("run_id"):
            line["run"] = dagster["run_id"]
        line |= {name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return as_json(line)


class VisibleRecord(logging.LogRecord):
    """A record whose message and traceback hide nothing: both may quote what comes from outside."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.exc_info and self.exc_info[0]:  # formatters take this in place of a text of their own
            lines = traceback.format_exception(*self.exc_info)
            self.exc_text = visible("".join(lines).rstrip("\n"), keep=_LAYOUT)

    def getMessage(self) -> str:  # noqa: N802 (logging's name)
        """Return the message, with its arguments."""
        return visible(super().getMessage(), keep=_LAYOUT)


def log_visibly() -> None:
    """Have all loggers of this process, Dagster's with what the UI shows of them, write nothing that is not visible."""
    logging.setLogRecordFactory(VisibleRecord)


def as_json(value: object) -> str:
    """Return one line of JSON; what is not visible is escaped as JSON has it, so that it means the same."""
    line = json.dumps(value, default=str, ensure_ascii=False)
    if line.isascii() and line.isprintable():
        return line
    return "".join(character if is_visible(character) else json.dumps(character)[1:-1] for character in line)


def log_json(logger: logging.Logger) -> logging.Logger:
    """Have a logger write lines of JSON to standard error, from INFO on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    return logger
