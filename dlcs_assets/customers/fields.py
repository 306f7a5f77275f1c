"""YAML read strictly: every value with its line and its name, and all that is wrong with a file, not only the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import yaml  # type: ignore[import-untyped]  # it has no types, and its stubs would be one more package

T = TypeVar("T")

_KINDS: Final = {"str": "text", "int": "a whole number", "bool": "true or false", "seq": "a list", "map": "fields"}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, where, and what was expected. `field` is a path such as `customers.2.origins[0].regex`."""

    line: int
    field: str
    what: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.field}: {self.what}" if self.field else f"line {self.line}: {self.what}"


class InvalidConfigError(ValueError):
    """A file with problems, in the order of its lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


class Value:
    """A value in the file. What can't be read as asked is noted as a problem, and read as None or as nothing."""

    def __init__(self, node: yaml.Node, field: str, problems: list[Problem]) -> None:
        self._node = node
        self._problems = problems
        self.field = field

    def refuse(self, what: str) -> None:
        """Note a problem with this value."""
        self._problems.append(Problem(self._node.start_mark.line + 1, self.field, what))

    def text(self) -> str | None:
        """Read text that is not empty."""
        if not self._is("str"):
            return None
        text: str = self._node.value
        if not text.strip():
            self.refuse("is empty; expected text")
            return None
        return text

    def number(self) -> int | None:
        """Read a whole number, written plainly."""
        if not self._is("int"):
            return None
        digits: str = self._node.value
        if not (digits.isascii() and digits.isdigit()) or (len(digits) > 1 and digits.startswith("0")):
            self.refuse(f"is '{digits}'; expected a whole number, in plain digits")
            return None
        return int(digits)

    def flag(self) -> bool | None:
        """Read `true` or `false`; YAML's older words for them are refused."""
        if not self._is("bool"):
            return None
        if self._node.value not in {"true", "false"}:
            self.refuse(f"is '{self._node.value}'; expected true or false")
            return None
        return bool(self._node.value == "true")

    def read(self, reading: Callable[[str], T]) -> T | None:
        """Read text by a function that raises ValueError, with what was expected, for text it can't use."""
        text = self.text()
        if text is None:
            return None
        try:
            return reading(text)
        except ValueError as error:
            self.refuse(str(error))
            return None

    def items(self) -> Iterator[Value]:
        """Go through a list."""
        if self._is("seq"):
            for number, node in enumerate(self._node.value):
                yield Value(node, f"{self.field}[{number}]", self._problems)

    def pairs(self) -> Iterator[tuple[Value, Value]]:
        """Go through names and values; a name that comes again is a problem."""
        if not self._is("map"):
            return
        seen: dict[str, int] = {}
        for key, node in self._node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            field = f"{self.field}.{name}" if self.field else name
            name_value = Value(key, field, self._problems)
            if name in seen:
                name_value.refuse(f"is there already, in line {seen[name]}; expected each once")
                continue
            seen[name] = key.start_mark.line + 1
            yield name_value, Value(node, field, self._problems)

    def fields(self, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Value]:
        """Read fields of these names; any other, and a required one that is missing, is a problem."""
        found = {}
        known = (*required, *optional)
        for name, value in self.pairs():
            key = name.text()
            if key in known:
                found[key] = value
            elif key is not None:
                name.refuse(f"is no field here; expected {_listed(known)}")
        if self.kind == "map":
            missing = [key for key in required if key not in found]
            if missing:
                self.refuse(f"lacks {_listed(missing)}; expected {_listed(required)}")
        return found

    @property
    def kind(self) -> str:
        """What it is in YAML: `str`, `int`, `bool`, `seq`, `map`, and some that are of no use."""
        return str(self._node.tag).rpartition(":")[2]

    def _is(self, kind: str) -> bool:
        if self.kind == kind:
            return True
        hint = " (put it in quotes)" if kind == "str" and isinstance(self._node, yaml.ScalarNode) else ""
        self.refuse(f"is {_KINDS.get(self.kind, 'empty or of another kind')}; expected {_KINDS[kind]}{hint}")
        return False


def parse_yaml(data: bytes, reading: Callable[[Value], T]) -> T:
    """Read one YAML document. Raises InvalidConfigError with every problem that was found."""
    problems: list[Problem] = []
    result = reading(Value(_compose(data), "", problems))
    if problems:
        raise InvalidConfigError(sorted(problems, key=lambda problem: problem.line))
    return result


def _compose(data: bytes) -> yaml.Node:
    try:
        node = yaml.compose(data.decode(), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidConfigError([Problem(line, "", "is not UTF-8; expected a text file in UTF-8")]) from None
    except yaml.reader.ReaderError as error:
        line = data.decode().count("\n", 0, error.position) + 1
        raise InvalidConfigError([Problem(line, "", "has a control character; expected plain text")]) from None
    except yaml.MarkedYAMLError as error:
        # Not the error's own text: that quotes the lines around it.
        line = (error.problem_mark or error.context_mark).line + 1
        raise InvalidConfigError([Problem(line, "", f"is not YAML: {error.problem}")]) from None
    except RecursionError:
        raise InvalidConfigError(
            [Problem(1, "", "is nested too deeply; expected the fields of a customers file")]
        ) from None
    if node is None:
        raise InvalidConfigError([Problem(1, "", "is empty; expected the field 'customers'")])
    return node


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
