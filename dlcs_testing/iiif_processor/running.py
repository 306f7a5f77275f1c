"""Installing the npm package iiif-processor, once for each lock file, and running it behind HTTP."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache"
FILES = ("package.json", "package-lock.json", "server.mjs")

needs_node = pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm")),
    reason="needs Node and npm, which nothing else does: apt-get install nodejs npm",
)


def installed() -> Path:
    """Return a folder that has the server with its dependencies."""
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()
    folder = CACHE / f"iiif-processor-{digest[:12]}"
    if folder.exists():
        return folder
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        for name in FILES:
            shutil.copy(HERE / name, temporary)
        # No scripts: sharp's would build libvips where there is no prebuilt one, which is what this is about.
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
        subprocess.run(command, cwd=temporary, check=True)
        with suppress(OSError):  # another process was quicker
            os.rename(temporary, folder)  # noqa: PTH104 (its target may be there)
        Path(temporary).mkdir(exist_ok=True)
    return folder


@contextmanager
def iiif_processor(folder: Path, s3_endpoint: str = "") -> Iterator[str]:
    """Run it over the files of a folder and the objects of a moto server; yield its URL."""
    command = ["node", "server.mjs", str(folder), s3_endpoint]
    with subprocess.Popen(command, cwd=installed(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()
