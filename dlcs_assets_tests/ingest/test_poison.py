"""An image that kills each process that works on it: real processes, killed from outside as they fetch its original."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from dlcs_assets.ingest.policy import retry_schedule
from dlcs_testing.installation import full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline
from dlcs_testing.poison import poisonous_origin

POISON = "2/1/poison"
GOOD = [f"2/1/page-{number:02}" for number in range(11)]
CHANNELS = "file"
IN_FLIGHT = 2
MAX_RUNS = 20
FORKED = multiprocessing.get_context("fork")


@pytest.fixture(params=["sqlite", "postgresql"])
def small(request: pytest.FixtureRequest, make_pipeline: Callable[..., Pipeline]) -> Pipeline:
    """An installation with two images in progress at a time."""
    where = {}
    if request.param == "postgresql":
        where["ledger_url"] = request.getfixturevalue("postgresql_server").new_database()
    return make_pipeline(images_in_flight=IN_FLIGHT, **where)


def work(pipeline: Pipeline) -> list[tuple[int, bool]]:
    """Work on what is due in a process for each chunk; return of each how many images it had, and whether it died."""
    runs = []
    for chunk in pipeline.due():
        claim = pipeline.claim(chunk)
        pipeline.close()  # no connection may come into two processes
        process = FORKED.Process(target=pipeline.run, args=[claim])
        process.start()
        process.join()
        died = process.exitcode == -signal.SIGKILL
        assert died or process.exitcode == 0
        # As reconcile does for a run whose process has gone.
        schedule = retry_schedule(pipeline.settings)
        pipeline.ledger.claims.release_run(claim.run_id, schedule=schedule, now=datetime.now(UTC))
        runs.append((len(chunk.images), died))
    return runs


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_poisonous_image_fails_alone(small: Pipeline, attempts: int) -> None:
    """Those of its chunk end done with the one attempt that they needed, also if that is all they have."""
    small.use(attempts=attempts)
    page = small.serve("page.jpg", jpeg(30, 20))
    with poisonous_origin() as origin:
        small.send(
            full_message(GOOD[0], page, CHANNELS),
            full_message(POISON, origin.url, CHANNELS),
            *(full_message(image, page, CHANNELS) for image in GOOD[1:]),
        )
        runs: list[tuple[int, bool]] = []
        while more := work(small):
            runs += more
            assert len(runs) < MAX_RUNS
    ended = {image: (small.status(image).state, small.status(image).attempts) for image in GOOD}
    assert ended == dict.fromkeys(GOOD, ("done", 1))
    poison = small.status(POISON)
    assert (poison.state, poison.attempts, poison.error_code) == ("failed", attempts, "run_lost")
    assert "by itself" in (poison.reason or "")
    assert "dlcs retry --reason run_lost" in (poison.reason or "")
    # First all of the chunk, then those that were begun with it and had not ended, then it by itself.
    first, *others = [size for size, died in runs if died]
    assert first == 1 + len(GOOD)
    assert all(size <= 2 * IN_FLIGHT for size in others)
    assert others[-1] == 1
    assert len(origin.killed) == 1 + len(others)
