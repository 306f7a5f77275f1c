"""An origin whose address is signed: the right to read is kept while it is needed, and no longer."""

from __future__ import annotations

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.stages import Stage
from dlcs_testing.installation import full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline

PAGE = "2/1/page"
SIGNATURE = "?X-Amz-Signature=abc"
CHANNELS = "iiif-img,thumbs"


def registered(pipeline: Pipeline) -> str:
    registration = pipeline.ledger.reports.registration(AssetId.parse(PAGE))
    assert registration is not None
    return registration.origin


@pytest.fixture
def url(pipeline: Pipeline) -> str:
    pipeline.serve(f"page.jpg{SIGNATURE}", jpeg(120, 90))
    return f"{pipeline.origin.url}/page.jpg"


def test_the_signature_is_forgotten_when_the_image_is_done(pipeline: Pipeline, url: str) -> None:
    assert pipeline.ingest(PAGE, url + SIGNATURE, CHANNELS).state == "done"
    assert registered(pipeline) == f"{url}?…"


def test_while_the_image_is_not_done_it_is_kept(pipeline: Pipeline, url: str) -> None:
    pipeline.image_server.stop()
    pipeline.ingest_once(PAGE, url + SIGNATURE, CHANNELS)
    assert registered(pipeline) == url + SIGNATURE
    pipeline.image_server.start()
    pipeline.settle()
    assert pipeline.status(PAGE).state == "done"
    assert registered(pipeline) == f"{url}?…"


def test_without_its_signature_only_the_original_is_not_remade(pipeline: Pipeline, url: str) -> None:
    pipeline.ingest(PAGE, url + SIGNATURE, CHANNELS)
    (ended,) = pipeline.run_by_hand(PAGE, stages=[Stage.THUMBNAILS])
    assert ended.state is RequestState.DONE
    (ended,) = pipeline.run_by_hand(PAGE)
    assert "its signature is no longer kept" in str(ended.error)
    assert pipeline.status(PAGE).error_code == "origin_signature_gone"


def test_a_new_message_with_a_new_signature_makes_it_again(pipeline: Pipeline, url: str) -> None:
    pipeline.ingest(PAGE, url + SIGNATURE, CHANNELS)
    pipeline.serve("page.jpg?X-Amz-Signature=new", jpeg(160, 90))
    pipeline.send(full_message(PAGE, f"{url}?X-Amz-Signature=new", CHANNELS))
    pipeline.settle()
    assert pipeline.status(PAGE).state == "done"
    assert pipeline.facts(PAGE, Stage.JP2)["width"] == 160
