"""100,000 images in the ledger, 20,000 of them partitions of Dagster: how long ticks, commands and pages take."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from bench.result import Result, of_many
from bench.scale_data import ask_again, fill_dagster, fill_ledger, image_ids, keys_of
from bench.system import RunningSystem
from dlcs_assets.definitions import build_definitions
from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.jobs.prune_partitions import Window, prune
from dlcs_assets.defs.resources import build_resources
from dlcs_assets.domain.stages import Lane, Stage
from dlcs_assets.ledger.reports import Selection
from dlcs_testing.browser import chromium, new_page

GOAL = 5.0
ROUNDS = 3
MESSAGES = 500
PENDING = 10_000
PRUNED = 100
DLCS = Path(sys.executable).parent / "dlcs"
PAGE_TIMEOUT_MILLISECONDS = 120_000


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:  # noqa: ARG001 (rows, not pages)
    """Fill ledger and Dagster, then measure each part by itself, nothing else running but the webserver."""
    images = image_ids(5_000 if quick else 100_000)
    shown = images[-len(images) // 5 :]
    instance = dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"])
    yield _seconds("fill_ledger", lambda: fill_ledger(system.settings.ledger_url, images))
    yield _seconds("fill_dagster", lambda: fill_dagster(instance, keys_of(shown)))
    rounds = 1 if quick else ROUNDS
    yield from _pages(system, keys_of(shown)[0], rounds)
    yield from _commands(system, rounds)
    yield from _ticks(system, instance, shown, rounds)


def _commands(system: RunningSystem, rounds: int) -> Iterator[Result]:
    for name, arguments in {
        "dlcs_status": ["status"],
        "dlcs_status_customer": ["status", "--customer", "2"],
        "dlcs_status_failed": ["status", "--state", "failed"],
        "dlcs_status_one_image": ["status", "2/1/image-000-0"],
        "dlcs_status_batch": ["status", "--batch", "2", "--customer", "2"],
    }.items():
        yield _median(rounds, name, partial(_run, [str(DLCS), *arguments]))
    yield _median(rounds, "counts_of_all", system.ledger.reports.counts)
    yield _median(rounds, "counts_of_a_customer", lambda: system.ledger.reports.counts(Selection(customer=2)))


def _ticks(system: RunningSystem, instance: dg.DagsterInstance, shown: Sequence[str], rounds: int) -> Iterator[Result]:
    def tick(name: str) -> Callable[[], object]:
        return partial(evaluate, system, instance, name)

    for name in ("sqs_ingest", "due_images", "reconcile", "batches"):
        yield _median(rounds, f"tick_{name}_idle", tick(name), GOAL)
    url = system.settings.ledger_url
    ask_again(url, shown[:PENDING], Lane.BACKFILL)
    yield _median(rounds, f"tick_backfills_{PENDING}_pending", tick("backfills"), GOAL)
    yield _median(rounds, f"tick_sqs_ingest_with_{PENDING}_pending", tick("sqs_ingest"), GOAL)
    for each in range(rounds):
        system.send([(image, "https://example.org/x.jpg") for image in shown[-(each + 1) * MESSAGES :][:MESSAGES]])
        yield _seconds(f"tick_sqs_ingest_{MESSAGES}_messages_of_known_images_{each + 1}", tick("sqs_ingest"), GOAL)
    yield _median(rounds, "tick_reconcile_with_chunks_open", tick("reconcile"), GOAL)
    graph = build_definitions(system.settings).resolve_asset_graph()
    window = Window(datetime.now(UTC) - timedelta(days=30), len(shown) - PRUNED)
    yield _seconds(
        f"prune_{PRUNED}_keys", lambda: prune(instance, Catalog.of(system.settings), graph, system.ledger, window)
    )


def _pages(system: RunningSystem, key: str, rounds: int) -> Iterator[Result]:
    with chromium() as browser:
        page = new_page(browser, str(system.settings.ui_url))
        page.set_default_timeout(PAGE_TIMEOUT_MILLISECONDS)

        def partitions() -> None:
            page.goto(f"/assets/dlcs/{Stage.THUMBNAILS}?view=partitions")
            page.get_by_text(key, exact=True).first.wait_for()

        def one() -> None:
            page.get_by_text(key, exact=True).first.click()
            page.get_by_text("Latest materialization", exact=True).wait_for()

        def lineage() -> None:
            page.goto("/asset-groups")
            page.get_by_text("partition").first.wait_for()

        yield _seconds("page_partitions_first", partitions)
        yield _median(rounds, "page_partitions", partitions)
        yield _seconds("page_one_partition", one)
        yield _median(rounds, "page_lineage", lineage)


def evaluate(system: RunningSystem, instance: dg.DagsterInstance, name: str) -> Any:
    """Evaluate a sensor of the system's definitions, as a code server does."""
    repository = build_definitions(system.settings).get_repository_def()
    sensor = repository.get_sensor_def(name)
    resources = build_resources(system.settings)
    needed = {key: resources[key] for key in sensor.required_resource_keys}
    with dg.build_sensor_context(instance=instance, repository_def=repository, resources=needed) as context:
        return sensor(context)


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ})


def _seconds(metric: str, work: Callable[[], object], goal: float | None = None) -> Result:
    began = time.monotonic()
    work()
    return Result("scale", metric, round(time.monotonic() - began, 3), "s", goal)


def _median(rounds: int, metric: str, work: Callable[[], object], goal: float | None = None) -> Result:
    return of_many("scale", metric, [_seconds(metric, work).value for _ in range(rounds)], "s", goal)
