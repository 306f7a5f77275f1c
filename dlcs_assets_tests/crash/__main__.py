"""Runs seeded histories, one after another, and writes down what came of each.

    python -m dlcs_assets_tests.crash --seeds 1-200 --side-by-side --to crash.jsonl [--seconds 7200] [--fault NAME]
    python -m dlcs_assets_tests.crash --seeds 1-10 --poison

By turns the ledger is in SQLite and in PostgreSQL: even seeds run on a system with the one, odd seeds with the other.

With --seconds it continues with further seeds until the time is over: a soak. With each history it notes the memory of
the processes and the disk in use. Of a history that stands still it keeps logs, databases and where each thread was, in
a folder next to the report (crash.evidence).
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final

from dlcs_assets_tests.crash.expected import all_cases, learn
from dlcs_assets_tests.crash.faults import Fault
from dlcs_assets_tests.crash.foreign import prefixes
from dlcs_assets_tests.crash.history import history_of, run
from dlcs_assets_tests.crash.usage import usage
from dlcs_assets_tests.crash.world import world
from dlcs_testing.poison import poisonous_origin

POSTGRESQL: Final = "postgresql"
LEDGERS: Final = ("sqlite", POSTGRESQL)  # by the seed
# Next to a poisonous image: each attempt that is lost has to be its own.
COST_NO_ATTEMPT: Final = (Fault.KILL_CODE_SERVER, Fault.KILL_DAEMON, Fault.STOP_DAEMON)
POISONOUS_ATTEMPTS: Final = 3
# Seeds that failed on the way, with what they found.
REGRESSIONS: Final = (
    1,  # killed runs left their scratch folders until the next night
    3,  # done images showed as failed: a run was killed between the claim and telling of stages that were done before
)


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started and mounted is to be undone
    ledgers = [arguments.ledger] if arguments.ledger else list(LEDGERS)
    if arguments.side_by_side and len(ledgers) > 1:
        own = [sys.executable, "-m", "dlcs_assets_tests.crash", *sys.argv[1:]]
        with ExitStack() as started:
            both = [started.enter_context(subprocess.Popen([*own, "--ledger", ledger])) for ledger in ledgers]
            for process in both:
                started.callback(process.terminate)
            return max(process.wait() for process in both)
    return max([_histories(arguments, ledger) for ledger in ledgers])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dlcs_assets_tests.crash", description=__doc__)
    parser.add_argument("--seeds", default="1-10", help="such as 7 or 1-200; `regressions`: those that once failed")
    parser.add_argument("--seconds", type=float, default=None, help="go on with further seeds for so long")
    parser.add_argument("--to", type=Path, default=Path("crash.jsonl"), help="one line of JSON per history")
    parser.add_argument("--fault", action="append", choices=[fault.name for fault in Fault], help="only these")
    parser.add_argument("--poison", action="store_true", help="with an image that kills each run that works on it")
    parser.add_argument("--data", type=Path, default=None, help="folder to keep; default: a temporary one")
    parser.add_argument("--ledger", choices=LEDGERS, help="only the seeds whose ledger is of this kind")
    parser.add_argument("--side-by-side", action="store_true", help="one system for each kind of ledger at a time")
    return parser.parse_args()


def _histories(arguments: argparse.Namespace, ledger: str) -> int:
    """Run the seeds of this kind of ledger, one after another on one system; return 1 if a promise was broken."""
    faults = [Fault[name] for name in arguments.fault] if arguments.fault else None
    if arguments.poison and faults is None:
        faults = list(COST_NO_ATTEMPT)
    bad = 0
    with (
        tempfile.TemporaryDirectory() as temporary,
        arguments.to.open("a") as report,
        poisonous_origin() as origin,
    ):
        folder = arguments.data / ledger if arguments.data else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        attempts = POISONOUS_ATTEMPTS if arguments.poison else None
        evidence = arguments.to.with_suffix(".evidence") / ledger
        with world(folder, in_postgresql=ledger == POSTGRESQL, attempts=attempts, evidence=evidence) as made:
            began = time.monotonic()
            expected = learn(made, all_cases())
            _note(report, {"began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "usage": usage(made)})
            for seed in _seeds(arguments.seeds, arguments.seconds, began):
                if LEDGERS[seed % len(LEDGERS)] != ledger:
                    continue
                poison = origin.url if arguments.poison else None
                history = run(history_of(seed, made, faults=faults, poison=poison), made, expected)
                bad += bool(history.violations)
                more = {"ledger": ledger, "at": round(time.monotonic() - began, 1), "usage": usage(made)}
                _note(report, history.to_json() | more)
                outcome = history.violations or "all is well"
                sys.stdout.write(f"{seed}: {history.seconds:.0f} s, {ledger}, {history.struck}, {outcome}\n")
                sys.stdout.flush()
                made.forget(*prefixes(history))
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
