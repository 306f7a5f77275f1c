"""The npm package iiif-processor in the image server's place: rows whose sources it reads, and refusals of others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dlcs_assets.cli.planning import Known, explain
from dlcs_assets.customers import NoCustomersError, customer_source
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel, RequestedChannel
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.image_servers import ImageServerKind, SourceAccess
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets_tests.ingest.rows import ROWS, Row, check_done, ingest_rows
from dlcs_stack.stack import RunningStack
from dlcs_testing.iiif_processor.running import iiif_processor, needs_node
from dlcs_testing.installation import full_message
from dlcs_testing.pictures import drawing, encoded
from dlcs_testing.pipeline import Pipeline, running_pipeline

CUSTOMERS = """
customers:
  2:
    default_channels:
      - {media_type: image/*, channel: iiif-img, policy: use-original}
      - {media_type: image/*, channel: thumbs, policy: default}
"""
READABLE = [row for row in ROWS if row.read in {"original", "transient", "origin"} and row.at in {"http", "portal"}]
of_every_row = pytest.mark.parametrize("row", READABLE, ids=str)


@pytest.fixture(scope="module", params=SourceAccess)
def pipeline(
    request: pytest.FixtureRequest, services: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """Ingest one image for each row whose source it reads, from S3 and from a shared disk."""
    folder = tmp_path_factory.mktemp("processor")
    (folder / "dlcs.yaml").write_text(CUSTOMERS)
    scratch, endpoint = services.data / "scratch", services.environment["AWS_ENDPOINT_URL"]
    with (
        iiif_processor(scratch, endpoint) as url,
        running_pipeline(
            services,
            folder,
            image_server_url=url,
            image_server_kind=ImageServerKind.IIIF_PROCESSOR,
            image_server_sources=request.param,
            customers_file=folder / "dlcs.yaml",
        ) as pipeline,
    ):
        ingest_rows(pipeline, READABLE)
        yield pipeline


@needs_node
@of_every_row
def test_rows_whose_sources_it_reads_are_done(pipeline: Pipeline, row: Row) -> None:
    check_done(pipeline, row)


@needs_node
def test_an_original_that_is_a_jp2_is_refused_with_the_reason(pipeline: Pipeline) -> None:
    url = pipeline.serve("page.jp2", encoded(drawing(480, 360), "JPEG2000"))
    status = pipeline.ingest("2/1/jp2", url, "iiif-img:use-original,thumbs:default")
    assert (status.state, status.error_code, status.attempts) == ("failed", "image_server_reads_no_jp2", 1)
    assert status.reason is not None
    assert "The original is a JP2, and the image server (iiif-processor) reads no JP2" in status.reason
    at_origin = pipeline.upload("2/1/jp2-at-its-origin", encoded(drawing(480, 360), "JPEG2000"))
    status = pipeline.ingest("2/1/jp2-at-its-origin", at_origin, "thumbs:default")
    assert status.error_code == "image_server_reads_no_jp2"


def unable(make_pipeline: Callable[..., Pipeline], customers: Path, text: str | None) -> Pipeline:
    """Make a pipeline for a server that reads no JP2, and that is asked nothing."""
    if text is not None:
        customers.write_text(text)
    return make_pipeline(image_server_kind=ImageServerKind.IIIF_PROCESSOR, customers_file=customers)


def test_a_message_that_requests_a_jp2_is_rejected(make_pipeline: Callable[..., Pipeline], tmp_path: Path) -> None:
    pipeline = unable(make_pipeline, tmp_path / "dlcs.yaml", CUSTOMERS)
    pipeline.send(full_message("2/1/page", "https://example.org/page.tif", "iiif-img:default,thumbs:default"))
    (rejected,) = pipeline.ledger.inbox.rejected()
    assert rejected["code"] == "image_server_reads_no_jp2"
    assert "the channel iiif-img with the policy default makes a JP2" in rejected["cause"]
    assert pipeline.states() == {"2/1/page": "rejected"}


BY_DEFAULT = "by default the channel iiif-img with the policy default"
OF_A_SPACE = "    spaces: {5: {default_channels: [{media_type: image/tiff, channel: iiif-img, policy: default}]}}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("customers: {2: {}}", f"line 1: customers.2: gives image/* {BY_DEFAULT}"),
        (CUSTOMERS + OF_A_SPACE, f"gives image/tiff in space 5 {BY_DEFAULT}"),
        (None, "without it images become JP2s, and the image server (iiif-processor) reads no JP2"),
    ],
)
def test_customers_whose_images_would_become_jp2s_are_refused(
    make_pipeline: Callable[..., Pipeline], tmp_path: Path, text: str | None, problem: str
) -> None:
    pipeline = unable(make_pipeline, tmp_path / "dlcs.yaml", text)
    assert problem in str(customer_source(pipeline.settings).problem())
    with pytest.raises(NoCustomersError, match=re.escape(problem)):
        pipeline.send(full_message("2/1/page", "https://example.org/page.tif", "file"))
    assert pipeline.states() == {}


def test_a_server_that_says_it_reads_jp2_is_believed(make_pipeline: Callable[..., Pipeline]) -> None:
    pipeline = make_pipeline(image_server_kind=ImageServerKind.IIIF_PROCESSOR, image_server_reads_jp2=True)
    assert customer_source(pipeline.settings).problem() is None


def test_a_plan_that_it_cannot_serve_is_none(make_pipeline: Callable[..., Pipeline], tmp_path: Path) -> None:
    pipeline = unable(make_pipeline, tmp_path / "dlcs.yaml", CUSTOMERS)
    policy = ingest_policy(pipeline.settings)
    asset_id = AssetId.parse("2/1/page")
    jp2 = Registration("https://example.org/page.tif", channels=(RequestedChannel(Channel.IIIF_IMG, "default"),))
    with pytest.raises(PermanentError, match="Thumbnails are to be made from a JP2"):
        explain(asset_id, jp2, policy, pipeline.settings, Known())
    as_it_is = Registration("https://example.org/page.tif", media_type="image/tiff")
    assert ("row", "5") in explain(asset_id, as_it_is, policy, pipeline.settings, Known())


def test_a_shared_disk_is_part_of_the_plan(make_pipeline: Callable[..., Pipeline], tmp_path: Path) -> None:
    (tmp_path / "dlcs.yaml").write_text(CUSTOMERS)
    pipeline = make_pipeline(image_server_sources=SourceAccess.DISK, customers_file=tmp_path / "dlcs.yaml")
    policy = ingest_policy(pipeline.settings)
    at_origin = Registration(
        f"s3://{pipeline.settings.origin_bucket}/2/1/page",
        media_type="image/tiff",
        channels=(RequestedChannel(Channel.THUMBS, "default"),),
    )
    lines = dict(explain(AssetId.parse("2/1/page"), at_origin, policy, pipeline.settings, Known()))
    assert lines["row"] == "8"
    assert lines["fetch"] == "the original is fetched, to the disk that the image server shares: it sees nothing else"
    assert lines["image server"] == "reads the original in the scratch folder, which it shares"
    assert Stage.ORIGINAL in lines["stages"]
