"""A ledger that is made from S3 and the DLCS's database: what S3 does not say is said there."""

from __future__ import annotations

from datetime import UTC, datetime

from dlcs_assets.clients.dlcs_database import DlcsDatabase
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel, RequestedChannel
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.stages import Lane, Stage
from dlcs_assets.ledger.reports import Selection
from dlcs_assets.recovery.inventory import Scope
from dlcs_assets_tests.recovery.conftest import Library
from dlcs_testing.dlcs_database import Dlcs


def test_registrations_come_from_the_database(library: Library, dlcs: Dlcs, database: DlcsDatabase) -> None:
    library.ingest("2/1/a")
    dlcs.image("2/1/a", Roles="clickthrough")
    library.lose()
    rebuilt = library.rebuild(database=database)
    assert rebuilt["2/1/a"].unknown == ("whether the JP2 was converted or copied",)
    registration = library.ledger.reports.registration(AssetId(2, 1, "a"))
    assert registration == Registration(
        "https://example.org/2/1/a.tif",
        "image/tiff",
        (RequestedChannel(Channel.IIIF_IMG, "default"), RequestedChannel(Channel.THUMBS, "default")),
        registration.max_unauthorised if registration else 0,
        ("clickthrough",),
    )
    status = library.status("2/1/a")
    assert (status.state, status.to_json()["width"], status.to_json()["height"]) == ("done", 3000, 2000)


def test_what_s3_has_nothing_of_is_added_as_failed(library: Library, dlcs: Dlcs, database: DlcsDatabase) -> None:
    """It can be retried. What has no channel needs nothing, and what the DLCS waits for is not done."""
    library.ingest("2/1/there")
    for image, columns in (
        ("2/1/absent", {}),
        ("2/1/there", {"Ingesting": True, "Finished": None}),
        ("2/1/wrong", {"Error": "Unable to get\x01 asset"}),
    ):
        dlcs.image(image, **columns)
    dlcs.image("2/1/nothing", ("none", "none"))
    library.lose()
    planned = library.rebuild(database=database, dry_run=True)
    assert library.rebuild(database=database) == planned
    assert {image: (each.state, each.why) for image, each in planned.items()} == {
        "2/1/there": ("failed", "Found when the ledger was rebuilt: the DLCS waits for it"),
        "2/1/absent": ("failed", "Found when the ledger was rebuilt: S3 has nothing of it"),
        "2/1/wrong": ("failed", "Found when the ledger was rebuilt: S3 has nothing of it"),
        "2/1/nothing": ("done", None),
    }
    retried = library.ledger.reports.retry(Selection(code="found_incomplete"), now=datetime.now(UTC))
    assert sorted(retried) == ["2/1/absent", "2/1/there", "2/1/wrong"]
    assert len(library.ledger.dispatch.due([Lane.RETRY], limit=9, now=datetime.now(UTC))) == 3


def test_the_database_is_read_for_the_chosen_images_only(library: Library, dlcs: Dlcs, database: DlcsDatabase) -> None:
    for image in ("2/1/a", "2/2/b", "3/1/c"):
        dlcs.image(image)
    assert set(library.rebuild(Scope(ids=("2/2/b",)), database=database)) == {"2/2/b"}
    assert set(library.rebuild(Scope(customer=2), database=database)) == {"2/1/a"}
    assert set(library.rebuild(database=database)) == {"3/1/c"}
    assert library.rebuild(database=database) == {}


def test_all_stages_of_what_was_found_are_stale(library: Library, dlcs: Dlcs, database: DlcsDatabase) -> None:
    """Nothing says how they were made; `dlcs stale` and `dlcs reprocess` say so, and ask nothing of S3."""
    library.ingest("2/1/a", keep=True)
    dlcs.image("2/1/a")
    library.lose()
    library.rebuild(database=database)
    (entry,) = library.ledger.registrations.entries()
    assert {stage: result.recipe for stage, result in entry.results.items()} == {stage: {} for stage in Stage}
