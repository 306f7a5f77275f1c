"""What of a URL may be shown in logs, metadata and errors."""

from __future__ import annotations

import re
from typing import Final

ELLIPSIS: Final = "?…"

# scheme, authority and path; what follows is a query or a fragment.
_PARTS: Final = re.compile(
    r"(?P<scheme>(?:[^/?#:]*:)?//)?(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)", re.DOTALL
)
_HOST: Final = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::[0-9]*)?")


def shown_url(url: str) -> str:
    """Return the URL without user, password, query and fragment; `?…` says that a query or fragment was cut.

    What can't be seen, or changes how the rest is seen, is replaced.
    `s3://` addresses carry no secrets, and `?` may be part of a key: they are shown as they are. Never raises.
    """
    if url.lower().startswith("s3://"):
        return url
    parts = _PARTS.fullmatch(url)
    if parts is None:  # the pattern takes any text
        return "…"
    scheme, authority, path, rest = (parts[name] or "" for name in ("scheme", "authority", "path", "rest"))
    host = authority.rpartition("@")[2]
    if scheme and not _HOST.fullmatch(host):
        # "user:p/ssword@host" or "user:p?ssword@host": a password that was not encoded ends the authority early.
        return f"{scheme}…"
    shown = f"{scheme}{host}{path}{ELLIPSIS if rest else ''}"
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in shown)
