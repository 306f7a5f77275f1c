from __future__ import annotations

from datetime import timedelta

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, Desk
from dlcs_testing.one_write import end_image

PAGE = "2/1/page"
URL = "https://example.org/page.jpg"
LATER = NOW + timedelta(minutes=1)


def registered(desk: Desk) -> str:
    registration = desk.ledger.reports.registration(AssetId.parse(PAGE))
    assert registration is not None
    return registration.origin


def test_a_newer_signature_is_kept_for_its_own_run(desk: Desk) -> None:
    """The end of the earlier run removes signatures, but not one that arrived while it worked."""
    desk.send(PAGE, f"{URL}?sig=old")
    claim = desk.claim()
    desk.send(PAGE, f"{URL}?sig=new", now=LATER)
    end_image(desk.ledger.results, claim, claim.items[0], None, schedule=SCHEDULE, now=LATER)
    assert registered(desk) == f"{URL}?sig=new"
    desk.ledger.claims.release_run(claim.run_id, schedule=SCHEDULE, now=LATER)
    claim = desk.claim("run-2", now=LATER)
    end_image(desk.ledger.results, claim, claim.items[0], None, schedule=SCHEDULE, now=LATER)
    assert registered(desk) == f"{URL}?…"


def test_a_query_that_is_not_a_signature_is_kept(desk: Desk) -> None:
    desk.send(PAGE, f"{URL}?id=7")
    claim = desk.claim()
    end_image(desk.ledger.results, claim, claim.items[0], None, schedule=SCHEDULE, now=NOW)
    assert registered(desk) == f"{URL}?id=7"
