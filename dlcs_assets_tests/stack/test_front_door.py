"""Foreign pages in a browser of this machine: what they send is refused by every service of the stack."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from dlcs_stack import aws
from dlcs_stack.appetiser.app import AppetiserConfig
from dlcs_stack.appetiser.app import create_app as appetiser
from dlcs_stack.front_door import FrontDoor
from dlcs_stack.image_server.app import create_app as image_server
from dlcs_stack.image_server.config import Config
from dlcs_stack.supervisor import Service, Supervisor, free_port

SERVICES = ("aws", "appetiser", "image-server")
PATHS = {"aws": f"/{aws.MADE_LAST}", "appetiser": "/ping", "image-server": "/health"}
OURS = ("127.0.0.1", "localhost", "LOCALHOST", "127.8.9.1", "[::1]")
FOREIGN_HOSTS = (
    *(
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:80",
        "localhost.",
        "xlocalhost",
    ),
    *("10.0.0.1", "192.168.1.7", "[fe80::1]", "0x7f.1", "127.1", "2130706433", "0.0.0.0", "", "a b", "localhost:x"),
    *("evil.example@localhost", "localhost/evil", "localhost#evil", "local%68ost", "dlcs.example", "sub.ui.example"),
)


def foreign_origins(host: str) -> Sequence[str]:
    return (
        *("null", "https://evil.example", f"http://{host}.evil.example", f"http://evil.example#{host}"),
        *("http://127.0.0.1", "http://127.0.0.1:1", "http://localhost", "file://", "", f"http://x@{host}", host),
        *("chrome-extension://abcdef", f"http://{host} http://evil.example"),
    )


def answer(url: str, method: str, path: str, headers: Sequence[tuple[str, str]]) -> tuple[int, str]:
    """Send exactly these headers: httpx would mend some."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    finally:
        connection.close()


@contextmanager
def serving(app: Any) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Each embedded service as it is, reached by the additional name ui.example."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "dlcs_stack.aws", "--port", str(port), "--allow-host", "ui.example"]
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        log = tmp_path_factory.mktemp("aws") / "log"
        supervisor.start(Service("aws", command, log, aws.health(url), environment={**os.environ}))
        hosts = ("ui.example",)
        yield {
            "aws": url,
            "appetiser": stack.enter_context(serving(appetiser(AppetiserConfig(hosts=hosts, workers=1)))),
            "image-server": stack.enter_context(serving(image_server(Config(url, hosts=hosts, workers=1)))),
        }


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_reached_by_its_own_names_only(urls: dict[str, str], service: str) -> None:
    """A page whose name leads here (DNS rebinding) asks by that name."""
    url, path = urls[service], PATHS[service]
    port = url.rpartition(":")[2]
    for host in (*OURS, "ui.example", "UI.example"):
        for authority in (host, f"{host}:{port}", f"{host}:1"):
            # To moto the first part of such a name is a bucket: another one than the path's.
            assert answer(url, "GET", path, [("Host", authority)])[0] in {200, 404}, authority
    for host in FOREIGN_HOSTS:
        # An empty one is not HTTP to some servers, before any application sees it.
        assert answer(url, "GET", path, [("Host", host)])[0] in ({421} if host else {400, 421}), host
    assert answer(url, "GET", path, [("Host", "localhost"), ("Host", "evil.example")])[0] in {400, 421}
    assert answer(url, "GET", path, [])[0] in {400, 421}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_a_service_refuses_pages_of_other_origins(urls: dict[str, str], service: str, method: str) -> None:
    """A form, a script or a preflight of a foreign page (CSRF)."""
    url, path = urls[service], PATHS[service]
    host = url.removeprefix("http://")
    for origin in foreign_origins(host):
        assert answer(url, method, path, [("Host", host), ("Origin", origin)])[0] == 403, origin
    for origin in (f"http://{host}", f"https://{host}"):
        assert answer(url, "GET", path, [("Host", host), ("Origin", origin)])[0] == 200
    two = [("Host", host), ("Origin", f"http://{host}"), ("Origin", "https://evil.example")]
    assert answer(url, method, path, two)[0] == 403


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_not_embedded_by_other_sites(urls: dict[str, str], service: str) -> None:
    """Another port of this machine is the same site to a browser, and a foreign origin nevertheless."""
    url, path = urls[service], PATHS[service]
    for site in ("cross-site", "same-site", "anything"):
        for mode, target in (("no-cors", "image"), ("navigate", "iframe"), ("navigate", "embed"), ("cors", "empty")):
            asked = [("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode), ("Sec-Fetch-Dest", target)]
            assert answer(url, "GET", path, [("Host", "localhost"), *asked])[0] == 403, (site, mode, target)
    link = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]
    # Its pages of information are what the UI links to; the others change things by GET, or have no pages.
    assert answer(url, "GET", path, [("Host", "localhost"), *link])[0] == (200 if service == "image-server" else 403)
    assert answer(url, "POST", path, [("Host", "localhost"), *link])[0] == 403
    for site in ("same-origin", "none"):
        assert answer(url, "GET", path, [("Host", "localhost"), ("Sec-Fetch-Site", site)])[0] == 200


def test_a_viewer_that_is_named_may_show_pictures(urls: dict[str, str]) -> None:
    viewer = "https://viewer.example"
    with serving(image_server(Config(urls["aws"], viewers=(viewer,), workers=1))) as url:
        asked = {"Origin": viewer, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
        answered = httpx.get(f"{url}/health", headers=asked)
        assert (answered.status_code, answered.headers["access-control-allow-origin"]) == (200, "*")
        assert httpx.get(f"{url}/health", headers={"Origin": f"{viewer}.evil.example"}).status_code == 403


@pytest.mark.parametrize(
    ("referer", "target", "method", "passes"),
    [
        ("https://viewer.example/", "image", "GET", True),
        ("https://viewer.example/a/page", "image", "HEAD", True),
        ("https://viewer.example.evil.example/", "image", "GET", False),
        ("https://evil.example/?https://viewer.example/", "image", "GET", False),
        ("https://viewer.example", "image", "GET", False),  # browsers end an origin with a slash there
        ("", "image", "GET", False),
        (None, "image", "GET", False),
        ("https://viewer.example/", "iframe", "GET", False),
        ("https://viewer.example/", "script", "GET", False),
        ("https://viewer.example/", "image", "POST", False),
    ],
)
def test_a_viewer_is_known_by_its_address_where_no_origin_is(
    referer: str | None, target: str, method: str, passes: bool
) -> None:
    """A browser sends no Origin for the picture of a page that asks for nothing more: Mirador's thumbnails are such."""
    door = FrontDoor(origins=("https://viewer.example",))
    headers = {"host": ["localhost"], "sec-fetch-site": ["cross-site"], "sec-fetch-dest": [target]}
    if referer is not None:
        headers["referer"] = [referer]
    assert (door.refusal(method, headers) is None) == passes
    assert FrontDoor().refusal(method, headers) is not None


def test_queues_take_no_orders_by_get(urls: dict[str, str]) -> None:
    """A link is enough for it in a browser that does not say whose a request is."""
    order = f"/?Action=PurgeQueue&QueueUrl={urls['aws']}/123456789012/dlcs-image"
    assert answer(urls["aws"], "GET", order, [("Host", "localhost")])[0] == 405


@pytest.mark.parametrize(
    ("allowed", "host", "passes"),
    [
        ("ui.example", "ui.example", True),
        ("ui.example", "UI.EXAMPLE:3000", True),
        ("ui.example", "a.ui.example", False),
        (".ui.example", "a.ui.example", True),
        (".ui.example", "ui.example", False),
        (".ui.example", "xui.example", False),
        ("10.0.0.7", "10.0.0.7:3000", True),
        ("10.0.0.7", "10.0.0.8:3000", False),
        ("10.1.2.3", "10.9.9.9", True),
    ],
)
def test_a_host_passes_if_it_is_allowed_or_connected_to(allowed: str, host: str, passes: bool) -> None:
    """A load balancer's health check names the address of the machine that it connects to."""
    assert (FrontDoor((allowed,)).refusal("GET", {"host": [host]}, connected_to="10.9.9.9") is None) == passes


def test_the_services_list_the_option_for_their_names() -> None:
    """Containers are reached by the names of their services: `deploy/compose.yaml` gives them."""
    for module in ("aws", "appetiser", "image_server"):
        command = [sys.executable, "-m", f"dlcs_stack.{module}", "--help"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "--allow-host" in re.sub(r"\s+", " ", shown)
