"""Every layout that can be thought of: two readers show what was drawn, or say why they do not."""

from __future__ import annotations

import pytest

from dlcs_assets_tests.pictures.formats_page import PAGE, page, section
from dlcs_assets_tests.pictures.layouts.all_layouts import FAMILIES
from dlcs_assets_tests.pictures.layouts.verdicts import verdicts

FEWEST = {"TIFF": 500, "PNG": 80, "JPEG": 100, "JPEG 2000": 150, "Other formats": 20}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_layout_is_read_right_or_refused_in_words(family: str) -> None:
    """By each of the two readers, compared with what was drawn; and the page about it says what they do.

    If only the page is not up to date: python -m dlcs_assets_tests.pictures.formats_page.
    """
    found = verdicts(FAMILIES[family]())
    assert len(found) >= FEWEST[family]
    assert not [words for each in found for words in each.wrong]
    for each in found:
        assert each.by_check is None or (each.by_check.code in {"image_unsupported", "not_an_image"})
        assert each.by_services is None or "truncated or damaged" not in each.by_services
    assert section(family, found) in PAGE.read_text()


def test_the_page_has_nothing_but_what_is_generated() -> None:
    """The rules at its beginning, and one table for each family."""
    text = PAGE.read_text()
    assert text.startswith(page({family: [] for family in FAMILIES}).partition("## TIFF")[0])
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")][2:] == list(FAMILIES)
