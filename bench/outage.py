"""The image server killed for a minute among 200 images: do all complete, and is it said why nothing moves?"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.processes import kill
from bench.result import Result
from bench.system import RunningSystem
from dlcs_assets.ledger.reports import Selection
from dlcs_stack.stack import Component
from dlcs_testing.dagster_api import DagsterApi
from dlcs_testing.pictures import drawing, encoded

CUSTOMER = 500
DLCS = Path(sys.executable).parent / "dlcs"
SENSOR = "due_images"  # what is to be tried again is its part


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:  # noqa: ARG001 (pages of its own)
    """Send the images, kill the server when a fifth of them is done, look around, and start it again."""
    count, seconds_down = (16, 5) if quick else (200, 60)
    images = [f"{CUSTOMER}/1/{number}" for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.jpg")  # a small one: the time of conversion is not what this is about
        page.write_bytes(encoded(drawing(1200, 900), quality=85))
        sent = [(image, system.upload(page, image)) for image in images]
    began = time.monotonic()
    system.send(sent)
    while done(system) < count // 5:
        time.sleep(0.1)
    kill(system.stack, Component.IMAGE_SERVER)
    down, before = time.monotonic(), done(system)
    said = {"status": since(down, lambda: says_why(status())), "ui": since(down, lambda: says_why_in_the_ui(system))}
    time.sleep(max(0.0, down + seconds_down - time.monotonic()))
    meanwhile = done(system) - before
    system.stack.stop(Component.IMAGE_SERVER)
    system.stack.start(Component.IMAGE_SERVER)
    back = time.monotonic()
    ended = system.wait(CUSTOMER, count)  # raises if one has failed
    over = time.monotonic()
    yield Result("outage", "images_done_before", before, "images")
    yield Result("outage", "images_done_meanwhile", meanwhile, "images")
    yield Result("outage", "images_done_in_the_end", len(ended), "images", count, at_least=True)
    yield Result("outage", "most_attempts_of_an_image", max(image.attempts for image in ended), "")
    yield Result("outage", "seconds_down", round(back - down, 1), "s")
    yield Result("outage", "seconds_until_dlcs_status_says_why", said["status"], "s")
    yield Result("outage", "seconds_until_the_ui_says_why", said["ui"], "s")
    yield Result("outage", "seconds_from_return_to_last_image", round(over - back, 1), "s")
    yield Result("outage", "seconds_in_all", round(over - began, 1), "s")


def done(system: RunningSystem) -> int:
    return system.ledger.reports.counts(Selection(customer=CUSTOMER))["done"]


def since(moment: float, is_so: Callable[[], bool], timeout: float = 120) -> float:
    """Wait for something that must come; return how long after the moment that was, in seconds."""
    while not is_so():
        if time.monotonic() > moment + timeout:
            raise TimeoutError("nothing says why nothing moves")
        time.sleep(0.2)
    return round(time.monotonic() - moment, 1)


def status() -> str:
    command = [str(DLCS), "status", "--customer", str(CUSTOMER)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def says_why(text: str) -> bool:
    """Whether `dlcs status` names the service, what is wrong with it, and what to do."""
    words = (
        "pending",
        "The image server at",
        "can't be reached",
        "image_server_down",
        "Check that the image server is up",
    )
    return all(word in " ".join(text.split()) for word in words)


def says_why_in_the_ui(system: RunningSystem) -> bool:
    """Whether the sensor's page shows a tick that was skipped for that reason."""
    ticks = DagsterApi(str(system.settings.ui_url)).ticks(SENSOR)
    return any("after image_server_down" in (tick["skipReason"] or "") for tick in ticks)
