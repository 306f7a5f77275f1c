"""A picture of ours that every image server reads: where it is served, the server is not what is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Final, Protocol

from dlcs_assets.clients.image_server import ImageServer, Refused, ThumbnailBytes
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.results import ObjectKind, ObjectRecord
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.storage_keys import control_key
from dlcs_assets.domain.thumbnails import ThumbnailAsk

SIZE: Final = Size(96, 64)
ASK: Final = ThumbnailAsk("!48,48", "!48,48", Size(48, 32))
COLOUR: Final = (178, 84, 44)
COLOUR_TOLERANCE: Final = 12  # of 255 levels: what a JP2 and JPEGs make of a plain colour is within a few


class ControlFormat(StrEnum):
    """The format of a control picture, by its media type."""

    JPEG = "image/jpeg"
    JP2 = "image/jp2"


@dataclass(frozen=True, slots=True)
class ControlPicture:
    """A control picture where the image server can read it."""

    server: ImageServer
    identifier: str
    file: Path | None

    def thumbnail(self) -> ThumbnailBytes:
        """Fetch its thumbnail, with repetitions as for any other. Raises the errors of the error tree."""
        session = self.server.session(self.file)
        answer = session.thumbnail(self.identifier, ASK.parameter, session.size_parameter(ASK), SIZE)
        assert not isinstance(answer, Refused)  # no server enlarges for it, or finds it too large
        return answer


def draw_control_picture(control_format: ControlFormat) -> bytes:
    """Return the picture: of one colour, so that it is the same from every decoder."""
    from PIL import Image

    data = BytesIO()
    picture = Image.new("RGB", (SIZE.width, SIZE.height), COLOUR)
    if control_format is ControlFormat.JP2:
        picture.save(data, "JPEG2000", num_resolutions=3)
    else:
        picture.save(data, "JPEG", quality=92)
    return data.getvalue()


def mean_colour(jpeg: bytes) -> tuple[int, ...]:
    """Return the mean of each channel of a JPEG, in RGB."""
    from PIL import Image, ImageStat

    with Image.open(BytesIO(jpeg), formats=["JPEG"]) as image:
        return tuple(round(mean) for mean in ImageStat.Stat(image.convert("RGB")).mean)


def is_colour(seen: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Return whether a thumbnail's colour is the one that a picture was drawn in."""
    return max(abs(one - other) for one, other in zip(seen, expected, strict=True)) <= COLOUR_TOLERANCE


class TransientRecords(Protocol):
    """What has objects on record that are not to stay, so that they are deleted later if need be."""

    def record_transient(self, record: ObjectRecord) -> None:
        """Record an object, before it is stored."""

    def forget_object(self, bucket: str, key: str) -> None:
        """Drop the record of an object that was deleted."""


@contextmanager
def control_object(
    server: ImageServer,
    storage: Storage,
    records: TransientRecords,
    *,
    name: str,
    control_format: ControlFormat,
    region: str | None,
) -> Iterator[ControlPicture]:
    """Have the picture in the storage bucket for a moment. Raises the errors of the error tree."""
    bucket, key = storage.storage_bucket, control_key(f"{name}{_suffix(control_format)}")
    data = draw_control_picture(control_format)
    sha256 = hashlib.sha256(data).hexdigest()
    records.record_transient(ObjectRecord(bucket, key, ObjectKind.TRANSIENT, len(data), sha256, control_format))
    try:
        storage.put_bytes(data, bucket, key, control_format)
        yield ControlPicture(server, S3Location(bucket, key).uri(region), None)
    finally:
        with suppress(IngestError):  # it stays on record, and `reconcile` deletes it
            storage.delete(bucket, [key])
            records.forget_object(bucket, key)


@contextmanager
def control_file(server: ImageServer, folder: Path, control_format: ControlFormat) -> Iterator[ControlPicture]:
    """Have the picture in a folder of the disk that the image server shares, for a moment."""
    path = folder / f"control{_suffix(control_format)}"
    path.write_bytes(draw_control_picture(control_format))
    make_readable(path)
    try:
        yield ControlPicture(server, server.identifier_of(path), path)
    finally:
        path.unlink(missing_ok=True)


def _suffix(control_format: ControlFormat) -> str:
    return f".{control_format.rpartition('/')[2]}"


def make_readable(path: Path) -> None:
    """Let a server that is another user read the file, whatever our umask was. What is Appetiser's can't be changed."""
    for each, mode in ((path, _FOR_ALL_TO_READ), (path.parent, _FOR_ALL_TO_ENTER)):
        with suppress(PermissionError):
            each.chmod(each.stat().st_mode | mode)


_FOR_ALL_TO_READ: Final = 0o444
_FOR_ALL_TO_ENTER: Final = 0o555
