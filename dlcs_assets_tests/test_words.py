"""Words that docs/glossary.md replaces stand neither in pages nor in the docstrings and comments of clean rooms."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs/glossary.md"
PAGES = [*sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("*.md")), ROOT / "bench/RESULTS.md"]
# What is replaced wherever it stands. A word belongs here once no page has it.
AVOIDED = (
    *("anew", "be had", "beside", "for ever", "for good", "goes on", "heeds", "in vain", "left alone", "likewise"),
    *("mended", "nobody", "somebody", "told", "whoever"),
)
# The rooms whose docstrings and comments have none of them either. A room belongs here once it is clean.
CLEAN_ROOMS = ("bench", "dlcs_assets", "dlcs_stack", "dlcs_testing")


def avoided_in(text: str) -> list[str]:
    """Return the avoided words in a text; what stands in backticks or in a block of code is a program's own."""
    prose = re.sub(r"```.*?```|`[^`]*`|^ {4}\S.*?$", "", text, flags=re.DOTALL | re.MULTILINE)
    return [word for word in AVOIDED if re.search(rf"\b{word}\b", prose, flags=re.IGNORECASE)]


def prose_of(path: Path) -> str:
    """Return the docstrings and comments of a file."""
    source = path.read_text()
    described = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, described)]
    return "\n".join([*docstrings, *re.findall(r"(?:^|\s)#.*", source)])


@pytest.mark.parametrize("page", [page for page in PAGES if page != GLOSSARY], ids=lambda page: page.name)
def test_a_page_has_none_of_the_avoided_words(page: Path) -> None:
    assert avoided_in(page.read_text()) == []


@pytest.mark.parametrize("room", CLEAN_ROOMS)
def test_a_clean_room_has_none_of_the_avoided_words(room: str) -> None:
    found = {path.relative_to(ROOT).as_posix(): avoided_in(prose_of(path)) for path in (ROOT / room).rglob("*.py")}
    assert {path: words for path, words in found.items() if words} == {}


def test_the_glossary_has_the_avoided_words() -> None:
    avoided = " ".join(line.rsplit("|", 2)[1] for line in GLOSSARY.read_text().splitlines() if line.startswith("| "))
    assert [word for word in AVOIDED if word not in avoided] == []
