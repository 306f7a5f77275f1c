"""Quotas in force: what is refused, when, and that nothing of it is left anywhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.results import ObjectKind
from dlcs_assets.domain.stages import STAGES
from dlcs_assets.ledger.accounting import Usage
from dlcs_assets.ledger.reports import Selection
from dlcs_testing.harness import System, full_message
from dlcs_testing.pictures import jpeg

LIMITED = "customers: {2: {quota: {bytes: 1000, images: 10}}, 22: {}}"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("dlcs_assets.customers.file.CHECK_INTERVAL_SECONDS", 0.0)
    path = tmp_path / "customers.yaml"
    path.write_text(LIMITED)
    return path


@pytest.fixture
def system(make_system: Callable[..., System], file: Path) -> System:
    return make_system(customers_file=file)


def keep(system: System, image: str, size: int) -> str:
    """Ingest a file of so many bytes; return what became of it."""
    url = system.serve(f"{image.replace('/', '-')}-{size}.txt", b"x" * size)
    return system.ingest(image, url, "file", mediaType="text/plain").state


def stored_bytes(system: System) -> dict[str, int]:
    return {key: len(stored.data) for key, stored in system.storage().items()}


def source(system: System, customer: int = 2) -> int:
    """Return the total that counts, when nothing is in work any more and so nothing reserved."""
    usage = system.ledger.accounting.totals(customer)
    assert usage.reserved == 0
    return usage.source


def test_at_its_quota_a_customers_image_fails_before_its_origin_is_asked_for_it(system: System) -> None:
    assert keep(system, "2/1/full", 950) == "done"
    url = system.serve("page.jpg", jpeg(300, 200))
    system.send(full_message("2/1/page", url, "iiif-img:default"), full_message("22/1/page", url + "?2", "file"))
    system.origin.by_path["/page.jpg?2"] = system.origin.by_path["/page.jpg"]
    system.settle()
    refused = system.status("2/1/page")
    assert (refused.state, refused.error_code, refused.objects) == ("failed", "quota_exceeded", ())
    assert str(refused.reason).startswith(
        "original: StoragePolicy size limit exceeded: customer 2 may have 1,000 bytes stored and has 950"
    )
    assert [asked for asked in system.origin.asked if asked.path == "/page.jpg"] == []
    assert system.partition("2/1/page") == ("failed", "failed", "failed")
    assert system.status("22/1/page").state == "done"
    assert set(system.storage()) == {"2/1/full/original", "22/1/page/original"}
    assert (source(system), system.thumbs("2/1/page")) == (950, {})


def test_an_image_of_which_nothing_is_stored_needs_no_room(system: System) -> None:
    assert keep(system, "2/1/full", 1000) == "done"
    uploaded = system.upload("2/1/page", jpeg(300, 200))
    for image, origin, channels in (
        ("2/1/at-origin", uploaded, "iiif-img:use-original"),
        ("2/1/thumbs", system.serve("page.jpg", jpeg(300, 200)), "thumbs:default"),
        ("2/1/none", "https://example.org/page.jpg", "none"),
    ):
        assert system.ingest(image, origin, channels).state == "done"
    assert source(system) == 1000


def test_a_jp2_that_turns_out_too_large_fails_with_nothing_stored(system: System) -> None:
    url = system.serve("page.jpg", jpeg(300, 200))
    refused = system.ingest("2/1/page", url, "iiif-img:default")
    assert (refused.state, refused.error_code) == ("failed", "quota_exceeded")
    assert str(refused.reason).startswith("jp2: StoragePolicy size limit exceeded")
    assert [asked.path for asked in system.origin.asked] == ["/page.jpg"]
    assert (system.storage(), system.thumbs(), refused.objects) == ({}, {}, ())
    assert source(system) == 0


def test_a_file_that_fits_in_stays_though_the_jp2_beside_it_does_not(system: System, file: Path) -> None:
    original = jpeg(300, 200)
    file.write_text(LIMITED.replace("1000", str(len(original) + 100)))
    refused = system.ingest("2/1/page", system.serve("page.jpg", original), "iiif-img:default,file")
    assert (refused.state, refused.error_code) == ("failed", "quota_exceeded")
    assert system.partition("2/1/page") == ("materialized", "failed", "failed")
    assert stored_bytes(system) == {"2/1/page/original": len(original)}
    assert source(system) == len(original)


def test_a_file_that_turns_out_too_large_fails_with_nothing_stored(system: System) -> None:
    assert keep(system, "2/1/page", 1001) == "failed"
    assert str(system.status("2/1/page").reason).startswith("original: StoragePolicy size limit exceeded")
    assert (system.storage(), source(system)) == ({}, 0)


def test_ingested_again_an_image_may_take_the_room_that_it_has(system: System) -> None:
    """As the DLCS has it: 950 in place of 950 leaves room for 1000, of 1000."""
    assert [keep(system, "2/1/page", size) for size in (950, 1000)] == ["done", "done"]
    assert stored_bytes(system) == {"2/1/page/original": 1000}
    assert source(system) == 1000


def test_ingested_again_an_image_that_grew_too_large_stays_as_it_was(system: System) -> None:
    """As the DLCS has it: 500 of 950 give no room for 1000, of 1000."""
    assert [keep(system, image, size) for image, size in (("2/1/other", 450), ("2/1/page", 500))] == ["done", "done"]
    assert keep(system, "2/1/page", 1000) == "failed"
    assert stored_bytes(system) == {"2/1/other/original": 450, "2/1/page/original": 500}
    assert source(system) == 950


def test_a_quota_that_has_room_for_less_than_any_image_refuses_one(system: System, file: Path) -> None:
    """As the DLCS has it: 99 of 100."""
    file.write_text(LIMITED.replace("1000", "100"))
    assert [keep(system, "2/1/first", 99), keep(system, "2/1/second", 1)] == ["done", "failed"]
    assert [asked.path for asked in system.origin.asked] == ["/2-1-first-99.txt"]


def test_totals_are_what_is_in_storage_however_often_an_image_is_ingested(system: System, file: Path) -> None:
    file.write_text(LIMITED.replace("1000", "1GB"))
    for width in (300, 200, 100, 300):
        url = system.serve(f"page-{width}.jpg", jpeg(width, 200))
        assert system.ingest("2/1/page", url, "iiif-img:default,file").state == "done"
    thumbnails = sum(len(found.data) for key, found in system.thumbs("2/1/page/").items() if key.endswith(".jpg"))
    stored = sum(stored_bytes(system).values())
    assert system.ledger.accounting.totals(2) == Usage(2, None, images=1, source=stored, thumbnails=thumbnails)
    assert system.ingest("2/1/page", system.upload("2/1/page", jpeg(9, 9)), "iiif-img:use-original").state == "done"
    assert source(system) == 0


def test_after_the_quota_was_raised_what_failed_is_done_when_asked_for_again(system: System, file: Path) -> None:
    assert system.ingest("2/1/page", system.serve("page.jpg", jpeg(300, 200)), "iiif-img:default").state == "failed"
    file.write_text(LIMITED.replace("1000", "1MiB"))
    assert system.ledger.reports.retry(Selection(code="quota_exceeded"), now=datetime.now(UTC)) == ["2/1/page"]
    system.settle()
    assert system.status("2/1/page").state == "done"
    assert source(system) == sum(stored_bytes(system).values())


def test_images_of_one_run_together_take_no_more_than_there_is(system: System) -> None:
    for number in range(6):
        url = system.serve(f"{number}.txt", b"x" * 300)
        system.send(full_message(f"2/1/{number}", url, "file", mediaType="text/plain"))
    system.settle()
    states = sorted(system.states().values())
    assert states.count("done") in {1, 2, 3}  # what the others reserve meanwhile may keep one out
    assert states.count("failed") == 6 - states.count("done")
    assert source(system) == sum(stored_bytes(system).values()) == 300 * states.count("done")


def test_what_a_lost_run_reserved_is_free_again(system: System) -> None:
    system.send(full_message("2/1/page", system.serve("page.txt", b"x" * 900), "file", mediaType="text/plain"))
    system.tick("sqs_ingest", run=False)
    claim = system.ledger.claims.claim_images([AssetId(2, 1, "page")], STAGES, "no such run", now=datetime.now(UTC))
    system.ledger.results.reserve_quota(claim, claim.items[0], 1000, 900, [ObjectKind.ORIGINAL])
    assert system.ledger.accounting.totals(2).reserved == 900
    system.settle()
    assert system.status("2/1/page").state == "done"
    assert source(system) == 900


def test_images_beyond_the_number_that_there_may_be_are_rejected(system: System, file: Path) -> None:
    file.write_text("customers: {2: {quota: {images: 2}}}")
    url = system.serve("page.txt", b"x")
    messages = [full_message(f"2/1/{name}", url, "file", mediaType="text/plain") for name in "abc"]
    system.send(*messages)
    system.settle()
    assert sorted(system.states().values()) == ["done", "done", "rejected"]
    (rejected,) = system.ledger.inbox.rejected()
    assert rejected["code"] == "quota_images_exceeded"
    assert "customer 2 may have 2 images and has 2" in rejected["cause"]
    done = next(image for image, state in system.states().items() if state == "done")
    assert system.ingest(done, url, "file").state == "done"
    file.write_text("customers: {2: {quota: {images: 3}}}")
    system.send(rejected["body"])
    system.settle()
    assert system.status(rejected["image_id"]).state == "done"
