"""The id of an asset: `customer/space/asset`, which is also its key prefix in every bucket."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.text import is_storable, shown_text

MAX_LENGTH: Final = 220
MAX_NUMBER: Final = 2**31 - 1

_DIGITS: Final = re.compile(r"[0-9]+")


class InvalidAssetIdError(MessageRejectedError):
    """An id that is malformed (`asset_id_malformed`) or too long (`asset_id_too_long`)."""


@dataclass(frozen=True, order=True, slots=True)
class AssetId:
    """An asset of a customer's space. `str()` gives the canonical form.

    The asset part is opaque: any characters but `/` and control characters. Raises `InvalidAssetIdError`.
    """

    customer: int
    space: int
    asset: str

    def __post_init__(self) -> None:
        numbers = all(0 <= number <= MAX_NUMBER for number in (self.customer, self.space))
        # HTTP clients resolve "." and "..", so as a part of a key they would lead to another asset's objects.
        if (
            not numbers
            or not self.asset
            or "/" in self.asset
            or self.asset in {".", ".."}
            or not is_storable(self.asset)
        ):
            raise _malformed(str(self))
        if _utf16_length(str(self)) > MAX_LENGTH:
            raise InvalidAssetIdError(
                "asset_id_too_long",
                f"AssetId cannot be longer than {MAX_LENGTH}",
                remedy=f"Shorten the id; customer, space, asset and two slashes have {MAX_LENGTH} characters.",
            )

    def __str__(self) -> str:
        return f"{self.customer}/{self.space}/{self.asset}"

    @classmethod
    def parse(cls, text: str) -> AssetId:
        """Read `customer/space/asset`. Empty segments are dropped, as the DLCS does: `/2/1/x/` is `2/1/x`."""
        match [part for part in text.split("/") if part]:
            case [customer, space, asset]:
                return cls(_number(customer, whole=text), _number(space, whole=text), asset)
            case _:
                raise _malformed(text)

    @classmethod
    def of_json(cls, value: object) -> AssetId:
        """Read the canonical string, or `{"customer", "space", "asset"}` with keys in any case."""
        if isinstance(value, str):
            return cls.parse(value)
        if not isinstance(value, dict):
            raise _malformed(str(value))
        parts = {str(name).lower(): part for name, part in value.items()}
        whole = "/".join(str(parts.get(name, "")) for name in ("customer", "space", "asset"))
        asset = parts.get("asset")
        if not isinstance(asset, str):
            raise _malformed(whole)
        return cls(_number(parts.get("customer"), whole=whole), _number(parts.get("space"), whole=whole), asset)


def _number(value: object, *, whole: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    # The length is bounded before int() sees it: ten digits hold every 32-bit number.
    if isinstance(value, str) and _DIGITS.fullmatch(value) and len(value.lstrip("0")) <= len(str(MAX_NUMBER)):
        return int(value)
    raise _malformed(whole)


def _malformed(text: str) -> InvalidAssetIdError:
    return InvalidAssetIdError(
        "asset_id_malformed",
        f"AssetId '{shown_text(text)}' is invalid. Must be in format customer/space/asset",
        remedy="Give an id such as 2/1/page-1: two whole numbers and a name without slashes or control characters.",
    )


def _utf16_length(text: str) -> int:
    """Count as the DLCS counts, so that both agree which ids are too long."""
    return len(text.encode("utf-16-le")) // 2
