"""Quotas in force: what is refused, when, and that nothing of it is left anywhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.results import ObjectKind
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.ingest.policy import retry_schedule
from dlcs_assets.ledger.accounting import Usage
from dlcs_assets.ledger.reports import Selection
from dlcs_testing.installation import full_message
from dlcs_testing.one_write import reserve_quota
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline

LIMITED = "customers: {2: {quota: {bytes: 1000, images: 10}}, 22: {}}"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("dlcs_assets.customers.file.CHECK_INTERVAL_SECONDS", 0.0)
    path = tmp_path / "customers.yaml"
    path.write_text(LIMITED)
    return path


@pytest.fixture
def pipeline(make_pipeline: Callable[..., Pipeline], file: Path) -> Pipeline:
    return make_pipeline(customers_file=file)


def keep(pipeline: Pipeline, image: str, size: int) -> str:
    """Ingest a file of that many bytes; return what became of it."""
    url = pipeline.serve(f"{image.replace('/', '-')}-{size}.txt", b"x" * size)
    return pipeline.ingest(image, url, "file", mediaType="text/plain").state


def stored_bytes(pipeline: Pipeline) -> dict[str, int]:
    return {key: len(stored.data) for key, stored in pipeline.storage().items()}


def source(pipeline: Pipeline, customer: int = 2) -> int:
    """Return the total that counts, when nothing is in progress any more, so that nothing is reserved."""
    usage = pipeline.ledger.accounting.totals(customer)
    assert usage.reserved == 0
    return usage.source


def test_at_its_quota_an_image_fails_before_its_origin_is_asked(pipeline: Pipeline) -> None:
    """Another customer's image is not concerned."""
    assert keep(pipeline, "2/1/full", 950) == "done"
    url = pipeline.serve("page.jpg", jpeg(300, 200))
    pipeline.send(full_message("2/1/page", url, "iiif-img:default"), full_message("22/1/page", url + "?2", "file"))
    pipeline.origin.by_path["/page.jpg?2"] = pipeline.origin.by_path["/page.jpg"]
    pipeline.settle()
    refused = pipeline.status("2/1/page")
    assert (refused.state, refused.error_code, refused.objects) == ("failed", "quota_exceeded", ())
    assert str(refused.reason).startswith(
        "original: StoragePolicy size limit exceeded: customer 2 may have 1,000 bytes stored and has 950"
    )
    assert [asked for asked in pipeline.origin.asked if asked.path == "/page.jpg"] == []
    assert pipeline.status("22/1/page").state == "done"
    assert set(pipeline.storage()) == {"2/1/full/original", "22/1/page/original"}
    assert (source(pipeline), pipeline.thumbs("2/1/page")) == (950, {})


def test_an_image_of_which_nothing_is_stored_needs_no_room(pipeline: Pipeline) -> None:
    assert keep(pipeline, "2/1/full", 1000) == "done"
    uploaded = pipeline.upload("2/1/page", jpeg(300, 200))
    for image, origin, channels in (
        ("2/1/at-origin", uploaded, "iiif-img:use-original"),
        ("2/1/thumbs", pipeline.serve("page.jpg", jpeg(300, 200)), "thumbs:default"),
        ("2/1/none", "https://example.org/page.jpg", "none"),
    ):
        assert pipeline.ingest(image, origin, channels).state == "done"
    assert source(pipeline) == 1000


def test_a_jp2_that_is_too_large_fails_with_nothing_stored(pipeline: Pipeline) -> None:
    url = pipeline.serve("page.jpg", jpeg(300, 200))
    refused = pipeline.ingest("2/1/page", url, "iiif-img:default")
    assert (refused.state, refused.error_code) == ("failed", "quota_exceeded")
    assert str(refused.reason).startswith("jp2: StoragePolicy size limit exceeded")
    assert [asked.path for asked in pipeline.origin.asked] == ["/page.jpg"]
    assert (pipeline.storage(), pipeline.thumbs(), refused.objects) == ({}, {}, ())
    assert source(pipeline) == 0


def test_a_file_that_fits_stays_though_its_jp2_does_not(pipeline: Pipeline, file: Path) -> None:
    original = jpeg(300, 200)
    file.write_text(LIMITED.replace("1000", str(len(original) + 100)))
    refused = pipeline.ingest("2/1/page", pipeline.serve("page.jpg", original), "iiif-img:default,file")
    assert (refused.state, refused.error_code) == ("failed", "quota_exceeded")
    assert refused.stages.keys() == {Stage.ORIGINAL}
    assert stored_bytes(pipeline) == {"2/1/page/original": len(original)}
    assert source(pipeline) == len(original)


def test_a_file_that_is_too_large_fails_with_nothing_stored(pipeline: Pipeline) -> None:
    assert keep(pipeline, "2/1/page", 1001) == "failed"
    assert str(pipeline.status("2/1/page").reason).startswith("original: StoragePolicy size limit exceeded")
    assert (pipeline.storage(), source(pipeline)) == ({}, 0)


def test_ingested_again_an_image_may_take_the_room_that_it_has(pipeline: Pipeline) -> None:
    """As the DLCS has it: 950 in place of 950 leaves room for 1000, of 1000."""
    assert [keep(pipeline, "2/1/page", size) for size in (950, 1000)] == ["done", "done"]
    assert stored_bytes(pipeline) == {"2/1/page/original": 1000}
    assert source(pipeline) == 1000


def test_an_image_that_grew_too_large_stays_as_it_was(pipeline: Pipeline) -> None:
    """As the DLCS has it: 500 of 950 give no room for 1000, of 1000."""
    assert [keep(pipeline, image, size) for image, size in (("2/1/other", 450), ("2/1/page", 500))] == ["done", "done"]
    assert keep(pipeline, "2/1/page", 1000) == "failed"
    assert stored_bytes(pipeline) == {"2/1/other/original": 450, "2/1/page/original": 500}
    assert source(pipeline) == 950


def test_a_quota_with_room_for_less_than_any_image_refuses_one(pipeline: Pipeline, file: Path) -> None:
    """As the DLCS has it: 99 of 100."""
    file.write_text(LIMITED.replace("1000", "100"))
    assert [keep(pipeline, "2/1/first", 99), keep(pipeline, "2/1/second", 1)] == ["done", "failed"]
    assert [asked.path for asked in pipeline.origin.asked] == ["/2-1-first-99.txt"]


def test_totals_are_what_is_stored_however_often_it_is_ingested(pipeline: Pipeline, file: Path) -> None:
    file.write_text(LIMITED.replace("1000", "1GB"))
    for width in (300, 200, 100, 300):
        url = pipeline.serve(f"page-{width}.jpg", jpeg(width, 200))
        assert pipeline.ingest("2/1/page", url, "iiif-img:default,file").state == "done"
    thumbnails = sum(len(found.data) for key, found in pipeline.thumbs("2/1/page/").items() if key.endswith(".jpg"))
    stored = sum(stored_bytes(pipeline).values())
    assert pipeline.ledger.accounting.totals(2) == Usage(2, None, images=1, source=stored, thumbnails=thumbnails)
    assert pipeline.ingest("2/1/page", pipeline.upload("2/1/page", jpeg(9, 9)), "iiif-img:use-original").state == "done"
    assert source(pipeline) == 0


def test_after_the_quota_was_raised_a_retry_is_done(pipeline: Pipeline, file: Path) -> None:
    assert pipeline.ingest("2/1/page", pipeline.serve("page.jpg", jpeg(300, 200)), "iiif-img:default").state == "failed"
    file.write_text(LIMITED.replace("1000", "1MiB"))
    assert pipeline.ledger.reports.retry(Selection(code="quota_exceeded"), now=datetime.now(UTC)) == ["2/1/page"]
    pipeline.settle()
    assert pipeline.status("2/1/page").state == "done"
    assert source(pipeline) == sum(stored_bytes(pipeline).values())


def test_images_of_one_run_together_take_no_more_than_there_is(pipeline: Pipeline) -> None:
    for number in range(6):
        url = pipeline.serve(f"{number}.txt", b"x" * 300)
        pipeline.send(full_message(f"2/1/{number}", url, "file", mediaType="text/plain"))
    pipeline.settle()
    states = sorted(pipeline.states().values())
    assert states.count("done") in {1, 2, 3}  # what the others reserve meanwhile may keep one out
    assert states.count("failed") == 6 - states.count("done")
    assert source(pipeline) == sum(stored_bytes(pipeline).values()) == 300 * states.count("done")


def test_what_a_lost_run_reserved_is_free_again(pipeline: Pipeline) -> None:
    pipeline.send(full_message("2/1/page", pipeline.serve("page.txt", b"x" * 900), "file", mediaType="text/plain"))
    claim = pipeline.ledger.claims.claim_images([AssetId(2, 1, "page")], STAGES, "no such run", now=datetime.now(UTC))
    reserve_quota(pipeline.ledger.results, claim, claim.items[0], limit=1000, new=900, replaces=[ObjectKind.ORIGINAL])
    assert pipeline.ledger.accounting.totals(2).reserved == 900
    schedule = retry_schedule(pipeline.settings)
    pipeline.ledger.claims.release_run("no such run", schedule=schedule, now=datetime.now(UTC))
    pipeline.settle()
    assert pipeline.status("2/1/page").state == "done"
    assert source(pipeline) == 900


def test_images_beyond_the_number_that_there_may_be_are_rejected(pipeline: Pipeline, file: Path) -> None:
    file.write_text("customers: {2: {quota: {images: 2}}}")
    url = pipeline.serve("page.txt", b"x")
    messages = [full_message(f"2/1/{name}", url, "file", mediaType="text/plain") for name in "abc"]
    pipeline.send(*messages)
    pipeline.settle()
    assert sorted(pipeline.states().values()) == ["done", "done", "rejected"]
    (rejected,) = pipeline.ledger.inbox.rejected()
    assert rejected["code"] == "quota_images_exceeded"
    assert "customer 2 may have 2 images and has 2" in rejected["cause"]
    done = next(image for image, state in pipeline.states().items() if state == "done")
    assert pipeline.ingest(done, url, "file").state == "done"
    file.write_text("customers: {2: {quota: {images: 3}}}")
    pipeline.send(rejected["body"])
    pipeline.settle()
    assert pipeline.status(rejected["image_id"]).state == "done"
