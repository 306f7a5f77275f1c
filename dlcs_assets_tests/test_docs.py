from __future__ import annotations

import ast
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from dlcs_assets.settings import Settings

ROOT = Path(__file__).parents[1]
ROWS = dict(re.findall(r"^\| `(DLCS_\w+)` \| (.*) \|$", (ROOT / "docs/settings.md").read_text(), flags=re.MULTILINE))


def shown_default(default: Any) -> str:
    match default:
        case None | ():
            return ""
        case bool():
            return f"`{str(default).lower()}`"
        case timedelta():
            return f"`{int(default.total_seconds())}`"
        case tuple():
            return f"`{';'.join(default)}`"
        case _:
            return f"`{default}`"


@pytest.mark.parametrize(("name", "field"), Settings.model_fields.items())
def test_every_setting_is_documented_with_its_default(name: str, field: FieldInfo) -> None:
    row = ROWS.get(f"DLCS_{name.upper()}")
    assert row == f"{shown_default(field.default)} | {field.description}"


def test_no_setting_is_documented_that_does_not_exist() -> None:
    assert set(ROWS) == {f"DLCS_{name.upper()}" for name in Settings.model_fields}


RAISED = {
    "PermanentError",
    "TransientError",
    "ServiceDownError",
    "MessageRejectedError",
    "InvalidAssetIdError",
    "Rejection",
}
PEERS = ("appetiser", "image_server", "origin", "origin_credentials", "queue", "storage", "topic")
SHARED_ENDINGS = (
    *("address_invalid", "broke_off", "certificate_invalid", "not_found", "redirects", "refused", "timeout"),
    "unavailable",
)
FIRST_CELLS = re.findall(r"^\| (`[^|]+`) \|", (ROOT / "docs/errors.md").read_text(), flags=re.MULTILINE)
CODES = {code for cell in FIRST_CELLS for code in re.findall(r"`(\w+)`", cell)}


def codes_in_the_source() -> set[str]:
    """Return the codes that are written out where an error is made."""
    calls = (
        node
        for path in (ROOT / "dlcs_assets").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name) and node.func.id in RAISED
    )
    written = (call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant))
    return {code for code in written if isinstance(code, str)}


def test_every_code_of_a_failure_is_explained() -> None:
    assert codes_in_the_source() - CODES == set()


def test_no_code_is_explained_that_nothing_raises() -> None:
    source = "".join(path.read_text() for path in (ROOT / "dlcs_assets").rglob("*.py"))
    shared = {f"{peer}_{ending}" for peer in PEERS for ending in SHARED_ENDINGS}
    assert {code for code in CODES - shared if f'"{code}"' not in source} == set()


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md"], ids=lambda page: page.name)
def test_links_between_the_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
