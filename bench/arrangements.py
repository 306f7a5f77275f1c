"""The arrangements of image servers side by side: the same pages, by what a run does, without Dagster and ledger."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.processes import of_this_bench, processor_seconds
from bench.result import Result
from bench.system import RunningSystem
from bench.thumbnail_work import workers
from bench.without_ledger import make_all
from dlcs_assets.defs.resources import make_services
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel, RequestedChannel
from dlcs_assets.domain.image_servers import ImageServerKind, SourceAccess
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.results import WorkItem
from dlcs_assets.domain.stages import STAGES
from dlcs_assets.domain.thumbnails import ThumbnailMaker
from dlcs_assets.ledger.records import new_id
from dlcs_assets.settings import Settings
from dlcs_stack.stack import Component
from dlcs_stack.supervisor import free_port, http_health
from dlcs_testing.iiif_processor.running import iiif_processor
from dlcs_testing.relay import relay_to
from dlcs_testing.stack_processes import of_service

WARMING_UP = 4  # pages before it counts: the services start their processes with the first


@dataclass(frozen=True)
class Arrangement:
    """What the settings differ in, and what runs next to the run and Appetiser: takes S3's address, returns a URL."""

    name: str
    policy: str
    server: Callable[[Path, str], AbstractContextManager[str]]
    settings: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def embedded(scratch: Path, s3: str) -> Iterator[str]:
    """Run the embedded image server."""
    port = free_port()
    command = [sys.executable, "-m", "dlcs_stack.image_server", "--port", str(port), "--s3-endpoint", s3]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen([*command, "--path-root", str(scratch)], stderr=subprocess.DEVNULL) as process:
        problem = http_health(f"{url}/health")
        try:
            while problem() is not None:
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()


def none(_scratch: Path, _s3: str) -> AbstractContextManager[str]:
    """Appetiser is there already."""
    return nullcontext("http://127.0.0.1:1")


DISK = {"image_server_sources": SourceAccess.DISK}
PROCESSOR = {"image_server_kind": ImageServerKind.IIIF_PROCESSOR}
FIRST_CUSTOMER = 600
# A server that reads no JP2 is refused while there are images that become JP2s by default.
CUSTOMERS = """
customers:
  {customer}:
    default_channels:
      - {{media_type: image/*, channel: iiif-img, policy: use-original}}
      - {{media_type: image/*, channel: thumbs, policy: default}}
"""
APPETISER = {"thumbnails_by": ThumbnailMaker.APPETISER}
ARRANGEMENTS = (
    Arrangement("1_jp2", "default", embedded),
    Arrangement("2_and_3_jp2", "default", embedded, DISK),
    Arrangement("6_jp2", "default", none, APPETISER),
    Arrangement("1_original", "use-original", embedded),
    Arrangement("2_and_3_original", "use-original", embedded, DISK),
    Arrangement("5_in_place_of_1_original", "use-original", iiif_processor, PROCESSOR),
    Arrangement("5_in_place_of_2_original", "use-original", iiif_processor, PROCESSOR | DISK),
    Arrangement("6_original", "use-original", none, APPETISER),
)


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    """Have the same pages made in each arrangement. Origins are in the upload bucket: what is read counts them, too."""
    count = 2 if quick else 12
    for customer, arrangement in enumerate(ARRANGEMENTS, FIRST_CUSTOMER):
        yield from _measure(system, pages, count, customer, arrangement)


def _measure(
    system: RunningSystem, pages: list[Path], count: int, customer: int, arrangement: Arrangement
) -> Iterator[Result]:
    images = [f"{customer}/1/{number}" for number in range(WARMING_UP + count)]
    origins = {image: system.upload(page, image) for image, page in zip(images, itertools.cycle(pages), strict=False)}
    endpoint = system.stack.url(Component.AWS) or ""
    s3_port = int(endpoint.rpartition(":")[2])
    customers = system.stack.data / f"{customer}.yaml"
    customers.write_text(CUSTOMERS.format(customer=customer))
    with (
        relay_to(s3_port) as s3,
        arrangement.server(system.settings.scratch, f"http://127.0.0.1:{s3.port}") as url,
    ):
        update = {
            "s3_endpoint_url": f"http://127.0.0.1:{s3.port}",
            "image_server_url": url,
            "customers_file": customers,
            **arrangement.settings,
        }
        run = Run(system.settings.model_copy(update=update), arrangement.policy, origins)
        run.make(images[:WARMING_UP])
        storage = of_service(system.stack, Component.AWS)
        read, used, began = s3.bytes, processor_seconds(of_this_bench(storage)), time.monotonic()
        run.make(images[WARMING_UP:])
        seconds = time.monotonic() - began
        used, read = processor_seconds(of_this_bench(storage)) - used, s3.bytes - read
    yield Result("arrangements", f"images_per_second_{arrangement.name}", round(count / seconds, 2), "/s")
    yield Result("arrangements", f"megabytes_from_s3_per_image_{arrangement.name}", round(read / count / 1e6, 2), "MB")
    yield Result("arrangements", f"processor_seconds_per_image_{arrangement.name}", round(used / count, 2), "s")


@dataclass(frozen=True)
class Run:
    """What a run does for its images, without events and rows."""

    settings: Settings
    policy: str
    origins: Mapping[str, str]

    def make(self, images: list[str]) -> None:
        """Take the images through all stages."""
        services = make_services(self.settings)
        with workers(self.settings) as (threads, sizes):

            def ingest(image: str) -> None:
                channels = (
                    RequestedChannel(Channel.IIIF_IMG, self.policy),
                    RequestedChannel(Channel.THUMBS, "default"),
                )
                registration = Registration(self.origins[image], "image/jpeg", channels)
                item = WorkItem(new_id(), AssetId.parse(image), registration, frozenset(STAGES))
                make_all(item, services, self.settings, sizes)

            list(threads.map(ingest, images))
