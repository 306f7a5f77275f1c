from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.clients.backpressure import AimdLimiter, CircuitBreaker, Signal
from dlcs_assets.clients.file_semaphore import FileSemaphore
from dlcs_assets.clients.image_server import ImageServer
from dlcs_assets.clients.retrying import CircuitOpenError
from dlcs_assets.domain.errors import IngestError, ServiceDownError
from dlcs_assets.domain.iiif_size import Size
from dlcs_testing.pictures import jpeg
from dlcs_testing.scripted_server import Answer, refused_url, scripted_server

PAGE = Size(1000, 2000)
GOOD = Answer(200, jpeg(100, 200))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Answers:
    """Requests that are always as many as there are places, and how they end."""

    def __init__(self, ceiling: int = 16) -> None:
        self.clock = Clock()
        self.limit = AimdLimiter(ceiling, slowdown=2.0, clock=self.clock)

    def come(self, count: int, *, seconds: float = 0.1, verdict: Signal = Signal.GOOD) -> None:
        for _ in range(count):
            began = self.clock.now
            with ExitStack() as places:
                for _ in range(self.limit.permits):
                    places.enter_context(self.limit.acquire())
                self.clock.now += seconds
                self.limit.ended(began, verdict)


def test_a_round_of_quick_answers_adds_one_permit_to_the_limit() -> None:
    """It grows by one a round, not by one an answer, and never above its ceiling."""
    answers = Answers(ceiling=8)
    assert answers.limit.permits == 4
    answers.come(4)
    assert answers.limit.permits == 4
    answers.come(1)
    assert answers.limit.permits == 5
    answers.come(500)
    assert answers.limit.permits == 8


def test_permits_that_are_not_needed_are_not_added() -> None:
    answers = Answers()
    for _ in range(100):
        with answers.limit.acquire():
            answers.limit.ended(answers.clock.now, Signal.GOOD)
    assert answers.limit.permits == 4


@pytest.mark.parametrize(("verdict", "left"), [(Signal.OVERLOADED, 8), (Signal.FAILED, 14)])
def test_a_failure_reduces_permits_at_once(verdict: Signal, left: int) -> None:
    answers = Answers()
    answers.come(500)
    answers.come(1, verdict=verdict)
    assert answers.limit.permits == left


def test_refusals_of_one_round_halve_the_limit_once() -> None:
    """They speak of the same moment: sixteen refusals must not bring sixteen places down to one."""
    answers = Answers()
    answers.come(500)
    began = answers.clock.now
    answers.clock.now += 0.1
    for _ in range(16):
        answers.limit.ended(began, Signal.OVERLOADED)
    assert answers.limit.permits == 8


def test_failures_about_one_thing_count_once_until_it_succeeds() -> None:
    """An image that a server can't read says nothing of the load, however often it is asked for."""
    limit = AimdLimiter(16, slowdown=2.0, clock=Clock())

    def end(signal: Signal, about: str) -> int:
        with limit.acquire():
            limit.ended(100.0, signal, about=about)
        return round(100 * limit._limit)

    assert end(Signal.FAILED, "bad") == 360
    assert [end(Signal.FAILED, "bad") for _ in range(50)] == [360] * 50
    assert end(Signal.GOOD, "other") == 360
    assert end(Signal.FAILED, "worse") == 324
    assert end(Signal.GOOD, "bad") == 324
    assert end(Signal.FAILED, "bad") == 292


def test_there_is_always_one_permit() -> None:
    answers = Answers()
    answers.come(50, verdict=Signal.OVERLOADED)
    assert answers.limit.permits == 1


def test_growing_latency_reduces_permits() -> None:
    answers = Answers()
    answers.come(500, seconds=0.1)
    answers.come(16, seconds=0.19)
    assert answers.limit.permits == 16
    answers.come(16, seconds=0.25)
    assert answers.limit.permits == 12


def test_larger_images_are_not_taken_for_overload_indefinitely() -> None:
    """What takes long with one request in flight takes long by itself."""
    answers = Answers()
    answers.come(500, seconds=0.1)
    answers.come(2000, seconds=0.9)
    assert answers.limit.permits == 16


def ask(client: ImageServer) -> None:
    client.session().thumbnail("s3://bucket/2/1/foo", "!200,200", "!200,200", PAGE)


@contextmanager
def client_of(url: str, **options: Any) -> Iterator[ImageServer]:
    defaults: dict[str, Any] = {"url": url, "attempts": 1, "timeout_seconds": 5.0, "in_flight": 8}
    client = ImageServer(**(defaults | options))
    try:
        yield client
    finally:
        client.close()


@pytest.mark.parametrize(
    ("answer", "places"),
    [
        (Answer(429), 2),
        (Answer(503), 2),
        (Answer(504), 2),
        (Answer(fault="hang"), 2),
        (Answer(500), 3),
        (Answer(fault="reset"), 3),
        (Answer(404), 4),
        (Answer(501), 4),
        (GOOD, 4),
    ],
)
def test_answers_of_the_image_server_change_the_limit(answer: Answer, places: int) -> None:
    with scripted_server(answer) as server, client_of(server.url, timeout_seconds=0.2) as client:
        try:
            ask(client)
        except IngestError:
            assert answer is not GOOD
        assert client.limit.permits == places


def test_requests_in_flight_reach_the_ceiling_but_do_not_pass_it() -> None:
    """Twenty threads want in: the server sees six at once, and never more."""
    with scripted_server(GOOD) as server, client_of(server.url, in_flight=6, slowdown=100.0) as client:
        # Answers take long until as many are in flight as may be: on a busy machine they would not overlap otherwise.
        server.work = lambda _asked: time.sleep(0.02 if server.max_at_once >= 6 else 0.3)
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda _: ask(client), range(120)))
        assert client.limit.permits == 6
        assert server.max_at_once == 6


def test_waiting_for_a_permit_does_not_count_as_latency() -> None:
    """The timeout of a request begins when it is sent, not when its thread starts to wait for a permit."""
    with scripted_server(GOOD) as server, client_of(server.url, in_flight=1, timeout_seconds=0.4) as client:
        server.work = lambda _asked: time.sleep(0.1)  # ten of them take longer than the time limit of one
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda _: ask(client), range(10)))
        assert len(server.asked) == 10


HOLDS_A_PLACE = """
import pathlib, sys
from dlcs_assets.clients.file_semaphore import FileSemaphore
with FileSemaphore(pathlib.Path(sys.argv[1]), int(sys.argv[2])).acquire():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_returns_its_permit_to_the_others(tmp_path: Path) -> None:
    """A killed run must not keep a permit that all other runs then lack."""
    command = [sys.executable, "-c", HOLDS_A_PLACE, str(tmp_path / "slots"), "2"]
    others = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for other in others:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
        got_one = threading.Event()

        def hold() -> None:
            with FileSemaphore(tmp_path / "slots", 2).acquire():
                got_one.set()

        thread = threading.Thread(target=hold)
        thread.start()
        assert not got_one.wait(0.2)
        others[0].kill()
        assert got_one.wait(10)
        thread.join()
    finally:
        for other in others:
            other.kill()
            other.communicate()


def test_only_clients_of_the_same_service_share_its_limit(tmp_path: Path) -> None:
    """Each stands for a run of its own: all that they share is the folder."""
    with scripted_server(GOOD) as server, scripted_server(GOOD) as another, ExitStack() as opened:
        slots = {"slots_folder": str(tmp_path), "in_flight": 3}
        clients = [opened.enter_context(client_of(server.url, **slots)) for _ in range(4)]
        clients.append(opened.enter_context(client_of(another.url, **slots)))
        together = threading.Barrier(2, timeout=10)
        met: list[int] = []
        server.work = lambda _asked: time.sleep(0.02)  # an answer takes some time
        another.work = lambda _asked: met.append(together.wait())
        with ThreadPoolExecutor(14) as pool:
            waiting = [pool.submit(ask, clients[4]) for _ in range(2)]
            list(pool.map(lambda number: ask(clients[number % 4]), range(60)))
            for one in waiting:
                one.result()
        assert server.max_at_once == 3
        assert len(met) == 2


def down() -> ServiceDownError:
    return ServiceDownError("image_server_down", "The image server can't be reached", remedy="Start it.")


def fail(circuit: CircuitBreaker, count: int) -> None:
    for _ in range(count):
        with circuit.call() as call:
            call.down = down()


def succeed(circuit: CircuitBreaker) -> None:
    with circuit.call() as call:
        call.answered = True


def test_the_circuit_opens_after_consecutive_failures() -> None:
    """A success in between starts the count again; the error names the service that is down."""
    circuit = CircuitBreaker(3, 5.0, clock=Clock())
    fail(circuit, 2)
    succeed(circuit)
    fail(circuit, 2)
    assert not circuit.is_open
    fail(circuit, 1)
    with pytest.raises(CircuitOpenError) as caught:
        succeed(circuit)
    assert caught.value.code == "image_server_down"
    assert caught.value.cause == "The image server can't be reached; it was not called again yet"


def test_one_call_at_a_time_tries_whether_the_service_is_back() -> None:
    clock = Clock()
    circuit = CircuitBreaker(3, 5.0, clock=clock)
    fail(circuit, 3)
    clock.now += 5
    with circuit.call() as probe:
        with pytest.raises(CircuitOpenError):
            succeed(circuit)
        probe.down = down()
    with pytest.raises(CircuitOpenError):
        succeed(circuit)
    clock.now += 5
    succeed(circuit)
    assert not circuit.is_open
    succeed(circuit)


def test_an_interrupted_probe_proves_nothing_and_blocks_no_call() -> None:
    clock = Clock()
    circuit = CircuitBreaker(1, 5.0, clock=clock)
    fail(circuit, 1)
    clock.now += 5
    with pytest.raises(KeyboardInterrupt), circuit.call():
        raise KeyboardInterrupt
    assert circuit.is_open
    clock.now += 5
    succeed(circuit)
    assert not circuit.is_open


def test_a_service_that_is_down_is_called_a_few_times_only() -> None:
    """Afterwards calls fail at once, each with the code of the service, instead of waiting for their attempts."""
    with client_of(refused_url(), attempts=4, circuit_failures=3, first_delay_seconds=0.001) as client:
        with pytest.raises(CircuitOpenError):
            ask(client)
        for _ in range(200):
            with pytest.raises(CircuitOpenError) as caught:
                ask(client)
        assert caught.value.code == "image_server_down"
        assert client.url in caught.value.cause
        assert "foo" not in caught.value.cause  # the image of a former call
