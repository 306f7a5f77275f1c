"""Uploads: from an object in a bucket, by its event or by a listing, to a done image."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.stages import Stage
from dlcs_assets.domain.upload import sent_key
from dlcs_assets_tests.system.s3_events import event_bridge, record, send, send_records
from dlcs_testing.harness import System, full_message, key_of
from dlcs_testing.pictures import jpeg

PAGE = jpeg(120, 90)


def bucket_of(system: System) -> str:
    assert system.settings.origin_bucket is not None
    return system.settings.origin_bucket


def ingests(system: System, image: str) -> int:
    """Count how often an image was done."""
    original = dg.AssetRecordsFilter(system.catalog.asset(Stage.ORIGINAL), asset_partitions=[key_of(image)])
    return len(system.instance.fetch_materializations(original, limit=10).records)


KEYS = ["2/1/page", "2/1/recto%2Fverso", "2/1/a+b", "2/1/a b", "2/1/Blatt é 12v"]


def test_uploads_are_ingested_under_their_own_keys(system: System) -> None:
    for key in KEYS:
        system.upload(key, PAGE)
    send_records(system, *(record(bucket_of(system), key) for key in KEYS))
    system.settle()
    assert system.states() == dict.fromkeys(KEYS, "done")
    assert set(system.storage()) == set(KEYS)
    assert {key for key in system.thumbs() if key.endswith("/s.json")} == {f"{key}/s.json" for key in KEYS}


def test_event_bridge_and_sns_bring_events_too(system: System) -> None:
    for key in KEYS:
        system.upload(key, PAGE)
    bucket = bucket_of(system)
    send(
        system,
        *(event_bridge(bucket, key) for key in KEYS[:3]),
        *({"TopicArn": "arn", "Message": json.dumps({"Records": [record(bucket, key)]})} for key in KEYS[3:]),
    )
    system.settle()
    assert system.states() == dict.fromkeys(KEYS, "done")


def test_what_is_put_into_a_bucket_comes_by_its_own_notification(system: System) -> None:
    url = system.settings.uploads_queue_url
    arn = system.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    system.s3.put_bucket_notification_configuration(
        Bucket=bucket_of(system),
        NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]},
    )
    for key in [*KEYS, "2/1/folder/", "notes.txt", sent_key(AssetId(2, 1, "by-message"))]:
        system.upload(key, PAGE)
    system.settle()
    assert system.states() == dict.fromkeys(KEYS, "done")
    assert [row["code"] for row in system.ledger.inbox.rejected()] == ["key_outside_convention"]


def test_each_record_of_a_message_is_judged_by_itself(
    make_system: Callable[..., System],
) -> None:
    """Each is accepted, rejected or ignored, and a bad one does not affect the others."""
    system = make_system(customers=(2,))
    bucket = bucket_of(system)
    system.upload("2/1/good", PAGE)
    send_records(
        system,
        record("another-systems", "2/1/a"),
        record(system.settings.storage_bucket, "2/1/b"),
        record(bucket, "3/1/c"),
        record(bucket, "scans/page.jpg"),
        {"eventSource": "aws:ses"},
        record(bucket, "2/1/gone", name="ObjectRemoved:Delete"),
        record(bucket, "2/1/folder/", size=0),
        record(bucket, "2/1/good"),
    )
    send(system, {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": bucket})
    system.settle()
    assert system.states() == {"2/1/good": "done", **dict.fromkeys(["2/1/a", "2/1/b", "3/1/c"], "rejected")}
    rejected = {row["code"]: row for row in system.ledger.inbox.rejected()}
    assert sorted(row["code"] for row in system.ledger.inbox.rejected()) == [
        "customer_not_configured",
        "field_malformed",
        "key_outside_convention",
        "origin_not_allowed",
        "origin_not_allowed",
    ]
    causes = " ".join(row["cause"] for row in system.ledger.inbox.rejected())
    assert "The bucket 'another-systems'" in causes
    assert "'scans/page.jpg' is not customer/space/asset" in causes
    assert json.loads(rejected["key_outside_convention"]["body"])["Records"] == [record(bucket, "scans/page.jpg")]


def test_an_upload_is_ingested_once_however_its_events_come(system: System) -> None:
    """S3 repeats events and keeps no order; the sequencer says which is the newest."""
    bucket = bucket_of(system)
    system.upload("2/1/page", PAGE)
    newer, older = (
        record(bucket, "2/1/page", sequencer=sequencer, eTag=sequencer, size=1) for sequencer in ("0055AF", "0055AE")
    )
    send_records(system, newer)
    system.settle()
    send_records(system, older, newer)
    send_records(system, newer)
    assert system.skip_reason("s3_uploads").startswith("2 messages received (1 ignored, 2 duplicates)")
    assert ingests(system, "2/1/page") == 1


def test_an_image_uploaded_again_is_ingested_and_keeps_its_roles(system: System) -> None:
    """An event says nothing of roles; those of the registration remain."""
    bucket = bucket_of(system)
    origin = system.upload("2/1/page", PAGE)
    system.ingest("2/1/page", origin, "", roles=["https://example.org/readers"], maxUnauthorised=100)
    system.upload("2/1/page", jpeg(240, 180))
    send_records(system, record(bucket, "2/1/page", sequencer="01"))
    system.settle()
    status = system.status("2/1/page")
    assert (status.state, status.stages[Stage.JP2].facts["width"]) == ("done", 240)
    assert status.registration is not None
    assert (status.registration.roles, status.registration.max_unauthorised) == (("https://example.org/readers",), 100)
    assert [key for key in system.thumbs() if "/open/" in key] == ["2/1/page/open/100.jpg"]


def test_an_upload_of_a_customer_elsewhere_is_forwarded_alone(make_system: Callable[..., System]) -> None:
    system = make_system(customers=(2,))
    elsewhere = system.sqs.create_queue(QueueName=f"elsewhere-{system.settings.storage_bucket}")["QueueUrl"]
    system.use(forward_queue_url=elsewhere)
    theirs, ours = (record(bucket_of(system), f"{customer}/1/page") for customer in (3, 2))
    system.upload("2/1/page", PAGE)
    send_records(system, theirs, ours)
    system.settle()
    (message,) = system.sqs.receive_message(QueueUrl=elsewhere)["Messages"]
    assert json.loads(message["Body"]) == {"Records": [theirs]}
    assert system.states() == {"2/1/page": "done"}


# Listings


def test_a_bucket_scan_finds_only_what_events_missed(make_system: Callable[..., System]) -> None:
    system = make_system()
    bucket = bucket_of(system)
    system.use(swept_buckets=(bucket,))
    for key in [*KEYS, "2/1/folder/", "notes.txt", sent_key(AssetId(2, 1, "by-message")), "22/7/page"]:
        system.upload(key, PAGE)
    announced = system.s3.head_object(Bucket=bucket, Key=KEYS[0])
    send_records(system, record(bucket, KEYS[0], eTag=announced["ETag"].strip('"'), size=announced["ContentLength"]))
    system.settle()
    assert system.states() == dict.fromkeys([*KEYS, "22/7/page"], "done")
    assert {ingests(system, image) for image in system.states()} == {1}
    assert [row["code"] for row in system.ledger.inbox.rejected()] == ["key_outside_convention"]

    system.cursors.clear()
    assert system.skip_reason("s3_sweep").startswith("9 objects listed. The next round begins at ")


def test_an_event_after_the_bucket_scan_ingests_nothing_again(make_system: Callable[..., System]) -> None:
    """A later event of the same object, with a newer sequencer, is another upload."""
    system = make_system()
    bucket = bucket_of(system)
    system.use(swept_buckets=(bucket,))
    system.upload("2/1/page", PAGE)
    system.settle()
    found = system.s3.head_object(Bucket=bucket, Key="2/1/page")
    stored = {"eTag": found["ETag"].strip('"'), "size": found["ContentLength"]}
    send_records(system, record(bucket, "2/1/page", sequencer="0A", **stored))
    assert "1 ignored" in system.skip_reason("s3_uploads")
    send_records(system, record(bucket, "2/1/page", sequencer="0B", **stored))
    system.settle()
    assert ingests(system, "2/1/page") == 2


def test_a_bucket_scan_continues_where_the_last_tick_ended(make_system: Callable[..., System]) -> None:
    """A page is three objects here. What is put before the place where it continues is for the next round."""
    system = make_system(sweep_budget=timedelta(0), sweep_interval=timedelta(0))
    bucket = bucket_of(system)
    system.use(swept_buckets=(bucket,))
    for number in range(7):
        system.put(bucket, f"2/1/{number}")
    found = []
    for tick in range(4):
        system.evaluate("s3_sweep")
        found.append(sorted(image.removeprefix("2/1/") for image in system.states()))
        if tick == 0:
            system.put(bucket, "2/1/00")
    first = ["0", "1", "2"]
    assert found == [first, [*first, "3", "4", "5"], [*first, "3", "4", "5", "6"], ["0", "00", *"123456"]]


CUSTOMERS = """
customers:
  2:
    buckets:
      BUCKET-2: {}
      nowhere: {endpoint: 'http://127.0.0.1:9'}
      shared: {region: eu-west-2}
  22:
    buckets: {BUCKET-22: {endpoint: ENDPOINT, region: eu-west-1}}
"""


def test_a_bucket_that_cannot_be_scanned_stops_no_other(make_system: Callable[..., System], tmp_path: Path) -> None:
    """Buckets of several customers are scanned, each at its endpoint and for its customer's images only."""
    file = tmp_path / "customers.yaml"
    system = make_system(customers_file=file)
    mine, theirs = (f"{bucket_of(system)}-{customer}" for customer in (2, 22))
    endpoint = system.stack.environment["AWS_ENDPOINT_URL"]
    file.write_text(CUSTOMERS.replace("BUCKET", bucket_of(system)).replace("ENDPOINT", endpoint))
    for bucket in (mine, theirs):
        system.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        for customer in (2, 22):
            system.put(bucket, f"{customer}/1/of-{bucket[-2:].strip('-')}", PAGE)
    system.use(swept_buckets=("nowhere", mine, theirs, "unlisted"))
    system.settle()
    refused = dict.fromkeys(["22/1/of-2", "2/1/of-22"], "rejected")
    assert system.states() == {"2/1/of-2": "done", "22/1/of-22": "done", **refused}
    rejected = system.ledger.inbox.rejected()
    assert {(row["code"], row["image_id"]) for row in rejected} == {
        ("origin_not_allowed", "22/1/of-2"),
        ("origin_not_allowed", "2/1/of-22"),
    }
    said = system.skip_reason("s3_sweep")
    assert "nowhere can't be listed: Listing nowhere: nothing answers there. See whether the origin answers" in said
    assert "unlisted is not swept: it is neither DLCS_ORIGIN_BUCKET nor listed under buckets of a customer" in said


def test_what_a_bucket_scan_rejected_can_be_sent_again(make_system: Callable[..., System]) -> None:
    """Once the cause is fixed, the kept body is taken in like any message."""
    system = make_system(customers=(22,))
    bucket = bucket_of(system)
    system.use(swept_buckets=(bucket,))
    system.upload("2/1/page", PAGE)
    system.settle()
    (row,) = system.ledger.inbox.rejected()
    system.use(customers=(2,))
    system.send(row["body"], queue=system.settings.uploads_queue_url)
    system.ledger.inbox.mark_requeued([row["id"]])
    system.settle()
    assert system.states() == {"2/1/page": "done"}


def test_messages_and_uploads_share_nothing_but_the_bucket(system: System) -> None:
    """What is sent along with a message asks for nothing by itself: the image is ingested once, as the message says."""
    key = sent_key(AssetId(2, 1, "page"))
    origin = system.upload(key, PAGE)
    send_records(system, record(bucket_of(system), key))
    assert "1 ignored" in system.skip_reason("s3_uploads")
    assert system.ingest("2/1/page", origin, "file").state == "done"


@pytest.mark.parametrize("sensor", ["s3_uploads", "s3_sweep"])
def test_uploads_are_launched_without_an_ingest_queue(make_system: Callable[..., System], sensor: str) -> None:
    """What did not fit into the lane is launched by a later tick that takes nothing in."""
    system = make_system(chunk_size=1, chunks_in_flight=1, ingest_queue_url=None)
    bucket, keys = bucket_of(system), ["2/1/a", "2/1/b"]
    for key in keys:
        system.upload(key, PAGE)
    if sensor == "s3_sweep":
        system.use(swept_buckets=(bucket,), uploads_queue_url=None)
    else:
        send_records(system, *(record(bucket, key) for key in keys))
    assert [len(system.tick(sensor).runs) for _ in range(3)] == [1, 1, 0]
    assert system.states() == dict.fromkeys(keys, "done")


@pytest.mark.parametrize(("sensor", "variable"), [("s3_uploads", "UPLOADS_QUEUE_URL"), ("s3_sweep", "SWEPT_BUCKETS")])
def test_what_is_not_configured_is_named_in_the_tick(system: System, sensor: str, variable: str) -> None:
    system.use(uploads_queue_url=None)
    assert f"DLCS_{variable}" in system.skip_reason(sensor)


def test_the_uploads_queue_takes_messages_of_any_form(system: System) -> None:
    """An ingest message that arrives there is an ingest message."""
    send(system, full_message("2/1/page", system.serve("page.jpg", PAGE), "file"))
    system.settle()
    assert system.states() == {"2/1/page": "done"}
