"""Noting what SQLAlchemy does, for tests that count it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event


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
