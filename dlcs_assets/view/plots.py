"""Bars and lines as shapes of SVG: numbers in, coordinates out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

WIDTH: Final = 960
HEIGHT: Final = 220
LEFT: Final = 60  # room for the numbers at the axis
TOP: Final = 10
BOTTOM: Final = 25  # room for the times
COLOURS: Final = 6  # that the style sheet has


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar."""

    x: float
    y: float
    width: float
    height: float
    of: int


@dataclass(frozen=True, slots=True)
class Label:
    """A text at an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line through the values of one name; where there are none, it is broken."""

    of: int
    points: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing, with the numbers that it is made of: `rows` has the text of a time, and a value for each name."""

    title: str
    unit: str
    names: Sequence[str]
    parts: Sequence[Part]
    lines: Sequence[Line]
    up: Sequence[Label]
    along: Sequence[Label]
    rows: Sequence[tuple[str, Sequence[float | None]]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    first_colour: int = 0

    def colour(self, index: int) -> int:
        """Return the number of a name's colour in the style sheet."""
        return (self.first_colour + index) % COLOURS

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(any(values) for _, values in self.rows)

    @property
    def summary(self) -> str:
        """What there is to be seen, in a sentence."""
        if self.is_empty:
            return f"{self.title}: nothing in this time."
        most = {
            name: max((values[index] or 0 for _, values in self.rows), default=0)
            for index, name in enumerate(self.names)
        }
        return f"{self.title}, {self.unit}; at most " + ", ".join(f"{value:g} {name}" for name, value in most.items())


Series = Sequence[tuple[datetime, Mapping[str, float] | None]]


def stacked(
    title: str, unit: str, names: Sequence[str], series: Series, length: timedelta, *, first_colour: int = 0
) -> Plot:
    """Return a plot of bars, in each of which the values of all names are on top of each other."""
    ceiling = nice_ceiling(max((sum(values.values()) for _, values in series if values), default=0))
    step = (WIDTH - LEFT) / max(len(series), 1)
    parts: list[Part] = []
    for number, (_, values) in enumerate(series):
        top = float(HEIGHT - BOTTOM)
        for index, name in enumerate(names):
            high = _high((values or {}).get(name, 0), ceiling)
            if high > 0:
                top -= high
                width = max(round(step, 2) - 1, 1)
                colour = (first_colour + index) % COLOURS
                parts.append(Part(round(LEFT + number * step, 2), round(top, 2), width, round(high, 2), colour))
    plot = _plot(title=title, unit=unit, names=names, series=series, length=length, ceiling=ceiling, parts=parts)
    return replace(plot, first_colour=first_colour)


def lines(title: str, unit: str, names: Sequence[str], series: Series, length: timedelta) -> Plot:
    """Return a plot of a line for each name."""
    ceiling = nice_ceiling(max((max(values.values()) for _, values in series if values), default=0))
    step = (WIDTH - LEFT) / max(len(series), 1)
    drawn: list[Line] = []
    for index, name in enumerate(names):
        points: list[str] = []
        for number, (_, values) in enumerate([*series, (datetime.min, None)]):  # noqa: DTZ901 (its end is not shown)
            value = (values or {}).get(name)
            if value is not None:
                points.append(f"{LEFT + (number + 0.5) * step:.1f},{HEIGHT - BOTTOM - _high(value, ceiling):.1f}")
            elif points:
                # A single point is seen as a short line.
                drawn.append(Line(index, " ".join(points if len(points) > 1 else [points[0], _next_to(points[0])])))
                points = []
    return _plot(title=title, unit=unit, names=names, series=series, length=length, ceiling=ceiling, lines_=drawn)


def nice_ceiling(most: float) -> float:
    """Return the next number of 1, 2 or 5 with zeros that is not less."""
    if most <= 0:
        return 1
    power = 10.0 ** math.floor(math.log10(most))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= most * (1 - 1e-9))


def _plot(
    *,
    title: str,
    unit: str,
    names: Sequence[str],
    series: Series,
    length: timedelta,
    ceiling: float,
    parts: Sequence[Part] = (),
    lines_: Sequence[Line] = (),
) -> Plot:
    step = (WIDTH - LEFT) / max(len(series), 1)
    form = "%H:%M" if length < timedelta(hours=1) else "%d %b"
    every = max(len(series) // 6, 1)
    along = [
        Label(round(LEFT + number * step, 1), f"{since.strftime(form)}")
        for number, (since, _) in enumerate(series)
        if number % every == 0
    ]
    up = [Label(round(HEIGHT - BOTTOM - _high(value, ceiling), 1), f"{value:g}") for value in (0, ceiling / 2, ceiling)]
    rows = [
        (f"{since:%Y-%m-%d %H:%M}", [None if values is None else values.get(name, 0) for name in names])
        for since, values in series
    ]
    return Plot(title, unit, names, parts, lines_, up, along, rows)


def _high(value: float, ceiling: float) -> float:
    return (HEIGHT - TOP - BOTTOM) * value / ceiling


def _next_to(point: str) -> str:
    x, _, y = point.partition(",")
    return f"{float(x) + 2:.1f},{y}"
