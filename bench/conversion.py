"""The embedded Appetiser's JP2s and those of `opj_compress` and `grk_compress`: time, bytes and PSNR, same settings.

The programs are Debian's libopenjp2-tools and grokj2k-tools; one that is not installed is left out.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.memory import large_page
from bench.result import Result, of_many
from bench.system import RunningSystem
from dlcs_assets.clients.appetiser import Appetiser
from dlcs_stack.appetiser.encoder import BITS_PER_PIXEL, TILE, levels_for
from dlcs_stack.appetiser.models import Optimisation

if TYPE_CHECKING:
    from PIL.Image import Image

ROUNDS = 5
PROFILE = Optimisation.MEDIUM  # the one that names a rate, so that all encoders get the same


@dataclass(frozen=True)
class Page:
    """A picture, its file without compression, and where a JP2 of it is to be written."""

    name: str
    picture: Image
    source: Path
    target: Path


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    """Alternate between the encoders, each with all of the machine that it can use."""
    encoders: dict[str, Callable[[Page], None]] = {
        "embedded": lambda page: _by_appetiser(system, page),
        **{name: lambda page, name=name: _by_program(name, page) for name in PROGRAMS if shutil.which(name)},  # type: ignore[misc] # a default binds it
    }
    with tempfile.TemporaryDirectory(dir=system.settings.scratch) as temporary:
        folder = Path(temporary)
        paths = {"page": pages[0]} if quick else {"page": pages[0], "24_megapixels": large_page(folder)}
        for page in [_page(name, path, folder) for name, path in paths.items()]:
            seconds: dict[str, list[float]] = {name: [] for name in encoders}
            written: dict[str, Path] = {}
            for _ in range(1 if quick else ROUNDS):
                for name, encode in encoders.items():
                    began = time.monotonic()
                    encode(page)
                    seconds[name].append(time.monotonic() - began)
                    written[name] = page.target.rename(page.target.with_stem(f"{page.name}-{name}"))
            for name, path in written.items():
                yield of_many("conversion", f"seconds_{page.name}_{name}", seconds[name], "s")
                yield Result("conversion", f"megabytes_{page.name}_{name}", round(path.stat().st_size / 1e6, 3), "MB")
                yield Result("conversion", f"psnr_{page.name}_{name}", round(_psnr(page.picture, path), 1), "dB")


def _page(name: str, path: Path, folder: Path) -> Page:
    from PIL import Image

    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    source = folder / f"{name}.tif"
    picture.save(source)  # without compression
    return Page(name, picture, source, folder / f"{name}.jp2")


def _by_appetiser(system: RunningSystem, page: Page) -> None:
    appetiser = Appetiser(url=system.settings.appetiser_url, optimisation=PROFILE.value)
    appetiser.convert(
        job_id=page.name, image_id=page.name, origin=page.name, source=page.source, destination=page.target
    )


def _by_program(name: str, page: Page) -> None:
    ratio = 8 * len(page.picture.getbands()) / BITS_PER_PIXEL[PROFILE]
    command = [name, "-i", page.source, "-o", page.target, "-t", f"{TILE},{TILE}", "-p", "RPCL", "-I", "-r", ratio]
    command += ["-n", levels_for(*page.picture.size) + 1, *PROGRAMS[name]]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


# One thread, as the embedded one has for each image: it works on several at a time.
PROGRAMS = {
    "opj_compress": ("-mct", "1", "-PLT", "-threads", "1"),
    "grk_compress": ("-Y", "1", "-H", "1"),  # Debian's 10.0.5 crashes when it is to write PLT markers
}


def _psnr(picture: Image, jp2: Path) -> float:
    from PIL import Image, ImageChops, ImageStat

    with Image.open(jp2) as decoded:
        difference = ImageStat.Stat(ImageChops.difference(picture, decoded.convert("RGB")))
    mean = sum(difference.sum2) / sum(difference.count)
    return 20 * math.log10(255 / math.sqrt(mean)) if mean else math.inf
