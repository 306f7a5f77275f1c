"""Run the cases and write the results: `make bench`, `make bench QUICK=1`, `make bench ARGS="--pages FOLDER"`."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Collection
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import (
    arrangements,
    faults,
    intake,
    latency,
    load,
    memory,
    orchestration,
    outage,
    scale,
    throughput,
    thumbnails,
)
from bench.result import Result
from bench.system import running
from dlcs_assets.local.samples import samples
from dlcs_assets.local.stack import ALL, Component

CASES = {
    "throughput": throughput.measure,
    "latency": latency.measure,
    "memory": memory.measure,
    "orchestration": orchestration.measure,
    "scale": scale.measure,
    "intake": intake.measure,
    "load": load.measure,
    "faults": faults.measure,
    "thumbnails": thumbnails.measure,
    "outage": outage.measure,
    "arrangements": arrangements.measure,
}
SETTINGS = {
    "memory": {"DLCS_CHUNK_SIZE": "100"},  # all images of the case in one run
    "scale": {"DLCS_RECEIVE_WAIT": "0"},
}
COMPONENTS: dict[str, frozenset[Component]] = {
    "scale": frozenset({Component.AWS, Component.WEBSERVER}),  # it evaluates the sensors itself
    "load": frozenset(),  # a server of its own
    "intake": frozenset(),  # a queue of its own
    "orchestration": frozenset(),  # services that answer at once
    "faults": frozenset({Component.IMAGE_SERVER}),
    "thumbnails": frozenset({Component.AWS, Component.IMAGE_SERVER}),
    "arrangements": frozenset({Component.AWS, Component.APPETISER}),  # image servers of its own
}
LATEST = Path(__file__).parent / "results" / "latest.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="default: all")
    parser.add_argument("--pages", type=Path, help="folder of page images; default: the drawn samples")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    options = parser.parse_args()
    pages = page_files(options.pages)
    results: list[Result] = []
    for name in options.cases or CASES:
        with running(SETTINGS.get(name, {}), COMPONENTS.get(name, ALL)) as system:
            for result in CASES[name](system, pages, quick=options.quick):
                results.append(result)
                print(result, flush=True)
    write(results, options.cases or list(CASES))


def page_files(folder: Path | None) -> list[Path]:
    if folder is None:
        return [sample.path for sample in samples() if not sample.broken and sample.path.suffix == ".jpg"]
    return sorted(path for path in folder.iterdir() if path.suffix in {".jpg", ".jpeg", ".tif", ".tiff", ".png"})


def write(results: list[Result], measured: Collection[str]) -> None:
    """Write the results in the place of those that there are of the same cases."""
    LATEST.parent.mkdir(exist_ok=True)
    before = json.loads(LATEST.read_text())["results"] if LATEST.exists() else []
    document = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
        },
        "versions": {name: version(name) for name in ("dagster", "boto3", "httpx", "moto", "pillow", "sqlalchemy")},
        "results": [
            *(result for result in before if result["case"] not in measured),
            *(result.to_json() for result in results),
        ],
    }
    LATEST.write_text(json.dumps(document, indent=2) + "\n")
    print(f"written to {LATEST.relative_to(Path.cwd()) if LATEST.is_relative_to(Path.cwd()) else LATEST}")


if __name__ == "__main__":
    main()
