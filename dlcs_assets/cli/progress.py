"""Follows images from the queue to their end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from rich.console import Console

from dlcs_assets.cli.output import counting
from dlcs_assets.domain.request_states import SHOWN_ENDED, ShownState
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.reports import ImageStatus, Selection

POLL_INTERVAL = timedelta(seconds=0.5)
LONG_WAIT = timedelta(seconds=20)  # after which what waits without a reason of its own is explained
QUEUED = "no one has taken the message in: are daemon and code server up, and do they read this queue? See dlcs doctor"
NOT_LAUNCHED = "no run has taken it: the ticks of the sensors sqs_ingest and due_images say why. See dlcs doctor"


class Follower:
    """Reports the states of images whose messages are sent after it was made."""

    def __init__(self, ledger: Ledger, ids: Iterable[str]) -> None:
        self._ledger = ledger
        self._selection = Selection(ids=tuple(ids))
        self._before = {status.asset_id: _request(status) for status in ledger.reports.images(self._selection)}
        self._rejected_before = {row["id"] for row in ledger.inbox.rejected()}

    def look(self) -> dict[str, ImageStatus | None]:
        """Return the state of each image; None while the message waits in its queue."""
        found: dict[str, ImageStatus | None] = dict.fromkeys(self._selection.ids)
        for status in self._ledger.reports.images(self._selection):
            if self._before.get(status.asset_id) != _request(status):
                found[status.asset_id] = status
        if None in found.values():
            self._add_rejected(found)
        return found

    def _add_rejected(self, found: dict[str, ImageStatus | None]) -> None:
        """Add images that are known from before, whose new message was rejected."""
        for row in self._ledger.inbox.rejected():
            image_id = row["image_id"]
            if row["id"] not in self._rejected_before and image_id in found and found[image_id] is None:
                found[image_id] = ImageStatus(
                    image_id,
                    ShownState.REJECTED,
                    error_code=row["code"],
                    error_cause=row["cause"],
                    error_remedy=row["remedy"],
                )


def follow(
    console: Console,
    follower: Follower,
    *,
    limit: timedelta | None = None,
    check: Callable[[], None] = lambda: None,
) -> dict[str, ImageStatus | None]:
    """Show how far the images are, and why some wait, until all have ended or the time is up; return where they are.

    `check` is called again and again; it raises when there is nothing left to wait for.
    """
    began = time.monotonic()
    explained: set[str] = set()
    found = follower.look()
    with counting(console, "Images", len(found)) as show:
        while True:
            found = follower.look()
            seconds = time.monotonic() - began
            ended = [status for status in found.values() if status and status.state in SHOWN_ENDED]
            show(len(ended), f"({_note(found.values(), len(ended) / seconds if seconds > 1 else 0)})")
            for reason, line in _reasons(found, waits_long=seconds >= LONG_WAIT.total_seconds()).items():
                if reason not in explained:
                    console.print(line, markup=False, soft_wrap=True)
                    explained.add(reason)
            if len(ended) == len(found) or (limit is not None and seconds >= limit.total_seconds()):
                return found
            check()
            time.sleep(POLL_INTERVAL.total_seconds())


def _reasons(found: dict[str, ImageStatus | None], *, waits_long: bool) -> dict[str, str]:
    """Return a line for each reason for which images wait, by that reason; of those that have none once it is long."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for image_id, status in found.items():
        if status is None:
            if waits_long:
                groups.setdefault(QUEUED, []).append((image_id, "queued"))
        elif status.state not in SHOWN_ENDED and status.reason:
            again = f" Tried again at {status.due_at:%H:%M:%S} UTC." if status.due_at else ""
            groups.setdefault(f"{status.error_code}", []).append((image_id, f"{status.state}: {status.reason}{again}"))
        elif status.state == ShownState.PENDING and waits_long:
            groups.setdefault(NOT_LAUNCHED, []).append((image_id, "pending"))
    lines = {}
    for reason, images in groups.items():
        image_id, why = images[0]
        who = image_id if len(images) == 1 else f"{len(images)} images, such as {image_id}"
        lines[reason] = f"{who}: {why}{f', {reason}' if reason in {QUEUED, NOT_LAUNCHED} else ''}"
    return lines


def unfinished(found: dict[str, ImageStatus | None]) -> list[str]:
    """Return a line for each image that has not ended: where it is and why."""
    lines = []
    for image_id, status in found.items():
        if status is None:
            lines.append(f"{image_id}: its message is still in the queue, or was received by someone else")
        elif status.state not in SHOWN_ENDED:
            lines.append(f"{image_id}: {status.state}{': ' if status.reason else ''}{status.reason or ''}")
    return lines


def _note(found: Iterable[ImageStatus | None], rate: float) -> str:
    counts = Counter("queued" if status is None else status.state for status in found)
    parts = [f"{counts[state]} {state}" for state in ("queued", *ShownState) if counts[state]]
    return ", ".join([*parts, *([f"{rate:.2f} images/s"] if rate else [])])


def _request(status: ImageStatus) -> Sequence[object]:
    return status.request_id, status.created_at
