"""Bytes between the run, the image server and S3 for each image, by row of the plan, next to what is stored of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench import without_ledger
from bench.arrangements import embedded
from bench.result import Result
from bench.rows import ROW_1, ROW_4, ROW_5, ROW_8, Library, Row, as_jp2, library, make_shelf, write_customers
from bench.system import RunningSystem
from dlcs_stack import aws
from dlcs_stack.stack import Component
from dlcs_testing.relay import relay_to

ROWS = {800: ROW_1, 801: ROW_4, 802: ROW_5, 803: ROW_8}  # by customer


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    """Take the same pages through each row."""
    pages = pages[: 2 if quick else 7]
    make_shelf(system)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = {"pages": pages, "jp2": [as_jp2(page, folder / f"{number}.jp2") for number, page in enumerate(pages)]}
        customers = folder / "dlcs.yaml"
        write_customers(customers, list(ROWS))
        changed = replace(system, settings=system.settings.model_copy(update={"customers_file": customers}))
        with library(files) as origins:
            for customer, row in ROWS.items():
                yield from _of(changed, origins, row, customer)


def _of(system: RunningSystem, origins: Library, row: Row, customer: int) -> Iterator[Result]:
    """Pass all that is read and written through relays that count: from origins, of the run, of the image server."""
    files = origins.files[row.kind]
    s3_port = _port(system.stack.url(Component.AWS) or "")
    with (
        relay_to(_port(origins.url)) as of_origins,
        relay_to(s3_port) as of_run,
        relay_to(s3_port) as of_server,
        embedded(system.settings.scratch, f"http://127.0.0.1:{of_server.port}") as url,
    ):
        update = {"s3_endpoint_url": f"http://127.0.0.1:{of_run.port}", "image_server_url": url}
        relayed = replace(origins, url=f"http://127.0.0.1:{of_origins.port}")
        messages = relayed.messages(system, row, len(files), customer)
        changed = replace(system, settings=system.settings.model_copy(update=update))
        without_ledger.ingest(changed, messages, f"transfer-{customer}")
    figures = {
        "of_originals": sum(path.stat().st_size for path in files),
        "read_by_the_run": of_origins.bytes + of_run.bytes,
        "read_by_the_image_server": of_server.bytes,
        "written": of_run.sent,
        "stored": _stored(system, customer),
    }
    for name, count in figures.items():
        yield Result("transfer", f"megabytes_{name}_{row.name}", round(count / len(files) / 1e6, 3), "MB")


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _stored(system: RunningSystem, customer: int) -> int:
    total = 0
    for bucket in (aws.STORAGE_BUCKET, aws.THUMBS_BUCKET):
        pages = system.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{customer}/")
        total += sum(item["Size"] for page in pages for item in page.get("Contents", ()))
    return total
