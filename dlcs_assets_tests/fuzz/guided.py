"""Search by coverage for bytes that a reader neither reads nor refuses: `make fuzz ARGS="jp2 --seconds 600"`.

What reaches code that nothing before it reached is kept in `corpus/`, as few and as short as do, and read again by
every run of the tests. What a reader fails at is written to the current folder.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

CORPUS: Final = Path(__file__).with_name("corpus")
LIMITS: Final = ("-timeout=30", "-rss_limit_mb=4096", "-max_len=4096", "-print_final_stats=1", "-verbosity=1")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("reader")
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        found, kept = Path(temporary) / "found", CORPUS / options.reader
        found.mkdir()
        _search(options.reader, [f"-max_total_time={options.seconds}", str(found), *_seeded(options.reader, temporary)])
        shorter = Path(temporary) / "shorter"
        shorter.mkdir()
        _search(options.reader, ["-merge=1", str(shorter), str(found), *([str(kept)] if kept.exists() else [])])
        kept.mkdir(parents=True, exist_ok=True)
        for old in kept.iterdir():
            old.unlink()
        for new in shorter.iterdir():
            (kept / new.name).write_bytes(new.read_bytes())


def _seeded(reader: str, temporary: str) -> list[str]:
    from dlcs_assets_tests.fuzz.readers import READERS  # noqa: PLC0415 (not before atheris, in the other process)

    folder = Path(temporary) / "seeds"
    folder.mkdir()
    for number, seed in enumerate(READERS[reader].seeds):
        (folder / str(number)).write_bytes(seed)
    kept = CORPUS / reader
    return [str(folder), *([str(kept)] if kept.exists() else [])]


def _search(reader: str, arguments: list[str]) -> None:
    """Run libFuzzer, which ends its process, in one of its own. To merge, it starts further ones by its own name."""
    with TemporaryDirectory() as folder:
        program = Path(folder) / "search"
        module = shlex.join([sys.executable, "-m", __spec__.name, "--run", reader])
        program.write_text(f'#!/bin/sh\nexec {module} "$0" "$@"\n')
        program.chmod(0o700)
        subprocess.run([program, *LIMITS, *arguments], check=True)


def _run(reader: str, arguments: list[str]) -> None:
    """Search, or merge; the first of the arguments is the program that does this."""
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["dlcs_assets", "tifffile", "yaml"]):
        readers = import_module("dlcs_assets_tests.fuzz.readers")
        import_module("tifffile")  # which is loaded with the first TIFF otherwise
    read: Callable[[bytes], object] = readers.READERS[reader].read
    atheris.Setup(arguments, read)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        _run(sys.argv[2], sys.argv[3:])
    else:
        main()
