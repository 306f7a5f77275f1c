"""What a done image leaves in S3, as an undisturbed ingest of the same picture under the same channels left it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final

from dlcs_assets.domain.storage_keys import TRANSIENT_PREFIX
from dlcs_assets_tests.crash.lives import CHANNELS, PICTURES, Case
from dlcs_assets_tests.crash.world import LIMITED_CASE, REFERENCE_CUSTOMER, World
from dlcs_stack import aws
from dlcs_testing.whole_system import full_message

# Pixels are compared in means of 4 x 4. Made from a reduced source or not, a picture's differ by 2 of 255 levels on
# average; two pictures' by 72.
COARSE: Final = 4
MAX_DIFFERENCE: Final = 8.0
# By what follows the image's id in the key, the bucket before it: the ETag.
Objects = Mapping[str, str]


@dataclass
class Expected:
    """The objects of each case, and thumbnails that were found to show the same.

    `limited_bytes`: what two images of a customer with limits need, and not three.
    """

    of: Mapping[Case, Objects]
    pictures: Mapping[tuple[Case, str], bytes]
    limited_bytes: int
    alike: set[tuple[Case, str, str]] = field(default_factory=set)

    def is_right(self, world: World, case: Case, asset_id: str, key: str, etag: str) -> bool:
        """Return whether an object is what it should be: the same bytes, or a thumbnail that shows the same.

        What the image server had at hand when it was asked, another size of the same source or not, makes the least
        differences in a thumbnail.
        """
        if self.of[case][key] == etag or (case, key, etag) in self.alike:
            return True
        if (case, key) not in self.pictures:
            return False
        if not _looks_like(_read(world, asset_id, key), self.pictures[case, key]):
            return False
        self.alike.add((case, key, etag))
        return True


def all_cases() -> list[Case]:
    """Return every combination."""
    return [
        Case(channels, picture, over_http)
        for channels, picture, over_http in itertools.product(range(len(CHANNELS)), range(PICTURES), (False, True))
    ]


def learn(world: World, cases: Sequence[Case]) -> Expected:
    """Ingest each case once, without faults, and record what is there then."""
    world.bring(REFERENCE_CUSTOMER)
    wanted = dict.fromkeys([*cases, LIMITED_CASE])
    ids = {f"{REFERENCE_CUSTOMER}/1/case-{number:02}": case for number, case in enumerate(wanted)}
    messages = [
        full_message(
            each, world.uri(REFERENCE_CUSTOMER, case.picture, over_http=case.over_http), CHANNELS[case.channels]
        )
        for each, case in ids.items()
    ]
    for start in range(0, len(messages), 10):
        world.system.send(*messages[start : start + 10])
    world.system.await_end(list(ids), timeout=300)
    found = objects_of(world, REFERENCE_CUSTOMER)
    # A file in the upload bucket is served from there: nothing else is stored for it.
    assert all(each in found for each, case in ids.items() if case.over_http)
    return Expected(
        {case: found.get(each, {}) for each, case in ids.items()},
        {
            (case, key): _read(world, each, key)
            for each, case in ids.items()
            for key in found.get(each, {})
            if key.endswith(".jpg")
        },
        _limited_bytes(world, next(each for each, case in ids.items() if case == LIMITED_CASE)),
    )


def _limited_bytes(world: World, asset_id: str) -> int:
    ((size,),) = world.system.rows("SELECT bytes FROM outcomes WHERE image_id = ? AND stage = 'jp2'", asset_id)
    return int(2.5 * size)


def objects_of(world: World, customer: int) -> dict[str, dict[str, str]]:
    """Return all objects under the customer's number, by image."""
    found: dict[str, dict[str, str]] = {}
    for bucket in (aws.STORAGE_BUCKET, aws.THUMBS_BUCKET):
        for key, etag in listed(world, bucket, f"{customer}/"):
            parts = key.split("/")
            found.setdefault("/".join(parts[:3]), {})["/".join([bucket, *parts[3:]])] = etag
    return found


def transient_keys(world: World, customer: int) -> Sequence[str]:
    """Return what is left of what is stored only for a while."""
    return [key for key, _ in listed(world, aws.STORAGE_BUCKET, f"{TRANSIENT_PREFIX}{customer}/")]


def listed(world: World, bucket: str, prefix: str) -> list[tuple[str, str]]:
    """Return the keys that begin so, with their ETags."""
    pages = world.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [(item["Key"], item["ETag"].strip('"')) for page in pages for item in page.get("Contents", ())]


def _read(world: World, asset_id: str, key: str) -> bytes:
    bucket, _, rest = key.partition("/")
    return world.s3.get_object(Bucket=bucket, Key=f"{asset_id}/{rest}")["Body"].read()


def _looks_like(jpeg: bytes, other: bytes) -> bool:
    from PIL import Image, ImageChops, ImageStat

    with Image.open(BytesIO(jpeg)) as one, Image.open(BytesIO(other)) as two:
        if one.format != "JPEG" or one.size != two.size:
            return False
        difference = ImageChops.difference(one.convert("RGB").reduce(COARSE), two.convert("RGB").reduce(COARSE))
        return max(ImageStat.Stat(difference).mean) < MAX_DIFFERENCE
