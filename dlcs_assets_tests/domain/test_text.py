from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import MessageRejectedError, PermanentError
from dlcs_assets.domain.partition_key import asset_id_of, partition_key
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.text import is_visible, shown_text, visible

# Unicode's Default_Ignorable_Code_Point, but for those that are not assigned (which are escaped as such).
IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u180b\u180e\u200b\u200d\u202e\u2060"
    "\u2069\u3164\ufe0f\ufeff\uffa0\U000e0041\U000e0100"
)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("page 1.jpg", "page 1.jpg"),
        ("Grüße, 図書館, Ελλάδα, مكتبة", "Grüße, 図書館, Ελλάδα, مكتبة"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\u202egpj.exe", r"a\u202egpj.exe"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u00a0b\u3000c", r"a\xa0b\u3000c"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        (r"\u202e", r"\u202e"),
    ],
)
def test_what_is_not_visible_is_written_as_an_escape(text: str, seen: str) -> None:
    assert visible(text) == seen


@pytest.mark.parametrize("character", IGNORABLE, ids=lambda character: f"{ord(character):04x}")
def test_a_character_that_takes_no_room_is_escaped(character: str) -> None:
    assert not is_visible(character)
    assert len(visible(character)) > 3


def test_no_control_or_format_character_of_unicode_is_shown() -> None:
    shown = [code for code in range(sys.maxunicode + 1) if is_visible(chr(code))]
    unseen = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not [code for code in shown if unicodedata.category(chr(code)) in unseen]
    assert [code for code in shown if unicodedata.category(chr(code)) == "Zs"] == [0x20]


@given(st.text())
def test_a_visible_text_stays_as_it_is(text: str) -> None:
    assert visible(visible(text)) == visible(text)
    assert all(map(is_visible, visible(text)))


@given(st.text(min_size=1))
def test_every_message_of_an_error_is_visible(text: str) -> None:
    """They quote ids, addresses and answers, and go into logs, onto terminals and into pages."""
    for error in (PermanentError(text, text, remedy=text), MessageRejectedError(text, text, remedy=text)):
        assert all(map(is_visible, str(error) + error.cause + error.remedy + error.code + error.args[0]))
    assert all(map(is_visible, shown_text(text) + shown_url(text) + shown_url(f"s3://{text}")))


@given(st.text(min_size=1, max_size=50).filter(lambda text: "/" not in text and text not in {".", ".."}))
def test_every_partition_key_is_visible_and_leads_back(name: str) -> None:
    """Dagster shows them everywhere, as they are."""
    try:
        asset_id = AssetId(2, 1, name)
    except MessageRejectedError:
        return
    key = partition_key(asset_id)
    assert all(map(is_visible, key))
    assert asset_id_of(key) == asset_id
