"""What a command that waits says of images that wait."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from rich.console import Console

from dlcs_assets.cli import progress
from dlcs_assets.cli.progress import Follower, follow
from dlcs_assets.domain.errors import ServiceDownError
from dlcs_assets.domain.stages import Stage
from dlcs_assets_tests.cli.conftest import Desk

DOWN = ServiceDownError("appetiser_down", "Appetiser can't be reached", remedy="Start it.", stage=Stage.JP2)


def said_of(follower: Follower) -> list[str]:
    """Return what is printed until the time is up."""
    console = Console(file=io.StringIO(), width=300)
    follow(console, follower, limit=timedelta(seconds=0.6))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_reason_why_images_wait_is_shown_once(desk: Desk) -> None:
    """An image that waits for a service would otherwise look like one that is worked on."""
    follower = Follower(desk.ledger, ["2/1/x", "2/1/y", "2/1/z"])
    desk.failed("2/1/x", DOWN)
    desk.failed("2/1/y", DOWN)
    desk.send("2/1/z")
    lines = [line for line in said_of(follower) if "can't be reached" in line]
    assert len(lines) == 1
    assert lines[0].startswith(
        "2 images, such as 2/1/x: pending: jp2: Appetiser can't be reached (appetiser_down). Start"
    )
    assert "Tried again at" in lines[0]


def test_what_waits_for_long_without_a_reason_is_explained(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that no one takes in, an image that no run takes."""
    follower = Follower(desk.ledger, ["2/1/x", "2/1/y"])
    desk.send("2/1/y")
    assert not any("2/1/" in line for line in said_of(follower))
    monkeypatch.setattr(progress, "LONG_WAIT", timedelta(0))
    lines = said_of(follower)
    assert any(line.startswith("2/1/x: queued, no one has taken the message in") for line in lines)
    assert any(line.startswith("2/1/y: pending, no run has taken it") for line in lines)
