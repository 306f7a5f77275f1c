"""HTML in which all that comes from outside is text: escaped, and with nothing in it that is not visible."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dlcs_assets.domain.text import visible

_UNITS: Final = ("B", "KB", "MB", "GB", "TB")
_KILO: Final = 1000


def make_environment() -> Environment:
    """Return what renders the templates. Each text passes `_seen`, so that no template can forget it."""
    environment = Environment(
        loader=PackageLoader("dlcs_assets.view"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"bytes": shown_bytes, "moment": shown_moment, "number": shown_number}
    environment.globals |= {"address": address}
    return environment


def address(path: str, /, **parameters: object) -> str:
    """Return the address of a page, or of a picture: what is None is left out, all else is percent-encoded."""
    given = {name: str(value) for name, value in parameters.items() if value is not None}
    return f"{path}?{urlencode(given, quote_via=quote, safe='')}" if given else path


def shown_bytes(size: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    number, unit = float(size), 0
    while number >= _KILO and unit < len(_UNITS) - 1:
        number, unit = number / _KILO, unit + 1
    return f"{size} B" if unit == 0 else f"{number:.1f} {_UNITS[unit]}"


def shown_number(number: int) -> str:
    """Return a whole number with narrow spaces between its thousands."""
    return f"{number:,}".replace(",", "\u202f")


def shown_moment(moment: datetime) -> Markup:
    """Return a moment in UTC, as people and programs read it."""
    text = f"{moment:%Y-%m-%d %H:%M:%S}"
    return Markup('<time datetime="{}">{}</time>').format(f"{moment:%Y-%m-%dT%H:%M:%SZ}", text)


def shown_duration(duration: timedelta) -> str:
    """Return a duration in hours and minutes, or in seconds."""
    seconds = round(duration.total_seconds())
    hours, minutes = divmod(max(round(seconds / 60), 1), 60)
    if seconds < 60:  # noqa: PLR2004 (seconds of a minute)
        return f"{seconds} s"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def shown_fact(value: object) -> str:
    """Return a value of a stage's facts or of a recipe: plain JSON."""
    match value:
        case list() | tuple() if value and all(isinstance(each, list | tuple) for each in value):
            return ", ".join("x".join(map(str, each)) for each in value)
        case list() | tuple():
            return "; ".join(map(str, value))
        case dict():
            return "; ".join(f"{name}: {shown_fact(each)}" for name, each in value.items())
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def joined(texts: Iterable[str]) -> str:
    """Return texts with commas between them."""
    return ", ".join(texts)


def _seen(value: Any) -> Any:
    """Return what a template writes for a value, before it is escaped."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return ""
    # The narrow space between thousands is ours; of texts from outside all that is hidden is written as an escape.
    return visible(value, keep="\u202f") if isinstance(value, str) else value
