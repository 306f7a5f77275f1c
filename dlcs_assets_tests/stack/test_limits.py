from __future__ import annotations

import resource
import signal
import subprocess
import sys
from contextlib import suppress

from dlcs_stack.limits import limited


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, where limits may end it."""
    program = f"from dlcs_stack.limits import limited\n{code}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)


def test_too_much_memory_for_its_pixels_fails_the_image_only() -> None:
    """A decoder that goes wrong must not take the machine's memory; the next image is decoded without a limit."""
    done = run(
        "try:\n"
        "    with limited(64_000, 1000, base=10**9):\n"
        "        bytearray(2 * 10**9)\n"
        "except MemoryError:\n"
        "    print('refused', len(bytearray(2 * 10**9)))"
    )
    assert done.stdout == "refused 2000000000\n"


def test_an_image_of_more_pixels_may_take_more() -> None:
    done = run("with limited(128 * 10**7, 20_000_000, base=10**9): print(len(bytearray(2 * 10**9)))")
    assert done.stdout == "2000000000\n"


def test_a_decoder_that_never_ends_is_ended() -> None:
    done = run("with limited(0, 0, seconds=0):\n    while True: pass")
    assert done.returncode == -signal.SIGXCPU


def test_afterwards_the_limits_of_before_apply_again() -> None:
    kinds = (resource.RLIMIT_DATA, resource.RLIMIT_CPU)
    before = [resource.getrlimit(kind) for kind in kinds]
    with suppress(ZeroDivisionError), limited(5, 5):
        assert [resource.getrlimit(kind) for kind in kinds] != before
        1 / 0  # noqa: B018
    assert [resource.getrlimit(kind) for kind in kinds] == before
