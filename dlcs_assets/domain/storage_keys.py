"""The keys of everything that ingest stores: the DLCS's grammar, one function per kind of object.

    storage bucket   {id}                        JP2
                     {id}/original               kept original
                     {id}/info/...               the image server's info.json, cached by others
                     transient/{id}/{request}    original for the time of making thumbnails
    thumbnail bucket {id}/open/{longest}.jpg     thumbnail that everyone may see
                     {id}/auth/{longest}.jpg     thumbnail for those who may
                     {id}/s.json                 sizes of both
                     {id}/low.jpg, {id}/full/{w},{h}/0/default.jpg     left by earlier systems
    origin bucket    {id}                        what the portal uploaded

An id is an object and a folder at once, so that a prefix always ends in a slash: without it `2/1/foo` would take
`2/1/foobar` along.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.results import ObjectKind

TRANSIENT_PREFIX: Final = "transient/"
_REQUEST: Final = re.compile(r"[0-9a-f]{32}")
_THUMBNAIL: Final = re.compile(r"(open|auth)/([1-9][0-9]{0,8})\.jpg")


@dataclass(frozen=True, slots=True)
class OwnKey:
    """What a key of this grammar says. `longest` and `is_open` are of thumbnails, `request_id` of transient objects."""

    asset_id: AssetId
    kind: ObjectKind
    longest: int = 0
    is_open: bool = False
    request_id: str | None = None


def jp2_key(asset_id: AssetId) -> str:
    """Key of the JP2."""
    return str(asset_id)


def original_key(asset_id: AssetId) -> str:
    """Key of the kept original."""
    return f"{asset_id}/original"


def transient_key(asset_id: AssetId, request_id: str) -> str:
    """Key of an original that is stored only until its thumbnails are; each request has one of its own."""
    return f"{TRANSIENT_PREFIX}{asset_id}/{request_id}"


def control_key(name: str) -> str:
    """Key of a picture of ours by which is seen whether the image server works; it is stored for moments only."""
    return f"{TRANSIENT_PREFIX}control/{name}"


def transient_prefix(asset_id: AssetId) -> str:
    """Folder of the originals that are stored while thumbnails are made of them."""
    return f"{TRANSIENT_PREFIX}{asset_id}/"


def storage_prefix(asset_id: AssetId) -> str:
    """Folder of everything in the storage bucket but the JP2, whose key is the folder's own name."""
    return f"{asset_id}/"


def info_prefix(asset_id: AssetId) -> str:
    """Folder of cached info.json documents, of every image server and version."""
    return f"{asset_id}/info/"


def thumbnail_key(asset_id: AssetId, longest: int, open_: bool) -> str:
    """Key of a thumbnail by its longest edge in pixels."""
    return f"{asset_id}/{'open' if open_ else 'auth'}/{longest}.jpg"


def restricted_key(key: str) -> str | None:
    """Key of the same thumbnail as one that everyone may see, had it been restricted; None for any other key."""
    folder, opened, name = key.rpartition("/open/")
    return f"{folder}/auth/{name}" if opened else None


def sizes_key(asset_id: AssetId) -> str:
    """Key of `s.json`."""
    return f"{asset_id}/s.json"


def thumbnail_prefix(asset_id: AssetId) -> str:
    """Folder of everything in the thumbnail bucket."""
    return f"{asset_id}/"


def portal_key(asset_id: AssetId) -> str:
    """Key of an upload in the installation's origin bucket."""
    return str(asset_id)


def read_storage_key(key: str) -> OwnKey | None:
    """Read a key of the storage bucket; None if this system stores nothing there, such as a cached info.json."""
    if key.startswith(TRANSIENT_PREFIX):
        image, _, request = key.removeprefix(TRANSIENT_PREFIX).rpartition("/")
        asset_id = _canonical_id(image)
        is_ours = asset_id is not None and _REQUEST.fullmatch(request)
        return OwnKey(asset_id, ObjectKind.TRANSIENT, request_id=request) if asset_id and is_ours else None
    image, rest = _split(key)
    asset_id = _canonical_id(image)
    if asset_id is None or rest not in {"", "original"}:
        return None
    return OwnKey(asset_id, ObjectKind.ORIGINAL if rest else ObjectKind.JP2)


def read_thumbnail_key(key: str) -> OwnKey | None:
    """Read a key of the thumbnail bucket; None if this system stores nothing there, such as earlier systems' sizes."""
    image, rest = _split(key)
    asset_id = _canonical_id(image)
    if asset_id is None:
        return None
    if rest == "s.json":
        return OwnKey(asset_id, ObjectKind.SIZES)
    found = _THUMBNAIL.fullmatch(rest)
    if found is None:
        return None
    return OwnKey(asset_id, ObjectKind.THUMBNAIL, longest=int(found[2]), is_open=found[1] == "open")


def _split(key: str) -> tuple[str, str]:
    """Return the three parts of the id that a key begins with, and what follows."""
    parts = key.split("/", 3)
    return "/".join(parts[:3]), "/".join(parts[3:])


def _canonical_id(text: str) -> AssetId | None:
    """Return the id whose objects are below `text`; None for what only resembles one, such as `02/1/x` or `2//1/x`."""
    try:
        asset_id = AssetId.parse(text)
    except MessageRejectedError:
        return None
    return asset_id if str(asset_id) == text else None
