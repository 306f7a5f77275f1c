"""An origin whose address is signed: the right to read is kept while it is needed, and no longer."""

from __future__ import annotations

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.stages import Stage
from dlcs_testing.harness import System, full_message
from dlcs_testing.pictures import jpeg

PAGE = "2/1/page"
SIGNATURE = "?X-Amz-Signature=abc"
CHANNELS = "iiif-img,thumbs"


def registered(system: System) -> str:
    registration = system.ledger.reports.registration(AssetId.parse(PAGE))
    assert registration is not None
    return registration.origin


@pytest.fixture
def url(system: System) -> str:
    system.serve(f"page.jpg{SIGNATURE}", jpeg(120, 90))
    return f"{system.origin.url}/page.jpg"


def test_the_signature_is_forgotten_when_the_image_is_done(system: System, url: str) -> None:
    assert system.ingest(PAGE, url + SIGNATURE, CHANNELS).state == "done"
    assert registered(system) == f"{url}?…"


def test_while_the_image_is_not_done_it_is_kept(system: System, url: str) -> None:
    system.image_server.stop()
    system.ingest_once(PAGE, url + SIGNATURE, CHANNELS)
    assert registered(system) == url + SIGNATURE
    system.image_server.start()
    system.settle()
    assert system.status(PAGE).state == "done"
    assert registered(system) == f"{url}?…"


def test_other_stages_can_be_made_again_without_it_and_the_original_says_what_is_missing(
    system: System, url: str
) -> None:
    system.ingest(PAGE, url + SIGNATURE, CHANNELS)
    assert system.materialize([PAGE], [Stage.THUMBNAILS]).is_success
    description, table = system.failure_of(system.materialize([PAGE]))
    assert "1 of 1 images failed" in description
    assert "its signature is no longer kept" in table
    assert system.status(PAGE).error_code == "origin_signature_gone"


def test_a_new_message_with_a_new_signature_makes_it_again(system: System, url: str) -> None:
    system.ingest(PAGE, url + SIGNATURE, CHANNELS)
    system.serve("page.jpg?X-Amz-Signature=new", jpeg(160, 90))
    system.send(full_message(PAGE, f"{url}?X-Amz-Signature=new", CHANNELS))
    system.settle()
    assert system.status(PAGE).state == "done"
    assert system.metadata(PAGE, Stage.JP2)["width"] == 160
