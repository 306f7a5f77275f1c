"""Images of which nothing is stored yet, so that nothing of theirs need be looked for to be removed.

One listing of each bucket says so for most of a chunk. Otherwise each image is listed by itself, at its end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from typing import Final

from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.results import WorkItem

log = logging.getLogger(__name__)

_KEYS_PER_IMAGE: Final = 10
_MOST_KEYS: Final = 1000  # S3's own limit
_LEAST_IMAGES: Final = 2  # one is listed no faster with others


class Unstored:
    """Those images of a chunk of which neither bucket has anything, found out when the first of them is asked for.

    Only images are among them that no run has had before: what a run that stands still may yet store is looked for by
    the next one. Neither are those that a listing does not reach, nor any if S3 does not answer.
    """

    def __init__(self, storage: Storage, items: Sequence[WorkItem]) -> None:
        self._storage = storage
        self._asked = [item.asset_id for item in items if item.is_first]
        self._lock = threading.Lock()
        self._found: frozenset[AssetId] | None = None

    def __contains__(self, asset_id: AssetId) -> bool:
        """Return whether nothing was stored of an image. To be asked before anything is."""
        with self._lock:
            if self._found is None:
                self._found = self._find()
        return asset_id in self._found

    def _find(self) -> frozenset[AssetId]:
        spaces: dict[tuple[int, int], set[AssetId]] = {}
        for asset_id in self._asked:
            spaces.setdefault((asset_id.customer, asset_id.space), set()).add(asset_id)
        found: set[AssetId] = set()
        try:
            for images in spaces.values():
                if len(images) >= _LEAST_IMAGES:
                    found |= unstored_in(self._storage, self._storage.thumbs_bucket, images) & unstored_in(
                        self._storage, self._storage.storage_bucket, images
                    )
        except IngestError as error:  # S3 may be back when the images are at their end
            log.warning("what is stored of new images is not known: %s", error)
        return frozenset(found)


def unstored_in(storage: Storage, bucket: str, images: Collection[AssetId]) -> set[AssetId]:
    """Return those images of one space of which a bucket has nothing, as far as one request shows."""
    in_order = sorted(map(str, images), key=str.encode)
    prefix = f"{in_order[0].rpartition('/')[0]}/"
    limit = min(_KEYS_PER_IMAGE * len(images), _MOST_KEYS)
    # An image's JP2 has its very id as key, which comes right after the id without its last character.
    page = storage.list_page(bucket, prefix, after=in_order[0][:-1], limit=limit)
    keys = [each.key for each in page.objects]
    stored = {"/".join(key.split("/", 3)[:3]) for key in keys}
    reached = None if page.is_last else keys[-1].encode()
    return {
        image
        for image in images
        # "0" is the character after "/": all that is in the image's folder comes before that key.
        if str(image) not in stored and (reached is None or f"{image}0".encode() <= reached)
    }
