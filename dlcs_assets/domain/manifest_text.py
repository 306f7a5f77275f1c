"""From the bytes of a manifest to its records: which encoding and form it has, and on which line each record begins."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dlcs_assets.domain.json_fields import kind_of
from dlcs_assets.domain.text import shown_text

COLUMNS: Final = ("id", "space", "asset", "origin", "mediaType", "deliveryChannels", "maxUnauthorised", "roles")
_BY_LOWER: Final = {name.lower(): name for name in COLUMNS}
_COLUMNS_HINT: Final = f"Columns are {', '.join(COLUMNS)}."
_DELIMITERS: Final = (",", ";", "\t")
_UTF_16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong in a line. Lines count from 1; a record of several lines has the number of its first."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Record:
    """What a line says, by column: text in CSV, any JSON value in JSON. What is empty is left out."""

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Records:
    """All records that could be read, and what was wrong with the others. `columns` is None where none are named."""

    records: tuple[Record, ...]
    mistakes: tuple[Mistake, ...]
    columns: frozenset[str] | None = None


def read_records(data: bytes) -> Records:
    """Read CSV (separated by commas, semicolons or tabs, with a header), or a JSON object on each line.

    The text is UTF-8, with a byte order mark or without, or UTF-16 with one, as spreadsheets write it.
    """
    try:
        text = _decoded(data)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return Records(
            (), (Mistake(line, f"this is not {error.encoding.upper()}: {error.reason}. Save the manifest as UTF-8."),)
        )
    start = text.lstrip()[:1]
    if start == "{":
        return _json_records(text)
    if start == "[":
        return Records((), (Mistake(1, "this is a JSON array. Write one JSON object on each line, without brackets."),))
    return _csv_records(text)


def _decoded(data: bytes) -> str:
    return data.decode("utf-16" if data.startswith(_UTF_16_MARKS) else "utf-8-sig")


def _json_records(text: str) -> Records:
    records: list[Record] = []
    mistakes: list[Mistake] = []
    for line, each in enumerate(text.split("\n"), start=1):
        if not each.strip():
            continue
        try:
            value = json.loads(each, object_pairs_hook=_without_repetition)
        except (ValueError, RecursionError) as error:
            mistakes.append(Mistake(line, f"this is not a JSON object: {error}."))
            continue
        if not isinstance(value, dict):
            mistakes.append(Mistake(line, f"this is {kind_of(value)}, not a JSON object."))
            continue
        mistakes += _unknown(line, value)
        values = {_BY_LOWER[name.lower()]: part for name, part in value.items() if name.lower() in _BY_LOWER}
        records.append(Record(line, {name: part for name, part in values.items() if part is not None and part != ""}))
    return Records(tuple(records), tuple(mistakes))


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [name for name, count in Counter(name.lower() for name, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"it has {shown_text(', '.join(twice))} more than once")
    return dict(pairs)


def _csv_records(text: str) -> Records:
    rows = _csv_rows(text, _delimiter(text))
    line, header = next(((line, row) for line, row in rows if isinstance(row, str) or any(row)), (1, []))
    if isinstance(header, str):
        return Records((), (Mistake(line, header),))
    if not header:
        return Records((), ())
    columns = [_BY_LOWER.get(name.lower()) for name in header]
    mistakes = _unknown(line, header)
    if len(mistakes) == len(header):
        cause = f"this is no header: none of {shown_text(', '.join(header))} is a column. {_COLUMNS_HINT}"
        return Records((), (Mistake(line, cause),))
    twice = [name for name, count in Counter(columns).items() if name and count > 1]
    mistakes += [Mistake(line, f"the column {name} is there more than once.") for name in twice]
    records: list[Record] = []
    for at, row in rows:
        if isinstance(row, str):
            mistakes.append(Mistake(at, row))
        elif len(row) != len(header) and any(row):
            cause = (
                f"this has {len(row)} fields, the header has {len(header)}. Put a field that has a separator in quotes."
            )
            mistakes.append(Mistake(at, cause))
        elif any(row):
            values = {name: part for name, part in zip(columns, row, strict=True) if name and part}
            records.append(Record(at, values))
    return Records(tuple(records), tuple(mistakes), frozenset(name for name in columns if name))


def _unknown(line: int, names: Sequence[str] | Mapping[str, Any]) -> list[Mistake]:
    return [
        Mistake(line, f"there is no column '{shown_text(name)}'. {_COLUMNS_HINT}")
        for name in names
        if name.lower() not in _BY_LOWER
    ]


def _delimiter(text: str) -> str:
    """Take the separator by which the first line has most columns that there are."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    names = {delimiter: [name.strip('" ').lower() for name in first.split(delimiter)] for delimiter in _DELIMITERS}
    return max(_DELIMITERS, key=lambda delimiter: sum(name in _BY_LOWER for name in names[delimiter]))


def _csv_rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Yield each row with its line: its fields without the white space around them, or what is wrong with it."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"this is not CSV: {error}. See whether all quotes are closed, and doubled inside of a field."
            continue
        yield line, [part.strip() for part in row]
