"""Many requests at once, sources that change, and what would be too much."""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import psutil
import pytest

from dlcs_assets_tests.stack.image_server.conftest import BUCKET, Server, identifier
from dlcs_stack.image_server.config import Config
from dlcs_stack.image_server.geometry import Limits, resolve
from dlcs_stack.image_server.parameters import parse_image_request
from dlcs_stack.image_server.reading import describe
from dlcs_stack.image_server.refusal import RefusalError
from dlcs_stack.image_server.rendering import Batch, render
from dlcs_stack.image_server.sources import Source
from dlcs_stack.image_server.workers import Workers
from dlcs_testing.image_server_pictures import decoded, encoded, quadrants

WIDTHS = range(20, 32)


def png_header_of(width: int, height: int) -> bytes:
    """Make a PNG that says its size and has hardly any data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_concurrent_requests_decode_their_source_twice_at_most(tmp_path: Path) -> None:
    """The requests that arrive while it is decoded share one more decode, instead of having one each."""
    path = tmp_path / "page.png"
    path.write_bytes(encoded(quadrants(600, 400), "PNG"))

    async def count() -> tuple[int, list[tuple[int, int]]]:
        workers = Workers(Config(workers=1))
        try:
            source = Source(str(path), "1")
            description = await workers.describe(source)

            def ask(width: int) -> asyncio.Task[bytes]:
                request = parse_image_request(3, "full", f"{width},", "0", "default.png")
                job = resolve(request, 600, 400, Limits(0, 0))
                return asyncio.create_task(workers.render(source, description, job))

            first = ask(600)
            while not workers.decodes:  # noqa: ASYNC110 (nothing announces that a decode began)
                await asyncio.sleep(0)
            bodies = await asyncio.gather(first, *(ask(width) for width in WIDTHS))
            return workers.decodes, [decoded(body).size for body in bodies]
        finally:
            workers.close()

    decodes, sizes = asyncio.run(count())
    assert decodes == 2
    assert [width for width, _ in sizes] == [600, *WIDTHS]


def test_the_sizes_of_a_page_requested_together_fetch_it_once(serve: Callable[..., Server]) -> None:
    server = serve(workers=2)
    page = server.put("2/1/page", encoded(quadrants(600, 400), "PNG"))
    with ThreadPoolExecutor(len(WIDTHS)) as pool:
        answers = list(pool.map(lambda width: server.get(page, f"full/{width},/0/default.jpg"), WIDTHS))
    assert [decoded(answer.content).width for answer in answers] == list(WIDTHS)
    assert server.counts()["fetches"] == 1


@pytest.mark.parametrize("query", ["", "?cache=recache", "?cache=nocache"])
def test_an_object_replaced_under_its_key_is_served_fresh(serve: Callable[..., Server], query: str) -> None:
    """A copy is fetched once for each version of the object, and a deleted object is gone."""
    server = serve()
    for size in ((60, 40), (30, 50)):
        page = server.put("2/1/replaced", encoded(quadrants(*size), "PNG"))
        for _ in range(2):
            assert decoded(server.get(page, f"full/max/0/default.jpg{query}").content).size == size
            assert server.get(page, "info.json").json()["width"] == size[0]
    assert server.counts()["fetches"] == 2
    server.s3.delete_object(Bucket=BUCKET, Key="2/1/replaced")
    assert server.get(page, "full/max/0/default.jpg").status_code == 404


def test_copies_of_sources_are_kept_up_to_a_number_of_bytes(serve: Callable[..., Server]) -> None:
    body = encoded(quadrants(60, 40), "BMP")
    server = serve(source_cache_bytes=2 * len(body))
    pages = [server.put(f"2/1/bmp-{number}", body) for number in range(3)]
    for page in (*pages, pages[2], pages[1]):
        assert server.get(page, "info.json").status_code == 200
    assert server.counts()["fetches"] == 3
    assert server.get(pages[0], "info.json").status_code == 200
    assert server.counts()["fetches"] == 4


@pytest.mark.parametrize("what", ["info.json", "full/10,/0/default.jpg"])
def test_a_pixel_bomb_is_refused_before_it_is_decoded(server: Server, what: str) -> None:
    before = server.counts()["decodes"]
    answer = server.get(server.put("2/1/bomb", png_header_of(40_000, 30_000)), what)
    assert answer.status_code == 403
    assert "40000 x 30000" in answer.text
    assert server.counts()["decodes"] == before


def test_a_jp2_that_hides_its_size_in_the_codestream_is_refused(server: Server) -> None:
    jp2 = bytearray(encoded(quadrants(60, 40), "JPEG2000"))
    siz = jp2.index(b"\xff\x4f\xff\x51") + 8
    jp2[siz : siz + 8] = struct.pack(">2I", 60_000, 40_000)
    answer = server.get(server.put("2/1/hidden", bytes(jp2)), "full/10,/0/default.jpg")
    assert answer.status_code == 501
    assert "disagree" in answer.text


def test_a_source_larger_than_the_budget_is_decoded_alone(serve: Callable[..., Server]) -> None:
    server = serve(pixels_in_flight=1000, workers=2)
    pages = [server.put(f"2/1/large-{number}", encoded(quadrants(300, 200), "PNG")) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda page: server.get(page, "full/30,/0/default.jpg"), pages))
    assert [decoded(answer.content).size for answer in answers] == [(30, 20)] * 4


def test_a_decoder_that_dies_is_replaced(tmp_path: Path) -> None:
    async def describe_twice() -> list[int]:
        workers = Workers(Config(workers=1))
        try:
            widths = []
            for width in (60, 90):
                path = tmp_path / f"{width}.png"
                path.write_bytes(encoded(quadrants(width, 40), "PNG"))
                widths.append((await workers.describe(Source(str(path), path.name))).width)
                for pool in workers._pools:
                    for process in list(pool._processes.values()):
                        process.kill()
            return widths
        finally:
            workers.close()

    assert asyncio.run(describe_twice()) == [60, 90]


def test_a_server_that_is_killed_leaves_no_process_behind(pages: Path, s3_endpoint: str) -> None:
    path = pages / "page.png"
    path.write_bytes(encoded(quadrants(60, 40), "PNG"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "dlcs_stack.image_server", "--port", str(port), "--path-root", str(pages)]
    server = subprocess.Popen([*command, "--s3-endpoint", s3_endpoint])
    try:
        base = f"http://127.0.0.1:{port}"
        until_up(base, server)
        assert httpx.get(f"{base}/iiif/3/{quote(str(path), safe='')}/full/max/0/default.jpg").status_code == 200
        assert httpx.get(f"{base}/iiif/3/{identifier('no/such/key')}/info.json").status_code == 404
        family = psutil.Process(server.pid).children(recursive=True)
        assert family
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive


def until_up(base: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"{base}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server did not come up")


def test_an_image_that_cannot_be_encoded_fails_alone(tmp_path: Path) -> None:
    """Sizes of one source are rendered together: one that is too wide for WebP must not fail the others."""
    path = tmp_path / "page.png"
    path.write_bytes(encoded(quadrants(600, 10), "PNG"))
    description = describe(str(path), 0)
    names = (("^20000,", "default.webp"), ("60,", "default.webp"))
    requests = [parse_image_request(3, "full", size, "0", name) for size, name in names]
    jobs = tuple(resolve(request, 600, 10, Limits(0, 0)) for request in requests)
    too_wide, good = render(Batch(str(path), description, jobs))
    assert isinstance(too_wide, RefusalError)
    assert too_wide.status == 500
    assert isinstance(good, bytes)
    assert decoded(good).size == (60, 1)


def test_the_sizes_of_a_page_requested_together_decode_it_once(serve: Callable[..., Server]) -> None:
    """Also when S3 is asked for each of them whether it has a newer version, and the source was read before."""
    server = serve(workers=2)
    page = server.put("2/1/once", encoded(quadrants(600, 400), "PNG"))
    with ThreadPoolExecutor(len(WIDTHS)) as pool:
        for sets in range(1, 4):
            ready = threading.Barrier(len(WIDTHS))

            def ask(width: int, ready: threading.Barrier = ready) -> int:
                ready.wait()
                return decoded(server.get(page, f"full/{width},/0/default.jpg").content).width

            assert list(pool.map(ask, WIDTHS)) == list(WIDTHS)
            assert server.counts()["decodes"] == sets
    assert server.counts()["fetches"] == 1
