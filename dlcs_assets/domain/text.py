"""Text from outside: what of it can be stored and shown."""

from __future__ import annotations

import unicodedata
from typing import Final

_SHOWN: Final = 300


def is_storable(text: str) -> bool:
    """Return whether a text has neither control characters nor halves of surrogate pairs.

    Databases and object stores refuse those (a NUL, what UTF-8 can't carry), long after the message was accepted.
    """
    return not any(_is_unfit(character) for character in text)


def shown_text(text: str) -> str:
    """Return a text as an error may quote it: not too long, and storable."""
    shown = "".join("\N{REPLACEMENT CHARACTER}" if _is_unfit(character) else character for character in text[:_SHOWN])
    return shown if len(text) <= _SHOWN else f"{shown}…"


def _is_unfit(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs"}
