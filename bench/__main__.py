"""Run the cases and write the results: `make bench`, `make bench QUICK=1`, `make bench ARGS="--pages FOLDER"`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path

from bench import (
    arrangements,
    backlog,
    bombs,
    conversion,
    faults,
    growth,
    intake,
    limit,
    load,
    memory,
    outage,
    pictures,
    scale,
    thumbnails,
    transfer,
    wall,
)
from bench.report import Measured, note
from bench.result import Result
from bench.system import running
from dlcs_stack.samples import DEFAULT_PLAN, draw_sample
from dlcs_stack.stack import ALL, Component

PAGES, WIDTH, HEIGHT = 7, 1280, 1920
CASES = {
    "limit": limit.measure,
    "memory": memory.measure,
    "scale": scale.measure,
    "growth": growth.measure,
    "intake": intake.measure,
    "load": load.measure,
    "faults": faults.measure,
    "thumbnails": thumbnails.measure,
    "outage": outage.measure,
    "arrangements": arrangements.measure,
    "conversion": conversion.measure,
    "transfer": transfer.measure,
    "pictures": pictures.measure,
    "backlog": backlog.measure,
    "bombs": bombs.measure,
    "wall": wall.measure,
}
# About an image server that fails; of what takes long; and of what nothing here changes.
ONLY_IF_NAMED = ("load", "faults", "outage", "thumbnails", "backlog", "arrangements", "bombs")
SETTINGS = {
    "memory": {"DLCS_CHUNK_SIZE": "50"},  # all images of the case in one run
    "scale": {"DLCS_RECEIVE_WAIT": "0"},
    "bombs": {"DLCS_MAX_PIXELS": "40000000", "DLCS_DECODER_MEMORY": str(2**27)},
}
QUICK_SETTINGS = {
    "outage": {"DLCS_ATTEMPT_DELAY": "5"},
}
COMPONENTS: dict[str, frozenset[Component]] = {
    "scale": frozenset({Component.AWS, Component.CODE_SERVER, Component.WEBSERVER}),  # it evaluates the sensors itself
    "load": frozenset(),  # a server of its own
    "growth": frozenset({Component.AWS}),
    "wall": frozenset({Component.AWS}),
    "conversion": frozenset({Component.APPETISER}),
    "transfer": frozenset({Component.AWS, Component.APPETISER}),  # an image server of its own
    "pictures": frozenset(),  # no services
    "intake": frozenset(),  # a queue of its own
    "limit": frozenset(),  # systems of its own
    "backlog": frozenset(),  # as above
    "faults": frozenset({Component.IMAGE_SERVER}),
    "thumbnails": frozenset({Component.AWS, Component.IMAGE_SERVER}),
    "arrangements": frozenset({Component.AWS, Component.APPETISER}),  # image servers of its own
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help=f"default: all but {', '.join(ONLY_IF_NAMED)}")
    parser.add_argument("--pages", type=Path, help="folder of page images; default: the drawn samples")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pages = page_files(options.pages) if options.pages else drawn_pages(Path(folder))
        cases = options.cases or [name for name in CASES if name not in ONLY_IF_NAMED]
        failed = [name for name in cases if not run(name, pages, quick=options.quick)]
    if failed:
        sys.exit(f"Not measured: {', '.join(failed)}")


def run(name: str, pages: list[Path], *, quick: bool) -> bool:
    """Run a case, in a system of its own; one that fails leaves its old results, and does not keep the others up."""
    results: list[Result] = []
    began = time.monotonic()
    try:
        settings = SETTINGS.get(name, {}) | (QUICK_SETTINGS.get(name, {}) if quick else {})
        with running(settings, COMPONENTS.get(name, ALL)) as system:
            for result in CASES[name](system, pages, quick=quick):
                results.append(result)
                print(result, flush=True)
    except Exception:  # noqa: BLE001 (whatever it is, it is this case's)
        traceback.print_exc()
        return False
    note(Measured(name, results, time.monotonic() - began), quick=quick)
    return True


def drawn_pages(folder: Path) -> list[Path]:
    """Draw some of the samples, as large as pages of a manuscript that was photographed for the web."""
    plans = [page for page in DEFAULT_PLAN if page.extension == "jpg" and not page.broken]
    return [draw_sample(folder, replace(page, width=WIDTH, height=HEIGHT)) for page in plans[:PAGES]]


def page_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in {".jpg", ".jpeg", ".tif", ".tiff", ".png"})


if __name__ == "__main__":
    main()
