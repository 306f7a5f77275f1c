"""`dlcs demo`: ingests a sample manuscript in the embedded stack, and shows the results."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console

from dlcs_assets.cli.clients import make_storage
from dlcs_assets.cli.connection import adopt, open_ledger, read_settings
from dlcs_assets.cli.demo_images import DemoImage, demo_images
from dlcs_assets.cli.failure import FAILED
from dlcs_assets.cli.output import counting, make_console, print_table, shown_bytes, state_text
from dlcs_assets.cli.progress import Follower, follow, unfinished
from dlcs_assets.cli.send import Outgoing, send, upload
from dlcs_assets.cli.stack import (
    INTERRUPTED,
    AppetiserPortOption,
    AwsPortOption,
    DataOption,
    ImageServerPortOption,
    SharedDiskOption,
    UiPortOption,
    ViewPortOption,
    running,
    stay_up,
)
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.redaction import without_login
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger.reports import ImageStatus
from dlcs_assets.settings import Settings
from dlcs_stack import data_folder, samples
from dlcs_stack.aws import ORIGIN_BUCKET
from dlcs_stack.stack import HOST, Component, RunningStack

LIMIT = timedelta(minutes=5)
LIMIT_PER_IMAGE = timedelta(seconds=20)


def demo(
    data: DataOption = data_folder.DEFAULT_FOLDER,
    ui_port: UiPortOption = None,
    aws_port: AwsPortOption = None,
    appetiser_port: AppetiserPortOption = None,
    image_server_port: ImageServerPortOption = None,
    *,
    view_port: ViewPortOption = None,
    exit_: Annotated[
        bool, typer.Option("--exit", help="End when all images have; status 0 if each ended as expected.")
    ] = False,
    shared_disk: SharedDiskOption = False,
) -> None:
    """Ingest a sample manuscript in the embedded stack. It shows the results and stays up until Ctrl-C."""
    ports = {
        Component.AWS: aws_port,
        Component.APPETISER: appetiser_port,
        Component.IMAGE_SERVER: image_server_port,
        Component.WEBSERVER: ui_port,
        Component.VIEW: view_port,
    }
    raise typer.Exit(run(Demo(data, ports, stay=not exit_, shared_disk=shared_disk)))


@dataclass(frozen=True)
class Demo:
    """What the demo runs with."""

    data: Path
    ports: Mapping[Component, int | None] = field(default_factory=dict)
    stay: bool = False
    shared_disk: bool = False
    pages: tuple[samples.PagePlan, ...] = samples.DEFAULT_PLAN
    samples_folder: Path = samples.DEFAULT_FOLDER


def run(demo: Demo) -> int:
    """Run the demo; return the exit status."""
    console = make_console()
    status = INTERRUPTED
    with running(demo.data, demo.ports, console, shared_disk=demo.shared_disk) as stack, ExitStack() as also:
        adopt(stack.environment)
        settings = read_settings()
        console.print(f"The pages arrive at {settings.view_url}")
        images = demo_images(_draw(console, demo))
        web = also.enter_context(_on_the_web(images[0].sample.path.parent))
        try:
            found = _ingest(console, stack, settings, images, web)
        except IngestError:
            stack.check()  # a service that has ended is the better reason
            raise
        _show_table(console, images, found)
        status = report_outcomes(console, images, found)
        _show_links(console, settings, images, found)
        if demo.stay:
            console.print("Ctrl-C stops everything.")
            stay_up(stack)
    return status


def _draw(console: Console, demo: Demo) -> list[samples.Sample]:
    with counting(console, "Samples drawn", len(demo.pages)) as show:
        return samples.samples(demo.samples_folder, demo.pages, on_drawn=lambda done, _: show(done, ""))


def _ingest(
    console: Console, stack: RunningStack, settings: Settings, images: Sequence[DemoImage], web: str
) -> dict[str, ImageStatus | None]:
    storage = make_storage(settings)
    files = [(image.asset_id, image.sample.path) for image in images]
    with counting(console, "Uploaded", len(images)) as show:
        origins, failed = upload(storage, files, ORIGIN_BUCKET, lambda done: show(done, ""))
    for error in failed.values():
        raise error
    with open_ledger(settings) as ledger:
        follower = Follower(ledger, [str(image.asset_id) for image in images])
        send([_outgoing(image, origins[image.asset_id], web) for image in images], settings)
        storage.close()
        limit = LIMIT + len(images) * LIMIT_PER_IMAGE
        return follow(console, follower, limit=limit, check=stack.check)


@contextmanager
def _on_the_web(folder: Path) -> Iterator[str]:
    """Serve the samples for as long as the demo lasts, as a library's own web server does; yield the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Log nothing: the pipeline says what it fetches."""

    with ThreadingHTTPServer((HOST, 0), partial(Quiet, directory=str(folder))) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()


def _outgoing(image: DemoImage, origin: str, web: str) -> Outgoing:
    variant = image.variant
    if variant.over_http:
        origin = f"{web}/{quote(image.sample.path.name)}"
    return Outgoing(
        image.asset_id,
        origin,
        channels=variant.channels,
        max_unauthorised=variant.max_unauthorised,
        roles=variant.roles,
        lane=variant.lane,
    )


def _show_table(console: Console, images: Sequence[DemoImage], found: Mapping[str, ImageStatus | None]) -> None:
    rows = []
    for image in images:
        status = found[str(image.asset_id)]
        if status is None:
            rows.append((str(image.asset_id), state_text("queued"), "", "", ""))
            continue
        stages = "; ".join(result.outcome for result in status.stages.values())
        rows.append(
            (
                status.asset_id,
                state_text(status.state),
                shown_bytes(sum(stored.bytes for stored in status.objects)),
                f"{_seconds(status):.1f}",
                status.reason if status.reason and status.state != "done" else stages,
            )
        )
    console.print()
    print_table(
        console, ("image", "outcome", "stored", "seconds", "stages (original, jp2, thumbnails) or reason"), rows
    )
    console.print()


def _seconds(status: ImageStatus) -> float:
    """Return how long the stages worked on the image, without the time it waited."""
    milliseconds: int = sum(result.facts.get("milliseconds", 0) for result in status.stages.values())
    return milliseconds / 1000


def report_outcomes(console: Console, images: Sequence[DemoImage], found: Mapping[str, ImageStatus | None]) -> int:
    """Report whether every image ended as expected; return the exit status."""
    late = unfinished(dict(found))
    if late:
        console.print(f"{len(late)} of {len(images)} images have not ended in time:")
    for line in late:
        console.print(f"  {line}")
    wrong = []
    for image in images:
        status = found[str(image.asset_id)]
        if status and status.state in {"done", "failed", "rejected"} and not _as_expected(image, status):
            wrong.append(f"  {image.asset_id}: {status.state}, expected {image.expected}. {status.reason or ''}")
    if wrong:
        console.print(f"{len(wrong)} of {len(images)} images did not end as expected:")
    for line in wrong:
        console.print(line)
    if late or wrong:
        return FAILED
    broken = sum(image.sample.broken for image in images)
    console.print(
        f"All {len(images)} images ended as expected: {len(images) - broken} done, {broken} broken by design."
    )
    return 0


def _as_expected(image: DemoImage, status: ImageStatus) -> bool:
    if image.sample.broken:
        # A truncated file may be noticed where it is read or where it is converted; not by a service being down.
        return status.state == "failed" and status.error_stage in {Stage.ORIGINAL, Stage.JP2}
    return status.state == "done"


def _show_links(
    console: Console, settings: Settings, images: Sequence[DemoImage], found: Mapping[str, ImageStatus | None]
) -> None:
    console.print(f"Images:     {settings.view_url}")
    console.print(f"Dagster:    {settings.ui_url}")
    for image in images:
        status = found[str(image.asset_id)]
        if status and status.state == "done" and image.variant.channels is None and image.variant.roles is None:
            identifier = S3Location(settings.storage_bucket, status.asset_id).uri(settings.s3_uri_region)
            server = without_login(settings.image_server_url).rstrip("/")
            service = f"{server}/{settings.image_server_path}{quote(identifier, safe='')}"
            console.print(f"A picture:  {service}/full/!400,400/0/default.jpg")
            console.print(f"            {service}/info.json")
            return
