"""What addresses ask for: numbers, states and places, each read once, and a plain word for what cannot be read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from dlcs_assets.domain.asset_id import MAX_LENGTH, MAX_NUMBER, AssetId, InvalidAssetIdError
from dlcs_assets.domain.partition_key import MARK
from dlcs_assets.domain.request_states import ShownState
from dlcs_assets.domain.text import is_storable
from dlcs_assets.ledger.gallery import Place, Shown
from dlcs_assets.view.numbers import Period

_MOST_DIGITS: Final = 10
_CODE: Final = re.compile(r"[a-z0-9_]{1,100}")
_REQUEST: Final = re.compile(r"[0-9a-f]{32}")


class UnreadableAddressError(Exception):
    """An address asks for what there cannot be. The message is complete."""


Query = Mapping[str, str]


def number_of(query: Query, name: str, *, most: int = MAX_NUMBER) -> int | None:
    """Return a number that is asked for; None if none is."""
    text = query.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) <= most):
        raise UnreadableAddressError(f"{name} is to be a number up to {most}.")
    return int(text)


def image_of(query: Query, name: str = "id") -> AssetId:
    """Return the image that is asked for."""
    try:
        return AssetId.parse(query.get(name, ""))
    except InvalidAssetIdError as error:
        raise UnreadableAddressError(str(error)) from error


def shown_of(query: Query) -> Shown:
    """Return which images are asked for."""
    customer, space, batch = (number_of(query, name) for name in ("customer", "space", "batch"))
    state, code = query.get("state", "").strip(), query.get("reason", "").strip()
    if customer is None and (space is not None or batch is not None):
        raise UnreadableAddressError("A space or a batch is of a customer: give its number, too.")
    if state and state not in set(ShownState):
        raise UnreadableAddressError(f"state is to be one of {', '.join(ShownState)}.")
    if code and not _CODE.fullmatch(code):
        raise UnreadableAddressError("reason is to be the code of a failure, such as origin_not_found.")
    return Shown(customer, space, batch, ShownState(state) if state else None, code or None)


def place_of(query: Query, name: str) -> Place | None:
    """Return the image next to which a page begins; None for the first page."""
    if not query.get(name):
        return None
    image = image_of(query, name)
    return Place(image.customer, image.space, str(image))


def name_of(query: Query) -> str:
    """Return the name, the part of one, or the id of an image that is looked for."""
    text = query.get("name", "").strip().removeprefix(MARK)
    if not 0 < len(text) <= MAX_LENGTH or not is_storable(text):
        raise UnreadableAddressError("name is to be the name of an image, or a part of it.")
    return text


def is_whole(text: str) -> bool:
    """Return whether a text is the whole id of an image."""
    try:
        return str(AssetId.parse(text)) == text
    except InvalidAssetIdError:
        return False


def period_of(query: Query) -> Period:
    """Return the time that numbers are asked for; an hour if none is given."""
    text = query.get("over", "") or Period.HOUR
    if text not in set(Period):
        raise UnreadableAddressError(f"over is to be one of {', '.join(Period)}.")
    return Period(text)


def request_of(query: Query, name: str) -> str | None:
    """Return the id of a request."""
    text = query.get(name, "")
    if text and not _REQUEST.fullmatch(text):
        raise UnreadableAddressError(f"{name} is to be the id of a request.")
    return text or None
