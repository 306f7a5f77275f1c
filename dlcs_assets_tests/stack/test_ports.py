from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dlcs_stack.data_folder import StackRefusedError
from dlcs_stack.ports import Ports
from dlcs_stack.stack import Component, Stack
from dlcs_stack.supervisor import free_port


def test_one_of_two_stacks_gets_a_port(tmp_path: Path) -> None:
    """Nothing listens there yet: a service does so seconds after its port was chosen."""
    port = free_port()
    with Ports(tmp_path) as first, Ports(tmp_path) as second:
        assert first.claim(port)
        assert not second.claim(port)
    with Ports(tmp_path) as third:
        assert third.claim(port)


def test_a_port_on_which_another_listens_is_not_claimed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, Ports(tmp_path) as ports:
        assert not ports.claim(listener.getsockname()[1])


def test_ports_taken_at_once_all_differ(tmp_path: Path) -> None:
    stacks = [Ports(tmp_path) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        taken = [port for ports in pool.map(lambda ports: [ports.take() for _ in range(20)], stacks) for port in ports]
    assert len(set(taken)) == len(taken)
    for each in stacks:
        each.__exit__(None, None, None)


def test_a_preferred_port_goes_to_one_stack_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two `dlcs up` at once: the second takes another port, and one that was asked for by number is refused."""
    port = free_port()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stack = Stack(tmp_path / "a", frozenset({Component.WEBSERVER}), preferred_ports={Component.WEBSERVER: port})
    with Ports() as first, Ports() as second:
        assert stack._choose(first) == {Component.WEBSERVER: port}
        assert stack._choose(second)[Component.WEBSERVER] != port
        asked = Stack(tmp_path / "b", frozenset({Component.WEBSERVER}), {Component.WEBSERVER: port})
        with Ports() as third, pytest.raises(StackRefusedError, match=f"Port {port}, which webserver was given"):
            asked._choose(third)
