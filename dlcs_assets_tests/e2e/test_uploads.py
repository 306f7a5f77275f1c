"""What is put into the origin bucket becomes an image, without a message."""

from __future__ import annotations

import pytest

from dlcs_testing.pictures import jpeg
from dlcs_testing.whole_system import System

pytestmark = pytest.mark.e2e


def test_an_object_in_the_origin_bucket_becomes_an_image_once(system: System, customer: int) -> None:
    image = f"{customer}/1/page"
    bucket = system.environment["DLCS_ORIGIN_BUCKET"]
    system.s3.put_object(Bucket=bucket, Key=image, Body=jpeg(300, 200))
    system.await_end([image])
    system.await_materialized(f"@{image}", 1)
    stored = system.s3.head_object(Bucket=system.environment["DLCS_STORAGE_BUCKET"], Key=image)
    assert stored["ContentType"] == "image/jp2"
    (run,) = system.dagster.runs(customer=str(customer))
    assert run.tags["dagster/sensor_name"] in {"s3_uploads", "sqs_ingest"}
