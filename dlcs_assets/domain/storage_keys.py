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

from typing import Final

from dlcs_assets.domain.asset_id import AssetId

TRANSIENT_PREFIX: Final = "transient/"


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
