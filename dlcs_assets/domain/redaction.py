"""What of a URL, and of a message's body, may be shown in logs, metadata, errors and on terminals."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from typing import Final
from urllib.parse import unquote

from dlcs_assets.domain.text import visible

ELLIPSIS: Final = "?…"
_HIDDEN: Final = "…"

# scheme, authority and path; what follows is a query or a fragment.
_PARTS: Final = re.compile(r"(?P<scheme>(?:[^/?#]*:)?//)?(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)", re.DOTALL)
_HOST: Final = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::[0-9]*)?")
# Where an address begins in other text. A proxy may have left one of the slashes of the usual ones; `ark:/` is none.
_ADDRESS: Final = re.compile(r"(?:https?|s?ftps?|wss?):[/\\]|[a-z][a-z0-9+.-]*:[/\\]{2}", re.IGNORECASE)
_WORDS: Final = re.compile(r"[^\s\"<>]+")
_ESCAPE: Final = re.compile(r"\\u([0-9a-f]{4})|\\x([0-9a-f]{2})", re.IGNORECASE)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_NAMES_SECRET: Final = re.compile(
    r"password|passwd|passphrase|secret|token|authori[sz]ation|credential|signature|api_?-?key|private_?-?key|^sig$|^pwd$",
    re.IGNORECASE,
)
_LOGINS: Final = frozenset({"basic", "bearer"})
_MOST_ENCODINGS: Final = 5  # as often as something may be encoded in something else


def shown_url(url: str) -> str:
    """Return the URL without user, password, query and fragment; `?…` says that a query or fragment was cut.

    What can't be seen, or changes how the rest is seen, is written as an escape. A path ends where it has another
    address in it. `s3://` addresses carry no secrets, and `?` may be part of a key: they are shown as they are, but
    for a user before the bucket. Never raises.
    """
    if url.lower().startswith("s3://"):
        bucket, slash, key = url[len("s3://") :].partition("/")
        return visible(f"{url[: len('s3://')]}{bucket.rpartition('@')[2]}{slash}{key}")
    if (begins := _ADDRESS.match(url)) and not url.startswith("//", url.index(":") + 1):
        # "https:/user:…", or with backslashes: what reads it may take it for an address all the same.
        scheme, rest = url.partition(":")[0], url[begins.end() :].lstrip("/\\")
        url = f"{scheme}://{rest}"
    parts = _PARTS.fullmatch(url)
    if parts is None:  # the pattern takes any text
        return _HIDDEN
    scheme, authority, path, rest = (parts[name] or "" for name in ("scheme", "authority", "path", "rest"))
    host = (_decoded(authority) if "%" in authority else authority).rpartition("@")[2]
    if scheme and not _HOST.fullmatch(host):
        # "user:p/ssword@host" or "user:p?ssword@host": a password that was not encoded ends the authority early.
        return visible(f"{scheme}{_HIDDEN}")
    return visible(f"{scheme}{host}{_shown_path(path)}{ELLIPSIS if rest else ''}")


def without_login(url: str) -> str:
    """Return a web address without user and password, for links; any other text as it is."""
    scheme, slashes, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{authority.rpartition('@')[2]}{slash}{path}"


def _shown_path(path: str) -> str:
    """Return a path up to where it has another address, or an encoded query, in it."""
    decoded = _decoded(path)
    if not (address := _ADDRESS.search(decoded)) and "=" not in decoded.partition("?")[2]:
        return path
    kept: list[str] = []
    for segment in path.split("/"):
        plain = _decoded(segment)
        if "?" in plain or (address and ":" in plain):
            break
        kept.append(segment)
    return "/".join([*kept, _HIDDEN])


def shown_body(body: str) -> str:
    """Return a message's body without the secrets that its values may hold.

    JSON is read, and its values are judged as they are meant, however they are escaped, and JSON in JSON too. Of what
    is not JSON the words are judged, with what encodings there may be taken off. Never raises.
    """
    try:
        return _shown_json(body, 0)
    except (ValueError, RecursionError):
        return _shown_words(_decoded(body, percent=False))


def _shown_json(text: str, depth: int) -> str:
    """Raise ValueError for what is not JSON of an object, an array or a text, RecursionError for what is too deep."""
    value = json.loads(text)
    if not isinstance(value, dict | list | str):
        raise ValueError("a number, or nothing")  # noqa: TRY004 (as what json raises)
    return json.dumps(_shown_value(value, depth + 1), ensure_ascii=False)


def _shown_value(value: object, depth: int) -> object:
    if depth > 100:  # noqa: PLR2004 (deeper than any message)
        return _HIDDEN
    if isinstance(value, dict):
        return {
            _shown_words(name): _HIDDEN
            if _NAMES_SECRET.search(name) and isinstance(each, str | int | float)
            else _shown_value(each, depth + 1)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_shown_value(each, depth + 1) for each in value]
    return _shown_string(value, depth) if isinstance(value, str) else value


def _shown_string(text: str, depth: int) -> str:
    if text.lstrip()[:1] in {"{", "[", '"'}:
        try:
            return _shown_json(text, depth)
        except ValueError:
            pass
    # Of an address alone all is known: what stands in it is no end of it, be it a space.
    for plain in (text.strip(), _decoded(text).strip()):
        if _ADDRESS.match(plain):
            return shown_url(plain)
    return _shown_words(text)


def _shown_words(text: str) -> str:
    """Return text with its words judged one by one."""
    before = ""

    def shown(word: re.Match[str]) -> str:
        nonlocal before
        after_login, before = before.lower().rstrip(":") in _LOGINS, word[0]
        return _HIDDEN if after_login else _shown_word(word[0])

    return _WORDS.sub(shown, text)


def _shown_word(word: str) -> str:
    decoded = _decoded(word)
    if address := _ADDRESS.search(decoded):
        return _shown_word(decoded[: address.start()]) + shown_url(decoded[address.start() :])
    name, equals, _ = decoded.partition("=")
    if equals and _NAMES_SECRET.search(name):
        return f"{name}={_HIDDEN}"
    if "@" in decoded:  # the end of a password that has a space in it, or a login without a scheme
        return f"{_HIDDEN}@{decoded.rpartition('@')[2]}"
    return _HIDDEN if _is_encoded_login(word) else word


def _is_encoded_login(word: str) -> bool:
    """Return whether a word is base64 of `user:password`, or of an address."""
    if not _BASE64.fullmatch(word):
        return False
    padded = word.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        plain = base64.b64decode(padded + "=" * (-len(padded) % 4)).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return False
    return ":" in plain and plain.isprintable()


def _decoded(text: str, *, percent: bool = True) -> str:
    """Return a text with the escapes of JSON, HTML and URLs taken off, also where one is in another."""
    for _ in range(_MOST_ENCODINGS):
        plain = _ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), text).replace("\\/", "/")
        plain = html.unescape(plain)
        plain = unquote(plain) if percent else plain
        if plain == text:
            break
        text = plain
    return text
