"""Objects that are none of a history's images: they must be at its end what they were at its beginning."""

from __future__ import annotations

from typing import Final

from dlcs_assets.domain.storage_keys import TRANSIENT_PREFIX
from dlcs_assets_tests.crash.expected import listed
from dlcs_assets_tests.crash.record import History
from dlcs_assets_tests.crash.world import BUCKETS, World
from dlcs_stack import aws

_ID_PARTS: Final = 3
# Keys that begin like those of image `{c}/1/page-00`, and of customer `{c}`.
_STORAGE: Final = (
    "{c}/1/page-00x",
    "{c}/1/page-000/original",
    "{c}/1/page-00.jp2",
    "{c}/1/page-0",
    "{c}/2/page-00",
    "{c}/1",
    "{c}0/1/page-00",
    "{c}0/1/page-00/original",
    "foreign/{c}/1/page-00",
    "transient/{c}/1/page-000/0123",
    "transient/{c}0/1/page-00/0123",
    "transient/foreign/{c}",
)
_THUMBS: Final = (
    "{c}/1/page-00x/open/100.jpg",
    "{c}/1/page-000/s.json",
    "{c}/2/page-00/open/100.jpg",
    "{c}0/1/page-00/open/100.jpg",
    "foreign/{c}/1/page-00/s.json",
)


def plant(world: World, customer: int) -> None:
    """Put objects of others next to where the customer's will be."""
    for bucket, keys in ((aws.STORAGE_BUCKET, _STORAGE), (aws.THUMBS_BUCKET, _THUMBS)):
        for key in planted(customer, keys):
            world.s3.put_object(Bucket=bucket, Key=key, Body=f"not ours: {key}".encode())


def planted(customer: int, keys: tuple[str, ...] = (*_STORAGE, *_THUMBS)) -> list[str]:
    """Return the keys of what `plant` puts there."""
    return [key.format(c=customer) for key in keys]


def everything_else(world: World, history: History) -> dict[tuple[str, str], str]:
    """Return the ETags of all objects of all buckets that are not of the history's own images, by bucket and key."""
    found = {}
    for bucket in BUCKETS:
        for key, etag in listed(world, bucket, ""):
            if bucket == aws.ORIGIN_BUCKET or not _is_own(history, key):
                found[bucket, key] = etag
    return found


def _is_own(history: History, key: str) -> bool:
    asset_id = "/".join(key.removeprefix(TRANSIENT_PREFIX).split("/")[:_ID_PARTS])
    limited = asset_id.startswith(f"{history.limited_customer}/")
    return asset_id in history.endings or limited or key.startswith(f"{TRANSIENT_PREFIX}control/")
