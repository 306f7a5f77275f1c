"""A webhook: an address of a chat or an alarm system that takes JSON. The address itself is the secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from dlcs_assets.clients.http import Peer, error_of_exception, error_of_status, no_cookies, tls_context
from dlcs_assets.clients.lazy import LazyClient
from dlcs_assets.logs import keep_libraries_quiet

_PEER: Final = Peer(
    "The webhook",
    "webhook",
    is_internal=False,
    remedy="Check that DLCS_ALERT_WEBHOOK_URL is the address that the receiver gave out, and that it is still valid.",
)


@dataclass(kw_only=True, eq=False)
class Webhook(LazyClient[httpx.Client]):
    """Posts JSON to one address. Raises the errors of the error tree, codes `webhook_*`, which name the host alone."""

    url: SecretStr
    connect_timeout_seconds: float = 3.0
    timeout_seconds: float = 10.0

    def post(self, body: str) -> None:
        """Post a JSON text. Redirects are not followed: the receiver is the one that was named."""
        url = self.url.get_secret_value()
        try:
            answer = self._client.get(self._make_client).post(
                url, content=body.encode(), headers={"Content-Type": "application/json"}
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise error_of_exception(error, _PEER, _host(url)) from None  # its texts may have the address
        if not answer.is_success:
            raise error_of_status(answer.status_code, answer.headers, _PEER, _host(url))

    def _make_client(self) -> httpx.Client:
        keep_libraries_quiet()
        return httpx.Client(
            timeout=httpx.Timeout(self.timeout_seconds, connect=self.connect_timeout_seconds),
            headers={"User-Agent": "dlcs-assets"},
            cookies=no_cookies(),
            verify=tls_context(trust_env=True),
        )


def _host(url: str) -> str:
    """Return an address without all that may be secret: chats have their secret in the path."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "its address"
    return f"{parts.scheme}://{parts.hostname}" if parts.hostname else "its address"
