"""A test's name is a claim that fits on a line of a report, in the words of docs/glossary.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
PAGES = sorted((ROOT.parent / "docs").rglob("*.md"))
MAX_CHARACTERS = 60
# "." is this folder without those below it.
FOLDERS = (".", *sorted({path.relative_to(ROOT).parts[0] for path in ROOT.glob("*/**/test_*.py")}))
# Words of the glossary that are never right in a name; `s` is a possessive that is written as a word.
AVOIDED = {"s", "told", "anew", "whoever", "nobody", "somebody", "mended", "beside", "likewise"}


def names(folder: str) -> Iterator[str]:
    """Yield the name of every test in the folder."""
    pattern = "test_*.py" if folder == "." else "**/test_*.py"
    for path in sorted((ROOT / folder).glob(pattern)):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield node.name


@cache
def known_tests() -> frozenset[str]:
    """Return all names by which the docs may call a test: its own, its file's, and its file's with the folder."""
    files = list(ROOT.rglob("test_*.py"))
    tests = {name for folder in FOLDERS for name in names(folder)}
    modules = {name for path in files for name in (path.name, path.stem, path.relative_to(ROOT).as_posix())}
    return frozenset(tests | modules)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_test_name_is_short_and_in_plain_words(folder: str) -> None:
    """A long claim is cut off in a report; what does not fit into the name belongs in the docstring."""
    found = list(names(folder))
    assert found, f"there are no tests in {folder}"
    assert [name for name in found if len(name) > MAX_CHARACTERS] == []
    assert [name for name in found if AVOIDED & set(name.split("_"))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_test_that_the_docs_name_exists(page: Path) -> None:
    """A promise in the docs that points at a test must not lose it when the test is renamed or moved."""
    named = re.findall(r"`(?:dlcs_assets_tests/)?((?:\w+/)*test_\w+(?:\.py)?)`", page.read_text())
    assert [name for name in named if name not in known_tests()] == []
