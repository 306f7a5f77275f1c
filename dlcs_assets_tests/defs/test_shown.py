from __future__ import annotations

import ast
import logging
from pathlib import Path

import pytest

import dlcs_assets
from dlcs_assets.definitions import build_definitions
from dlcs_assets.defs import shown
from dlcs_assets.domain.stages import Stage
from dlcs_assets.logs import VisibleRecord
from dlcs_assets.settings import Settings

PACKAGE = Path(dlcs_assets.__file__).parent
HIDDEN = "a\x1b[2Jb\u202egpj\u200bc\u2028d\u3164e"
SEEN = r"a\x1b[2Jb\u202egpj\u200bc\u2028d\u3164e"
# What makes a page of Dagster show, or a reader hear, what comes from outside.
OF_SHOWN = {"MetadataValue.md", "MetadataValue.text", "MetadataValue.url", "MetadataValue.table"} | {
    *("Failure", "SkipReason", "TableRecord", "MarkdownMetadataValue", "UrlMetadataValue", "TextMetadataValue")
}


def used_names(path: Path) -> set[str]:
    """Return what a module calls of Dagster's, as `dg.` names it."""
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    return {name.removeprefix("dg.") for name in called if name.startswith("dg.")}


def test_only_one_module_makes_what_pages_show() -> None:
    """Whatever is made elsewhere could be Markdown with foreign text in it."""
    found = {path.name: used_names(path) & OF_SHOWN for path in PACKAGE.rglob("*.py") if path.name != "shown.py"}
    assert {name: names for name, names in found.items() if names} == {}
    assert used_names(PACKAGE / "defs" / "shown.py") & OF_SHOWN


def test_texts_tables_and_reasons_hide_nothing() -> None:
    assert shown.as_text(HIDDEN).value == SEEN
    (record,) = shown.as_table(("name", "count", "stage"), [(HIDDEN, 3, Stage.JP2)]).records
    assert record.data == {"name": SEEN, "count": 3, "stage": "jp2"}
    assert type(record.data["stage"]) is str  # Dagster stores no enum of ours
    assert [record.data[""] for record in shown.as_lines([HIDDEN, "b"]).records] == [SEEN, "b"]
    assert shown.failure(HIDDEN).description == SEEN
    assert shown.skip_reason(HIDDEN).skip_message == SEEN
    assert shown.as_link(f"http://127.0.0.1/{HIDDEN}").url == f"http://127.0.0.1/{SEEN}"


def test_a_picture_is_nothing_but_base64() -> None:
    assert shown.as_picture("anBlZw==").md_str == "![picture](data:image/jpeg;base64,anBlZw==)"
    for foreign in ("x) ![y](http://evil.example", "", "é"):
        with pytest.raises(ValueError, match="base64"):
            shown.as_picture(foreign)


@pytest.mark.parametrize(
    ("text", "described"),
    [
        ("3 images did not pass: 3 with image_unreadable", "3 images did not pass: 3 with image_unreadable"),
        ("such as 2/1/a: ![x](http://evil.example)", "` such as 2/1/a: ![x](http://evil.example) `"),
        ("see https://evil.example", "` see https://evil.example `"),
        ("see WWW.evil.example", "` see WWW.evil.example `"),
        ("a ``code`` <img src=x>", "``` a ``code`` <img src=x> ```"),
        ("a@evil.example", "` a@evil.example `"),
        ("a\nb", r"` a\nb `"),
    ],
)
def test_a_description_is_never_markdown_from_outside(text: str, described: str) -> None:
    """Dagster renders those of check evaluations as Markdown, pictures and bare addresses included."""
    assert shown.as_description(text) == described


def test_messages_and_tracebacks_in_logs_hide_nothing() -> None:
    """Of Dagster's loggers as well: what runs log is what the UI shows of them."""
    raised = (ValueError, ValueError(HIDDEN), None)
    record = VisibleRecord("x", logging.INFO, "f", 1, "%s and %s\nline", (HIDDEN, 3), raised)
    assert record.getMessage() == f"{SEEN} and 3\nline"
    assert logging.Formatter("%(message)s").format(record).endswith(f"ValueError: {SEEN}")


def test_loading_the_project_makes_all_logs_visible() -> None:
    build_definitions(Settings())
    assert logging.getLogRecordFactory() is VisibleRecord
