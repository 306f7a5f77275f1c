"""How commands show things: in colour and live on a terminal, in plain whole lines in a pipe.

Nothing is written past this module: what comes from outside may hold orders to a terminal, or be turned around.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from dlcs_assets.domain.text import visible

STYLES = {
    "done": "green",
    "failed": "red",
    "rejected": "red",
    "running": "cyan",
    "pending": "yellow",
    "cancelled": "yellow",
}
PLAIN_INTERVAL = timedelta(seconds=2)  # between two lines of progress in a pipe
UNITS = ("B", "KB", "MB", "GB", "TB")
KILO = 1000

Advance = Callable[[int, str], None]


class VisibleConsole(Console):
    """A console that prints texts as they are, and nothing in them that is not visible."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; what is no text is made by this module."""
        super().print(*(visible(each, keep="\n") if isinstance(each, str) else each for each in objects), **options)


def echo(text: str, *, err: bool = False) -> None:
    """Print lines for people."""
    typer.echo(visible(text, keep="\n"), err=err)


def echo_data(line: str) -> None:
    """Print a line that programs read: in a pipe as it is, to a terminal as people may see it."""
    typer.echo(visible(line, keep="\n") if sys.stdout.isatty() else line)


def make_console() -> Console:
    """Return a console whose lines a pipe gets whole: nothing is cut off or wrapped there."""
    console = VisibleConsole(highlight=False, soft_wrap=True, markup=False)
    if not console.is_terminal:
        console.width = 10_000
    return console


def print_table(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """Print columns; the last one takes the remaining room and continues in the next line on a terminal."""
    if not console.is_terminal:
        _print_plain(console, [headings, *rows])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings[:-1]:
        table.add_column(heading, no_wrap=True)
    table.add_column(headings[-1], overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(visible(cell)) for cell in row))
    console.print(table, soft_wrap=False)


def print_lines(console: Console, lines: Sequence[tuple[str, str]]) -> None:
    """Print names and texts in two columns; a line without a name continues the one above."""
    if not console.is_terminal:
        for name, text in lines:
            console.print(f"  {name:<14}{text}".rstrip())
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, text in lines:
        style = STYLES.get(text, "") if name == "state" else ""
        table.add_row(f"  {name}", Text(visible(text), style=style))
    console.print(table, soft_wrap=False)


def state_text(state: str) -> Text:
    """Return the word for a state in its colour."""
    return Text(state, style=STYLES.get(state, ""))


def shown_bytes(size: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    number, unit = float(size), 0
    while number >= KILO and unit < len(UNITS) - 1:
        number, unit = number / KILO, unit + 1
    return f"{size} B" if unit == 0 else f"{number:.1f} {UNITS[unit]}"


def iso_time(moment: datetime | None) -> str | None:
    """Return a moment as JSON has it."""
    return moment.isoformat() if moment else None


def shown_duration(seconds: int) -> str:
    """Return a duration in hours and minutes."""
    minutes = max(round(seconds / 60), 1)
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{minutes} min"


@contextmanager
def counting(console: Console, what: str, total: int) -> Iterator[Advance]:
    """Show how many of how many are done: call the result with the number and a few words."""
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(what, total=total, note="")
            yield lambda done, note: progress.update(task, completed=done, note=visible(note))
    else:
        yield _plain_counter(console, what, total)


def _plain_counter(console: Console, what: str, total: int) -> Advance:
    shown_at, shown = 0.0, ""

    def show(done: int, note: str) -> None:
        nonlocal shown_at, shown
        line = f"{what} {done}/{total}{' ' if note else ''}{note}"
        due = done >= total or time.monotonic() - shown_at >= PLAIN_INTERVAL.total_seconds()
        if due and line != shown:
            console.print(line)
            shown_at, shown = time.monotonic(), line

    return show


def _print_plain(console: Console, rows: Sequence[Sequence[str | Text]]) -> None:
    cells = [[visible(str(cell)) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    for row in cells:
        console.print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
