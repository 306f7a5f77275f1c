"""What S3 has under this system's keys, by image, in a file: S3 lists by key, and those of an image are scattered.

`2/1/page-1` is listed between `2/1/page` and `2/1/page/original`. The file takes the sorting, so that memory does not
grow with the number of images.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from dlcs_assets.clients.listings import ListedObject
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.results import ObjectKind
from dlcs_assets.domain.storage_keys import TRANSIENT_PREFIX, OwnKey, read_storage_key, read_thumbnail_key

T = TypeVar("T")
PAGE: Final = 200  # images at a time
_ROWS: Final = 1000
_EXAMPLES: Final = 5
_TABLE: Final = """
CREATE TABLE objects (
    image TEXT NOT NULL, bucket TEXT NOT NULL, key TEXT NOT NULL, bytes INTEGER NOT NULL, etag TEXT NOT NULL,
    modified REAL NOT NULL, PRIMARY KEY (image, bucket, key)
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which images: those named, those of a customer or of a space; all if nothing is given."""

    ids: tuple[str, ...] = ()
    customer: int | None = None
    space: int | None = None

    def covers(self, asset_id: AssetId) -> bool:
        """Return whether the image is one of them."""
        return (
            (not self.ids or str(asset_id) in self.ids)
            and self.customer in {None, asset_id.customer}
            and self.space in {None, asset_id.space}
        )

    def prefixes(self) -> tuple[str, ...]:
        """Return the beginnings of all keys that are to be listed, transient ones without their folder."""
        if self.ids:
            return self.ids
        if self.customer is None:
            return ("",)
        return (f"{self.customer}/" if self.space is None else f"{self.customer}/{self.space}/",)

    def __bool__(self) -> bool:
        return self != Scope()


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An object under a key of this system, as a listing has it."""

    bucket: str
    key: str
    own: OwnKey
    bytes: int
    etag: str
    modified: datetime

    @property
    def kind(self) -> ObjectKind:
        """What it is for."""
        return self.own.kind


@dataclass
class Inventory:
    """A listing of both buckets, sorted by image. As a context manager it deletes its file at the end.

    `others` counts what is in a bucket and not under this system's keys, `examples` names some of it. `began` is when
    the listing began: what images did since may be missing in it.
    """

    storage_bucket: str
    thumbs_bucket: str
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    others: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dlcs-inventory-")
        self._file = sqlite3.connect(Path(self._folder.name) / "objects.db")
        # It is deleted at the end: nothing is lost with it.
        self._file.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {_TABLE}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._folder.cleanup()

    def fill(self, storage: Storage, scope: Scope, on_page: Callable[[int], None] = lambda _: None) -> None:
        """List what there is of the images of the scope. Raises the errors of the error tree."""
        listed = 0
        for page in batches(_listed(storage, scope, self), _ROWS):
            rows = [
                (str(each.own.asset_id), each.bucket, each.key, each.bytes, each.etag, each.modified.timestamp())
                for each in page
            ]
            self._file.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._file.commit()
            listed += len(rows)
            on_page(listed)

    def pages(self) -> Iterator[dict[str, list[StoredKey]]]:
        """Yield the objects of some images at a time, by image, in the order of their ids."""
        after = ""
        query = "SELECT DISTINCT image FROM objects WHERE image > ? ORDER BY image LIMIT ?"
        while ids := [row[0] for row in self._rows(query, [after, PAGE])]:
            yield self.of(ids)
            after = ids[-1]

    def of(self, ids: Sequence[str]) -> dict[str, list[StoredKey]]:
        """Return the objects of these images; those without any are left out."""
        found: dict[str, list[StoredKey]] = {}
        marks = ", ".join("?" * len(ids))
        query = f"SELECT * FROM objects WHERE image IN ({marks}) ORDER BY image, bucket, key"  # noqa: S608 (marks only)
        for image, bucket, key, size, etag, modified in self._rows(query, ids):
            own = self.read(bucket, key)
            assert own is not None
            stored = StoredKey(bucket, key, own, size, etag, datetime.fromtimestamp(modified, UTC))
            found.setdefault(image, []).append(stored)
        return found

    def read(self, bucket: str, key: str) -> OwnKey | None:
        """Read a key of one of the two buckets."""
        if bucket == self.storage_bucket and (own := read_storage_key(key)):
            return own
        return read_thumbnail_key(key) if bucket == self.thumbs_bucket else None

    def count(self) -> tuple[int, int, int]:
        """Return how many images, objects and bytes there are."""
        query = "SELECT count(DISTINCT image), count(*), coalesce(sum(bytes), 0) FROM objects"
        ((images, objects, size),) = self._rows(query, [])
        return images, objects, size

    def note_other(self, bucket: str, key: str) -> None:
        """Count an object that is not under a key of this system."""
        self.others[bucket] += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"s3://{bucket}/{key}")

    def _rows(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with closing(self._file.execute(query, values)) as cursor:
            return cursor.fetchall()


def batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the values in lists of this size, the last one shorter."""
    page: list[T] = []
    for value in values:
        page.append(value)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page


def listed_of_image(storage: Storage, bucket: str, prefix: str) -> Iterator[ListedObject]:
    """List an object and what is in the folder of its name, without its neighbours whose names begin alike."""
    first = storage.list_page(bucket, prefix, limit=1).objects
    yield from (each for each in first if each.key == prefix)
    yield from storage.list_objects(bucket, f"{prefix}/")


def _listed(storage: Storage, scope: Scope, inventory: Inventory) -> Iterator[StoredKey]:
    buckets = (inventory.storage_bucket, inventory.thumbs_bucket)
    for bucket in dict.fromkeys(buckets):
        for prefix in _prefixes(scope, transient=bucket == inventory.storage_bucket):
            objects: Iterable[ListedObject] = (
                listed_of_image(storage, bucket, prefix) if scope.ids else storage.list_objects(bucket, prefix)
            )
            for each in objects:
                own = inventory.read(bucket, each.key)
                if own is None:
                    inventory.note_other(bucket, each.key)
                elif scope.covers(own.asset_id):
                    yield StoredKey(bucket, each.key, own, each.size, each.etag, each.modified)


def _prefixes(scope: Scope, *, transient: bool) -> Iterator[str]:
    for prefix in scope.prefixes():
        yield prefix
        if transient and prefix:  # without one, transient objects are listed with all others
            yield f"{TRANSIENT_PREFIX}{prefix}"
