"""The reason that a failed image has is the true one, and says what helps."""

from __future__ import annotations

import gzip

import pytest

from dlcs_assets.domain.image_servers import SourceAccess
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ingest.cleanup import drop_left_transient
from dlcs_testing.installation import full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline

DEFAULT, USE_ORIGINAL = "iiif-img:default,thumbs:default", "iiif-img:use-original,thumbs:default"


def upload_packed(pipeline: Pipeline, key: str) -> str:
    """Put a JPEG into the origin bucket as tools do that compress whatever they upload."""
    bucket = pipeline.settings.origin_bucket
    assert bucket
    pipeline.s3.put_object(Bucket=bucket, Key=key, Body=gzip.compress(jpeg(30, 20)), ContentEncoding="gzip")
    return f"s3://{bucket}/{key}"


def archive(pipeline: Pipeline, bucket: str, key: str) -> None:
    """Move an object to S3 Glacier, as a lifecycle rule does."""
    source = {"Bucket": bucket, "Key": key}
    pipeline.s3.copy_object(Bucket=bucket, Key=key, CopySource=source, StorageClass="DEEP_ARCHIVE")


def test_an_original_that_is_stored_compressed_is_converted(pipeline: Pipeline) -> None:
    assert pipeline.ingest("2/1/page", upload_packed(pipeline, "2/1/page"), DEFAULT).state == "done"


@pytest.mark.parametrize("channels", [USE_ORIGINAL, "thumbs:default"])
def test_the_image_server_is_not_given_a_compressed_original(pipeline: Pipeline, channels: str) -> None:
    """It would read the object itself, and not unpack it."""
    status = pipeline.ingest("2/1/page", upload_packed(pipeline, "2/1/page"), channels)
    assert (status.state, status.error_code) == ("failed", "origin_encoding_not_supported")
    assert "stored there compressed" in str(status.reason)


def test_a_jp2_that_was_archived_is_not_called_missing(pipeline: Pipeline) -> None:
    """A lifecycle rule may move what is stored; thumbnails alone are made from it."""
    pipeline.ingest("2/1/page", pipeline.serve("page.jpg", jpeg(30, 20)), DEFAULT)
    archive(pipeline, pipeline.settings.storage_bucket, "2/1/page")
    (ended,) = pipeline.run_by_hand("2/1/page", stages=[Stage.THUMBNAILS])
    assert (ended.state, ended.error and ended.error.code) == ("failed", "storage_archived")
    assert "dlcs retry --reason storage_archived" in str(ended.error)


@pytest.mark.parametrize("channels", [DEFAULT, USE_ORIGINAL, "thumbs:default"])
def test_an_original_that_is_archived_is_not_called_absent(pipeline: Pipeline, channels: str) -> None:
    url = pipeline.upload("2/1/page", jpeg(30, 20))
    archive(pipeline, str(pipeline.settings.origin_bucket), "2/1/page")
    status = pipeline.ingest("2/1/page", url, channels)
    assert (status.state, status.error_code) == ("failed", "origin_archived")


def test_an_original_archived_since_is_not_called_denied(pipeline: Pipeline) -> None:
    """The image server reads it at its origin, and says no more than that it may not."""
    pipeline.ingest("2/1/page", pipeline.upload("2/1/page", jpeg(30, 20)), USE_ORIGINAL)
    archive(pipeline, str(pipeline.settings.origin_bucket), "2/1/page")
    (ended,) = pipeline.run_by_hand("2/1/page", stages=[Stage.THUMBNAILS])
    assert (ended.state, ended.error and ended.error.code) == ("not_renewed", "origin_archived")


@pytest.mark.parametrize("channels", ["", "iiif-img", DEFAULT])
@pytest.mark.parametrize("declared", ["application/octet-stream", "binary/octet-stream"])
def test_a_media_type_of_mere_bytes_leaves_it_to_the_bytes(pipeline: Pipeline, declared: str, channels: str) -> None:
    status = pipeline.ingest("2/1/page", pipeline.serve("page", jpeg(30, 20)), channels, mediaType=declared)
    assert (status.state, status.reason) == ("done", None)
    assert pipeline.facts("2/1/page", Stage.ORIGINAL)["media_type"] == "image/jpeg"
    assert pipeline.facts("2/1/page", Stage.JP2)["width"] == 30


def test_mere_bytes_of_no_known_format_are_a_file(pipeline: Pipeline) -> None:
    url = pipeline.serve("data.bin", bytes(range(256)))
    assert pipeline.ingest("2/1/data", url, "", mediaType="application/octet-stream").state == "done"
    assert pipeline.facts("2/1/data", Stage.ORIGINAL)["media_type"] == "application/octet-stream"


OUT_OF_BOUNDS = (500, "Index 1200 out of bounds for length 1200")


def send_pages(pipeline: Pipeline, *images: str) -> None:
    origins = {image: pipeline.serve(f"{image.rpartition('/')[2]}.jpg", jpeg(300, 200)) for image in images}
    pipeline.send(*(full_message(image, url, DEFAULT) for image, url in origins.items()))
    pipeline.settle()


def test_a_source_that_alone_gives_500_ends_soon(pipeline: Pipeline) -> None:
    """The server shows a control picture meanwhile: it is not what is wrong. Two attempts show that, of five."""
    pipeline.use(attempts=5, image_server_in_flight=8)
    pipeline.image_server.refusing["/2/1/bad/"] = OUT_OF_BOUNDS
    send_pages(pipeline, "2/1/bad", *(f"2/1/good-{number}" for number in range(5)))
    status = pipeline.status("2/1/bad")
    assert (status.state, status.error_code) == ("failed", "image_server_cannot_read")
    assert "Index 1200 out of bounds" in str(status.reason)
    assert len([event for event in pipeline.ended if str(event.item.asset_id) == "2/1/bad"]) == 2
    assert {state for image, state in pipeline.states().items() if image != "2/1/bad"} == {"done"}
    assert pipeline.services.image_server.limit.permits >= 3
    assert pipeline.storage("transient/") == {}


@pytest.mark.parametrize("then_deleted", [False, True])
def test_a_control_picture_that_s3_keeps_is_deleted_later(pipeline: Pipeline, then_deleted: bool) -> None:
    """The run cannot delete it; the ledger has it, also once the image is gone."""
    pipeline.use(attempts=1, s3_endpoint_url=pipeline.s3_proxy.url)
    pipeline.s3_proxy.refusing["<Key>transient/control/"] = (403, "no")
    pipeline.image_server.refusing["/2/1/bad/"] = OUT_OF_BOUNDS
    send_pages(pipeline, "2/1/bad")
    if then_deleted:
        pipeline.send({"asset": {"id": "2/1/bad"}, "deleteFrom": []}, queue="delete")
        pipeline.settle()
        assert pipeline.status("2/1/bad").state == "deleted"
    pipeline.s3_proxy.refusing.clear()
    assert len(pipeline.storage("transient/control/")) == 1
    assert drop_left_transient(pipeline.services.storage, pipeline.ledger, limit=10) == (1, None)
    assert pipeline.storage("transient/") == {}
    assert drop_left_transient(pipeline.services.storage, pipeline.ledger, limit=10) == (0, None)


def test_a_file_that_alone_gives_500_is_what_is_at_fault(pipeline: Pipeline) -> None:
    """The control picture lies next to it, in the image's own folder."""
    pipeline.use(attempts=5, image_server_sources=SourceAccess.DISK)
    pipeline.image_server.refusing["/image.jp2/"] = OUT_OF_BOUNDS
    send_pages(pipeline, "2/1/bad")
    assert pipeline.status("2/1/bad").error_code == "image_server_cannot_read"
    assert pipeline.image_server.count("GET", "/control.jp2/") == 2
    assert pipeline.left_in_scratch() == []


def test_a_server_that_gives_500_for_all_is_what_is_wrong(pipeline: Pipeline) -> None:
    pipeline.image_server.refusing["/iiif/"] = OUT_OF_BOUNDS
    send_pages(pipeline, "2/1/a", "2/1/b")
    assert {pipeline.status(image).error_code for image in ("2/1/a", "2/1/b")} == {"image_server_unavailable"}
    assert pipeline.storage("transient/") == {}
