"""The processes of a stack's services: what they have used of the processors, and their sudden end."""

from __future__ import annotations

from contextlib import suppress

import psutil

from dlcs_assets.local.data_folder import read_state
from dlcs_assets.local.stack import Component, RunningStack


def of_service(stack: RunningStack, component: Component) -> list[psutil.Process]:
    """List the processes of a service, without the guard that watches over them."""
    guard = psutil.Process(read_state(stack.data).services[component])
    return guard.children(recursive=True)


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


def of_this_bench(but: list[psutil.Process]) -> list[psutil.Process]:
    """List this process and all below it, but some."""
    this = psutil.Process()
    return [this, *(process for process in this.children(recursive=True) if process not in but)]
