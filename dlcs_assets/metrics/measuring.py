"""Measures an installation: the ledger, the queues, and the disks and permits of this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from dlcs_assets.clients.file_semaphore import permits_held
from dlcs_assets.clients.sqs import Queues
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.metrics.metric import Metric, Unit
from dlcs_assets.settings import Settings

RECENT: Final = timedelta(minutes=15)


def measure(ledger: Ledger, queues: Queues, settings: Settings, *, now: datetime) -> list[Metric]:
    """Return all metrics. A metric that can't be measured from here at the moment has no values."""
    return [*_of_ledger(ledger, settings, now), *_of_queues(queues, settings), *_of_machine(settings)]


def _of_ledger(ledger: Ledger, settings: Settings, now: datetime) -> Iterator[Metric]:
    health = ledger.health
    stalled = health.stalled(now - settings.stalled_after)
    yield _by(
        "oldest_due",
        "Age of a customer's image that is longest due, since when it is.",
        "customer",
        {str(customer): (now - since).total_seconds() for customer, since in health.oldest_due(now).items()},
        Unit.SECONDS,
    )
    yield _by("unfinished_images", "Images asked for that have not ended, by lane.", "lane", health.unfinished())
    yield _by("failed_images", "Images that failed and were not asked for again, by reason.", "reason", health.failed())
    yield _by(
        "recent_failures",
        f"Images that failed in the last {RECENT.total_seconds() / 60:.0f} minutes, by reason.",
        "reason",
        health.failed(since=now - RECENT),
    )
    yield _by(
        "images_waiting_for_service",
        "Images that wait because a service was found down (its circuit is open), by the service.",
        "service",
        health.waiting_for_services(),
    )
    yield _one(
        "stalled_images", "Images in progress for longer than DLCS_STALLED_AFTER.", sum(s.count for s in stalled)
    )
    yield _one("damaged_objects", "Stored objects that the fixity audit found damaged.", len(ledger.fixity.damaged()))
    yield _one(
        "rejected_messages",
        "Messages that could not be used and are kept: the dead letters.",
        health.rejected_messages(),
    )
    yield _one(
        "unpublished_notifications", "Notifications that are to be published and are not yet.", health.unpublished()
    )
    yield _one("unreported_outcomes", "Outcomes that are not yet reported to Dagster.", health.unreported())
    yield _one("images_in_work", "Images that a run holds.", health.in_progress())
    beat = health.oldest_heartbeat()
    yield _one(
        "oldest_heartbeat",
        "Age of the oldest heartbeat among runs at work; 0 if there is none.",
        (now - beat).total_seconds() if beat else 0,
        Unit.SECONDS,
    )
    yield _one("ledger_size", "Size of the ledger's database.", health.size(), Unit.BYTES)


def _of_queues(queues: Queues, settings: Settings) -> Iterator[Metric]:
    urls = {
        "ingest": settings.ingest_queue_url,
        "priority": settings.priority_queue_url,
        "uploads": settings.uploads_queue_url,
    }
    waiting: dict[str, float] = {}
    received: dict[str, float] = {}
    for name, url in urls.items():
        if url is None:
            continue
        try:
            depth = queues.depth(url)
        except IngestError:  # the sensor of that queue reports it
            continue
        waiting[name], received[name] = depth.waiting + depth.delayed, depth.in_flight
    yield _by("queue_waiting_messages", "Messages to be received, about.", "queue", waiting)
    yield _by("queue_received_messages", "Messages received and not yet deleted, about.", "queue", received)


def _of_machine(settings: Settings) -> Iterator[Metric]:
    yield _by(
        "requests_in_flight",
        "Requests in flight to a service from the runs of this machine.",
        "service",
        _permits_by_service(settings.slots),
    )
    size: float | None = None
    free: float | None = None
    with suppress(OSError):  # it is not there, or its disk does not answer: `dlcs doctor` says so
        size, free = _size(settings.scratch), shutil.disk_usage(settings.scratch).free
    yield _one("scratch_size", "What is in the scratch folder.", size, Unit.BYTES)
    yield _one("scratch_free", "Room on the scratch folder's disk.", free, Unit.BYTES)


def _by(name: str, meaning: str, label: str, values: Mapping[str, float], unit: Unit = Unit.COUNT) -> Metric:
    return Metric(name, meaning, unit, label, values)


def _one(name: str, meaning: str, value: float | None, unit: Unit = Unit.COUNT) -> Metric:
    return Metric(name, meaning, unit, None, {} if value is None else {"": value})


def _permits_by_service(slots: Path) -> dict[str, float]:
    held: dict[str, float] = {}
    for folder in slots.iterdir() if slots.is_dir() else ():
        service = folder.name.rpartition("-")[0]
        if not service:  # the budget of memory, which is no service
            continue
        held[service] = held.get(service, 0) + permits_held(folder)
    return held


def _size(folder: Path) -> float:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat(follow_symlinks=False).st_size
        except OSError:  # it is gone, or in a folder that is not ours
            continue
    return total
