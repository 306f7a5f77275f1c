"""Objects that are none of a history's images: they must be at its end what they were at its beginning."""

from __future__ import annotations

from typing import Final

from dlcs_assets.domain.storage_keys import TRANSIENT_PREFIX
from dlcs_assets_tests.crash.expected import listed
from dlcs_assets_tests.crash.record import History
from dlcs_assets_tests.crash.world import BUCKETS, World
from dlcs_stack import aws

_ID_PARTS: Final = 3
# Keys that begin like those of an image `{i}` of customer `{c}`.
_STORAGE: Final = (
    "{i}x",
    "{i}0/original",
    "{i}.jp2",
    "transient/{i}0/0123",
    "foreign/{i}",
    "{c}/1",
    "{c}/1/page-",
    "{c}/2/page-00",
    "{c}0/1/page-00",
    "{c}0/1/page-00/original",
    "transient/{c}0/1/page-00/0123",
    "transient/foreign/{c}",
)
_THUMBS: Final = (
    "{i}x/open/100.jpg",
    "{i}0/s.json",
    "foreign/{i}/s.json",
    "{c}/2/page-00/open/100.jpg",
    "{c}0/1/page-00/open/100.jpg",
)


def plant(world: World, history: History) -> None:
    """Put objects of others next to where those of the images will be."""
    for bucket, keys in ((aws.STORAGE_BUCKET, _STORAGE), (aws.THUMBS_BUCKET, _THUMBS)):
        for key in planted(history, keys):
            world.s3.put_object(Bucket=bucket, Key=key, Body=f"not ours: {key}".encode())


def planted(history: History, keys: tuple[str, ...] = (*_STORAGE, *_THUMBS)) -> list[str]:
    """Return the keys of what `plant` puts there."""
    return list(dict.fromkeys(key.format(c=history.customer, i=image) for image in history.endings for key in keys))


def prefixes(history: History) -> list[str]:
    """Return under which prefixes everything of a history is, foreign objects included."""
    own = history.customer
    return [
        *(f"{start}{own}" for start in ("", TRANSIENT_PREFIX, "foreign/", f"{TRANSIENT_PREFIX}foreign/")),
        f"{history.limited_customer}/",
    ]


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
