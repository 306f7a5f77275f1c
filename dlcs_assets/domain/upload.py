"""Uploads: objects that become images because of where they were put, and which reports of them are new."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.storage_keys import portal_key
from dlcs_assets.domain.text import shown_text

SENT_FOLDER: Final = "sent"


@dataclass(frozen=True, slots=True)
class Upload:
    """An object that was put into a bucket, as its event says, or a listing that was requested at `listed_at`.

    `sequencer` is S3's: hex digits that order the events of one key. The ETag has no quotes.
    """

    bucket: str
    key: str
    etag: str | None = None
    size: int | None = None
    sequencer: str | None = None
    modified: datetime | None = None
    listed_at: datetime | None = None

    def inbox_id(self) -> str | None:
        """Name what is reported, the same each time it is reported; None where S3 gives nothing to name it by.

        A hash, since a key may have 1,024 bytes of anything.
        """
        if self.listed_at is not None:
            version = f"listed {self.etag} {self.size} {self.modified}"
        elif self.sequencer is not None:
            version = f"event {self.sequencer.upper()}"
        else:
            return None
        named = f"{self.bucket}\n{self.key}\n{version}"
        return f"s3-{hashlib.sha256(named.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"

    def same_object(self, other: Upload) -> bool:
        """Return whether both have the same bytes, as far as ETag and size show."""
        return self.etag is not None and (self.etag, self.size) == (other.etag, other.size)


class UploadStatus(StrEnum):
    """What is to be done about a report of an object."""

    INGEST = "ingest"
    KNOWN = "known"  # taken in already, by the other of the two ways: remember that both have reported it
    OUTDATED = "outdated"


def classify_upload(reported: Upload, known: Upload | None, seen_at: datetime | None) -> UploadStatus:
    """Compare a report of an object with what was last taken in of it, at `seen_at`, if anything was.

    An object is reported by its event and by listings, in any order: the second brings nothing new. `known` has a
    `listed_at` if a listing reported it and its event has not come since. Without that, a newer event is an upload of
    its own, even of the same bytes: it was done on purpose.
    """
    if known is None:
        return UploadStatus.INGEST
    if reported.listed_at is not None:
        if reported.same_object(known):
            return UploadStatus.OUTDATED
        # What came after the listing was asked for is newer than what the listing says.
        return UploadStatus.OUTDATED if seen_at is not None and seen_at >= reported.listed_at else UploadStatus.INGEST
    if reported.sequencer and known.sequencer and not is_later(reported.sequencer, known.sequencer):
        return UploadStatus.OUTDATED
    return UploadStatus.KNOWN if known.listed_at is not None and reported.same_object(known) else UploadStatus.INGEST


def is_later(sequencer: str, other: str) -> bool:
    """Compare two events of one key as S3 says: the shorter one is filled up with zeros on its right."""
    width = max(len(sequencer), len(other))
    return sequencer.upper().ljust(width, "0") > other.upper().ljust(width, "0")


def sent_key(asset_id: AssetId) -> str:
    """Key in the origin bucket for an original that a message goes with: its upload alone asks for nothing.

    It stays under the customer's own number, as the portal's bucket wants it, and outside of the uploads' convention.
    """
    return f"{asset_id.customer}/{SENT_FOLDER}/{asset_id.space}/{asset_id.asset}"


def is_no_upload(key: str) -> bool:
    """Return whether an object of this key asks for nothing: the marker of a folder, or sent along with a message."""
    return key.endswith("/") or key.split("/")[1:2] == [SENT_FOLDER]


def asset_of_key(key: str) -> AssetId:
    """Return which image an upload is. Raises `MessageRejectedError`, code `key_outside_convention`."""
    try:
        asset_id = AssetId.parse(key)
    except MessageRejectedError as error:
        raise _outside(key, error.cause) from error
    # One image has one key; and what reads the origin `s3://bucket/key` strips it.
    if portal_key(asset_id) != key or key != key.strip():
        raise _outside(key, "slashes, leading zeros or white space too many")
    return asset_id


def _outside(key: str, why: str) -> MessageRejectedError:
    return MessageRejectedError(
        "key_outside_convention",
        f"The S3 key '{shown_text(key)}' is not customer/space/asset: {why}",
        remedy="Upload it under a key such as 2/1/page-1: two whole numbers and a name.",
    )
