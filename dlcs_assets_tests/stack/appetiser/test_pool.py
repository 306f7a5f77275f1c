from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from dlcs_assets_tests.stack.appetiser.markers import profile_of
from dlcs_stack.appetiser.app import AppetiserConfig
from dlcs_stack.appetiser.pool import PixelBudget
from dlcs_testing.appetiser_pictures import page
from dlcs_testing.appetiser_service import Answer, Appetiser, served


def _workers() -> list[psutil.Process]:
    return [process for process in psutil.Process().children() if "dlcs_stack.appetiser.worker" in process.cmdline()]


def _convert_sizes(service: Appetiser, folder: Path, edges: range) -> None:
    def convert(edge: int) -> Answer:
        source = folder / f"{edge}.png"
        page(edge, 60).save(source)
        return service.convert(source, folder / f"{edge}.jp2")

    with ThreadPoolExecutor(len(edges)) as threads:
        answers = list(threads.map(convert, edges))
    assert [answer.size for answer in answers] == [(edge, 60) for edge in edges]
    assert [profile_of(folder / f"{edge}.jp2").width for edge in edges] == list(edges)


def test_parallel_requests_each_get_their_own_image(appetiser: Appetiser, tmp_path: Path) -> None:
    _convert_sizes(appetiser, tmp_path, range(100, 116))


def test_images_beyond_the_pixel_budget_wait_and_are_done(tmp_path: Path) -> None:
    with served(AppetiserConfig(workers=3, pixels_in_flight=7000)) as service:
        _convert_sizes(service, tmp_path, range(100, 109))


def test_a_worker_that_died_while_idle_fails_no_request(tmp_path: Path) -> None:
    before = set(_workers())
    page(50, 50).save(tmp_path / "a.png")
    with served(AppetiserConfig(workers=1)) as service:
        assert service.convert(tmp_path / "a.png", tmp_path / "o.jp2").size == (50, 50)
        (worker,) = set(_workers()) - before
        worker.kill()
        worker.wait(10)
        assert service.convert(tmp_path / "a.png", tmp_path / "o.jp2").size == (50, 50)


def test_the_workers_end_with_the_service() -> None:
    before = set(_workers())
    with served(AppetiserConfig(workers=2)) as service:
        service.client.get("/ping")
        assert len(set(_workers()) - before) == 2
    assert set(_workers()) <= before


def _start(work: object, budget: PixelBudget, pixels: int, done: list[object]) -> threading.Thread:
    def run() -> None:
        with budget.hold(pixels):
            done.append(work)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_large_image_is_not_overtaken_by_later_small_ones() -> None:
    """A steady stream of small images must not keep a large one waiting indefinitely."""
    budget = PixelBudget(100)
    done: list[object] = []
    with budget.hold(60):
        large = _start("large", budget, 90, done)
        while not budget._waiting:  # until it stands in the queue
            large.join(0.01)
        small = _start("small", budget, 30, done)
        small.join(0.05)
        assert done == []
    large.join(10)
    small.join(10)
    assert done == ["large", "small"]


def test_an_image_larger_than_the_budget_is_converted_alone() -> None:
    budget = PixelBudget(100)
    done: list[object] = []
    with budget.hold(1000):
        other = _start("other", budget, 1, done)
        other.join(0.05)
        assert done == []
    other.join(10)
    assert done == ["other"]
