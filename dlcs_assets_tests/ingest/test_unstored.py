"""What earlier ingests left is looked for once for a chunk, and image by image only where something was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.results import WorkItem
from dlcs_assets.domain.stages import STAGES
from dlcs_assets.ingest.unstored import Unstored, unstored_in
from dlcs_testing.installation import full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline
from dlcs_testing.verifying_s3 import Kept, VerifyingS3, error, verifying_s3

OF_EARLIER_SYSTEMS = ("low.jpg", "full/100,67/0/default.jpg", "open/800.jpg")
INFO = "info/cantaloupe/v3/info.json"


@pytest.fixture
def s3() -> Iterator[VerifyingS3]:
    with verifying_s3("dlcs-storage", "dlcs-thumbs") as s3:
        yield s3


@pytest.fixture
def storage(s3: VerifyingS3) -> Iterator[Storage]:
    with storage_of(s3) as storage:
        yield storage


def storage_of(s3: VerifyingS3) -> Storage:
    factory = S3ClientFactory(
        endpoint_url=s3.url,
        region_name="us-east-1",
        max_attempts=1,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    return Storage(s3=factory)


def ids(*names: str) -> list[AssetId]:
    return [AssetId(2, 1, name) for name in names]


def item(name: str, *, is_first: bool = True) -> WorkItem:
    registration = Registration("https://example.org/page.jpg")
    return WorkItem("r", AssetId.parse(name), registration, frozenset(STAGES), is_first=is_first)


def put(s3: VerifyingS3, bucket: str, *keys: str) -> None:
    s3.buckets[bucket].update({key: Kept(b"x", {}) for key in keys})


@pytest.mark.parametrize(
    ("key", "owner"),
    [
        ("2/1/page", "page"),
        ("2/1/page/original", "page"),
        ("2/1/page/info/x/info.json", "page"),
        ("2/1/page/", "page"),
        ("2/1/page-1/open/100.jpg", "page-1"),
        ("2/1/é ?x#", "é ?x#"),
        ("2/1/pag", None),
        ("2/1/page0/low.jpg", None),
        ("2/11/page/original", None),
    ],
)
def test_an_object_counts_for_the_image_that_has_it(
    s3: VerifyingS3, storage: Storage, key: str, owner: str | None
) -> None:
    images = ids("page", "page-1", "page1", "é ?x#")
    put(s3, "dlcs-storage", key)
    found = unstored_in(storage, "dlcs-storage", images)
    assert {each.asset for each in set(images) - found} == ({owner} if owner else set())
    assert s3.methods == {"GET": 1}


def test_what_a_listing_does_not_reach_is_not_known(s3: VerifyingS3, storage: Storage) -> None:
    """Others' objects fill it: only images before the last of them are known to have none."""
    put(s3, "dlcs-storage", *(f"2/1/m/{number:03}" for number in range(50)))
    assert unstored_in(storage, "dlcs-storage", ids("a", "b", "m", "z")) == {*ids("a", "b")}


def test_what_is_at_the_end_of_a_full_listing_is_not_known(s3: VerifyingS3, storage: Storage) -> None:
    """More of that very image may follow."""
    put(s3, "dlcs-storage", *(f"2/1/b/{number:03}" for number in range(21)))
    assert unstored_in(storage, "dlcs-storage", ids("a", "b")) == {*ids("a")}
    s3.buckets["dlcs-storage"].clear()
    put(s3, "dlcs-storage", *(f"2/1/a!{number:03}" for number in range(21)))  # before "2/1/a/"
    assert unstored_in(storage, "dlcs-storage", ids("a", "b")) == set()


def test_both_buckets_are_asked_once_for_a_chunk(s3: VerifyingS3, storage: Storage) -> None:
    put(s3, "dlcs-thumbs", "2/1/b/low.jpg")
    put(s3, "dlcs-storage", "2/1/c")
    unstored = Unstored(storage, [item(f"2/1/{name}") for name in "abcd"])
    assert [name for name in "abcd" if AssetId(2, 1, name) in unstored] == ["a", "d"]
    assert len(s3.asked) == 2


def test_an_image_that_a_run_had_before_is_not_among_them(storage: Storage) -> None:
    """A run that stands still may store something after the listing, and its successor is to find that."""
    unstored = Unstored(storage, [item("2/1/a"), item("2/1/b", is_first=False), item("2/1/c")])
    assert AssetId(2, 1, "b") not in unstored
    assert AssetId(2, 1, "c") in unstored


def test_an_image_alone_in_its_space_is_left_to_its_own_listing(s3: VerifyingS3, storage: Storage) -> None:
    unstored = Unstored(storage, [item("2/1/a"), item("2/2/a"), item("3/1/a")])
    assert AssetId(2, 1, "a") not in unstored
    assert s3.asked == []


def test_nothing_is_known_if_s3_does_not_answer(s3: VerifyingS3, storage: Storage) -> None:
    s3.trouble = [error(503, "SlowDown", "Please reduce your request rate.")]
    unstored = Unstored(storage, [item("2/1/a"), item("2/1/b")])
    assert AssetId(2, 1, "a") not in unstored
    assert AssetId(2, 1, "b") not in unstored


def send(pipeline: Pipeline, *names: str) -> None:
    origin = pipeline.serve("page.jpg", jpeg(30, 20))
    pipeline.send(*(full_message(f"2/1/{name}", origin, "thumbs:default", mediaType="image/jpeg") for name in names))


def listings(pipeline: Pipeline) -> Counter[str]:
    """Return how often each bucket was listed, by its kind."""
    asked = [each.path for each in pipeline.s3_proxy.asked if each.method == "GET" and "list-type=2" in each.path]
    return Counter(path.removeprefix("/").partition("-")[0] for path in asked)


def test_what_earlier_systems_left_of_an_image_is_removed(pipeline: Pipeline) -> None:
    """Open thumbnails among it: left there, those of an image with roles could be seen by everyone."""
    pipeline.use(s3_endpoint_url=pipeline.s3_proxy.url)
    for name in OF_EARLIER_SYSTEMS:
        pipeline.put(pipeline.settings.thumbs_bucket, f"2/1/b/{name}")
    pipeline.put(pipeline.settings.storage_bucket, f"2/1/c/{INFO}")
    send(pipeline, *"abcd")
    pipeline.settle()
    assert set(pipeline.states().values()) == {"done"}
    names = {key.split("/", 3)[3] for key in pipeline.thumbs("2/1/b/")}
    assert not names & set(OF_EARLIER_SYSTEMS)
    assert names == {key.split("/", 3)[3] for key in pipeline.thumbs("2/1/a/")}
    assert pipeline.storage() == {}
    # Once for all, and for each of the two by itself.
    assert listings(pipeline) == {"storage": 1 + 2, "thumbs": 1 + 2}


def test_an_image_that_is_ingested_again_is_listed_by_itself(pipeline: Pipeline) -> None:
    """Image servers may have cached something of the picture before, which the ledger does not know."""
    pipeline.use(s3_endpoint_url=pipeline.s3_proxy.url)
    send(pipeline, "a", "b")
    pipeline.settle()
    assert listings(pipeline) == {"storage": 1, "thumbs": 1}
    pipeline.put(pipeline.settings.storage_bucket, f"2/1/a/{INFO}")
    pipeline.s3_proxy.asked.clear()
    send(pipeline, "a", "b")
    pipeline.settle()
    assert pipeline.storage() == {}
    assert listings(pipeline) == {"storage": 2, "thumbs": 2}


def test_images_are_listed_one_by_one_if_that_fails_for_all(pipeline: Pipeline) -> None:
    pipeline.use(s3_endpoint_url=pipeline.s3_proxy.url)
    pipeline.put(pipeline.settings.thumbs_bucket, "2/1/b/low.jpg")
    pipeline.s3_proxy.refusing["start-after"] = (403, "no")
    send(pipeline, "a", "b")
    pipeline.settle()
    assert set(pipeline.states().values()) == {"done"}
    assert "2/1/b/low.jpg" not in pipeline.thumbs()
