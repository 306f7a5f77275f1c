"""Fields of a JSON object, read as the DLCS reads them: names in any case, numbers in quotes or not, null as absent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.text import is_storable

_INTEGER: Final = re.compile(r"-?[0-9]{1,10}")
_MAX_INTEGER: Final = 2**31 - 1
_KINDS: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
}


class Fields:
    """The fields of an object. Each reader gives None for a field that is absent or null.

    Raises `MessageRejectedError` with code `field_malformed`, naming the field by its path and what was expected.
    """

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        self._values = {name.lower(): value for name, value in values.items()}
        self._names = tuple(values)
        self._path = path

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._values

    def names(self) -> tuple[str, ...]:
        """Return the names as they were written."""
        return self._names

    def get(self, name: str) -> Any:
        """Return a field as it is."""
        return self._values.get(name.lower())

    def object(self, name: str) -> Fields | None:
        """Read an object."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.malformed(name, "an object")
        return Fields(value, self._path_of(name))

    def objects(self, name: str) -> tuple[Fields, ...]:
        """Read a list of objects; an absent one is empty."""
        value = self.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.malformed(name, "a list of objects")
        return tuple(Fields(item, f"{self._path_of(name)}[{index}]") for index, item in enumerate(value))

    def string(self, name: str) -> str | None:
        """Read a string, without the white space around it; a blank one counts as absent."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or not is_storable(value):
            raise self.malformed(name, "a string without control characters")
        return value.strip() or None

    def strings(self, name: str) -> tuple[str, ...] | None:
        """Read a list of strings, or one string with commas, each part once and without blanks."""
        value = self.get(name)
        if value is None:
            return None
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list) or not all(isinstance(part, str) and is_storable(part) for part in parts):
            raise self.malformed(name, "a list of strings, or a string with commas, without control characters")
        return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))

    def integer(self, name: str) -> int | None:
        """Read a whole number of 32 bits."""
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _MAX_INTEGER:
            raise self.malformed(name, "a whole number of 32 bits")
        return value

    def timestamp(self, name: str) -> datetime | None:
        """Read a timestamp in ISO 8601, of any precision; without an offset it is taken as UTC."""
        value = self.get(name)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            moment.astimezone(UTC)  # the first and last hours of the calendar have none
        except (TypeError, ValueError, OverflowError) as error:
            raise self.malformed(name, "a timestamp such as 2026-11-22T10:00:00Z") from error
        return moment

    def malformed(self, name: str, expected: str) -> MessageRejectedError:
        """Return the error for a field that is not what was expected."""
        value = self.get(name)
        return MessageRejectedError(
            "field_malformed",
            f"{self._path_of(name)} must be {expected}; it is {kind_of(value)}",
            remedy=f"Correct {self._path_of(name)}, or leave it out, and send the message again.",
        )

    def _path_of(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name


def read_object(text: str, what: str, *, remedy: str) -> dict[str, Any]:
    """Read a JSON object, named `what` in errors. Raises `MessageRejectedError`, code `not_json` or `not_an_object`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MessageRejectedError("not_json", f"{what} is not JSON: {error}", remedy=remedy) from error
    if not isinstance(value, dict):
        raise MessageRejectedError("not_an_object", f"{what} is {kind_of(value)}, not a JSON object", remedy=remedy)
    return value


def kind_of(value: object) -> str:
    """Describe a JSON value in words, by its kind and not by its content: that might be secret, or very long."""
    if value is None:
        return "null"
    if isinstance(value, str) and not value.strip():
        return "an empty string"
    return _KINDS.get(type(value), "an object")
