"""Text from outside: what of it can be stored, and how it is shown."""

from __future__ import annotations

import unicodedata
from typing import Final

_SHOWN: Final = 300
# What takes no room on the screen, or looks like a space, though Unicode counts it among letters, marks and symbols.
_UNSEEN: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)


def is_storable(text: str) -> bool:
    """Return whether a text has neither control characters nor halves of surrogate pairs.

    Databases and object stores refuse those (a NUL, what UTF-8 can't carry), long after the message was accepted.
    """
    return not any(_is_unfit(character) for character in text)


def is_visible(character: str) -> bool:
    """Return whether a character is seen as itself: no control, no change of direction, none that is not seen."""
    return character.isprintable() and character not in _UNSEEN


def visible(text: str, *, keep: str = "") -> str:
    r"""Return a text in which nothing is hidden: what is not visible is written as an escape, `\u202e` for instance.

    Terminals obey control characters, and browsers and terminals let others turn around or hide what is next to them.
    Characters of `keep`, such as the line feed, stay. Never raises.
    """
    if text.isascii() and text.isprintable():  # nearly always
        return text
    return "".join(
        character if is_visible(character) or character in keep else character.encode("unicode_escape").decode()
        for character in text
    )


def shown_text(text: str) -> str:
    """Return a text as an error may quote it: visible, and not too long."""
    shown = visible(text[:_SHOWN])
    return shown if len(text) <= _SHOWN else f"{shown}…"


def _is_unfit(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs"}
