"""From a message of another program to objects in the buckets and partitions in Dagster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image  # noqa: TID253 (the test decodes what was stored)

from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_stack.stack import RunningStack
from dlcs_testing.pictures import jpeg
from dlcs_testing.waiting import eventually
from dlcs_testing.whole_system import System, full_message

pytestmark = pytest.mark.e2e

ANOTHER_PROGRAM = """
import boto3, os, sys
name, message = sys.argv[1:]
boto3.client("s3").put_object(Bucket=os.environ["DLCS_ORIGIN_BUCKET"], Key=name, Body=sys.stdin.buffer.read())
boto3.client("sqs").send_message(QueueUrl=os.environ["DLCS_INGEST_QUEUE_URL"], MessageBody=message)
"""
SIZES = [(1024, 683), (400, 267), (200, 133), (100, 67)]


def run_program(stack: RunningStack, name: str, message: object, body: bytes) -> None:
    """Run the program with an environment of nothing but what `dlcs env` prints."""
    dlcs = Path(sys.executable).with_name("dlcs")
    exports = subprocess.run([dlcs, "env", "--data", stack.data], check=True, capture_output=True, text=True).stdout
    command = f'{exports}\nexec "{sys.executable}" -c "$0" "$@"'
    arguments = ["sh", "-c", command, ANOTHER_PROGRAM, name, json.dumps(message)]
    done = subprocess.run(arguments, env={"PATH": os.environ["PATH"]}, input=body, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_a_message_from_any_sqs_client_becomes_stored_objects(
    stack: RunningStack, system: System, customer: int
) -> None:
    """A program that knows nothing of this project sends it: the JP2, the thumbnails and s.json appear."""
    image, key = f"{customer}/1/page", f"{customer}/sent/1/page"
    bucket = system.environment["DLCS_ORIGIN_BUCKET"]
    run_program(stack, key, full_message(image, f"s3://{bucket}/{key}"), jpeg(1800, 1200, quality=90))
    system.await_end([image])

    stored = system.s3.get_object(Bucket=system.environment["DLCS_STORAGE_BUCKET"], Key=image)
    body = stored["Body"].read()
    assert stored["ContentType"] == "image/jp2"
    assert body.startswith(b"\x00\x00\x00\x0cjP  \r\n\x87\n")
    assert Image.open(BytesIO(body)).size == (1800, 1200)

    thumbs = system.environment["DLCS_THUMBS_BUCKET"]
    for width, height in SIZES:
        found = system.s3.get_object(Bucket=thumbs, Key=f"{image}/open/{width}.jpg")
        assert found["ContentType"] == "image/jpeg"
        assert Image.open(BytesIO(found["Body"].read())).size == (width, height)
    sizes = json.loads(system.s3.get_object(Bucket=thumbs, Key=f"{image}/s.json")["Body"].read())
    assert sizes == {"o": [list(size) for size in SIZES], "a": []}
    assert len(system.s3.list_objects_v2(Bucket=thumbs, Prefix=f"{image}/")["Contents"]) == len(SIZES) + 1

    system.await_materialized(f"@{image}", 1)
    (run,) = system.dagster.runs(customer=str(customer))
    (tick,) = [tick for tick in system.dagster.ticks("sqs_ingest") if run.id in tick["runIds"]]
    assert "1 messages received (1 accepted); 1 runs" in tick["logEvents"]["events"][0]["message"]


def test_a_short_message_ingests_a_registered_image_again(stack: RunningStack, system: System, customer: int) -> None:
    """The form of today's messages names an image only; what is new of it is at its origin."""
    image = f"{customer}/1/page"
    system.send(full_message(image, system.upload(image, jpeg(300, 200))))
    system.await_end([image])
    short = {
        "created": "2026-11-22T11:00:00Z",
        "id": {"customer": customer, "space": 1, "asset": "page"},
        "batchId": 17,
    }
    run_program(stack, f"{customer}/sent/1/page", short, jpeg(600, 450))
    eventually(
        lambda: system.images(customer)[image],
        lambda status: (status.batch, status.state) == (17, "done"),
    )
    for stage in STAGES:
        eventually(lambda stage=stage: len(system.dagster.materializations(stage, f"@{image}")), lambda n: n == 2)  # type: ignore[misc] # a default binds it
    newest, oldest = system.dagster.materializations(Stage.THUMBNAILS, f"@{image}")
    assert (oldest["width"], newest["width"], newest["height"]) == (300, 600, 450)
    assert [run.tags.get("dlcs/batch") for run in system.dagster.runs(customer=str(customer))] == ["17", None]
