"""Input that is almost right: that is what finds its way deep into a parser."""

from __future__ import annotations

import copy
import random
from typing import Any

from hypothesis import strategies as st

ODD_TEXT = st.sampled_from(
    [
        "",
        " ",
        "\x00",
        "\ud800",
        "￿",
        "2/1/x",
        "-1",
        "0",
        "1e400",
        "NaN",
        "null",
        "[]",
        "%",
        "%2F",
        "../..",
        "𝟚",
        "a" * 5000,
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats()
    | st.text(max_size=20)
    | ODD_TEXT
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12) | ODD_TEXT, inner, max_size=4),
    max_leaves=12,
)


def changed(value: Any, *, times: int = 3) -> st.SearchStrategy[Any]:
    """Return variants of a JSON value in which up to `times` parts are others, missing, or there twice."""

    def change(dice: random.Random, parts: list[Any]) -> Any:
        result = copy.deepcopy(value)
        for part in parts:
            result = _change(result, dice, part)
        return result

    return st.builds(change, st.randoms(use_true_random=False), st.lists(JSON, min_size=0, max_size=times))


def _change(value: Any, dice: random.Random, part: Any) -> Any:
    if isinstance(value, dict) and value and dice.random() < 0.85:
        key = dice.choice(sorted(value, key=str))
        match dice.randrange(6):
            case 0:
                return {name: each for name, each in value.items() if name != key}
            case 1:
                return {**value, dice.choice((str(key).upper(), str(key) + " ", "asset", "id")): part}
            case _:
                return {**value, key: _change(value[key], dice, part)}
    if isinstance(value, list) and value and dice.random() < 0.85:
        at = dice.randrange(len(value))
        return [*value[:at], _change(value[at], dice, part), *value[at + dice.randrange(2) :]]
    return part


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """Return variants of bytes: cut, with bytes that are others, with more in between."""

    def damage(dice: random.Random, more: bytes) -> bytes:
        result = bytearray(data)
        for _ in range(dice.randint(1, 6)):
            at = dice.randrange(len(result) + 1)
            match dice.randrange(4):
                case 0:
                    del result[at:]
                case 1:
                    del result[at : at + dice.randint(1, 40)]
                case 2:
                    result[at:at] = more
                case _ if at < len(result):
                    result[at] = dice.randrange(256)
        return bytes(result)

    return st.builds(damage, st.randoms(use_true_random=False), st.binary(max_size=12))
