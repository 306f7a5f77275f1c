"""What the bench's figures rest on: its server's counting, and the tables that are made of them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from bench.processes import processor_seconds
from bench.report import LATEST, PAGES, with_tables
from bench.result import Result, of_many
from bench.unsteady_server import Failing, Running, UnsteadyServer, serving
from dlcs_stack import guard
from dlcs_testing.waiting import eventually

PATH = "/iiif/3/page/full/10,/0/default.jpg"
PICTURES = {"10,": b"a picture"}
ONLY_UNDER_LOAD = Failing(share=0.0, share_under_load=1.0, more_than=2)
LONG = (600.0, 600.0)
AT_ONCE = (0.0, 0.0)


def ask_without_waiting(server: Running, opened: ExitStack) -> None:
    connection = opened.enter_context(socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0)))
    connection.sendall(f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


def test_requests_are_in_flight_until_they_are_answered() -> None:
    with serving(UnsteadyServer(PICTURES, answer_seconds=LONG)) as server, ExitStack() as opened:
        for _ in range(5):
            ask_without_waiting(server, opened)
        eventually(lambda: server.served().in_flight, lambda count: count == 5)
        assert server.served().max_in_flight == 5
        assert server.served().requests == 5


def test_requests_one_after_another_are_never_two_in_flight() -> None:
    with serving(UnsteadyServer(PICTURES, answer_seconds=AT_ONCE)) as server, httpx.Client(trust_env=False) as client:
        assert [client.get(server.url + PATH).content for _ in range(5)] == [PICTURES["10,"]] * 5
        served = server.served()
    assert (served.requests, served.failed, served.in_flight, served.max_in_flight) == (5, 0, 0, 1)


def test_requests_above_the_load_limit_fail_and_none_below_it() -> None:
    with serving(UnsteadyServer(PICTURES, ONLY_UNDER_LOAD, LONG)) as server, ExitStack() as opened:
        for _ in range(5):
            ask_without_waiting(server, opened)
        eventually(lambda: server.served().requests, lambda count: count == 5)
        assert server.served().failed == 3


def test_a_failure_never_returns_the_whole_image() -> None:
    failing = Failing(share=1.0, share_under_load=1.0)
    with serving(UnsteadyServer(PICTURES, failing, AT_ONCE)) as server:
        for _ in range(20):
            with suppress(httpx.RemoteProtocolError), httpx.Client(trust_env=False) as client:
                answer = client.get(server.url + PATH)
                assert answer.status_code in {200, 500, 503}
                assert answer.content != PICTURES["10,"]
        assert server.served().failed == 20


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_tables_of_a_page_show_the_latest_results(path: Path) -> None:
    page = path.read_text()
    assert with_tables(page, json.loads(LATEST.read_text())) == page


def test_a_table_shows_values_their_spread_and_missed_goals() -> None:
    """Writing the tables again changes nothing, and what stood there before is gone."""
    results = [
        of_many("throughput", "ratio_to_bare_loop", [1.2, 1.1, 1.3], "x", 1.1),
        Result("intake", "messages_per_second", 1484.0, "/s", 500, at_least=True),
        Result("intake", "growth", 0.123456, "MB"),
        Result("faults", "requests_per_thumbnail_429", 1.25, "x", 2),
        Result("faults", "requests_per_thumbnail_500", 2.5, "x", 2),
    ]
    about = {"date": "2026-11-28T10:00:00+00:00", "seconds": 61}
    cases = dict.fromkeys(("throughput", "intake", "faults"), about)
    machine = {"cores": 2, "system": "Linux x86_64", "python": "3.11.7"}
    document = {
        "machine": machine,
        "versions": {"dagster": "1.13.27"},
        "cases": cases,
        "results": [each.to_json() for each in results],
    }
    empty = "<!-- goals -->\n<!-- end of goals -->\n<!-- all figures -->\nold\n<!-- end of all figures -->\n"
    page = with_tables(empty, document)
    assert "2 cores, Linux x86_64, Python 3.11.7; dagster 1.13.27." in page
    assert "| throughput | ratio to bare loop | 1.2 x (1.1 to 1.3, n=3) | 1.1 | missed |" in page
    assert "| intake | messages per second | 1,484 /s | at least 500 | met |" in page
    assert "**intake** (2026-11-28, in 61 s)" in page
    assert "| faults | requests per thumbnail | 1.25 to 2.5 x (2 kinds) | 2 | missed |" in page
    assert "| growth | 0.123 MB |" in page
    assert "old" not in page
    assert with_tables(page, document) == page


def test_what_orphans_used_is_counted_with_their_guard() -> None:
    """The processes that read pictures end after their run, which is no more then."""
    work = f"{sys.executable} -c 'import time\nwhile time.process_time() < 0.5: pass'"
    leaves_an_orphan = f'sh -c "{work} &"; exec sleep 60'
    command = [sys.executable, "-I", "-S", guard.__file__, "1", "sh", "-c", leaves_an_orphan]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            eventually(lambda: processor_seconds([psutil.Process(process.pid)]), lambda used: used >= 0.5)
        finally:
            process.terminate()
