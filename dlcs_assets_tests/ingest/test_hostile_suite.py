"""All hostile origins and files in the chunks of one customer, good images between them.

Each ends for its own reason, within limits of time and bytes; the good ones are done.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from dlcs_assets_tests.clients.hostile_origins import CASES
from dlcs_assets_tests.ingest.hostile_files import File, files
from dlcs_testing.installation import full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline
from dlcs_testing.raw_server import raw_server

FILES = tuple(files())
ORIGINS = tuple(case for case in CASES if case.code != "fetched" and case.options is None)
CHANNELS = "iiif-img:default,thumbs:default"
GOOD = 6
PAGE = Path(__file__).parents[2] / "docs" / "security.md"


def name_of(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def send_good(pipeline: Pipeline) -> list[str]:
    images = [f"2/1/good-{number}" for number in range(GOOD)]
    for number, image in enumerate(images):
        pipeline.send(full_message(image, pipeline.serve(f"good-{number}.jpg", jpeg(120, 90 + number)), CHANNELS))
    return images


def test_hostile_files_fail_alone_and_good_images_are_done(
    make_pipeline: Callable[..., Pipeline],
) -> None:
    pipeline = make_pipeline(attempts=1, chunk_size=20)
    asked = {f"2/1/{name_of(file.name)}": file for file in FILES}
    assert len(asked) == len(FILES)
    for image, file in asked.items():
        url = pipeline.serve(name_of(file.name), file.data, headers=(("Content-Type", file.media_type),))
        pipeline.send(full_message(image, url, CHANNELS))
    good = send_good(pipeline)
    pipeline.settle()
    found = {image: pipeline.status(image).error_code for image in asked}
    assert {image: code for image, code in found.items() if code not in asked[image].codes} == {}
    assert {pipeline.status(image).state for image in good} == {"done"}
    assert pipeline.left_in_scratch() == []
    assert set(pipeline.storage()) == set(good), "nothing of a hostile file is published"


def test_hostile_origins_fail_alone_and_good_images_are_done(
    make_pipeline: Callable[..., Pipeline],
) -> None:
    pipeline = make_pipeline(
        attempts=1, chunk_size=20, images_in_flight=10, origin_max_bytes=100_000, origin_timeout=timedelta(seconds=4)
    )
    asked = {f"2/1/{name_of(case.name)}": case for case in ORIGINS}
    assert len(asked) == len(ORIGINS)
    with ExitStack() as opened:
        for image, case in asked.items():
            server = opened.enter_context(raw_server(case.behave))
            pipeline.send(full_message(image, f"{server.url}/x", CHANNELS))
        good = send_good(pipeline)
        pipeline.settle()
    slow = {"origin_too_slow", "origin_timeout"}  # whichever limit is reached first
    wrong = {
        image: code
        for image, case in asked.items()
        if (code := pipeline.status(image).error_code) != case.code and not (code in slow and case.code in slow)
    }
    assert wrong == {}
    assert {pipeline.status(image).state for image in good} == {"done"}
    assert pipeline.left_in_scratch() == []


def test_there_are_more_than_sixty_and_all_are_listed() -> None:
    assert len(FILES) + len(CASES) > 60
    page = " ".join(PAGE.read_text().split())
    names = [file.name for file in FILES] + [case.name for case in CASES]
    missing = [name for name in names if name not in page]
    assert missing == []
    assert f"{len(names)} cases" in page


@pytest.mark.parametrize("file", FILES, ids=lambda file: name_of(file.name))
def test_no_hostile_file_is_large(file: File) -> None:
    assert len(file.data) < 500_000, "they are bombs by what they say, not by what they weigh"
