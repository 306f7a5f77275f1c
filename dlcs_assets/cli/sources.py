"""The images that a person names: files, folders, web and S3 addresses, and the ids that they get."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from dlcs_assets.cli.failure import CommandError, UsageError
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.media_type import sniff
from dlcs_assets.domain.text import is_storable

HEAD_BYTES = 65536
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
NOT_IN_NAMES = re.compile(r"[\s/?#%]+")  # what URLs and shells would have to escape


@dataclass(frozen=True, slots=True)
class Source:
    """An image to be: a file of this machine, or an address from which it is fetched.

    `is_not_image`: what a file is that is no image that can be ingested, for people.
    """

    name: str  # the file name, or the last part of the address
    path: Path | None = None
    address: str | None = None
    is_not_image: str | None = None


def find_sources(named: Sequence[str]) -> tuple[list[Source], int]:
    """Return the sources, of a folder its images by name, and how many files of folders are no images."""
    found: list[Source] = []
    skipped = 0
    for text in named:
        if ADDRESS.match(text):
            found.append(Source(unquote(PurePosixPath(urlsplit(text).path).name), address=text))
            continue
        path = Path(text).expanduser()
        try:
            if path.is_dir():
                files = sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))
                images = [each for each in files if _not_an_image(each) is None]
                if not images:
                    raise CommandError(f"{path}: there are no images in this folder.")
                skipped += len(files) - len(images)
                found += [Source(each.name, each) for each in images]
            else:
                found.append(Source(path.name, path, is_not_image=_not_an_image(path)))
        except OSError as error:
            raise CommandError(f"{text}: {error.strerror}.") from error
    return found, skipped


def name_sources(sources: Sequence[Source], customer: int, space: int, given: str | None) -> list[AssetId]:
    """Return the id of each source: the one given, or one after its file name without the extension.

    Files that differ in their extension only keep it. Raises `InvalidAssetIdError` or UsageError.
    """
    if given is not None:
        if len(sources) > 1:
            raise UsageError(f"--id is for one image; these are {len(sources)}.")
        return [AssetId.parse(given) if "/" in given else AssetId(customer, space, given)]
    stems = [valid_name(PurePosixPath(source.name).stem) for source in sources]
    often = Counter(stems)
    names = [valid_name(source.name) if often[stem] > 1 else stem for source, stem in zip(sources, stems, strict=True)]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UsageError(f"Several of these images would be called {twice[0]}: send them to different spaces.")
    for source, name in zip(sources, names, strict=True):
        if not name:
            raise UsageError(f"{source.address or source.path}: no name for the image can be made of this. Use --id.")
    return [AssetId(customer, space, name) for name in names]


def valid_name(text: str) -> str:
    """Return a name as close to the text as an id allows without escaping."""
    storable = "".join(character if is_storable(character) else "-" for character in text.strip())
    name = NOT_IN_NAMES.sub("-", storable)
    return "" if name in {".", ".."} else name


def require_images(sources: Sequence[Source]) -> None:
    """Raise a CommandError, with all of them, if some of the files are no images."""
    wrong = [f"{source.path} is {source.is_not_image}" for source in sources if source.is_not_image]
    if wrong:
        raise CommandError(
            f"Not images, or not of a format that is ingested: {'; '.join(wrong)}. "
            "Nothing was sent. To have files stored and offered as they are: --channels file."
        )


def _not_an_image(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    found = sniff(head)
    if found is not None:
        return None if found.is_image else found.media_type
    return "of no known format" if head else "empty"
