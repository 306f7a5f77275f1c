"""Which pictures of an image may be seen here, and their bytes: from the thumbnail bucket, or from the image server.

A key is asked for only if the ledger has it for the image, and what is returned is a JPEG by our own word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Final

from dlcs_assets.clients.image_server import ImageServer
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.image_servers import SourceAccess
from dlcs_assets.domain.results import ObjectKind, ObjectRecord
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.storage_keys import read_thumbnail_key
from dlcs_assets.domain.thumbnails import UNRESTRICTED, ThumbnailMaker
from dlcs_assets.ledger.reports import ImageStatus
from dlcs_assets.settings import Settings

JPEG: Final = "image/jpeg"
TILE_EDGE: Final = 200  # pixels of the pictures on a wall
LARGEST: Final = 1600  # pixels of an edge of what the image server is asked for here
OVERVIEW: Final = 800  # pixels of the longest edge of a whole picture


class Of(StrEnum):
    """What the image server makes a picture of."""

    ORIGINAL = "original"
    JP2 = "jp2"

    @property
    def kind(self) -> ObjectKind:
        """The kind of the stored object."""
        return ObjectKind(self.value)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A stored thumbnail, by its longest edge in pixels."""

    longest: int
    is_open: bool
    stored: ObjectRecord

    @property
    def version(self) -> str:
        """What changes with its bytes: an address with it may be kept."""
        return self.stored.sha256[:16]


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a picture, in its own pixels, and the size at which it is shown."""

    left: int
    top: int
    width: int
    height: int
    shown: Size

    @classmethod
    def within(cls, size: Size, corner: tuple[int, int], part: Size, to: Size) -> Region:
        """Return a part cut off at the picture's edges, shown within `to` and `LARGEST` pixels, and not enlarged."""
        left, top = min(max(corner[0], 0), size.width - 1), min(max(corner[1], 0), size.height - 1)
        width, height = min(part.width, size.width - left), min(part.height, size.height - top)
        scale = min(to.width / width, to.height / height, LARGEST / width, LARGEST / height, 1)
        return cls(left, top, width, height, Size(max(round(width * scale), 1), max(round(height * scale), 1)))

    def request(self) -> str:
        """Return it as the Image API has it."""
        return f"{self.left},{self.top},{self.width},{self.height}/{self.shown.width},{self.shown.height}/0/default.jpg"


def thumbnails_of(stored: Iterable[ObjectRecord]) -> list[Thumbnail]:
    """Return the thumbnails among what is stored, from the smallest to the largest."""
    found = []
    for each in stored:
        key = read_thumbnail_key(each.key) if each.kind is ObjectKind.THUMBNAIL else None
        if key is not None:
            found.append(Thumbnail(key.longest, key.is_open, each))
    return sorted(found, key=lambda thumbnail: (thumbnail.longest, thumbnail.stored.key))


def is_restricted(image: ImageStatus) -> bool:
    """Return whether not everyone may see all of the image; so if nothing is registered of it (any more)."""
    registered = image.registration
    return registered is None or bool(registered.roles) or registered.max_unauthorised != UNRESTRICTED


def size_of(image: ImageStatus) -> Size | None:
    """Return the width and height of the picture in pixels, as the last stage found them."""
    for result in reversed(image.stages.values()):
        width, height = result.facts.get("width"), result.facts.get("height")
        if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
            return Size(width, height)
    return None


@dataclass(frozen=True)
class Pictures:
    """What may be seen, and where it comes from."""

    storage: Storage
    image_server: ImageServer
    settings: Settings

    def visible(self, stored: Iterable[ObjectRecord]) -> list[Thumbnail]:
        """Return the thumbnails that may be seen here, from the smallest to the largest."""
        return [each for each in thumbnails_of(stored) if each.is_open or self.settings.view_restricted]

    def thumbnail(self, stored: Iterable[ObjectRecord], edge: int) -> Thumbnail | None:
        """Return the smallest one that may be seen and has an edge of so many pixels, otherwise the largest one."""
        seen = self.visible(stored)
        return next((each for each in seen if each.longest >= edge), seen[-1] if seen else None)

    def renderable(self, image: ImageStatus, of: Of) -> ObjectRecord | None:
        """Return the object of which the image server makes pictures, if there is one that it reads and all may see."""
        reads = of is Of.ORIGINAL or self.settings.thumbnails_of_jp2
        by_image_server = self.settings.thumbnails_by is ThumbnailMaker.IMAGE_SERVER
        if not (reads and by_image_server and self.settings.image_server_sources is SourceAccess.S3):
            return None
        if is_restricted(image) and not self.settings.view_restricted:
            return None
        return next((each for each in image.objects if each.kind is of.kind), None)

    def read_thumbnail(self, thumbnail: Thumbnail) -> Iterator[bytes]:
        """Return the bytes as S3 sends them; the first of them are there. Raises the errors of the error tree."""
        blocks = self.storage.read_blocks(thumbnail.stored.bucket, thumbnail.stored.key)
        return chain([next(blocks, b"")], blocks)

    def render(self, stored: ObjectRecord, region: Region | None) -> bytes:
        """Return a picture of a stored object. Raises the errors of the error tree."""
        identifier = S3Location(stored.bucket, stored.key).uri(self.settings.s3_uri_region)
        request = region.request() if region else f"full/!{OVERVIEW},{OVERVIEW}/0/default.jpg"
        return self.image_server.session().picture(identifier, request)

    def close(self) -> None:
        """Close the connections."""
        self.storage.close()
        self.image_server.close()


def make_image_server(settings: Settings) -> ImageServer:
    """Return the client as runs have it, but less patient, and with few requests at a time, which are its own."""
    return ImageServer(
        url=settings.image_server_url,
        path=settings.image_server_path,
        kind=settings.image_server_kind,
        cache=settings.image_server_cache if settings.image_server_kind.dialect.has_cache_parameter else "",
        in_flight=4,
        attempts=2,
        connect_timeout_seconds=5,
        timeout_seconds=30,
    )
