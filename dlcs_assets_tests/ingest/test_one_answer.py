"""The run, `dlcs plan`, `dlcs stale` and reprocessing agree about what is to be made of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from dlcs_assets.cli.image_view import known_of
from dlcs_assets.cli.planning import explain
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.ingest_spec import stale_stages
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.ingest.reprocess import ReprocessEstimate, ReprocessSelector, select_images
from dlcs_stack.stack import RunningStack
from dlcs_testing.installation import full_message
from dlcs_testing.pictures import drawing, encoded, jpeg
from dlcs_testing.pipeline import Pipeline, running_pipeline

CUSTOMERS = """
customers:
  2:
    policies: {thumbs: {tiny: ['!50,50']}}
    default_channels:
      - {media_type: image/*, channel: iiif-img, policy: default}
      - {media_type: image/jp2, channel: iiif-img, policy: use-original}
      - {media_type: image/*, channel: thumbs, policy: tiny}
      - {media_type: application/*, channel: file, policy: none}
"""
ALL = frozenset(Stage)


@dataclass(frozen=True)
class Case:
    """An image, the row by which it is ingested, and what a change of sizes, or of the profile, makes stale."""

    name: str
    original: bytes
    row: str
    of_sizes: frozenset[Stage] = frozenset({Stage.THUMBNAILS})
    of_profile: frozenset[Stage] = frozenset({Stage.JP2, Stage.THUMBNAILS})
    channels: str = ""
    media_type: str | None = None
    uploaded: bool = False


JPEG, JP2, PDF = jpeg(120, 80), encoded(drawing(120, 80), "JPEG2000"), b"%PDF-1.7\n"
NONE: frozenset[Stage] = frozenset()
CASES = (
    Case("registered", JPEG, "1", media_type="image/jpeg"),
    Case("peeked", JPEG, "1"),
    Case("registered-otherwise", JP2, "2", media_type="image/tiff", of_profile=NONE),
    Case("peeked-jp2", JP2, "5", of_profile=NONE),
    Case("explicit", JP2, "2", channels="iiif-img:default", of_profile=NONE),
    Case("uploaded", JPEG, "3", channels="iiif-img:default", uploaded=True),
    Case("uploaded-jp2", JP2, "4", channels="iiif-img:default", uploaded=True, of_profile=NONE),
    Case("transient", JPEG, "7", channels="thumbs:tiny", of_profile=NONE),
    Case("at-origin", JPEG, "8", channels="thumbs:tiny", uploaded=True, of_profile=NONE),
    Case("document", PDF, "file", of_sizes=NONE, of_profile=NONE),
    Case("nothing", JPEG, "none", channels="none", of_sizes=NONE, of_profile=NONE),
)


@pytest.fixture(scope="module")
def pipeline(services: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("one-answer")
    customers = folder / "customers.yaml"
    customers.write_text(CUSTOMERS)
    sizes = ("!60,60",)
    with running_pipeline(services, folder, customers_file=customers, default_thumbnail_sizes=sizes) as pipeline:
        for case in CASES:
            origin = f"2/1/{case.name}" if case.uploaded else case.name
            url = pipeline.upload(origin, case.original) if case.uploaded else pipeline.serve(origin, case.original)
            pipeline.send(full_message(image_of(case), url, case.channels, mediaType=case.media_type))
        pipeline.settle()
        yield pipeline


def image_of(case: Case) -> str:
    return f"2/1/{case.name}"


def stale_by_plan_and_reprocessing(pipeline: Pipeline, case: Case, **settings: Any) -> frozenset[Stage]:
    """Return what both say is stale under other settings; they must not differ."""
    policy = ingest_policy(pipeline.settings.model_copy(update=settings))
    status = pipeline.status(image_of(case))
    assert status.registration is not None
    stale = frozenset(stale_stages(AssetId.parse(image_of(case)), status.registration, status.stages, policy))
    selector = ReprocessSelector(customer=2, match=case.name, stale=True)
    selected = [each.stages for each in select_images(pipeline.ledger, selector, policy, ReprocessEstimate())]
    assert selected == ([stale] if stale else [])
    return stale


of_every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@of_every_case
def test_the_run_and_the_plan_are_of_one_row(pipeline: Pipeline, case: Case) -> None:
    status = pipeline.status(image_of(case))
    assert (status.state, status.stages[Stage.ORIGINAL].facts["plan"]) == ("done", case.row)
    assert status.registration is not None
    policy, known = ingest_policy(pipeline.settings), known_of(status)
    planned = dict(explain(AssetId.parse(image_of(case)), status.registration, policy, pipeline.settings, known))
    assert planned["row"] == case.row
    outcomes = "; ".join(f"{stage}: {status.stages[stage].outcome}" for stage in Stage)
    assert planned["stages"] == outcomes


@of_every_case
def test_what_was_just_made_is_not_stale(pipeline: Pipeline, case: Case) -> None:
    assert stale_by_plan_and_reprocessing(pipeline, case) == frozenset()


@of_every_case
def test_a_change_of_settings_makes_the_same_stages_stale_to_all(pipeline: Pipeline, case: Case) -> None:
    sizes, profile = {"default_thumbnail_sizes": ("!40,40",)}, {"appetiser_optimisation": "kdu_low"}
    assert stale_by_plan_and_reprocessing(pipeline, case, **sizes) == case.of_sizes
    assert stale_by_plan_and_reprocessing(pipeline, case, **profile) == case.of_profile
