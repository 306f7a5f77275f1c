"""Files and messages that ask for far more than they are: each costs itself, and its neighbours are done.

`python -m bench bombs` measures what they cost, between a hundred good images.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dlcs_testing.bombs import CHANNELS, LIMITS, MessageBomb, bombs, message_bombs, send_bombs, send_good
from dlcs_testing.installation import full_message
from dlcs_testing.memory import MemoryWatch
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline

BOMBS = bombs()
MESSAGES = message_bombs()
PAGE = Path(__file__).parents[2] / "docs" / "security.md"
MEGABYTES_EACH = 160  # of a process that reads pictures: half of what it may take


def test_sixty_bombs_fail_alone_and_good_images_are_done(make_pipeline: Callable[..., Pipeline]) -> None:
    pipeline = make_pipeline(**LIMITS, attempts=1, chunk_size=40)
    asked = send_bombs(pipeline, BOMBS)
    good = send_good(pipeline, 8)
    with MemoryWatch() as watch:
        pipeline.settle()
    found = {image: pipeline.status(image) for image in asked}
    wrong = {
        asked[image].name: (status.state, status.error_code)
        for image, status in found.items()
        if status.state != "failed" or status.error_code not in asked[image].codes
    }
    assert wrong == {}
    assert {pipeline.status(image).state for image in good} == {"done"}
    assert set(pipeline.storage()) == set(good), "nothing of a bomb is published"
    assert pipeline.left_in_scratch() == []
    assert watch.peak_megabytes < MEGABYTES_EACH * min(4, os.cpu_count() or 1)


@pytest.mark.parametrize("bomb", MESSAGES, ids=lambda bomb: bomb.name)
def test_a_message_that_is_a_bomb_is_rejected(bomb: MessageBomb, pipeline: Pipeline) -> None:
    pipeline.send(bomb.draw(), full_message("2/1/page", pipeline.serve("page.jpg", jpeg(60, 40)), CHANNELS))
    (rejected,) = pipeline.ledger.inbox.rejected(limit=5)
    assert rejected["code"] in bomb.codes
    assert pipeline.status("2/1/page").state == "pending", "the message behind it was taken in"


def test_the_page_lists_all_bombs() -> None:
    page = " ".join(PAGE.read_text().split())
    names = [*(bomb.name for bomb in BOMBS), *(bomb.name for bomb in MESSAGES)]
    assert [name for name in names if name not in page] == []
    assert f"{len(names)} bombs" in page
