"""The client of the image server, and a real image server whose answers are spoiled on their way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.clients.image_server import ImageServer, ThumbnailBytes
from dlcs_assets.clients.retrying import CircuitOpenError
from dlcs_assets.domain.errors import IngestError, TransientError
from dlcs_assets.domain.iiif_size import Size
from dlcs_stack.image_server.config import Config
from dlcs_testing.image_server_service import listening
from dlcs_testing.misbehaving import Fault, Load, Misbehaving, misbehaving
from dlcs_testing.pictures import drawing, encoded

IMAGES = 10  # for each fault alone
IMAGES_UNDER_ALL = 30
PAGE = Size(240, 360)
SIZES = {"!160,160": Size(107, 160), "!120,120": Size(80, 120), "!90,90": Size(60, 90), "!60,60": Size(40, 60)}
ROUNDS = 5  # of the ledger, which has an image tried again


@pytest.fixture(scope="module")
def many_pages(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pages")
    paths = [folder / f"{number}.jpg" for number in range(IMAGES_UNDER_ALL)]
    for number, path in enumerate(paths):
        path.write_bytes(encoded(drawing(PAGE.width, PAGE.height, seed=number)))
    return [str(path) for path in paths]


@pytest.fixture
def pages(many_pages: list[str]) -> list[str]:
    return many_pages[:IMAGES]


@pytest.fixture(scope="module")
def image_server(many_pages: list[str]) -> Iterator[str]:
    with listening(Config(path_roots=(Path(many_pages[0]).parent,), workers=1)) as url:
        yield url


@contextmanager
def client_of(server: Misbehaving, **options: Any) -> Iterator[ImageServer]:
    defaults: dict[str, Any] = {
        "url": server.url,
        "in_flight": 8,
        "first_delay_seconds": 0.01,
        "longest_delay_seconds": 0.05,
        "timeout_seconds": 0.7,
        "circuit_pause_seconds": 0.05,
    }
    client = ImageServer(**(defaults | options))
    try:
        yield client
    finally:
        client.close()


def thumbnails(client: ImageServer, page: str) -> dict[str, Size]:
    """Make all sizes of an image, in one session."""
    session = client.session()
    made = {}
    for parameter in SIZES:
        thumbnail = session.thumbnail(page, parameter, parameter, PAGE)
        assert isinstance(thumbnail, ThumbnailBytes)
        made[parameter] = thumbnail.size
    return made


def outcome(client: ImageServer, page: str) -> dict[str, Size] | IngestError:
    try:
        return thumbnails(client, page)
    except IngestError as error:
        return error


def all_pages(client: ImageServer, pages: list[str]) -> tuple[dict[str, dict[str, Size]], list[IngestError]]:
    """Have each image tried until it is done, as the ledger has it; return what was made, and every failure."""
    done: dict[str, dict[str, Size]] = {}
    failures: list[IngestError] = []
    with ThreadPoolExecutor(8) as pool:
        for _ in range(ROUNDS):
            left = [page for page in pages if page not in done]
            for page, result in zip(left, pool.map(lambda page: outcome(client, page), left), strict=True):
                if isinstance(result, IngestError):
                    failures.append(result)
                else:
                    done[page] = result
    return done, failures


@pytest.mark.parametrize("fault", Fault)
def test_a_fifth_of_bad_answers_spoils_no_thumbnail(image_server: str, pages: list[str], fault: Fault) -> None:
    """For each kind of fault every size comes out right, with at most twice as many requests as sizes."""
    with misbehaving(image_server, faults=[fault], share=0.2) as server, client_of(server) as client:
        done, failures = all_pages(client, pages)
        assert done == dict.fromkeys(pages, SIZES)
        assert all(isinstance(failure, TransientError) for failure in failures)
        assert server.met[fault] > 0
        assert server.requests <= 2 * len(SIZES) * len(pages)


def test_all_faults_together_spoil_no_thumbnail(image_server: str, many_pages: list[str]) -> None:
    """With all kinds of faults at once every size comes out right, with two requests each at most."""
    with misbehaving(image_server, share=0.2, seed=6) as server, client_of(server) as client:
        done, failures = all_pages(client, many_pages)
        assert done == dict.fromkeys(many_pages, SIZES)
        assert all(isinstance(failure, TransientError) for failure in failures)
        assert set(server.met) == set(Fault)
        assert server.requests <= 2 * len(SIZES) * len(many_pages)


def test_a_server_that_fails_under_load_gets_fewer_requests(image_server: str, pages: list[str]) -> None:
    """Failures in proportion to load must not be answered by as many repeated requests."""
    faults = [Fault.BUSY_503, Fault.ERROR_500, Fault.RESETTING]
    load = Load(more_than=3, share=0.6)
    with (
        misbehaving(image_server, faults=faults, load=load, pause_seconds=0.02) as server,
        client_of(server, in_flight=16) as client,
    ):
        done, _ = all_pages(client, pages)
        assert done == dict.fromkeys(pages, SIZES)
        assert server.requests <= 1.5 * len(SIZES) * len(pages)
        assert client.limit.permits < 8


def test_calls_fail_at_once_while_the_server_is_down(image_server: str, pages: list[str]) -> None:
    """When it is back, a few calls close the circuit again, and all thumbnails are made."""
    with misbehaving(image_server) as server, client_of(server) as client:
        assert thumbnails(client, pages[0]) == SIZES
        server.stop()
        while not client.circuit.is_open:
            assert isinstance(outcome(client, pages[0]), TransientError)
        down = [outcome(client, page) for page in pages for _ in range(10)]
        assert all(isinstance(error, CircuitOpenError) for error in down)
        server.start()
        deadline = time.monotonic() + 20
        done: dict[str, dict[str, Size]] = {}
        while len(done) < len(pages) and time.monotonic() < deadline:
            done, _ = all_pages(client, pages)
        assert done == dict.fromkeys(pages, SIZES)
        assert not client.circuit.is_open


def test_wrong_sizes_among_other_faults_are_not_the_images_fault(image_server: str, pages: list[str]) -> None:
    """Only the same wrong size at every attempt says that the next one gives it, too."""
    with (
        misbehaving(image_server, faults=[Fault.WRONG_SIZE], share=1.0) as server,
        client_of(server, attempts=3) as client,
    ):
        error = outcome(client, pages[0])
        assert isinstance(error, TransientError)
        assert error.code == "thumbnail_wrong_size"
        assert server.requests == 3
