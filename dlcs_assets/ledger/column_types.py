"""Text of others' making, as every database can store it."""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy import Dialect, Text, TypeDecorator

UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


class SanitizedText(TypeDecorator[str]):
    """Text of others' making, of any length. What PostgreSQL refuses to store is written as a replacement character."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 (its signature)
        """Replace NUL and halves of surrogate pairs."""
        return None if value is None else UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)
