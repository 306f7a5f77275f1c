"""Lines of OpenSSH's `known_hosts`, read as far as needed to tell a good one."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

_HOSTS: Final = re.compile(r"\|1\|[A-Za-z0-9+/=]+\|[A-Za-z0-9+/=]+|[^\s,#@*?!]+(,[^\s,#@*?!]+)*")
_FIELDS: Final = 3
_LENGTH_BYTES: Final = 4


def check_known_host(line: str) -> str:
    """Return the line `hosts key-type key`. Raises ValueError for a line that is none, patterns and marks included."""
    fields = line.split()[:_FIELDS]
    if len(fields) < _FIELDS or not _HOSTS.fullmatch(fields[0]) or not _is_key(fields[1], fields[2]):
        raise ValueError("is no line of known_hosts; expected 'host key-type key', as ssh-keyscan prints it")
    return " ".join(fields)


def _is_key(kind: str, text: str) -> bool:
    """Tell whether the key is whole and of that kind, which it begins with."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    length = int.from_bytes(key[:_LENGTH_BYTES])
    return key[_LENGTH_BYTES : _LENGTH_BYTES + length] == kind.encode() and len(key) > _LENGTH_BYTES + length
