"""What a run writes to its log where that is JSON."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dlcs_assets.logs import OWN_LOGGER
from dlcs_testing.harness import System
from dlcs_testing.pictures import jpeg

LOGGERS = (OWN_LOGGER, f"{OWN_LOGGER}.run")


@pytest.fixture
def system(make_system: Callable[..., System]) -> Iterator[System]:
    yield make_system(log_format="json", attempts=1)
    for name in LOGGERS:
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel(logging.NOTSET)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return what runs wrote; what tests make of sensors' logs is no JSON."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]


def test_a_good_image_has_one_line_with_image_request_and_run(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    status = system.ingest("2/1/page", system.serve("page.jpg", jpeg(120, 90)), "iiif-img,thumbs")
    (line,) = [line for line in lines(capsys) if "2/1/page" in line["message"]]
    assert line["message"] == "2/1/page is done"
    assert line["level"] == "INFO"
    assert (line["image"], line["request"], line["run"]) == ("2/1/page", status.request_id, system.runs[0].run_id)
    assert line["milliseconds"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])


def test_a_failed_image_has_one_error_with_stage_and_code(system: System, capsys: pytest.CaptureFixture[str]) -> None:
    """All that is logged about it is three lines at most."""
    system.ingest("2/1/missing", f"{system.origin.url}/nothing.jpg", "file")
    about = [line for line in lines(capsys) if line.get("image") == "2/1/missing"]
    assert len(about) <= 3
    (error,) = [line for line in about if line["level"] == "ERROR"]
    assert (error["stage"], error["code"]) == ("original", "origin_not_found")
    assert error["run"] == system.runs[0].run_id
    assert error["message"].startswith("2/1/missing failed: ")


def test_an_unexpected_error_has_its_traceback_in_its_line(system: System, capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback of many lines would be many records in a log that is read line by line."""
    system.settings.scratch.parent.mkdir(parents=True, exist_ok=True)
    system.settings.scratch.write_text("a file where a folder should be")
    try:
        system.ingest_once("2/1/page", system.serve("page.jpg", jpeg(120, 90)), "file")
    finally:
        system.settings.scratch.unlink()
    (line,) = [line for line in lines(capsys) if "exception" in line]
    assert (line["image"], line["level"]) == ("2/1/page", "ERROR")
    assert "NotADirectoryError" in line["exception"]
