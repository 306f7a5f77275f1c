"""What the two readers make of a layout: the picture, a refusal in words, or something wrong."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np  # noqa: TID253 (made of pixels)

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.misreadings import CANTALOUPE, Misreading, misreading_of
from dlcs_assets.pictures.reading import fingerprint, read_header
from dlcs_assets_tests.pictures.layouts.layout import Layout
from dlcs_assets_tests.pictures.prints import difference, levels, levels_in
from dlcs_stack.pictures.errors import UnreadableError
from dlcs_stack.pictures.reading import decode_flat, describe


@dataclass(frozen=True)
class Verdict:
    """Of one layout. Each of the refusals is in words, None where the picture is right; `wrong` says what is not.

    `by_check` has a code of `docs/errors.md` besides. `misreading` is what Cantaloupe would make of it.
    """

    layout: Layout
    by_check: PermanentError | None
    by_services: str | None
    misreading: Misreading | None
    wrong: tuple[str, ...]


def verdicts(layouts: Iterable[Layout]) -> list[Verdict]:
    """Have each of them read."""
    with tempfile.TemporaryDirectory() as folder:
        return [_verdict(each, Path(folder) / "picture") for each in layouts]


def _verdict(layout: Layout, path: Path) -> Verdict:
    path.write_bytes(layout.data)
    wrong: list[str] = []
    by_check: PermanentError | None = None
    by_services: str | None = None
    misreading: Misreading | None = None
    try:
        wrong += _what_is_wrong(layout, "the check", lambda: _as_checked(layout, path, wrong))
        misreading = misreading_of(CANTALOUPE, read_header(path))
    except PermanentError as error:
        by_check = error
    try:
        wrong += _what_is_wrong(layout, "the services", lambda: _as_served(layout, path, wrong))
    except UnreadableError as error:
        by_services = str(error)
    return Verdict(layout, by_check, by_services, misreading, tuple(wrong))


def _what_is_wrong(layout: Layout, reader: str, read: Callable[[], float]) -> list[str]:
    name = f"{layout.subject}; {layout.item}; {layout.variant}"
    try:
        off = read()
    except (PermanentError, UnreadableError):
        raise
    except Exception as error:  # noqa: BLE001 (which is what is being found out)
        return [f"{name}: {reader} fails with {error!r}"]
    return [f"{name}: {reader} is {off:.1f} levels off"] if off > layout.tolerance else []


def _as_checked(layout: Layout, path: Path, wrong: list[str]) -> float:
    header, look = read_header(path), fingerprint(path)
    sizes = {(header.width, header.height), (look.width, look.height)} - {layout.size}
    wrong.extend(f"{layout.subject}; {layout.item}; {layout.variant}: the check says {size}" for size in sizes)
    return difference(levels_in(look), layout.levels)


def _as_served(layout: Layout, path: Path, wrong: list[str]) -> float:
    description = describe(path)
    picture = decode_flat(path, description).image
    if (description.width, description.height) != layout.size or picture.size != layout.size:
        wrong.append(f"{layout.subject}; {layout.item}; {layout.variant}: the services say {picture.size}")
        return 0
    return difference(levels(np.asarray(picture.convert("RGB"))), layout.levels)
