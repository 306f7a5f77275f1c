"""What is done to the system in a history: each fault begins at its time, lasts a while, and is over."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

import psutil

from dlcs_assets.ledger.database import WRITE_LOCK
from dlcs_assets.ledger.engine import make_engine
from dlcs_assets.ledger.processes import is_dead
from dlcs_assets_tests.crash.faulty_aws import FINE, Moment, Weather
from dlcs_assets_tests.crash.world import CLAIM_SECONDS, GRPC_SECONDS, World
from dlcs_stack.stack import Component
from dlcs_testing.stack_processes import daemon, of_service, runs

POLL_SECONDS: Final = 0.002
PATIENCE_SECONDS: Final = 15
FILLER: Final = "filler"


class Fault(StrEnum):
    KILL_RUN = "SIGKILL a run"
    KILL_CODE_SERVER = "SIGKILL the code server"
    KILL_DAEMON = "SIGKILL the daemon"
    KILL_APPETISER = "SIGKILL Appetiser"
    KILL_IMAGE_SERVER = "SIGKILL the image server"
    STOP_RUN = "SIGSTOP a run, for longer than its claim lives"
    STOP_CODE_SERVER = "SIGSTOP the code server, for longer than anything waits for it"
    STOP_DAEMON = "SIGSTOP the daemon"
    FULL_DISK = "scratch is full"
    LEDGER_LOCKED = "the ledger is locked"
    AWS_FAILS = "S3 and SQS answer 500 and 503"
    AWS_HANGS = "S3 and SQS hang"
    CLAIMED = "SIGKILL the code server after claim and before the tick is stored"
    UNREPORTED = "SIGKILL a run after a batch is in the ledger and before Dagster has it"
    BETWEEN_STAGES = "SIGKILL a run between the stages of an image"
    RECEIVED = f"SIGKILL {Moment.RECEIVED}"
    COMMITTED = f"SIGKILL {Moment.COMMITTED}"
    STORED = f"SIGKILL {Moment.STORED}"
    UPLOADED = f"SIGKILL {Moment.UPLOADED}"
    S_JSON_STORED = f"SIGKILL {Moment.S_JSON_STORED}"


# Moments that the ledger shows, each with a query for the process of a run that is at it.
_OF_A_RUN: Final = "SELECT workers.process FROM workers JOIN outcomes ON outcomes.run_id = workers.run_id "
IN_THE_LEDGER: Final = {
    Fault.UNREPORTED: _OF_A_RUN + "JOIN requests ON requests.id = outcomes.request_id "
    "WHERE workers.ended_at IS NULL AND NOT outcomes.reported AND requests.state = 'done'",
    Fault.BETWEEN_STAGES: _OF_A_RUN + "JOIN claims ON claims.request_id = outcomes.request_id "
    "WHERE workers.ended_at IS NULL AND outcomes.stage = 'original' AND NOT EXISTS (SELECT 1 FROM outcomes AS later "
    "WHERE later.request_id = outcomes.request_id AND later.stage = 'thumbnails')",
}
WATCHED: Final = (Fault.CLAIMED, *IN_THE_LEDGER)  # from the first message on, each in a thread
MOMENTS: Final = {Fault(f"SIGKILL {moment}"): moment for moment in Moment}


@dataclass(frozen=True)
class Planned:
    """A fault, when it begins after the first message, and how long it lasts, in seconds."""

    fault: Fault
    at: float
    lasts: float

    def __str__(self) -> str:
        return f"{self.fault} at {self.at:.1f} s for {self.lasts:.1f} s"


def plan(dice: random.Random) -> list[Planned]:
    """Draw what a history is to stand: one to five faults, one after another."""
    moments = [*WATCHED, *MOMENTS]
    timed = [fault for fault in Fault if fault not in moments]
    # Moments come where they come; they are armed from the start.
    armed = [Planned(fault, 0.0, 0.0) for fault in dice.sample(moments, k=dice.randint(0, 2))]
    at, planned = 0.0, list(armed)
    for fault in dice.choices(timed, k=dice.randint(1, 3)):
        at += dice.uniform(0.5, 6.0)
        planned.append(Planned(fault, at, _length(fault, dice)))
    return planned


def plan_afterwards(dice: random.Random) -> Planned | None:
    """Draw a fault for the time when operators change and delete, or none."""
    fault = dice.choice((None, Fault.KILL_RUN, Fault.STOP_RUN, Fault.KILL_DAEMON, Fault.AWS_FAILS))
    return Planned(fault, 0.0, _length(fault, dice)) if fault else None


def _length(fault: Fault, dice: random.Random) -> float:
    match fault:
        case Fault.STOP_RUN:
            return CLAIM_SECONDS + dice.uniform(2, 6)
        case Fault.STOP_CODE_SERVER | Fault.STOP_DAEMON:
            return GRPC_SECONDS + dice.uniform(1, 5)
        case Fault.FULL_DISK | Fault.AWS_FAILS | Fault.AWS_HANGS:
            return dice.uniform(2, 10)
        case Fault.LEDGER_LOCKED:
            # Below or above the patience of those who wait for it.
            return dice.uniform(31, 36) if dice.random() < 0.25 else dice.uniform(2, 8)
        case _:
            return 0.0


class Striker:
    """Does to a world what is planned, and notes what came of it."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self._world = world
        self._dice = dice
        self.struck: list[str] = []
        # Moments that S3 and SQS can see are armed instead.
        self._acts: Mapping[Fault, Callable[[Planned], None]] = {
            Fault.KILL_RUN: partial(self._kill, partial(runs, world.stack)),
            Fault.KILL_CODE_SERVER: partial(self._kill_service, Component.CODE_SERVER),
            Fault.KILL_DAEMON: partial(self._kill_service, Component.DAEMON),
            Fault.KILL_APPETISER: partial(self._kill_service, Component.APPETISER),
            Fault.KILL_IMAGE_SERVER: partial(self._kill_service, Component.IMAGE_SERVER),
            Fault.STOP_RUN: partial(self._stop, partial(runs, world.stack)),
            Fault.STOP_CODE_SERVER: partial(self._stop, partial(of_service, world.stack, Component.CODE_SERVER)),
            Fault.STOP_DAEMON: partial(self._stop, lambda: [daemon(world.stack)]),
            Fault.FULL_DISK: self._fill,
            Fault.LEDGER_LOCKED: self._lock,
            Fault.AWS_FAILS: partial(self._weather, Weather(share=0.4)),
            Fault.AWS_HANGS: partial(self._weather, Weather(hangs=True)),
            Fault.CLAIMED: self._kill_at_claim,
            **dict.fromkeys(IN_THE_LEDGER, self._kill_run_at),
        }

    def arm(self, planned: Sequence[Planned]) -> None:
        """Arm the moments that S3 and SQS can see."""
        for each in planned:
            if moment := MOMENTS.get(each.fault):
                self._world.aws.arm(moment, self._kill_asker(moment))

    def strike(self, planned: Planned) -> None:
        """Begin the fault, keep it up for as long as it lasts, end it."""
        if act := self._acts.get(planned.fault):
            act(planned)

    def _kill_asker(self, moment: Moment) -> Callable[[psutil.Process], None]:
        def kill(process: psutil.Process) -> None:
            self.struck.append(f"SIGKILL {moment}")
            process.kill()

        return kill

    def _kill(self, find: Callable[[], list[psutil.Process]], planned: Planned) -> None:
        with suppress(psutil.NoSuchProcess):
            if process := self._await(find):
                process.kill()
                self.struck.append(planned.fault)

    def _await(self, find: Callable[[], list[psutil.Process]]) -> psutil.Process | None:
        """Return one of the processes, as soon as there is one: a run takes seconds to come up."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up:
            with suppress(psutil.NoSuchProcess):
                if found := find():
                    return self._dice.choice(found)
            time.sleep(POLL_SECONDS)
        return None

    def _kill_service(self, component: Component, planned: Planned) -> None:
        """Kill all that serves, and do what the service's supervisor does then."""
        # Of the daemon only itself: its runs live on, as those of other ECS tasks do.
        stack = self._world.stack
        with suppress(psutil.NoSuchProcess):
            for process in [daemon(stack)] if component is Component.DAEMON else of_service(stack, component):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.struck.append(planned.fault)
        self._world.restart(component)

    def _stop(self, find: Callable[[], list[psutil.Process]], planned: Planned) -> None:
        with suppress(psutil.NoSuchProcess):
            if process := self._await(find):
                process.suspend()
                self.struck.append(planned.fault)
                time.sleep(planned.lasts)
                process.resume()

    def _fill(self, planned: Planned) -> None:
        if not self._world.scratch_fills:
            return
        filler = self._world.scratch / FILLER
        with suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(2**16))
        self.struck.append(planned.fault)
        time.sleep(planned.lasts)
        filler.unlink()

    def _lock(self, planned: Planned) -> None:
        lock = "BEGIN EXCLUSIVE" if self._world.has_sqlite else f"SELECT pg_advisory_lock({WRITE_LOCK})"
        engine = make_engine(self._world.stack.environment["DLCS_LEDGER_URL"])
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql(lock)
                self.struck.append(planned.fault)
                time.sleep(planned.lasts)
        finally:
            engine.dispose()

    def _weather(self, weather: Weather, planned: Planned) -> None:
        self._world.aws.weather = weather
        self.struck.append(planned.fault)
        time.sleep(planned.lasts)
        self._world.aws.weather = FINE

    def _kill_at_claim(self, planned: Planned) -> None:
        """Kill as soon as the ledger has a chunk for which Dagster cannot have a run yet, nor perhaps its keys."""
        give_up = time.monotonic() + 30
        chunks = "SELECT count(*) FROM chunks WHERE lane <> 'delete'"
        known = self._world.system.rows(chunks)
        while time.monotonic() < give_up:
            if self._world.system.rows(chunks) != known:
                self._kill_service(Component.CODE_SERVER, planned)
                return
            time.sleep(POLL_SECONDS)

    def _kill_run_at(self, planned: Planned) -> None:
        """Kill the process of a run as soon as the ledger shows it at this moment."""
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            for (process,) in self._world.system.rows(IN_THE_LEDGER[planned.fault]):
                if not is_dead(process):
                    with suppress(psutil.NoSuchProcess):
                        psutil.Process(int(process.split()[-2])).kill()
                        self.struck.append(planned.fault)
                    return
            time.sleep(POLL_SECONDS)
