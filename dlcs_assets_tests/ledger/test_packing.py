"""What is packed is read as it was, by this code and by the code of later years."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcs_assets.ledger.packing import pack, unpack

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
# Packed by the first version. It must be readable as long as there are ledgers.
VALUE = [
    "3f",
    {"origin": "https://example.org/ä.tif", "width": 3},
    None,
    [["b", "2/1/a", "jp2", 10, "a" * 64, "image/jp2"]],
]
PACKED = "AYtWMk4Dlh2YCSy1IjG3ICdVL78oXT+m1MAg1UQP6EZEOjKu1ckrzckBhVgSUNRI31A/EUiDnW8ITByJFAL0AAAA"


@given(JSON_VALUES)
def test_any_json_value_is_read_as_it_was_packed(value: object) -> None:
    assert unpack(pack(value)) == value


def test_what_was_packed_once_is_readable() -> None:
    assert unpack(b64decode(PACKED)) == VALUE


def test_what_is_packed_is_a_third_of_its_text() -> None:
    details = [
        "0" * 64,
        {"origin": "https://images.example.org/a.tif", "width": 4724, "height": 6211, "milliseconds": 2345},
        {"code": "1", "made": True, "sizes": ["!1024,1024", "!400,400", "!200,200", "!100,100"]},
        [
            ["dlcs-thumbs", f"2/1/a/open/{size}.jpg", "thumbnail", 123_456, "0" * 64, "image/jpeg"]
            for size in (1024, 400, 200, 100)
        ],
    ]
    assert len(pack(details)) < len(json.dumps(details)) / 3


def test_what_a_newer_version_packed_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="packed in a way that is not known here"):
        unpack(b"\x02...")
