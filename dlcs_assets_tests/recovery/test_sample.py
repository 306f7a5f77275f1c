"""`dlcs doctor` notices that ledger and S3 have drifted apart, in a number of requests that is bounded."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from dlcs_assets.cli.doctor_drift import judge_drift
from dlcs_assets.clients.storage import Storage
from dlcs_assets.recovery.compare import Kind
from dlcs_assets.recovery.sample import Drift, Sampler
from dlcs_assets_tests.recovery.conftest import Library

MOST_REQUESTS = 10


def sample(library: Library, seed: int = 1) -> Drift:
    return Sampler(library.ledger, library.storage, random.Random(seed)).take()


def fill(library: Library) -> None:
    for space in (1, 2):
        for number in range(6):
            library.ingest(f"{2 + space}/{space}/page-{number}")


def test_ledger_and_s3_that_agree_are_said_to(library: Library) -> None:
    fill(library)
    drift = sample(library)
    assert drift.found == {}
    assert 12 <= drift.objects <= 48  # of those that there are, each once
    assert drift.requests == MOST_REQUESTS
    assert judge_drift(drift).to_json()["result"] == "ok"


def test_the_number_of_requests_is_bounded(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever there is; counted where they are sent."""
    counted: Counter[str] = Counter()
    for name in ("list_page", "list_folders", "head", "read_bytes", "digest"):
        method = getattr(Storage, name)

        def count(*arguments: object, method: object = method, name: str = name, **options: object) -> object:
            counted[name] += 1
            return method(*arguments, **options)  # type: ignore[operator]

        monkeypatch.setattr(Storage, name, count)
    fill(library)
    for seed in range(3):
        counted.clear()
        assert sample(library, seed).requests == counted.total() <= MOST_REQUESTS
    library.lose()
    assert sample(library).requests <= MOST_REQUESTS


@pytest.mark.parametrize("seed", range(3))
def test_a_lost_bucket_is_noticed(library: Library, seed: int) -> None:
    fill(library)
    library.storage.delete(library.storage.thumbs_bucket, library.storage.list_keys(library.storage.thumbs_bucket, ""))
    drift = sample(library, seed)
    assert set(drift.found) == {Kind.MISSING}
    finding = judge_drift(drift)
    assert finding.to_json()["result"] == "fail"
    assert " missing, such as s3://thumbs-" in finding.found


@pytest.mark.parametrize("seed", range(3))
def test_a_lost_ledger_is_noticed(library: Library, seed: int) -> None:
    """An empty one, and one that is from before most images."""
    fill(library)
    library.lose()
    assert set(sample(library, seed).found) == {Kind.UNKNOWN_IMAGE}
    library.ingest("3/1/page-0")
    drift = sample(library, seed)
    assert set(drift.found) == {Kind.UNKNOWN_IMAGE}
    assert judge_drift(drift).to_json()["result"] == "warn"


def test_images_in_progress_are_no_drift(library: Library) -> None:
    library.ingest("2/1/a")
    library.storage.delete(library.storage.storage_bucket, ["2/1/a"])
    library.register("2/1/a")
    library.put(library.storage.storage_bucket, f"transient/2/1/a/{'0' * 32}", b"x")
    drift = sample(library)
    assert (drift.found, drift.objects) == ({}, 0)


def test_other_sizes_and_unrecorded_objects_are_noticed(library: Library) -> None:
    library.ingest("2/1/a")
    library.put(library.storage.storage_bucket, "2/1/a", b"more than there was before", "image/jp2")
    library.put(library.storage.thumbs_bucket, "2/1/a/open/800.jpg", b"x")
    assert set(sample(library).found) == {Kind.DAMAGED, Kind.UNRECORDED}
