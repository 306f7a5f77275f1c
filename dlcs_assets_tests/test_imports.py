"""What loading a part of the project loads; which part may import which is checked by `make lint`."""

from __future__ import annotations

import ast
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import dlcs_assets.domain

ROOT = Path(__file__).parents[1]
WITHOUT_DAGSTER = [
    "dlcs_assets.cli",
    "dlcs_assets.clients.origins",
    "dlcs_assets.customers",
    "dlcs_assets.ingest.chunk",
    "dlcs_assets.intake.messages",
    "dlcs_assets.ledger",
    "dlcs_assets.metrics.measuring",
]


def loaded_by(modules: Iterable[str]) -> set[str]:
    """Return the top-level packages that a new process has loaded once it has imported the modules."""
    program = f"import {', '.join(modules)}, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize("module", WITHOUT_DAGSTER)
def test_outside_defs_nothing_loads_dagster(module: str) -> None:
    assert not {name for name in loaded_by([module]) if name.startswith("dagster")}


def test_the_domain_loads_the_standard_library_only() -> None:
    modules = [found.name for found in pkgutil.iter_modules(dlcs_assets.domain.__path__, "dlcs_assets.domain.")]
    usual = loaded_by(["sys"])  # what an installation loads for itself, as editable packages do
    assert loaded_by(modules) - usual - sys.stdlib_module_names == {"dlcs_assets"}


def imported_tests(path: Path) -> Iterator[str]:
    """Yield the test modules that a file imports, and what it imports from them."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                found = [alias.name for alias in names]
            case ast.ImportFrom(module=module, names=names):
                found = [f"{module}.{alias.name}" for alias in names]
            case _:
                continue
        yield from (name for name in found if any(part.startswith("test_") for part in name.split(".")))


@pytest.mark.parametrize("package", ["bench", "dlcs_assets_tests", "dlcs_testing"])
def test_no_module_imports_a_test_module(package: str) -> None:
    """What tests share is in a module of its own, so that a test can be moved or deleted without others."""
    found = {path.relative_to(ROOT).as_posix(): [*imported_tests(path)] for path in (ROOT / package).rglob("*.py")}
    assert found
    assert {path: names for path, names in found.items() if names} == {}
