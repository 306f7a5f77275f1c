"""The results: `bench/results/latest.json`, and the tables of two pages that are made from it."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from bench.result import Result

LATEST: Final = Path(__file__).parent / "results" / "latest.json"
QUICK: Final = LATEST.with_name("quick.json")
PAGES: Final = (Path(__file__).parents[1] / "docs" / "performance.md", Path(__file__).with_name("RESULTS.md"))
PACKAGES: Final = ("dagster", "boto3", "httpx", "moto", "pillow", "sqlalchemy")
_BLOCK: Final = r"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)"


@dataclass(frozen=True)
class Measured:
    """A case that was run to its end."""

    case: str
    results: Sequence[Result]
    seconds: float


def note(measured: Measured, *, quick: bool) -> None:
    """Write a case's results in the place of those that there were of it, into the file and into the docs.

    What was measured quickly is not to be relied on: it goes into a file of its own, which is not kept.
    """
    path = QUICK if quick else LATEST
    document = json.loads(path.read_text()) if path.exists() else {"cases": {}, "results": []}
    kept = [result for result in document["results"] if result["case"] != measured.case]
    about = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": round(measured.seconds)}
    document = {
        "machine": {
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
        },
        "versions": {name: version(name) for name in PACKAGES},
        "cases": {**document["cases"], measured.case: about},
        "results": kept + [result.to_json() for result in measured.results],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
    if not quick:
        for page in PAGES:
            page.write_text(with_tables(page.read_text(), document))


def with_tables(text: str, document: Mapping[str, Any]) -> str:
    """Return the page with those of the tables that it has a place for."""
    tables = {"goals": _goals(document), "all figures": _all_figures(document)}
    places = 0
    for name, lines in tables.items():
        block = "\n".join(lines) + "\n"
        text, found = re.subn(_BLOCK.format(name=name), lambda _, block=block: block, text, flags=re.DOTALL)  # type: ignore[misc] # a default binds it
        places += found
    if not places:
        raise ValueError("the page has no place for a table")
    return text


def _goals(document: Mapping[str, Any]) -> Iterable[str]:
    yield from _machine(document)
    yield from ("", "| case | what | measured | goal | |", "| --- | --- | --- | --- | --- |")
    groups: dict[tuple[str, str, float], list[Mapping[str, Any]]] = {}
    for result in document["results"]:
        if "goal" in result:
            groups.setdefault((result["case"], _subject(result), result["goal"]), []).append(result)
    for (case, subject, goal), results in groups.items():
        met = "met" if all(map(_is_met, results)) else "missed"
        least = "at least " if results[0].get("at_least") else ""
        yield f"| {case} | {subject} | {_figures(results)} | {least}{_number(goal)} | {met} |"


def _subject(result: Mapping[str, Any]) -> str:
    """Return what is measured; in the case `faults` without the kind of fault, so that its kinds share a row."""
    words = _words(result["metric"])
    return " ".join(words.split()[: 3 if words.startswith("requests") else 2]) if result["case"] == "faults" else words


def _figures(results: Sequence[Mapping[str, Any]]) -> str:
    if len(results) == 1:
        return _figure(results[0])
    values = [result["value"] for result in results]
    spread = f"{_number(min(values))} to {_number(max(values))}" if min(values) != max(values) else _number(values[0])
    return f"{spread} {results[0]['unit']} ({len(results)} kinds)"


def _all_figures(document: Mapping[str, Any]) -> Iterable[str]:
    for case, about in document["cases"].items():
        yield from ("", f"**{case}** ({about['date'][:10]}, in {about['seconds']} s)", "")
        yield from ("| what | measured |", "| --- | --- |")
        for result in document["results"]:
            if result["case"] == case:
                yield f"| {_words(result['metric'])} | {_figure(result)} |"
    yield ""


def _machine(document: Mapping[str, Any]) -> Iterable[str]:
    machine = document["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    yield f"{machine['cores']} cores, {machine['system']}, Python {machine['python']}; {versions}."


def _is_met(result: Mapping[str, Any]) -> bool:
    return bool(result["value"] >= result["goal"] if result.get("at_least") else result["value"] <= result["goal"])


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _figure(result: Mapping[str, Any]) -> str:
    unit = f" {result['unit']}" if result["unit"] else ""
    spread = f" ({_number(result['low'])} to {_number(result['high'])}, n={result['n']})" if "n" in result else ""
    return f"{_number(result['value'])}{unit}{spread}"


def _number(value: float) -> str:
    """Return the number with three significant digits, or all of a large one."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
