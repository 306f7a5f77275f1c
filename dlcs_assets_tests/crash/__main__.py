"""Runs seeded histories on one system, one after another, and writes down what came of each.

    python -m dlcs_assets_tests.crash --seeds 1-200 --to crash.jsonl [--seconds 7200] [--fault NAME ...]

With --seconds it continues with further seeds until the time is over: a soak. With each history it notes the memory of
the processes and the disk in use.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from dlcs_assets_tests.crash.expected import all_cases, learn
from dlcs_assets_tests.crash.faults import Fault
from dlcs_assets_tests.crash.history import history_of, run
from dlcs_assets_tests.crash.usage import usage
from dlcs_assets_tests.crash.world import world

# Seeds that failed on the way, with what they found.
REGRESSIONS: Final = (
    1,  # killed runs left their scratch folders until the next night
    3,  # done images showed as failed: a run was killed between the claim and telling of stages that were done before
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dlcs_assets_tests.crash", description=__doc__)
    parser.add_argument("--seeds", default="1-10", help="such as 7 or 1-200; `regressions`: those that once failed")
    parser.add_argument("--seconds", type=float, default=None, help="go on with further seeds for so long")
    parser.add_argument("--to", type=Path, default=Path("crash.jsonl"), help="one line of JSON per history")
    parser.add_argument("--fault", action="append", choices=[fault.name for fault in Fault], help="only these")
    parser.add_argument("--data", type=Path, default=None, help="folder to keep; default: a temporary one")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started and mounted is to be undone
    faults = [Fault[name] for name in arguments.fault] if arguments.fault else None
    bad = 0
    with tempfile.TemporaryDirectory() as temporary, arguments.to.open("a") as report:
        folder = arguments.data or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with world(folder) as made:
            began = time.monotonic()
            expected = learn(made, all_cases())
            _note(report, {"began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "usage": usage(made)})
            for seed in _seeds(arguments.seeds, arguments.seconds, began):
                history = run(history_of(seed, made, faults=faults), made, expected)
                bad += bool(history.violations)
                report_line = history.to_json() | {"at": round(time.monotonic() - began, 1), "usage": usage(made)}
                _note(report, report_line)
                outcome = history.violations or "all is well"
                sys.stdout.write(f"{seed}: {history.seconds:.0f} s, {history.struck}, {outcome}\n")
                sys.stdout.flush()
                made.forget(history.customer)
    return 1 if bad else 0


def _seeds(text: str, seconds: float | None, began: float) -> Iterator[int]:
    if text == "regressions":
        yield from REGRESSIONS
        return
    first, _, last = text.partition("-")
    seed = int(first)
    while (seed <= int(last or first)) if seconds is None else (time.monotonic() - began < seconds):
        yield seed
        seed += 1


def _note(report: IO[str], line: dict[str, Any]) -> None:
    report.write(json.dumps(line) + "\n")
    report.flush()


if __name__ == "__main__":
    sys.exit(main())
