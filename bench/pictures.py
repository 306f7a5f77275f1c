"""What reading pictures costs: conversion and thumbnails compared with Pillow alone, and the checks of a run.

The embedded services read with several libraries, each kind of file with one that reads it right; the checks of a run
read with others. Pillow alone, which reads some of them wrong, does the same work in the same run for comparison. All
is processor time of one process that is started for it; memory is the most that such a process had.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bench.memory import high_water_mark
from bench.result import Result, of_many
from bench.system import RunningSystem
from dlcs_assets.pictures.comparison import compare
from dlcs_assets.pictures.reading import fingerprint, read_picture
from dlcs_stack.appetiser import jobs
from dlcs_stack.appetiser.convert import convert
from dlcs_stack.appetiser.encoder import encode
from dlcs_stack.appetiser.models import Optimisation
from dlcs_stack.image_server import geometry
from dlcs_stack.image_server.parameters import Rotation
from dlcs_stack.image_server.rendering import Batch, render
from dlcs_stack.pictures.reading import decode, decode_flat, describe
from dlcs_testing.large_tiff import draw_large_tiff

if TYPE_CHECKING:
    from PIL.Image import Image

ROUNDS: Final = 5
SIZES: Final = ((683, 1024), (267, 400), (133, 200), (67, 100))  # of a page of 2 to 3
RATIO_GOAL: Final = 1.05
LARGE_EDGE: Final = 10_000
MEGABYTES_GOAL: Final = 150
# By name: the file's ending, and how Pillow is to save it.
KINDS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "jpeg": (".jpg", {}),
    "tiff": (".tif", {}),
    "tiff_lzw": (".tif", {"compression": "tiff_lzw"}),
    "png": (".png", {}),
}

T = TypeVar("T")
Work = Callable[[Path, Path], object]


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:  # noqa: ARG001 (no services)
    """Take the same pages as files of each kind; 100 megapixels at the end."""
    rounds, used = (2, pages[:1]) if quick else (ROUNDS, pages[:3])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for kind in KINDS:
            files = [_as_kind(page, folder, kind) for page in used]
            yield from _of_kind(kind, _in_process(_time, files, folder, rounds))
        yield from _memory(folder)


def _of_kind(kind: str, times: dict[str, list[float]]) -> Iterator[Result]:
    for name, milliseconds in times.items():
        yield of_many("pictures", f"processor_ms_{name}_{kind}", milliseconds, "ms")
    for name in ("conversion", "thumbnails"):
        pairs = zip(times[name], times[f"{name}_pillow_alone"], strict=True)
        ratios = [ours / alone for ours, alone in pairs]
        yield of_many("pictures", f"ratio_to_pillow_alone_{name}_{kind}", ratios, "x", RATIO_GOAL)


def _memory(folder: Path) -> Iterator[Result]:
    """The picture that a conversion holds has 4 bytes a pixel, whatever reads it: what reading adds is of interest."""
    path = folder / "large.tif"
    draw_large_tiff(path, LARGE_EDGE)
    picture = 4 * LARGE_EDGE**2 / 1e6
    for name, read, held in (
        ("reading_for_a_conversion", _decode_whole, picture),
        ("reading_for_a_conversion_pillow_alone", _open_with_pillow, picture),
        ("reading_for_thumbnails", _decode_reduced, 0),
        ("the_check", _look, 0),
    ):
        used = round(_in_process(_peak, read, path) / 1e6 - held, 1)
        goal = None if "alone" in name else MEGABYTES_GOAL
        yield Result("pictures", f"megabytes_of_{name}_100_megapixels_lzw", used, "MB", goal)


def _in_process(function: Callable[..., T], *arguments: Any) -> T:
    """Call in a new process that has loaded nothing: libvips cannot be used on both sides of a fork."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def _as_kind(page: Path, folder: Path, kind: str) -> Path:
    from PIL import Image

    suffix, options = KINDS[kind]
    path = folder / f"{page.stem}-{kind}{suffix}"
    with Image.open(page) as image:
        image.convert("RGB").save(path, **options)
    return path


def _time(files: list[Path], folder: Path, rounds: int) -> dict[str, list[float]]:
    """Return milliseconds a page by what was done, one round after another; the first one, which loads, is left out."""
    works: dict[str, Work] = {
        "conversion": _convert,
        "conversion_pillow_alone": _convert_with_pillow,
        "thumbnails": _render,
        "thumbnails_pillow_alone": _render_with_pillow,
        "check_of_original": lambda path, _: _look(path),
        "check_of_thumbnails": _look_at_thumbnails,
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            began = time.process_time()
            for path in files:
                work(path, folder)
            if number:
                times[name].append(1000 * (time.process_time() - began) / len(files))
    return times


def _peak(read: Callable[[Path], object], path: Path) -> int:
    """Return by how many bytes the most that this process ever had in memory grows with one picture."""
    small = path.with_name("small.tif")
    draw_large_tiff(small, 64)
    read(small)
    before = high_water_mark(os.getpid())
    read(path)
    return high_water_mark(os.getpid()) - before


def _convert(path: Path, folder: Path) -> None:
    job = jobs.Job(path, folder / "out.jp2", None, (), Optimisation.MEDIUM, folder, 10**9, 10**9, None)
    convert(job, lambda _: None)


def _convert_with_pillow(path: Path, folder: Path) -> None:
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        encode(_in_srgb(ImageOps.exif_transpose(image)), folder / "pillow.jp2", Optimisation.MEDIUM, None)


def _render(path: Path, _: Path) -> list[bytes]:
    description = describe(path)
    box = geometry.Box(0, 0, description.width, description.height)
    jobs = [geometry.Job(box, size, Rotation(mirrored=False, degrees=0), "default", "jpg") for size in SIZES]
    # One by one, as requests that come one after another are answered.
    answers = [render(Batch(str(path), description, (job,)))[0] for job in jobs]
    return [answer for answer in answers if isinstance(answer, bytes)]


def _render_with_pillow(path: Path, _: Path) -> None:
    from PIL import Image, ImageOps

    for size in SIZES:
        with Image.open(path) as image:
            image.draft("RGB", size)
            small = ImageOps.exif_transpose(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
            _in_srgb(small).save(BytesIO(), "JPEG", quality=90)


def _in_srgb(image: Image) -> Image:
    from PIL import ImageCms

    if profile := image.info.get("icc_profile"):
        ImageCms.profileToProfile(image, BytesIO(profile), ImageCms.createProfile("sRGB"), inPlace=True)
        return image
    return image.convert("RGB")


def _look(path: Path) -> None:
    read_picture(path)


def _look_at_thumbnails(path: Path, folder: Path) -> None:
    """The thumbnails are made in the first round."""
    made = [folder / f"{path.name}-{number}" for number in range(len(SIZES))]
    if not made[0].exists():
        for target, data in zip(made, _render(path, folder), strict=True):
            target.write_bytes(data)
    first, *others = [fingerprint(target.read_bytes()) for target in made]
    for other in others:
        compare(first, other)


def _decode_whole(path: Path) -> None:
    decode_flat(path, describe(path))


def _decode_reduced(path: Path) -> None:
    description = describe(path)
    decode(path, description, description.reduction_for(1024 / description.width))


def _open_with_pillow(path: Path) -> None:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path) as image:
        image.convert("RGB").load()
