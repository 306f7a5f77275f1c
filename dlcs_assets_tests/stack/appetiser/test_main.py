from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil

from dlcs_testing.appetiser_pictures import quarters
from dlcs_testing.appetiser_service import Appetiser


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for(client: httpx.Client, process: subprocess.Popen[bytes], deadline: float) -> None:
    while True:
        try:
            client.get("/ping")
        except httpx.ConnectError:
            assert process.poll() is None
            assert time.monotonic() < deadline
        else:
            return


def test_the_module_serves_and_leaves_no_process_behind(tmp_path: Path) -> None:
    port = _free_port()
    quarters().save(tmp_path / "a.png")
    command = [sys.executable, "-m", "dlcs_stack.appetiser", "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(
        [*command, "--roots", str(tmp_path), "--max-pixels", "6144"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            _wait_for(client, process, time.monotonic() + 30)
            service = Appetiser(client)
            shown = client.get("/config").json()
            assert (shown["roots"], shown["max_pixels"], shown["workers"]) == ([str(tmp_path)], 6144, 1)
            assert service.convert(tmp_path / "a.png", tmp_path / "o.jp2").size == (96, 64)
        workers = psutil.Process(process.pid).children()
        assert len(workers) == 1
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert alive == []
    finally:
        process.kill()
        process.wait()


def test_a_worker_ends_when_its_service_is_killed(tmp_path: Path) -> None:
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "dlcs_stack.appetiser", "--port", str(port), "--workers", "2"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            _wait_for(client, process, time.monotonic() + 30)
        workers = psutil.Process(process.pid).children()
        assert len(workers) == 2
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []
