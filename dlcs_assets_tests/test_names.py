"""A test's name is a claim that fits on a line of a report, in the words of docs/glossary.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
MOST_CHARACTERS = 60
# The folders that keep to it; "." is this one, without those below it.
FOLDERS = (".", "cli", "clients", "customers", "defs", "domain", "ingest", "instance", "intake", "ledger", "stack")
# Words of the glossary that are never right in a name; `s` is a possessive that is written as a word.
AVOIDED = {"s", "told", "anew", "whoever", "nobody", "somebody", "mended", "beside", "likewise"}


def names(folder: str) -> Iterator[str]:
    """Yield the name of every test in the folder."""
    pattern = "test_*.py" if folder == "." else "**/test_*.py"
    for path in sorted((ROOT / folder).glob(pattern)):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield node.name


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_test_name_is_short_and_in_plain_words(folder: str) -> None:
    """A long claim is cut off in a report; what does not fit into the name belongs in the docstring."""
    found = list(names(folder))
    assert found, f"there are no tests in {folder}"
    assert [name for name in found if len(name) > MOST_CHARACTERS] == []
    assert [name for name in found if AVOIDED & set(name.split("_"))] == []
