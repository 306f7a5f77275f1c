"""Words that docs/glossary.md replaces stand neither in pages nor in docstrings, comments and names."""

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
    *("anew", "anybody", "be had", "beside", "everybody", "for ever", "for good", "goes on", "heeds", "in vain"),
    *("left alone", "likewise", "mended", "nobody", "somebody", "told", "whoever"),
)
# With what no docstring begins.
OPENINGS = re.compile(r"(Tell whether|Give the|Give an?)\b")
ROOMS = ("bench", "dlcs_assets", "dlcs_assets_tests", "dlcs_stack", "dlcs_testing")


def avoided_in(text: str) -> list[str]:
    """Return the avoided words in a text; what stands in backticks or in a block of code is a program's own."""
    prose = re.sub(r"```.*?```|`[^`]*`|^ {4}\S.*?$", "", text, flags=re.DOTALL | re.MULTILINE)
    return [word for word in AVOIDED if re.search(rf"\b{word}\b", prose, flags=re.IGNORECASE)]


def docstrings_of(path: Path) -> list[str]:
    """Return the docstrings of a file."""
    described = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        ast.get_docstring(node) or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, described)
    ]


def prose_of(path: Path) -> str:
    """Return the docstrings and comments of a file."""
    return "\n".join([*docstrings_of(path), *re.findall(r"(?:^|\s)#.*", path.read_text())])


def names_in(path: Path) -> set[str]:
    """Return what a file defines: functions, classes, parameters, fields and variables."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if page != GLOSSARY], ids=lambda page: page.name)
def test_a_page_has_none_of_the_avoided_words(page: Path) -> None:
    assert avoided_in(page.read_text()) == []


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_and_comments_have_none_of_the_avoided_words(room: str) -> None:
    found = {path.relative_to(ROOT).as_posix(): avoided_in(prose_of(path)) for path in (ROOT / room).rglob("*.py")}
    assert {path: words for path, words in found.items() if words} == {}


@pytest.mark.parametrize("room", ROOMS)
def test_no_docstring_begins_with_an_avoided_verb(room: str) -> None:
    found = [text for path in (ROOT / room).rglob("*.py") for text in docstrings_of(path) if OPENINGS.match(text)]
    assert found == []


@pytest.mark.parametrize("room", ROOMS)
def test_no_name_has_an_avoided_word(room: str) -> None:
    found = {f"{path.name}: {name}" for path in (ROOT / room).rglob("*.py") for name in names_in(path)}
    assert [name for name in found if set(re.split(r"[ _]", name.lower())) & set(AVOIDED)] == []


def test_the_glossary_has_the_avoided_words() -> None:
    avoided = " ".join(line.rsplit("|", 2)[1] for line in GLOSSARY.read_text().splitlines() if line.startswith("| "))
    assert [word for word in AVOIDED if word not in avoided] == []
