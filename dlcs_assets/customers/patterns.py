"""Regular expressions that others wrote: compiled and searched within bounds.

Python's own `re` searches without a time limit, and the expression `(a+)+$` can take years over one address. The
package `regex` can be stopped; what may grow while compiling is limited here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod
from typing import Final

import regex  # type: ignore[import-untyped]  # its stubs would be one more package

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.redaction import shown_url

SEARCH_SECONDS: Final = 0.25
_LONGEST: Final = 1000
_MAX_REPEATS: Final = 10_000
_REPEATS: Final = re.compile(r"\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}")
# What expressions that run away run away on: a long run of one kind of character, and then something else.
_PROBES: Final = tuple(f"https://example.org/{run}\n!" for run in ("a" * 1500, "0" * 1500, "a/" * 750, ".-_" * 500))


def compile_search(expression: str, rule: str) -> Callable[[str], bool]:
    """Return a search for the expression: unanchored, case-insensitive.

    Raises ValueError for an expression that does not compile or that is too slow. The search raises `PermanentError`
    (`origin_strategy_too_slow`) when it takes longer than `SEARCH_SECONDS`.
    """
    if len(expression) > _LONGEST:
        raise ValueError(f"has {len(expression)} characters; expected a regular expression of at most {_LONGEST}")
    repeats = [max(int(number or 1) for number in found) for found in _REPEATS.findall(expression)]
    if prod(max(count, 1) for count in repeats) > _MAX_REPEATS:
        raise ValueError(f"repeats more than {_MAX_REPEATS} times; expected smaller numbers in braces")
    try:
        pattern = regex.compile(expression, regex.IGNORECASE)
    except regex.error as error:
        raise ValueError(f"does not compile: {error}; expected a regular expression") from None
    except (RecursionError, OverflowError):
        raise ValueError("does not compile: it is nested too deeply; expected a regular expression") from None

    def finds(text: str) -> bool:
        try:
            return pattern.search(text, timeout=SEARCH_SECONDS) is not None
        except TimeoutError:
            raise PermanentError(
                "origin_strategy_too_slow",
                f"The regex of origin strategy '{rule}' takes too long over {shown_url(text)}.",
                remedy="Write it without repeats inside repeats, such as (a+)+, in the customers file.",
            ) from None

    for probe in _PROBES:
        try:
            finds(probe)
        except PermanentError:
            raise ValueError("takes too long; expected one without repeats inside repeats, such as (a+)+") from None
    return finds
