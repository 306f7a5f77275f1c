from __future__ import annotations

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


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md"], ids=lambda page: page.name)
def test_links_between_the_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
