"""Dagster's webserver obeys any page of the browser that reaches it; ours does not. With real requests and chromium."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import httpx
import pytest

from dlcs_stack.supervisor import Service, Supervisor, free_port, http_health
from dlcs_testing.browser import CHROMIUM, chromium
from dlcs_testing.http_serving import Answer, serving

DAGSTERS_OWN = (str(Path(sys.executable).with_name("dagster-webserver")),)
OURS = (sys.executable, "-m", "dlcs_assets.instance.webserver")
needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium")

# What a foreign page tries. Each is a mutation of its own, so that Dagster's history says which were obeyed.
PAGE = """<!doctype html><title>trying</title><script>
const url = "@URL@/graphql", order = key => `mutation { setConcurrencyLimit(concurrencyKey: "${key}", limit: 1) }`;
const post = (key, type, body) =>
  fetch(url + (body ? "" : "?query=" + encodeURIComponent(order(key))),
        {method: "POST", mode: "no-cors", headers: {"Content-Type": type}, body}).catch(() => 0);
const picture = new Promise(end => {
  const image = new Image();
  image.onload = image.onerror = end;
  image.src = url + "?query=" + encodeURIComponent(order("picture"));
});
const listened = new Promise(end => {
  const listening = new WebSocket(url.replace("http", "ws"), "graphql-ws");
  listening.onopen = () => end("open");
  listening.onerror = listening.onclose = () => end("closed");
});
Promise.all([
  picture,
  post("empty-form", "application/x-www-form-urlencoded"),
  post("text", "text/plain; application/json", JSON.stringify({query: order("text")})),
  post("plain", "text/plain; application/graphql", order("plain")),
  post("json", "application/json", JSON.stringify({query: order("json")})),
  listened.then(how => document.body.append(how)),
]).then(() => { document.title = "tried"; });
</script><body></body>"""


@contextmanager
def webserver(command: Sequence[str], folder: Path, *options: str) -> Iterator[str]:
    """Run a webserver without any code location; yield its address."""
    (folder / "workspace.yaml").write_text("load_from: []\n")
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    listening = ["-w", str(folder / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port), *options]
    environment = {**os.environ, "DAGSTER_HOME": str(folder)}
    with Supervisor() as supervisor:
        health = http_health(f"{url}/server_info")
        supervisor.start(Service("ui", [*command, *listening], folder / "log", health, environment=environment))
        yield url


def obeyed(folder: Path) -> set[str]:
    """Return the mutations that were made."""
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        return {key for key in instance.event_log_storage.get_concurrency_keys() if not key.startswith("dagster/")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ours")


@pytest.fixture(scope="module")
def ours(folder: Path) -> Iterator[str]:
    with webserver(OURS, folder, "--allow-host", "ui.example") as url:
        yield url


def mutation(key: str) -> str:
    return f'mutation {{ setConcurrencyLimit(concurrencyKey: "{key}", limit: 1) }}'


def test_queries_are_posted_as_what_they_are(ours: str, folder: Path) -> None:
    """Programs and our own pages post JSON, without or with an origin of ours."""
    for origin in ({}, {"Origin": ours}):
        answer = httpx.post(f"{ours}/graphql", json={"query": mutation(f"program{len(origin)}")}, headers=origin)
        assert answer.json()["data"]["setConcurrencyLimit"] is True
    for key, accepted in (("get", "*/*"), ("get-json", "application/json")):
        answer = httpx.get(f"{ours}/graphql", params={"query": mutation(key)}, headers={"Accept": accepted})
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    for content_type in ("text/plain", "text/plain; application/json", "multipart/form-data", "", "application/jsonp"):
        headers = {"Content-Type": content_type}
        answer = httpx.post(f"{ours}/graphql", params={"query": mutation("typed")}, headers=headers)
        assert answer.status_code == 415, content_type
    playground = httpx.get(f"{ours}/graphql", params={"query": mutation("page")}, headers={"Accept": "text/html"})
    assert (playground.status_code, playground.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert obeyed(folder) == {"program0", "program1"}


def test_foreign_names_and_origins_are_refused(ours: str, folder: Path) -> None:
    before = obeyed(folder)
    for path in ("/", "/graphql", "/server_info", "/runs", "/report_asset_materialization/x", "/logs/x"):
        for headers, status in (
            ({"Host": "evil.example"}, 421),
            ({"Host": "ui.example.evil.example"}, 421),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": "http://localhost:1"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
        ):
            for method in ("GET", "POST"):
                answer = httpx.request(method, f"{ours}{path}", json={"query": mutation("foreign")}, headers=headers)
                assert answer.status_code == status, (path, headers)
    assert httpx.get(f"{ours}/", headers={"Host": "ui.example"}).status_code == 200
    assert httpx.get(f"{ours}/", headers={"Host": "ui.example"}).headers["x-frame-options"] == "DENY"
    assert obeyed(folder) == before


def handshake(url: str, *headers: str) -> str:
    """Return the first line of the answer to a web socket's opening request."""
    host, port = url.removeprefix("http://").split(":")
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        *("GET /graphql HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
        *(f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Protocol: graphql-ws", *headers, "", ""),
    ]
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall("\r\n".join(lines).encode())
        return connection.recv(4096).decode().splitlines()[0]


def test_a_web_socket_of_a_foreign_page_is_refused(ours: str) -> None:
    """No browser asks before it opens one: the origin is all there is to go by."""
    host = ours.removeprefix("http://")
    assert " 101 " in handshake(ours, f"Host: {host}", f"Origin: {ours}")
    assert " 101 " in handshake(ours, "Host: ui.example", "Origin: https://ui.example")
    assert " 403 " in handshake(ours, f"Host: {host}", "Origin: https://evil.example")
    assert " 403 " in handshake(ours, f"Host: {host}", "Origin: null")
    assert " 403 " in handshake(ours, "Host: evil.example", "Origin: http://evil.example")


def test_a_read_only_webserver_changes_nothing(tmp_path: Path) -> None:
    with webserver(OURS, tmp_path, "--read-only") as url:
        answer = httpx.post(
            f"{url}/graphql", json={"query": "{ instance { hasInfo } permissions { permission value } }"}
        )
        values = {each["permission"]: each["value"] for each in answer.json()["data"]["permissions"]}
    assert values["launch_pipeline_execution"] is False


def test_the_options_of_the_command_are_shown() -> None:
    command = [*OURS, "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(option in shown for option in ("--workspace", "--host", "--port", "--allow-host", "--read-only"))


def attack(url: str) -> str:
    """Open a page of another origin, which sends all that it can; return whether it could listen."""
    page = Answer(200, PAGE.replace("@URL@", url).encode(), {"Content-Type": "text/html"})
    with chromium() as browser, serving(lambda *_: page) as foreign:
        tab = browser.new_page()
        tab.goto(foreign)
        tab.wait_for_function("document.title == 'tried'")
        return tab.inner_text("body")


@pytest.mark.browser
@needs_chromium
def test_dagsters_own_webserver_obeys_foreign_pages(tmp_path: Path) -> None:
    """If it does not any more, look whether the front door is still needed."""
    with webserver(DAGSTERS_OWN, tmp_path) as url:
        assert attack(url) == "open"
    assert obeyed(tmp_path) == {"picture", "empty-form", "text", "plain"}


@pytest.mark.browser
@needs_chromium
def test_no_foreign_page_is_obeyed_in_a_real_browser(tmp_path: Path) -> None:
    with webserver(OURS, tmp_path) as url:
        assert attack(url) == "closed"
        with chromium("--host-resolver-rules=MAP evil.example 127.0.0.1") as browser:
            port = url.rpartition(":")[2]
            tab = browser.new_page()
            answer = tab.goto(f"http://evil.example:{port}/?{quote('rebound')}")
            assert answer is not None
            assert answer.status == 421
            ui = browser.new_page()
            ui.goto(f"{url}/overview")  # our own pages work: they post, and listen
            ui.get_by_text("Overview").first.wait_for()
    assert obeyed(tmp_path) == set()
