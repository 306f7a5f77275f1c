"""The key of an asset's partition in Dagster, and back."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.text import is_visible

MARK: Final = "@"
_FORMER_MARK: Final = "/"

# No other part of a key may have the mark. `...` and control characters are refused by Dagster; `,` `[` `]` `*` and
# quotes mean something in its selections. Dagster shows keys as they are, so what is not visible is encoded as well.
_ENCODED: Final = re.compile(r"[@%,\[\]*'\"\\]|\.{3,}|[^ -~]")


def partition_key(asset_id: AssetId) -> str:
    """Return the partition key: `@2/1/page-1`.

    The UI's filter looks for what is typed anywhere in a key. With the mark in front that is a customer, a space or an
    image: `@2/` is in no key of customer 12, nor in the name of an image.
    """
    return MARK + _ENCODED.sub(_encode, str(asset_id))


def asset_id_of(key: str) -> AssetId:
    """Return the asset id of a partition key, former ones included. Raises `InvalidAssetIdError` for what is no key."""
    # Bytes that are no UTF-8 become halves of surrogates, which no id has.
    return AssetId.parse(unquote(key.removeprefix(MARK), errors="surrogateescape"))


def is_former(key: str) -> bool:
    """Return whether a key is one of those of version 0.1, `/2/1/page-1`: in them `/1/` was found, too."""
    return key.startswith(_FORMER_MARK)


def _encode(found: re.Match[str]) -> str:
    text = found.group()
    if not text.isascii() and is_visible(text):
        return text
    return "".join(f"%{byte:02X}" for byte in text.encode())
