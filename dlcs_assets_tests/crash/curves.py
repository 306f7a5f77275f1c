"""What a soak's notes come to: how often each fault struck, and curves of memory and disk as SVG.

    python -m dlcs_assets_tests.crash.curves crash.jsonl [more.jsonl ...] --svg soak.svg

The curves are of the first file; the counts of all of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

WIDTH: Final = 860
HEIGHT: Final = 300
LEFT: Final = 60
BOTTOM: Final = 40
TOP: Final = 30
COLOURS: Final = ("#1f6f8b", "#b3541e", "#4b7f3a", "#7a4988", "#8a6d1d", "#555555")
Note = Mapping[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dlcs_assets_tests.crash.curves", description=__doc__)
    parser.add_argument("notes", type=Path, nargs="+")
    parser.add_argument("--svg", type=Path, required=True)
    arguments = parser.parse_args()
    read = [[json.loads(line) for line in path.read_text().splitlines()] for path in arguments.notes]
    arguments.svg.write_text(svg([note for note in read[0] if "seed" in note]))
    sys.stdout.write("\n".join(table([note for notes in read for note in notes if "seed" in note])) + "\n")
    return 0


def table(notes: Sequence[Note]) -> Iterator[str]:
    """Yield the lines of a table: fault, in how many histories it struck; and a line about all of them."""
    struck = Counter(fault for note in notes for fault in set(note["struck"]))
    yield "| fault | histories |"
    yield "| --- | --- |"
    for fault, count in struck.most_common():
        yield f"| {fault} | {count} |"
    images = sum(note["counts"].get("done", 0) + note["counts"].get("failed", 0) for note in notes)
    bad = [note["seed"] for note in notes if note["violations"]]
    seconds = sorted(note["seconds"] for note in notes)
    yield f"{len(notes)} histories of {images} images; violations in seeds {bad}; median {seconds[len(seconds) // 2]} s"


def svg(notes: Sequence[Note]) -> str:
    """Return two charts, one below the other: megabytes by minutes."""
    times = [note["at"] / 60 for note in notes]
    names = list(notes[0]["usage"])
    parts = [
        _chart([name for name in names if name.startswith(kind)], notes, times, offset)
        for offset, kind in ((0, "memory"), (HEIGHT, "disk"))
    ]
    body = "\n".join(line for part in parts for line in part)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {2 * HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="{WIDTH}" height="{2 * HEIGHT}" fill="white"/>\n{body}\n</svg>\n'
    )


def _chart(names: Sequence[str], notes: Sequence[Note], times: Sequence[float], offset: int) -> Iterator[str]:
    most = max(note["usage"].get(name, 0.0) for note in notes for name in names) * 1.1 or 1.0
    bottom, right = offset + HEIGHT - BOTTOM, WIDTH - 190

    def x(minutes: float) -> float:
        return LEFT + (right - LEFT) * minutes / max(times)

    def y(megabytes: float) -> float:
        return bottom - (HEIGHT - BOTTOM - TOP) * megabytes / most

    yield f'<path d="M{LEFT} {offset + TOP}V{bottom}H{right}" fill="none" stroke="#999"/>'
    for share in (0, 0.5, 1):
        value = most * share
        yield f'<text x="{LEFT - 6}" y="{y(value) + 4:.0f}" text-anchor="end">{value:.0f} MB</text>'
        minutes = max(times) * share
        yield f'<text x="{x(minutes):.0f}" y="{bottom + 18}" text-anchor="middle">{minutes:.0f} min</text>'
    for number, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
        points = " ".join(
            f"{x(minutes):.1f},{y(note['usage'].get(name, 0.0)):.1f}"
            for minutes, note in zip(times, notes, strict=True)
        )
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        yield f'<text x="{right + 12}" y="{offset + TOP + 18 * (number + 1)}" fill="{colour}">{name}</text>'


if __name__ == "__main__":
    sys.exit(main())
