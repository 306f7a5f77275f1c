"""The sample images: thirty pages that the project draws itself once and keeps in a folder, one of them broken."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import astuple, dataclass
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dlcs_stack.drawing.page import Layout, draw_page

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_FOLDER: Final = Path(".cache/samples")
DRAWING_VERSION: Final = 1  # raise it when the same plan gives other pictures
MANIFEST: Final = "manifest.json"
EXIF_ORIENTATION: Final = 0x0112
SIDEWAYS: Final = 6  # EXIF: turn clockwise by 90 degrees to see it upright
MEDIA_TYPES: Final = {"jpg": "image/jpeg", "tif": "image/tiff", "jp2": "image/jp2"}


@dataclass(frozen=True)
class Sample:
    """A sample on disk. Width and height are those of the upright picture, in pixels."""

    name: str
    path: Path
    media_type: str
    width: int
    height: int
    broken: bool


@dataclass(frozen=True)
class PagePlan:
    """A page to be drawn: `name` is the folio with r or v, `extension` decides about the format."""

    name: str
    extension: str
    width: int
    height: int
    layout: Layout
    broken: bool = False
    sideways: bool = False


def samples(
    folder: Path = DEFAULT_FOLDER,
    plan: tuple[PagePlan, ...] | None = None,
    *,
    on_drawn: Callable[[int, int], None] | None = None,
) -> list[Sample]:
    """Return the samples kept in `folder`, which are drawn first if they are not complete.

    `on_drawn` is called with the pages drawn so far and in all. Pages are drawn into a temporary folder, which gets its
    name when it is complete: a reader never sees half of them, and of two processes that draw at once one wins.
    """
    pages = plan or DEFAULT_PLAN
    home = folder / f"pages-{_version(pages)}"
    kept = _read(home, pages)
    if kept is None:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".drawing-", dir=folder) as drawing:
            _draw_all(Path(drawing), pages, on_drawn)
            shutil.rmtree(home, ignore_errors=True)
            complete = Path(drawing) / "complete"
            try:
                complete.rename(home)
            except OSError:
                if _read(home, pages) is None:  # not because another process was quicker
                    raise
        kept = _read(home, pages)
        if kept is None:
            raise FileNotFoundError(f"The samples that were just drawn in {home} are gone")
    return kept


def _default_plan() -> tuple[PagePlan, ...]:
    edges = ((2000, 3000), (2400, 3600), (2848, 4272), (3264, 4896), (4000, 6000))  # 6 to 24 megapixels
    layouts = {"001r": Layout.MINIATURE, "004r": Layout.BORDER, "008v": Layout.MINIATURE, "009r": Layout.BORDER,
               "010v": Layout.MUSIC, "011r": Layout.MUSIC, "012v": Layout.MINIATURE, "015r": Layout.BORDER}  # fmt: skip
    formats = {"003v": "tif", "006r": "jp2", "008r": "tif", "009v": "jp2", "012r": "tif", "014r": "jp2"}
    sizes = {"006r": edges[0], "009v": edges[2], "014r": edges[1], "008r": edges[2], "012r": edges[1]}  # slow ones
    pages = []
    for number in range(30):
        name = f"{number // 2 + 1:03}{'rv'[number % 2]}"
        width, height = sizes.get(name, edges[(number * 3 + number // 7) % len(edges)])
        pages.append(
            PagePlan(
                f"f{name}",
                formats.get(name, "jpg"),
                width,
                height,
                layouts.get(name, Layout.TEXT),
                broken=name == "014v",
                sideways=name == "005v",
            )
        )
    return tuple(pages)


DEFAULT_PLAN: Final = _default_plan()


def _version(pages: tuple[PagePlan, ...]) -> str:
    plan = json.dumps([DRAWING_VERSION, [astuple(page) for page in pages]])
    return hashlib.sha256(plan.encode()).hexdigest()[:12]


def _read(home: Path, pages: tuple[PagePlan, ...]) -> list[Sample] | None:
    """Return the samples of a folder, or None if any of its files is missing or has another length than written."""
    try:
        lengths: dict[str, int] = json.loads((home / MANIFEST).read_bytes())
        if any((home / name).stat().st_size != length for name, length in lengths.items()):
            return None
    except (OSError, ValueError):
        return None
    return [
        Sample(page.name, home / _file_name(page), MEDIA_TYPES[page.extension], page.width, page.height, page.broken)
        for page in pages
    ]


def _draw_all(folder: Path, pages: tuple[PagePlan, ...], on_drawn: Callable[[int, int], None] | None) -> None:
    """Draw into the sub-folder `complete` of `folder`, the manifest last."""
    target = folder / "complete"
    target.mkdir()
    lengths: dict[str, int] = {}
    spawn = multiprocessing.get_context("spawn")
    workers = min(len(pages), os.cpu_count() or 1)
    longest_first = sorted(pages, key=lambda page: page.width * page.height * (6 if page.extension == "jp2" else 1))
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent) as pool:
        jobs = [pool.submit(partial(draw_sample, target), page) for page in reversed(longest_first)]
        for job in as_completed(jobs):
            drawn = job.result()
            lengths[drawn.name] = drawn.stat().st_size
            if on_drawn is not None:
                on_drawn(len(lengths), len(pages))
    (target / MANIFEST).write_text(json.dumps(lengths, indent=1, sort_keys=True))


def draw_sample(folder: Path, page: PagePlan) -> Path:
    """Draw one page and write it to `folder`; return the file's path."""
    folio, side = int(page.name[1:-1]), page.name[-1]
    seed = int.from_bytes(hashlib.sha256(page.name.encode()).digest()[:6])
    picture = draw_page(page.width, page.height, folio=folio, recto=side == "r", layout=page.layout, seed=seed)
    path = folder / _file_name(page)
    _write(picture, path, page)
    if page.broken:
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size * 2 // 5)
    return path


def _write(picture: Image, path: Path, page: PagePlan) -> None:
    from PIL import Image

    options: dict[str, Any] = {"dpi": (400, 400)}
    if page.sideways:
        picture = picture.transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = SIDEWAYS
        options["exif"] = exif
    match page.extension:
        case "jpg":
            options |= {"quality": 88}
        case "tif":
            options |= {"compression": "tiff_lzw"}
        case "jp2":
            options = {
                "tile_size": (1024, 1024),
                "num_resolutions": min(6, min(picture.size).bit_length()),
                "progression": "RPCL",
                "irreversible": True,
                "quality_mode": "rates",
                "quality_layers": [10],
            }
    picture.save(path, **options)


def _file_name(page: PagePlan) -> str:
    return f"{page.name}.{page.extension}"


def _end_with_parent() -> None:
    """Let a process of the pool end when its parent was killed, which otherwise it would never notice."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def watch() -> None:
            wait([sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
