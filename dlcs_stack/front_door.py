"""The front door of a service without a login: requests that a browser sends for a foreign page are refused.

A service that listens on the loopback address is reached by every page that is open in a browser on the same machine:
by an address of ours in a form, a picture or a script (CSRF), and by a name of the page's own that is made to lead here
(DNS rebinding). A browser says whose request it is, in the headers `Host`, `Origin` and `Sec-Fetch-*`. Standard library
only, for ASGI and for WSGI.
"""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Final

_LOOPBACK_NAME: Final = "localhost"
_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_READING: Final = frozenset({"GET", "HEAD"})
_OWN_SITE: Final = frozenset({"same-origin", "none"})  # none: typed by a person, or from a bookmark
_CLOSED_FOR_POLICY: Final = 1008

Scope = MutableMapping[str, Any]
Send = Callable[[Any], Awaitable[None]]
Receive = Callable[[], Awaitable[Any]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused, and with which status."""

    status: HTTPStatus
    reason: str


def add_option(parser: ArgumentParser) -> None:
    """Add the option that names further hosts; `allow_host` of what is parsed is for `FrontDoor`."""
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name by which the service is reached, in addition to this machine's own addresses; .NAME for all names "
        "below it; repeatable",
    )


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """What decides on each request. `hosts` are names by which the service is reached in addition to the loopback's.

    `origins` are those whose pages may use it, such as `https://viewer.example.org`, in addition to its own.
    `links`: whether a link of another page may lead here; only where a GET changes nothing.
    """

    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()
    links: bool = False

    def refusal(
        self, method: str, headers: Mapping[str, Sequence[str]], connected_to: str | None = None
    ) -> Refusal | None:
        """Return why a request is refused, None if it is not. `headers`: all values by the name in lower case.

        `connected_to` is the address of ours that the connection was made to: a page cannot make that its own name.
        """
        host = _only(headers.get("host", ()))
        if host is None or not self._is_ours(host, connected_to):
            return Refusal(HTTPStatus.MISDIRECTED_REQUEST, "This service is not reached by that name (Host).")
        if "origin" in headers:
            origin = _only(headers["origin"]) or ""
            if origin in self.origins:
                return None
            if origin.partition("://")[2].lower() != host.lower():
                return Refusal(HTTPStatus.FORBIDDEN, "Pages of another origin may not use this service (Origin).")
        site = _only(headers.get("sec-fetch-site", ("none",)))
        is_welcome = self._shows_a_picture(method, headers) or (self.links and _is_a_followed_link(method, headers))
        if site not in _OWN_SITE and not is_welcome:
            return Refusal(HTTPStatus.FORBIDDEN, "Pages of another site may not use this service (Sec-Fetch-Site).")
        return None

    def _shows_a_picture(self, method: str, headers: Mapping[str, Sequence[str]]) -> bool:
        """Return whether a page of `origins` shows a picture: a browser names no origin then, but where it comes from.

        A page may leave its address out (Referer), but it cannot give another one's.
        """
        target, referer = _only(headers.get("sec-fetch-dest", ())), _only(headers.get("referer", ())) or ""
        return method in _READING and target == "image" and any(referer.startswith(f"{each}/") for each in self.origins)

    def _is_ours(self, authority: str, connected_to: str | None) -> bool:
        found = _AUTHORITY.fullmatch(authority)
        if found is None:
            return False
        host = found["host"].lower().strip("[]")
        try:
            address = ip_address(host)
        except ValueError:
            return host == _LOOPBACK_NAME or any(_is_named(host, name.lower()) for name in self.hosts)
        return address.is_loopback or str(address) == connected_to or host in self.hosts


class AsgiFrontDoor:
    """An ASGI application behind the front door."""

    def __init__(self, app: AsgiApp, door: FrontDoor) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        server = scope.get("server") or (None,)
        # A web socket is no reading: it sends orders, and no browser asks before it opens one.
        refusal = self._door.refusal(scope.get("method", "websocket"), headers, server[0])
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": _CLOSED_FOR_POLICY, "reason": refusal.reason})
        else:
            body = refusal.reason.encode()
            head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": refusal.status.value, "headers": head})
            await send({"type": "http.response.body", "body": body})


class WsgiFrontDoor:
    """A WSGI application behind the front door."""

    def __init__(self, app: WsgiApp, door: FrontDoor) -> None:
        self._app = app
        self._door = door

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Pass a request on, or refuse it."""
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): [value]
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        refusal = self._door.refusal(environ["REQUEST_METHOD"], headers)
        if refusal is None:
            return self._app(environ, start_response)
        body = refusal.reason.encode()
        status = f"{refusal.status.value} {refusal.status.phrase}"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
        return [body]


def _only(values: Sequence[str]) -> str | None:
    """Return the value of a header that is there once: of two, a proxy and a service may believe different ones."""
    return values[0].strip() if len(values) == 1 else None


def _is_named(host: str, name: str) -> bool:
    return host.endswith(name) if name.startswith(".") else host == name


def _is_a_followed_link(method: str, headers: Mapping[str, Sequence[str]]) -> bool:
    """Return whether a person opens a page of ours by a link, as a page of its own: nothing of it is seen there."""
    mode, target = (_only(headers.get(name, ())) for name in ("sec-fetch-mode", "sec-fetch-dest"))
    return method in _READING and mode == "navigate" and target == "document"
