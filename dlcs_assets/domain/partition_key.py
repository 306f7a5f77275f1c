"""The key of an asset's partition in Dagster, and back."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.text import is_visible

MARK: Final = "/"

# `...` and control characters are refused by Dagster; `,` `[` `]` `*` and quotes mean something in its selections.
# Dagster shows keys as they are, so what is not visible is encoded as well.
_ENCODED: Final = re.compile(r"[%,\[\]*'\"\\]|\.{3,}|[^ -~]")


def partition_key(asset_id: AssetId) -> str:
    """Return the partition key: `/2/1/page-1`.

    The mark in front keeps the UI's filter, a substring match, from mixing customers: `/2/5/` is not in `/12/5/x`.
    """
    return MARK + _ENCODED.sub(_encode, str(asset_id))


def asset_id_of(key: str) -> AssetId:
    """Return the asset id of a partition key. Raises `InvalidAssetIdError` for a key that is none."""
    # Bytes that are no UTF-8 become halves of surrogates, which no id has.
    return AssetId.parse(unquote(key.removeprefix(MARK), errors="surrogateescape"))


def _encode(found: re.Match[str]) -> str:
    text = found.group()
    if not text.isascii() and is_visible(text):
        return text
    return "".join(f"%{byte:02X}" for byte in text.encode())
