"""A run is worked on by one process, also if it was launched twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.stages import STAGES
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.engine import make_engine
from dlcs_assets.ledger.processes import is_dead, this_process
from dlcs_assets.ledger.workers import Entry
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, Desk
from dlcs_testing.one_write import end_image

TTL = timedelta(minutes=2)
RUN = "run-1"
ENTERING = """
import sys
from datetime import UTC, datetime, timedelta
from dlcs_assets.ledger import Ledger
ledger = Ledger(sys.argv[1])
print(ledger.workers.enter("run-1", ttl=timedelta(minutes=2), now=datetime.now(UTC)), flush=True)
if sys.stdin.readline() == "leave\\n":
    ledger.workers.leave("run-1", now=datetime.now(UTC))
    print("left", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another_process(url: str) -> Iterator[subprocess.Popen[str]]:
    """Have another process work on the run; it holds it until it is killed, or reads `leave`."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", ENTERING, url], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == Entry.MINE
            yield process
        finally:
            process.kill()


def enter(ledger: Ledger, later: timedelta = timedelta(0)) -> Entry:
    return ledger.workers.enter(RUN, ttl=TTL, now=datetime.now(UTC) + later)


def elsewhere(url: str) -> None:
    """Make it a process on another machine that holds the run."""
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE workers SET process = 'another-boot pid:[1] 1 1'"))
    engine.dispose()


def test_a_second_process_of_a_run_finds_it_held(url: str) -> None:
    with another_process(url):
        ledger = Ledger(url)
        assert enter(ledger) is Entry.HELD
        assert not ledger.workers.beat(RUN, now=NOW)
        ledger.workers.leave(RUN, now=NOW)  # has no effect on what another process holds
        assert enter(ledger) is Entry.HELD
        ledger.close()


def test_a_killed_process_is_replaced_at_once(url: str) -> None:
    """Run monitoring may resume a run. On the same machine there is no need to wait for silence."""
    with another_process(url) as process:
        process.kill()
        process.wait()
        ledger = Ledger(url)
        assert enter(ledger) is Entry.MINE
        assert ledger.workers.beat(RUN, now=NOW)
        ledger.close()


def test_a_killed_process_counts_as_dead_before_it_is_waited_for(url: str) -> None:
    """A launcher may be slow to collect it, or never do it."""
    with another_process(url) as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is a zombie
        ledger = Ledger(url)
        assert enter(ledger) is Entry.MINE
        ledger.close()


def test_a_process_elsewhere_is_replaced_when_it_is_silent(url: str) -> None:
    ledger = Ledger(url)
    assert enter(ledger) is Entry.MINE
    elsewhere(url)
    assert enter(ledger) is Entry.HELD
    assert enter(ledger, TTL - timedelta(seconds=5)) is Entry.HELD
    assert enter(ledger, TTL + timedelta(seconds=5)) is Entry.MINE
    ledger.close()


def test_a_run_that_was_worked_on_is_not_worked_on_again(url: str) -> None:
    with another_process(url) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("leave\n")
        process.stdin.flush()
        assert process.stdout.readline() == "left\n"
        ledger = Ledger(url)
        assert enter(ledger) is Entry.ENDED
        assert enter(ledger, TTL * 2) is Entry.ENDED
        ledger.close()


def test_a_process_knows_itself_and_others_that_live() -> None:
    assert this_process() == this_process()
    assert not is_dead(this_process())
    assert not is_dead("nothing that is known")


def test_releasing_spares_what_another_process_holds(desk: Desk) -> None:
    """Two processes of one run: what the second releases at its end must not be what the first works on."""
    desk.send("2/1/a")
    first = desk.claim(RUN)
    second = desk.ledger.claims.claim_images([AssetId(2, 1, "a")], STAGES, RUN, now=NOW)
    assert second.items == ()
    assert desk.ledger.claims.release(second.token, RUN, schedule=SCHEDULE, now=NOW) == 0
    assert desk.ledger.claims.held_under(first.token) == {"2/1/a"}
    assert desk.state("2/1/a") == "running"
    assert desk.ledger.dispatch.in_flight()
    assert desk.ledger.claims.release(first.token, RUN, schedule=SCHEDULE, now=NOW) == 1
    assert not desk.ledger.dispatch.in_flight()


def test_a_run_given_nothing_releases_nothing(desk: Desk) -> None:
    desk.send("2/1/a")
    first = desk.claim(RUN)
    assert desk.ledger.claims.release("", RUN, schedule=SCHEDULE, now=NOW) == 0
    assert desk.ledger.claims.held_under(first.token) == {"2/1/a"}


def test_a_resumed_run_goes_on_with_its_chunk(desk: Desk) -> None:
    """What is done stays done; what the killed process worked on last has lost an attempt, and is claimed again."""
    for name in ("a", "b"):
        desk.send(f"2/1/{name}")
    chunk = desk.reserve()
    assert chunk is not None
    former = desk.ledger.claims.claim_chunk(chunk.id, RUN, now=NOW)
    assert former is not None
    done, lost = former.items
    desk.ledger.claims.begin(former.token, [done.request_id, lost.request_id], now=NOW)
    end_image(desk.ledger.results, former, done, None, schedule=SCHEDULE, now=NOW)
    assert desk.ledger.claims.end_former(RUN, schedule=SCHEDULE, now=NOW) == 1
    assert desk.ledger.claims.held_under(former.token) == set()
    claim = desk.ledger.claims.claim_chunk(chunk.id, RUN, now=NOW)
    assert claim is not None
    assert [(item.asset_id, item.attempt) for item in claim.items] == [(lost.asset_id, 2)]


def test_a_resumed_manual_run_leaves_what_is_done(desk: Desk) -> None:
    desk.send("2/1/a")
    desk.store("2/1/a")
    images = [AssetId(2, 1, "a")]
    former = desk.ledger.claims.claim_images(images, STAGES, "by hand", now=NOW)
    end_image(desk.ledger.results, former, former.items[0], None, schedule=SCHEDULE, now=NOW)
    resumed = desk.ledger.claims.claim_images(images, STAGES, "by hand", now=NOW)
    assert resumed.items == ()
    assert [why for _, why in resumed.skipped] == ["a former process of this run has done it"]
    assert desk.ledger.claims.claim_images(images, STAGES, "another run", now=NOW).items
