"""Backfills that people launch: of two spaces at once, the run of one of them killed in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets_tests.e2e.killing import (
    appetiser_held_up,
    check_recovered,
    images_of,
    kill_in_the_middle,
    send_images,
)
from dlcs_stack.stack import RunningStack
from dlcs_testing.waiting import eventually
from dlcs_testing.whole_system import System

pytestmark = pytest.mark.e2e

CUSTOMER = 98


@dataclass(frozen=True)
class Backfill:
    """A backfill of all stages of some images, all of one space."""

    id: str
    images: Sequence[str]


@pytest.fixture(scope="module")
def backfills(system: System) -> tuple[Backfill, Backfill]:
    """Launch both at once, because Dagster looks at its backfills only twice a minute."""
    many, small = images_of(CUSTOMER, space=1), [f"{CUSTOMER}/2/page-{number}" for number in range(4)]
    other = f"{CUSTOMER}/3/page"
    send_images(system, many)
    system.send_pages([*small, other], width=320, height=240)
    system.await_end([*many, *small, other])
    system.await_materialized(f"@{CUSTOMER}/", len(many) + len(small) + 1)
    ids = [system.dagster.launch_backfill(STAGES, [f"@{image}" for image in images]) for images in (many, small)]
    return Backfill(ids[0], many), Backfill(ids[1], small)


def test_a_backfill_whose_run_is_killed_leaves_every_image_done(
    stack: RunningStack, system: System, backfills: tuple[Backfill, Backfill]
) -> None:
    backfill, _ = backfills
    with appetiser_held_up(stack):
        killed = kill_in_the_middle(
            stack, system, lambda: next(iter(system.dagster.runs_of_backfill(backfill.id)), None)
        )
    check_recovered(stack, system, killed, backfill.images)


def test_a_backfill_of_a_space_is_one_run_with_tags(system: System, backfills: tuple[Backfill, Backfill]) -> None:
    """All images of the space are materialised again, and none of another space."""
    _, backfill = backfills
    eventually(
        lambda: system.dagster.backfill_status(backfill.id), lambda status: status == "COMPLETED_SUCCESS", timeout=120
    )
    (run,) = system.dagster.runs_of_backfill(backfill.id)
    tags = {name: run.tags[f"dlcs/{name}"] for name in ("customer", "space", "lane")}
    assert (run.status, tags) == ("SUCCESS", {"customer": str(CUSTOMER), "space": "2", "lane": "manual"})

    space = AssetId.parse(backfill.images[0]).space
    system.await_materialized(f"@{CUSTOMER}/{space}/", len(backfill.images))
    for image in backfill.images:
        assert len(system.dagster.materializations(Stage.THUMBNAILS, f"@{image}")) == 2
    assert len(system.dagster.materializations(Stage.THUMBNAILS, f"@{CUSTOMER}/3/page")) == 1  # not of the space
    assert {system.images(CUSTOMER)[image].lane for image in backfill.images} == {"manual"}
