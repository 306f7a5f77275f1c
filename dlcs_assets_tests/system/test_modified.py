"""Assets that the DLCS's API changed or deleted: what goes, what stays, and what a CDN is notified of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from dlcs_assets.defs.jobs.delete import forget_partitions
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.partition_key import partition_key
from dlcs_assets.ledger.records import RetrySchedule
from dlcs_assets_tests.intake.notifications import asset, notification
from dlcs_testing.harness import System, full_message
from dlcs_testing.one_write import end_image
from dlcs_testing.pictures import jpeg
from dlcs_testing.subscriber import subscriber

IMAGE = "2/1/page"
NOW = datetime.now(UTC)


def deleted(image: str, *, sent: datetime | None = None, places: tuple[str, ...] = ()) -> dict[str, Any]:
    gone = asset(image, "", "iiif-img:default,thumbs:default")
    message = {"asset": gone, "customerPathElement": {"id": 2, "name": "library"}, "deleteFrom": list(places)}
    return notification(message, sent=sent, messageType="Delete")


def delete(system: System, *notifications: dict[str, Any]) -> None:
    system.send(*notifications, queue=system.settings.delete_queue_url)
    system.settle()


def everything(system: System) -> set[str]:
    return {*system.storage(), *system.thumbs()}


@pytest.fixture
def origin(system: System) -> str:
    return system.serve("page.jpg", jpeg(1200, 800))


def test_an_update_that_does_not_concern_ingest_does_nothing(system: System, origin: str) -> None:
    system.ingest(IMAGE, origin, "iiif-img:default")
    runs = len(system.runs)
    same = asset(IMAGE, origin, "iiif-img:default")
    system.send(
        notification({"assetBeforeUpdate": same, "assetAfterUpdate": {**same, "reference1": "x"}}),
        queue=system.settings.update_queue_url,
    )
    system.settle()
    assert len(system.runs) == runs


def test_a_change_of_roles_moves_the_thumbnails(system: System, origin: str) -> None:
    """Cached copies of info.json are deleted; the original is not fetched again."""
    system.ingest(IMAGE, origin, "iiif-img:default")
    asked = len(system.origin.asked)
    info = f"{IMAGE}/info/cantaloupe/v3/info.json"
    system.put(system.settings.storage_bucket, info)
    same = asset(IMAGE, origin, "iiif-img:default")
    message = {"assetBeforeUpdate": same, "assetAfterUpdate": {**same, "roles": "staff"}}
    system.send(notification(message), queue=system.settings.update_queue_url)
    system.settle()
    assert set(system.thumbs()) == {f"{IMAGE}/auth/{edge}.jpg" for edge in (1024, 400, 200, 100)} | {f"{IMAGE}/s.json"}
    assert info not in system.storage()
    assert len(system.origin.asked) == asked


def test_an_update_of_an_unregistered_image_is_ignored(system: System, origin: str) -> None:
    """It makes no request and registers nothing."""
    stranger = asset("9/9/stranger", origin, "iiif-img:default")
    system.send(
        notification({"assetBeforeUpdate": stranger, "assetAfterUpdate": stranger}, engineNotified="True"),
        queue=system.settings.update_queue_url,
    )
    assert system.settle() == []
    assert system.states() == {}


def test_a_deletion_removes_all_objects_of_the_image_only(system: System) -> None:
    """An image whose id begins with the same characters keeps its objects, and so does the origin bucket."""
    upload = system.upload(IMAGE, jpeg(300, 200))
    system.ingest(IMAGE, upload, "iiif-img:default,file")
    system.ingest(f"{IMAGE}bar", upload.replace(IMAGE, f"{IMAGE}"), "iiif-img:default")
    neighbour = {key for key in everything(system) if key.startswith(f"{IMAGE}bar")}
    system.put(system.settings.storage_bucket, f"{IMAGE}/info/cantaloupe/v2/info.json")
    system.put(system.settings.storage_bucket, f"transient/{IMAGE}/left-behind")
    system.put(system.settings.thumbs_bucket, f"{IMAGE}/full/100,200/0/default.jpg")
    delete(system, deleted(IMAGE))
    assert everything(system) == neighbour
    assert set(system.objects(str(system.settings.origin_bucket))) == {IMAGE}
    assert system.states() == {IMAGE: "deleted", f"{IMAGE}bar": "done"}
    assert not system.instance.has_dynamic_partition(
        system.catalog.partitions_name, partition_key(AssetId.parse(IMAGE))
    )
    assert system.ledger.reports.registration(AssetId.parse(IMAGE)) is None


def test_what_is_some_images_origin_survives_a_deletion(system: System, origin: str) -> None:
    system.ingest(IMAGE, origin, "iiif-img:use-original")
    system.ingest("2/1/other", origin, "iiif-img:default")
    system.execute(
        "UPDATE images SET origin_bucket = ?, origin_key = ? WHERE id = '2/1/other'",
        system.settings.storage_bucket,
        f"{IMAGE}/original",
    )
    delete(system, deleted(IMAGE))
    assert {key for key in everything(system) if key.startswith(IMAGE)} == {f"{IMAGE}/original"}
    (run,) = [run for run in system.runs if run.job_name == "delete_images"]
    assert run.is_success


def test_a_message_from_before_a_deletion_does_not_undo_it(system: System, origin: str) -> None:
    """A message from after the deletion registers the image again."""
    system.ingest(IMAGE, origin, "iiif-img:default")
    delete(system, deleted(IMAGE, sent=NOW))
    before, after = (NOW + timedelta(seconds=seconds) for seconds in (-60, 60))
    system.send(full_message(IMAGE, origin, "iiif-img:default", created=before.isoformat()))
    system.settle()
    assert (system.states(), everything(system)) == ({IMAGE: "deleted"}, set())
    system.send(full_message(IMAGE, origin, "iiif-img:default", created=after.isoformat()))
    system.settle()
    assert system.states() == {IMAGE: "done"}
    assert system.partition(IMAGE) == ("materialized",) * 3


def test_a_late_deletion_run_leaves_the_key_of_a_new_image(system: System, origin: str) -> None:
    """It stood still after it had deleted the objects, until the image was registered again and done."""
    system.ingest(IMAGE, origin, "iiif-img:default")
    delete(system, deleted(IMAGE, sent=NOW))
    after = NOW + timedelta(seconds=60)
    system.send(full_message(IMAGE, origin, "iiif-img:default", created=after.isoformat()))
    system.settle()
    asset_graph = system.definitions.get_repository_def().asset_graph
    forget_partitions(system.instance, system.catalog, asset_graph, system.ledger, [AssetId.parse(IMAGE)])
    assert system.partition(IMAGE) == ("materialized",) * 3
    assert system.instance.has_dynamic_partition(system.catalog.partitions_name, partition_key(AssetId.parse(IMAGE)))


def test_a_deletion_older_than_the_registration_does_nothing(system: System, origin: str) -> None:
    """SQS keeps no order: what counts is when each was sent."""
    system.send(full_message(IMAGE, origin, "iiif-img:default", created=NOW.isoformat()))
    system.settle()
    delete(system, deleted(IMAGE, sent=NOW - timedelta(minutes=1)))
    assert system.states() == {IMAGE: "done"}


def test_the_same_deletion_sent_twice_is_one(system: System, origin: str) -> None:
    system.ingest(IMAGE, origin, "iiif-img:default")
    delete(system, deleted(IMAGE, sent=NOW + timedelta(minutes=1)), deleted(IMAGE, sent=NOW + timedelta(minutes=1)))
    assert len([run for run in system.runs if run.job_name == "delete_images"]) == 1


def test_a_deletion_waits_for_an_ingest_in_progress(system: System, origin: str) -> None:
    """A request that no run has begun is ended at once."""
    system.send(full_message(IMAGE, origin, "iiif-img:default", batch=7), full_message("2/2/next", origin, batch=7))
    result = system.evaluate("sqs_ingest")
    assert isinstance(result, dg.SensorResult)
    first, _ = result.run_requests or ()  # two spaces, two runs
    run_id = system.begin(first)
    claim = system.ledger.claims.claim_chunk(str(first.run_key), run_id, now=datetime.now(UTC))
    assert claim is not None
    system.send(deleted(IMAGE), deleted("2/2/next"), queue=system.settings.delete_queue_url)
    system.tick("asset_modified")
    assert system.states() == {IMAGE: "pending", "2/2/next": "deleted"}
    schedule = RetrySchedule(2, timedelta(0))
    end_image(system.ledger.results, claim, claim.items[0], None, schedule=schedule, now=datetime.now(UTC))
    system.tick("asset_modified")
    assert system.states() == {IMAGE: "deleted", "2/2/next": "deleted"}


def test_a_deletion_that_storage_refuses_can_be_retried(system: System, origin: str) -> None:
    """Its state is failed until then, with the error code of storage."""
    system.ingest(IMAGE, origin, "iiif-img:default")
    system.use(s3_endpoint_url=system.s3_proxy.url)
    system.s3_proxy.refusing["?delete"] = (403, "no")
    delete(system, deleted(IMAGE))
    status = system.status(IMAGE)
    assert (status.state, status.error_code) == ("failed", "storage_refused")
    system.s3_proxy.refusing.clear()
    system.retry(IMAGE)
    assert (system.states(), everything(system)) == ({IMAGE: "deleted"}, set())


@pytest.fixture
def notified(system: System) -> Iterator[tuple[System, Callable[[], list[dict[str, Any]]]]]:
    """A system that notifies a topic, and a function that returns what was published there."""
    with subscriber() as listener:
        system.use(invalidation_topic_arn=listener.topic)
        yield system, lambda: [json.loads(body) for body in listener.received()]


def test_a_cdn_is_notified_of_deletions_and_of_tightened_access(
    notified: tuple[System, Callable[[], list[dict[str, Any]]]],
) -> None:
    """The notification lists the paths that are no longer to be served from the cache."""
    system, received = notified
    origin = system.serve("page.jpg", jpeg(300, 200))
    system.ingest(IMAGE, origin, "iiif-img:default")
    system.ingest(IMAGE, origin, "iiif-img:default", maxUnauthorised=150)
    system.tick("asset_modified")
    (tightened,) = received()
    assert (tightened["id"], tightened["reason"]) == (IMAGE, "access tightened")
    assert f"/thumbs/{IMAGE}/*" in tightened["paths"]
    delete(system, deleted(IMAGE, places=("cdn",)))
    (gone,) = received()
    assert gone["reason"] == "deleted"
    assert "/iiif-img/library/1/page/*" in gone["paths"]


def test_a_deletion_that_spares_the_cdn_is_not_published(
    notified: tuple[System, Callable[[], list[dict[str, Any]]]],
) -> None:
    system, received = notified
    system.ingest(IMAGE, system.serve("page.jpg", jpeg(300, 200)), "iiif-img:default")
    delete(system, deleted(IMAGE, places=("internalCache",)))
    assert received() == []
