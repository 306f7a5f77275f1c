"""Messages of a DLCS that name an image by its id: its database, of either layout, says what is to be made."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from pydantic import SecretStr

from dlcs_assets.clients.sqs import QueueMessage
from dlcs_assets.customers import customer_source
from dlcs_assets.domain.stages import Lane
from dlcs_assets.intake.messages import Delivery, deliver, read_message
from dlcs_assets_tests.intake.notifications import asset, notification
from dlcs_testing.dlcs_database import Dlcs
from dlcs_testing.installation import full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline

IMAGE = "2/1/page"
AS_THE_API_SENDS = {"created": "2026-05-01T10:11:12.1234567Z", "id": {"customer": 2, "space": 1, "asset": "page"}}


@pytest.fixture
def engine(pipeline: Pipeline, dlcs: Dlcs) -> Pipeline:
    """An installation for customers 2 and 3 of a DLCS."""
    dlcs.limit("default", 1000, 10**9)
    for customer in (2, 3):
        dlcs.customer(customer)
    dlcs.policy(2, "thumbs", "small", '["!90,90"]')
    pipeline.use(database_url=SecretStr(dlcs.url))
    return pipeline


def take_in(engine: Pipeline, **fields: Any) -> Delivery:
    message = QueueMessage("m", json.dumps({**AS_THE_API_SENDS, **fields}), "receipt", None)
    entries = read_message(message, "q", Lane.INGEST, engine.settings)
    return deliver(entries, engine.queues, engine.ledger, engine.settings)


def origin_of(engine: Pipeline) -> dict[str, str]:
    return {"Origin": engine.serve("page.jpg", jpeg(480, 320)), "MediaType": "image/jpeg"}


def open_and_auth(engine: Pipeline) -> dict[str, list[str]]:
    """Return the names of an image's thumbnails, by who may see them."""
    keys = [key.removeprefix(f"{IMAGE}/").split("/") for key in engine.thumbs(f"{IMAGE}/") if key.endswith(".jpg")]
    return {access: sorted(name for found, name in keys if found == access) for access in {each[0] for each in keys}}


def test_what_the_dlcs_says_of_an_image_is_made(engine: Pipeline, dlcs: Dlcs) -> None:
    dlcs.image(IMAGE, ("iiif-img", "use-original"), ("thumbs", "small"), **origin_of(engine))
    engine.send(AS_THE_API_SENDS)
    engine.settle()
    assert engine.states() == {IMAGE: "done"}
    assert set(engine.storage(IMAGE)) == {f"{IMAGE}/original"}
    assert open_and_auth(engine) == {"open": ["100.jpg", "200.jpg", "400.jpg", "480.jpg", "90.jpg"]}


def test_who_may_see_an_image_is_as_the_dlcs_says(engine: Pipeline, dlcs: Dlcs) -> None:
    """Each layout has its own column for the longest edge that is open to everyone."""
    column = {"2025": "MaxUnauthorised", "2026": "OpenFullMax"}[dlcs.layout]
    dlcs.image(IMAGE, ("iiif-img", "default"), Roles="https://example.org/staff", **origin_of(engine), **{column: 200})
    engine.send(AS_THE_API_SENDS)
    engine.settle()
    assert open_and_auth(engine) == {"open": ["100.jpg", "200.jpg"], "auth": ["400.jpg", "480.jpg"]}


def test_what_the_dlcs_says_now_counts_whatever_was_registered(engine: Pipeline, dlcs: Dlcs) -> None:
    """Even if that is of a later time than the message, which says no more than that there is something to do."""
    before = full_message(IMAGE, "https://gone.example/page.jpg", "file", created="2026-11-01T00:00:00Z", roles=["x"])
    engine.send(before)
    dlcs.image(IMAGE, ("iiif-img", "default"), **origin_of(engine))
    engine.send(AS_THE_API_SENDS)
    engine.settle()
    assert engine.states() == {IMAGE: "done"}
    assert set(engine.storage(IMAGE)) == {IMAGE}
    assert set(open_and_auth(engine)) == {"open"}


def test_an_image_without_channels_is_only_registered(engine: Pipeline, dlcs: Dlcs) -> None:
    """As the DLCS's engine has it; the defaults for its media type were applied when it was made, or never."""
    dlcs.image(IMAGE, **origin_of(engine))
    dlcs.execute('DELETE FROM "ImageDeliveryChannels"')
    engine.send(AS_THE_API_SENDS)
    engine.settle()
    assert (engine.states(), engine.storage(IMAGE), engine.thumbs(IMAGE)) == ({IMAGE: "done"}, {}, {})


def test_an_image_that_was_deleted_meanwhile_is_not_made(engine: Pipeline) -> None:
    """Not by what was registered here either; and its batch does not wait for it."""
    engine.ingest(IMAGE, engine.serve("page.jpg", jpeg(480, 320)), "file")
    assert take_in(engine, batchId=7).count.rejected == 1
    (kept,) = engine.ledger.inbox.rejected()
    assert (kept["code"], kept["image_id"], kept["batch"]) == ("asset_not_in_dlcs", IMAGE, 7)
    assert engine.settle() == []


@pytest.mark.parametrize(
    ("channel", "code"), [(("iiif-av", "default-video"), "iiif_av_not_supported"), (("x", ""), "unknown_channel")]
)
def test_what_another_engine_makes_is_left_to_it(
    engine: Pipeline, dlcs: Dlcs, channel: tuple[str, str], code: str
) -> None:
    """Which the message does not say, but the DLCS's database."""
    dlcs.policy(2, "x", "")
    dlcs.image(IMAGE, ("file", "none"), channel, Family="T", MediaType="video/mp4")
    assert take_in(engine).count.rejected == 1
    assert [row["code"] for row in engine.ledger.inbox.rejected()] == [code]
    elsewhere = engine.sqs.create_queue(QueueName=f"elsewhere-{uuid.uuid4().hex}")["QueueUrl"]
    engine.use(forward_queue_url=elsewhere)
    message = QueueMessage("again", json.dumps(AS_THE_API_SENDS), "receipt", None)
    entries = read_message(message, "q", Lane.INGEST, engine.settings)
    assert deliver(entries, engine.queues, engine.ledger, engine.settings).count.forwarded == 1
    (sent,) = engine.queues.receive(elsewhere)
    assert json.loads(sent.body) == AS_THE_API_SENDS


@pytest.mark.parametrize("asset", ["", "a/b", "x" * 300])
def test_an_id_that_is_none_is_rejected_and_not_looked_up(engine: Pipeline, asset: str) -> None:
    assert take_in(engine, id={"customer": 2, "space": 1, "asset": asset}).count.rejected == 1
    assert [row["image_id"] for row in engine.ledger.inbox.rejected()] == [None]


def test_messages_wait_in_their_queue_while_the_dlcs_is_away(engine: Pipeline, dlcs: Dlcs) -> None:
    """In no ledger, so that it is taken in when it comes again; what says all by itself is taken in meanwhile."""
    dlcs.image(IMAGE, ("iiif-img", "default"), **origin_of(engine))
    customer_source(engine.settings).customers()
    dlcs.execute('ALTER TABLE "Images" RENAME TO "Away"')
    whole = full_message("2/1/other", engine.serve("other.jpg", jpeg(60, 40)), "file")
    bodies = {"named": AS_THE_API_SENDS, "whole": whole}
    entries = [
        entry
        for name, body in bodies.items()
        for entry in read_message(QueueMessage(name, json.dumps(body), "r", None), "q", Lane.INGEST, engine.settings)
    ]
    delivered = deliver(entries, engine.queues, engine.ledger, engine.settings)
    assert (delivered.count.accepted, delivered.waiting) == (1, frozenset({"named"}))
    assert "lacks the table Images" in str(delivered.problem)
    assert engine.ledger.inbox.known(["named"]) == set()
    dlcs.execute('ALTER TABLE "Away" RENAME TO "Images"')
    assert take_in(engine).count.accepted == 1


def test_what_the_dlcs_counts_as_stored_takes_of_the_quota(engine: Pipeline, dlcs: Dlcs) -> None:
    """Of its own engine's images the ledger knows nothing."""
    dlcs.execute('UPDATE "StoragePolicies" SET "MaximumTotalSizeOfStoredImages" = 100000')
    dlcs.execute('UPDATE "CustomerStorage" SET "TotalSizeOfStoredImages" = 99950 WHERE "Customer" = 2')
    for image in (IMAGE, "3/1/page"):
        dlcs.image(image, ("iiif-img", "use-original"), **origin_of(engine))
        engine.send({"id": image})
    engine.settle()
    assert engine.states() == {IMAGE: "failed", "3/1/page": "done"}
    refused = engine.status(IMAGE)
    assert refused.error_code == "quota_exceeded"
    assert "may have 100,000 bytes stored and has 99,950" in str(refused.error_cause)
    assert "the storage policy in the DLCS" in str(refused.error_remedy)


def test_a_notification_is_about_what_the_dlcs_says(engine: Pipeline, dlcs: Dlcs) -> None:
    """It names a customer's own policy by a number only, and of 2026 it does not have all."""
    origin = origin_of(engine)
    dlcs.image(IMAGE, ("iiif-img", "default"), ("thumbs", "small"), **origin)
    engine.send(AS_THE_API_SENDS)
    engine.settle()
    dlcs.execute("""UPDATE "Images" SET "Roles" = 'https://example.org/staff', "MaxUnauthorised" = 0""")
    before, after = (asset(IMAGE, origin["Origin"], "", roles=roles) for roles in ("", "https://example.org/staff"))
    for each in (before, after):
        each["imageDeliveryChannels"] = [{"channel": "thumbs", "deliveryChannelPolicyId": 1234}]
    update = notification({"assetBeforeUpdate": before, "assetAfterUpdate": after})
    engine.send(update, queue="update")
    engine.settle()
    assert open_and_auth(engine) == {"auth": ["100.jpg", "200.jpg", "400.jpg", "480.jpg", "90.jpg"]}
    assert set(engine.storage(IMAGE)) == {IMAGE}
    dlcs.execute('DELETE FROM "Images"')
    engine.send(update, queue="update")
    assert engine.ledger.inbox.rejected() == []


def test_without_a_database_a_named_image_waits_for_its_message(pipeline: Pipeline) -> None:
    assert take_in(pipeline).count.waiting == 1
