from __future__ import annotations

from datetime import timedelta

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger.records import InboxMessage, Rejection
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, Desk
from dlcs_testing.one_write import end_image


def test_a_full_message_registers_its_image_and_requests_it(desk: Desk) -> None:
    assert desk.send("2/1/a").accepted == 1
    assert desk.state("2/1/a") == "pending"
    registered = desk.ledger.reports.registration(AssetId(2, 1, "a"))
    assert registered is not None
    assert registered.origin == "https://example.org/page.jpg"


def test_the_same_message_twice_makes_one_request(desk: Desk) -> None:
    desk.send("2/1/a", message_id="same")
    assert desk.send("2/1/a", message_id="same").duplicates == 1
    assert len(desk.ledger.dispatch.due([Lane.INGEST], limit=10, now=NOW)) == 1


def test_a_short_message_keeps_what_is_registered(desk: Desk) -> None:
    desk.send("2/1/a", roles=("clinical",))
    assert desk.send("2/1/a", origin=None).accepted == 1
    registered = desk.ledger.reports.registration(AssetId(2, 1, "a"))
    assert registered is not None
    assert registered.roles == ("clinical",)


def test_a_late_older_message_does_not_restore_the_old_origin(desk: Desk) -> None:
    """SQS does not keep the order: the newest message by its own time decides."""
    desk.send("2/1/a", "https://example.org/new.jpg", created=NOW)
    desk.send("2/1/a", "https://example.org/old.jpg", created=NOW - timedelta(hours=1))
    registered = desk.ledger.reports.registration(AssetId(2, 1, "a"))
    assert registered is not None
    assert registered.origin == "https://example.org/new.jpg"


def test_a_short_message_waits_for_its_registration(desk: Desk) -> None:
    assert desk.send("2/1/a", origin=None).waiting == 1
    assert desk.ledger.dispatch.due([Lane.INGEST], limit=10, now=NOW) == []
    desk.send("2/1/a")
    assert [image.asset_id.asset for image in desk.ledger.dispatch.due([Lane.INGEST], limit=10, now=NOW)] == ["a"]
    assert desk.ledger.inbox.reject_overdue(NOW + timedelta(hours=1)) == 0


def test_a_short_message_without_a_registration_is_rejected(desk: Desk) -> None:
    """Not before its time is over, and with its body, so that it can be sent again."""
    desk.send("2/1/a", origin=None)
    assert desk.ledger.inbox.reject_overdue(NOW + timedelta(minutes=9)) == 0
    assert desk.ledger.inbox.reject_overdue(NOW + timedelta(minutes=10)) == 1
    (rejected,) = desk.ledger.inbox.rejected()
    assert (rejected["code"], rejected["body"], rejected["image_id"]) == ("image_unknown", "body 1", "2/1/a")
    assert desk.state("2/1/a") == "rejected"


def test_an_unparsable_message_is_kept_and_holds_up_no_other(desk: Desk) -> None:
    """It is kept once, with its reason, until it is sent again; the other messages of its batch are taken in."""
    bad = InboxMessage("m-bad", "q", Lane.INGEST, "{", rejection=Rejection("not_json", "It is not JSON", "Send JSON"))
    ignored = InboxMessage("m-test", "q", Lane.INGEST, "test event")
    count = desk.take_in([bad, ignored, bad])
    assert (count.rejected, count.ignored, count.duplicates) == (1, 1, 1)
    (rejected,) = desk.ledger.inbox.rejected()
    assert (rejected["id"], rejected["code"], rejected["body"]) == ("m-bad", "not_json", "{")
    desk.ledger.inbox.mark_requeued(["m-bad"])
    assert desk.ledger.inbox.rejected() == []


def test_an_impossible_registration_is_rejected_without_effect(desk: Desk) -> None:
    """A bad message must not replace the good registration of a known image."""
    desk.send("2/1/a")
    assert desk.send("2/1/a", "ftp://example.org/a").rejected == 1
    assert desk.ledger.inbox.rejected()[0]["code"] == "origin_scheme_not_supported"
    registered = desk.ledger.reports.registration(AssetId(2, 1, "a"))
    assert registered is not None
    assert registered.origin == "https://example.org/page.jpg"


def test_a_newer_request_supersedes_one_that_was_not_begun(desk: Desk) -> None:
    """The image is due once, with the newest registration."""
    desk.send("2/1/a", batch=7)
    desk.send("2/1/a", "https://example.org/second.jpg")
    assert len(desk.ledger.dispatch.due([Lane.INGEST], limit=10, now=NOW)) == 1
    claim = desk.claim()
    assert claim.items[0].registration.origin == "https://example.org/second.jpg"


def test_a_newer_request_waits_for_one_in_progress(desk: Desk) -> None:
    desk.send("2/1/a")
    claim = desk.claim()
    desk.send("2/1/a")
    assert desk.ledger.dispatch.due([Lane.INGEST], limit=10, now=NOW) == []
    end_image(desk.ledger.results, claim, claim.items[0], None, schedule=SCHEDULE, now=NOW)
    assert len(desk.ledger.dispatch.due([Lane.INGEST], limit=10, now=NOW)) == 1


def test_a_request_that_supersedes_a_priority_one_keeps_priority(desk: Desk) -> None:
    """A message of the ordinary queue must not slow down an image that someone waits for."""
    desk.send("2/1/a", lane=Lane.PRIORITY)
    desk.send("2/1/a", lane=Lane.INGEST)
    assert len(desk.ledger.dispatch.due([Lane.PRIORITY], limit=10, now=NOW)) == 1
