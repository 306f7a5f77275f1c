"""Noting what SQLAlchemy does, for tests that count it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event


@contextmanager
def noted(target: Any, name: str) -> Iterator[list[str]]:
    """Note the events of this name of all engines or pools; of statements, their text."""
    seen: list[str] = []

    def note(*arguments: Any) -> None:
        seen.append(" ".join(argument for argument in arguments if isinstance(argument, str)))

    event.listen(target, name, note)
    try:
        yield seen
    finally:
        event.remove(target, name, note)


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """Note what is asked of any database, with its parameters."""
    seen: list[tuple[str, Any]] = []

    def note(*arguments: Any) -> None:
        seen.append((arguments[2], arguments[3]))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)
