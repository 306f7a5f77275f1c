from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.ingest_request import AssetFields, IngestMessage
from dlcs_assets.domain.stages import Lane
from dlcs_assets.domain.upload import Upload, asset_of_key
from dlcs_assets.ledger.records import InboxMessage, IntakeCount, Rejection
from dlcs_assets_tests.ledger.conftest import NOW, Desk

EVENT = Upload("scans", "2/1/a", "e1", 10, "0A", NOW)
LISTED = replace(EVENT, sequencer=None, listed_at=NOW)
MINUTE = timedelta(minutes=1)


def entry(upload: Upload, message_id: str = "m-1#0") -> InboxMessage:
    """Return what the inbox gets of an upload."""
    entry = InboxMessage(upload.inbox_id() or message_id, "q", Lane.INGEST, f"body of {upload.key}", upload=upload)
    try:
        asset_id = asset_of_key(upload.key)
    except MessageRejectedError as error:
        return replace(entry, rejection=Rejection(error.code, error.cause, error.remedy))
    origin = AssetFields(f"s3://{upload.bucket}/{upload.key}")
    return replace(entry, message=IngestMessage(asset_id, upload.modified, None, origin))


def take_in(desk: Desk, *uploads: Upload, now: datetime = NOW) -> IntakeCount:
    return desk.take_in([entry(upload, f"m-{now}#{n}") for n, upload in enumerate(uploads)], now)


def unknown(desk: Desk, *listed: Upload) -> list[Upload | None]:
    return [each.upload for each in desk.ledger.uploads.unknown("scans", [entry(upload) for upload in listed])]


def due(desk: Desk) -> list[AssetId]:
    return [image.asset_id for image in desk.ledger.dispatch.due([Lane.INGEST], limit=100, now=NOW + 60 * MINUTE)]


def test_an_upload_registers_its_image_and_requests_it(desk: Desk) -> None:
    assert take_in(desk, EVENT).accepted == 1
    assert due(desk) == [AssetId(2, 1, "a")]
    registered = desk.ledger.reports.registration(AssetId(2, 1, "a"))
    assert registered is not None
    assert registered.origin == "s3://scans/2/1/a"


def test_an_event_that_comes_in_two_messages_is_one_request(desk: Desk) -> None:
    assert take_in(desk, EVENT, EVENT).duplicates == 1
    assert take_in(desk, EVENT, now=NOW + MINUTE).duplicates == 1


def test_an_older_event_that_comes_late_is_ignored(desk: Desk) -> None:
    take_in(desk, replace(EVENT, sequencer="0B"))
    assert take_in(desk, replace(EVENT, etag="e0"), now=NOW + MINUTE).ignored == 1
    assert take_in(desk, replace(EVENT, sequencer="0AFF", etag="e0"), now=NOW + MINUTE).ignored == 1


def test_a_newer_event_is_a_new_request_even_for_the_same_bytes(desk: Desk) -> None:
    take_in(desk, EVENT)
    assert take_in(desk, replace(EVENT, sequencer="0B"), now=NOW + MINUTE).accepted == 1
    assert take_in(desk, replace(EVENT, sequencer="0C", etag="e2"), now=NOW + MINUTE).accepted == 1


def test_the_order_of_events_is_kept_for_each_key_alone(desk: Desk) -> None:
    take_in(desk, EVENT)
    others = [replace(EVENT, key="2/1/b", sequencer="01"), replace(EVENT, bucket="more-scans", sequencer="01")]
    assert take_in(desk, *others).accepted == 2


def test_an_event_whose_image_was_rejected_can_be_taken_in_again(desk: Desk) -> None:
    """Its cause may be fixed; then it is sent again, with the id and the sequencer that it had."""
    refused = replace(entry(EVENT), rejection=Rejection("customer_not_configured", "Not ours", "Add it"))
    assert desk.take_in([refused]).rejected == 1
    assert take_in(desk, EVENT).duplicates == 1
    desk.ledger.inbox.mark_requeued([refused.id])
    assert take_in(desk, EVENT).accepted == 1
    assert take_in(desk, EVENT).duplicates == 1


def test_a_listing_finds_what_had_no_event(desk: Desk) -> None:
    missed = replace(LISTED, key="2/1/missed")
    take_in(desk, EVENT)
    assert unknown(desk, LISTED, missed) == [missed]
    assert take_in(desk, missed).accepted == 1
    assert unknown(desk, LISTED, missed) == []


def test_a_late_event_of_a_listed_object_is_ignored(desk: Desk) -> None:
    """An object that a listing found must not be ingested again for the event that follows, only for a newer one."""
    take_in(desk, LISTED)
    assert take_in(desk, EVENT, now=NOW + MINUTE).ignored == 1
    assert take_in(desk, replace(EVENT, sequencer="09", etag="e0"), now=NOW + MINUTE).ignored == 1
    assert take_in(desk, replace(EVENT, sequencer="0B"), now=NOW + MINUTE).accepted == 1


def test_a_listing_finds_an_object_replaced_without_an_event(desk: Desk) -> None:
    """Another ETag is a new upload, and the event that arrives late for it is none."""
    take_in(desk, EVENT)
    again = replace(LISTED, etag="e2", listed_at=NOW + MINUTE)
    assert unknown(desk, again) == [again]
    assert take_in(desk, again, now=NOW + MINUTE).accepted == 1
    assert take_in(desk, replace(EVENT, etag="e2", sequencer="0B"), now=NOW + 2 * MINUTE).ignored == 1


def test_a_listing_that_an_event_has_overtaken_changes_nothing(desk: Desk) -> None:
    old = replace(LISTED, etag="e0")
    assert unknown(desk, old) == [old]
    take_in(desk, EVENT, now=NOW + MINUTE)
    assert take_in(desk, old, now=NOW + MINUTE).ignored == 1
    assert unknown(desk, replace(LISTED, listed_at=NOW + 2 * MINUTE)) == []


def test_listed_keys_outside_the_convention_are_rejected_once(desk: Desk) -> None:
    """Each listing finds them again, whatever characters they have; they are stored and reported once."""
    odd = [replace(LISTED, key=key) for key in ("thumbs.db", "2/1/\x00", "2/1/\ud800", "2/1/" + "x" * 1000)]
    assert take_in(desk, *odd).rejected == 4
    assert unknown(desk, *[replace(each, listed_at=NOW + 60 * MINUTE) for each in odd]) == []


def test_a_listed_object_is_forwarded_once(desk: Desk) -> None:
    """Each listing finds it again: the next one must know that it was forwarded."""
    assert desk.take_in([replace(entry(LISTED), message=None, forwarded=True)]).forwarded == 1
    assert unknown(desk, replace(LISTED, listed_at=NOW + 60 * MINUTE, modified=None)) == []
