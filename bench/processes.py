"""Processes: servers of the bench in their own, what others have used of the processors, and their sudden end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from dlcs_stack.stack import Component, RunningStack
from dlcs_testing.stack_processes import guard_of, of_service


@contextmanager
def server(module: str, *arguments: str) -> Iterator[dict[str, Any]]:
    """Run a module that serves until it is killed; yields its first line of output, which is JSON."""
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def kill(stack: RunningStack, component: Component) -> None:
    """End a service as the kernel does when memory runs out: nothing is answered any more, nothing closed."""
    for process in of_service(stack, component):
        with suppress(psutil.NoSuchProcess):  # its parent has taken it along
            process.kill()


def processor_seconds(processes: list[psutil.Process]) -> float:
    """Return what they have used until now, with their ended children."""
    used = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    return used


def seconds_of(stack: RunningStack, components: Iterable[Component]) -> float:
    """Return the processor seconds that services have used until now.

    Their guards are among their processes: a guard has the time of what was left to it, as what reads pictures for a
    run ends after the run.
    """
    return sum(processor_seconds([guard_of(stack, each), *of_service(stack, each)]) for each in components)


def of_this_bench(but: list[psutil.Process]) -> list[psutil.Process]:
    """List this process and all below it, but some."""
    this = psutil.Process()
    return [this, *(process for process in this.children(recursive=True) if process not in but)]
