"""How much memory processes take together, while something happens."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

import psutil

_EVERY_SECONDS: Final = 0.02
# A list of all processes takes as long as this test's own work between two looks.
_LOOKS_BETWEEN_LISTS: Final = 25
READERS: Final = "dlcs_assets.pictures.worker"


class MemoryWatch:
    """Samples what the processes below this one hold whose command names one of `modules`, all together."""

    def __init__(self, modules: Iterable[str] = (READERS,), *, of: psutil.Process | None = None) -> None:
        self._modules = tuple(modules)
        self._top = of or psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_megabytes = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        found: list[psutil.Process] = []
        looks = 0
        while not self._stop.wait(_EVERY_SECONDS):
            if looks % _LOOKS_BETWEEN_LISTS == 0:
                found = [each for each in self._top.children(recursive=True) if self._is_meant(each)]
            looks += 1
            held = 0
            for process in found:
                try:
                    held += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak_megabytes = max(self.peak_megabytes, held / 10**6)

    def _is_meant(self, process: psutil.Process) -> bool:
        try:
            command = " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            return False
        return any(module in command for module in self._modules)
