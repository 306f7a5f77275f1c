"""Peak memory of the run's process with images of 24 megapixels, for a small chunk and a large one."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from bench.result import Result
from bench.system import RunningSystem
from dlcs_stack.samples import DEFAULT_PLAN, draw_sample

GOAL_MEGABYTES = 400


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:  # noqa: ARG001 (pages of its own)
    with tempfile.TemporaryDirectory() as folder:
        page = large_page(Path(folder))
        for customer, count in ((400, 2),) if quick else ((400, 4), (401, 12)):
            yield Result(
                "memory",
                f"peak_of_run_process_{count}_images",
                peak(system, page, customer, count),
                "MB",
                GOAL_MEGABYTES,
            )


def large_page(folder: Path) -> Path:
    plan = max(
        (page for page in DEFAULT_PLAN if page.extension == "jpg" and not page.broken),
        key=lambda page: page.width * page.height,
    )
    return draw_sample(folder, plan)


def peak(system: RunningSystem, page: Path, customer: int, count: int) -> float:
    images = [(f"{customer}/1/{number}", system.upload(page, f"{customer}/1/{number}")) for number in range(count)]
    highest: dict[int, int] = {}
    stop = threading.Event()
    watch = threading.Thread(target=watch_runs, args=(customer, highest, stop))
    watch.start()
    try:
        system.send(images)
        system.wait(customer, count)
    finally:
        stop.set()
        watch.join()
    return max(highest.values()) / 1e6


def watch_runs(customer: int, highest: dict[int, int], stop: threading.Event) -> None:
    """Note the high-water mark of each process that works on a run of the customer, as the kernel keeps it."""
    instance = dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"])
    filters = dg.RunsFilter(tags={"dlcs/customer": str(customer)}, statuses=[dg.DagsterRunStatus.STARTED])
    pids: dict[str, int] = {}
    while not stop.wait(0.2):
        for run in instance.get_runs(filters):
            if run.run_id not in pids:
                messages = " ".join(entry.message or "" for entry in instance.all_logs(run.run_id))
                if match := re.search(r"\(pid: (\d+)\)", messages):
                    pids[run.run_id] = int(match[1])
        for pid in pids.values():
            highest[pid] = max(highest.get(pid, 0), high_water_mark(pid))


def high_water_mark(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(match[1]) * 1024 if match else 0
