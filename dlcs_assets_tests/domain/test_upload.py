from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.upload import (
    Upload,
    UploadStatus,
    asset_of_key,
    classify_upload,
    is_later,
    is_no_upload,
    sent_key,
)

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
EVENT = Upload("scans", "2/1/a", "e1", 10, "0A", NOW)
LISTED = Upload("scans", "2/1/a", "e1", 10, None, NOW, listed_at=NOW + timedelta(minutes=5))


@pytest.mark.parametrize(
    ("sequencer", "other", "later"),
    [
        ("0055AED6DCD90281E6", "0055AED6DCD90281E5", True),
        ("0055AED6DCD90281E5", "0055AED6DCD90281E5", False),
        ("0055aed6dcd90281e6", "0055AED6DCD90281E5", True),
        ("0055AED6", "0055AED6DCD90281E5", False),  # not by length: zeros are filled in on the right
        ("1", "0FFFFFFF", True),
        ("10", "1", False),
    ],
)
def test_sequencers_are_compared_as_s3_says(sequencer: str, other: str, later: bool) -> None:
    assert is_later(sequencer, other) is later


@pytest.mark.parametrize(
    ("upload", "known", "status"),
    [
        (EVENT, None, UploadStatus.INGEST),
        (EVENT, EVENT, UploadStatus.OUTDATED),
        (replace(EVENT, sequencer="09", etag="e0"), EVENT, UploadStatus.OUTDATED),
        (replace(EVENT, sequencer="0B", etag="e2"), EVENT, UploadStatus.INGEST),
        (replace(EVENT, sequencer="0B"), EVENT, UploadStatus.INGEST),  # the same bytes, put there again
        (replace(EVENT, sequencer=None), EVENT, UploadStatus.INGEST),
        (replace(EVENT, etag=None), replace(LISTED, etag=None), UploadStatus.INGEST),
        (EVENT, LISTED, UploadStatus.KNOWN),
        (replace(EVENT, sequencer=None), LISTED, UploadStatus.KNOWN),
        (replace(EVENT, sequencer="09"), replace(LISTED, sequencer="0A"), UploadStatus.OUTDATED),
        (replace(EVENT, etag="e2"), LISTED, UploadStatus.INGEST),
        (replace(EVENT, size=11), LISTED, UploadStatus.INGEST),
        (LISTED, EVENT, UploadStatus.OUTDATED),
        (LISTED, replace(EVENT, etag="e0"), UploadStatus.INGEST),
        (replace(LISTED, etag="e2"), LISTED, UploadStatus.INGEST),
    ],
)
def test_an_event_of_an_object_is_classified_as_new_or_not(
    upload: Upload, known: Upload | None, status: UploadStatus
) -> None:
    assert classify_upload(upload, known, NOW if known else None) is status


def test_a_listing_overtaken_by_an_event_is_outdated() -> None:
    """A listing that began before the event must not bring back the object of before."""
    newer = replace(EVENT, etag="e2")
    assert classify_upload(LISTED, newer, NOW + timedelta(minutes=6)) is UploadStatus.OUTDATED


def test_an_event_has_the_same_id_in_whatever_message_it_comes() -> None:
    assert EVENT.inbox_id() == replace(EVENT, sequencer="0a", etag=None, size=None).inbox_id()
    others = [replace(EVENT, sequencer="0B"), replace(EVENT, key="2/1/b"), replace(EVENT, bucket="other"), LISTED]
    assert len({each.inbox_id() for each in [EVENT, *others]}) == 5


def test_a_listed_object_keeps_its_id_until_it_is_put_again() -> None:
    """Otherwise each listing would ask for the same object again."""
    again = replace(LISTED, listed_at=NOW + timedelta(days=1))
    assert LISTED.inbox_id() == again.inbox_id()
    put_again = [replace(LISTED, modified=NOW + timedelta(seconds=1)), replace(LISTED, etag="e2")]
    assert LISTED.inbox_id() not in {each.inbox_id() for each in put_again}


def test_an_event_without_a_sequencer_has_no_id_of_its_own() -> None:
    assert replace(EVENT, sequencer=None).inbox_id() is None


@pytest.mark.parametrize("key", ["2/1/\ud800\x00", "2/1/" + "é" * 512])
def test_an_id_is_short_and_plain_whatever_the_key(key: str) -> None:
    found = replace(EVENT, key=key).inbox_id()
    assert found is not None
    assert found.removeprefix("s3-").isalnum()
    assert len(found) < 50


@pytest.mark.parametrize("key", ["2/1/page", "2/1/recto%2Fverso", "2/1/a+b c", "12/3/é?#&", "2/1/ page"])
def test_a_key_of_the_convention_is_its_image(key: str) -> None:
    assert str(asset_of_key(key)) == key


@pytest.mark.parametrize(
    "key",
    ["page.jpg", "2/page", "2/1/a/b", "x/1/a", "02/1/a", "/2/1/a", "2//1/a", "2/1/a\x00", "2/1/" + "x" * 220, "2/1/a "],
)
def test_a_key_outside_the_convention_is_refused_with_its_reason(key: str) -> None:
    """The reason can be stored and printed, whatever characters the key has."""
    with pytest.raises(MessageRejectedError) as refused:
        asset_of_key(key)
    assert refused.value.code == "key_outside_convention"
    assert "is not customer/space/asset: " in refused.value.cause
    assert refused.value.cause.isprintable()


@pytest.mark.parametrize("key", ["2/", "2/1/", "2/1/folder/", sent_key(AssetId(2, 1, "a"))])
def test_folder_markers_and_files_sent_by_message_are_ignored(key: str) -> None:
    """A file that dlcs ingest uploads has a message of its own: it must not be ingested twice."""
    assert is_no_upload(key)


@pytest.mark.parametrize("key", ["2/1/sent", "sent/1/a", "2/1/a", "sent"])
def test_all_other_keys_are_uploads(key: str) -> None:
    assert not is_no_upload(key)
