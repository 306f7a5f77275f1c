"""From a raw request path to the identifier and what is asked of it, and from an identifier to where its bytes are.

The raw path is what the client sent, before any percent-decoding: only there does %2F differ from /.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from dlcs_stack.image_server.parameters import ImageRequest, Version, parse_image_request
from dlcs_stack.image_server.refusal import RefusalError, bad_request

_S3_URI = re.compile(
    r"s3://(?:[a-z]{2}(?:-[a-z]+)+-[0-9]+/)?(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{2,62})/(?P<key>.+)", re.DOTALL
)
_PATH = re.compile(r"(?:file:(?://(?:localhost)?)?(?=/))?(?P<path>.+)", re.DOTALL)
_VERSIONS: dict[str, Version] = {"2": 2, "3": 3}
_IMAGE_SEGMENTS = 4


@dataclass(frozen=True)
class Target:
    """What a path of the Image API names; `asked` is the raw text after the identifier."""

    version: Version
    identifier: str
    what: Literal["image", "info", "base"]
    asked: str = ""

    @property
    def base_path(self) -> str:
        """The path of the image service, its identifier percent-encoded in one way, whatever the client's was."""
        return f"/iiif/{self.version}/{quote(self.identifier, safe=':')}"

    def image_request(self) -> ImageRequest:
        """Parse what is asked of the picture. Raises `RefusalError` with 400 or 415."""
        region, size, rotation, name = (_decoded(segment) for segment in self.asked.split("/"))
        return parse_image_request(self.version, region, size, rotation, name)


@dataclass(frozen=True)
class S3Object:
    """A source in S3."""

    bucket: str
    key: str


def parse_target(raw_path: bytes) -> Target:
    """Parse the raw path of a request, without its query. Raises `RefusalError` with 400 or 404."""
    segments = raw_path.decode("latin-1").split("/")
    match segments:
        case ["", "iiif", number, identifier, *rest] if number in _VERSIONS and identifier:
            version = _VERSIONS[number]
        case _:
            raise RefusalError(404, "There is nothing here: ask for /iiif/3/{identifier}/info.json.")
    decoded = _decoded(identifier)
    asked = "/".join(rest)
    if not asked:
        return Target(version, decoded, "base")
    if asked == "info.json":
        return Target(version, decoded, "info", asked)
    if len(rest) != _IMAGE_SEGMENTS:
        raise RefusalError(
            404, "A slash in an identifier must be written %2F; after it come four segments or info.json."
        )
    return Target(version, decoded, "image", asked)


def locate(identifier: str, path_roots: tuple[Path, ...]) -> S3Object | Path:
    """Return where the bytes of `identifier` are: an S3 object, or a file under one of `path_roots`.

    s3://[region/]bucket/key, file:///path, /path and a path below a root are understood, all of them literally: the
    identifier has been percent-decoded already. Raises `RefusalError` with 404 for everything else, and for a path
    outside the roots just as for one that does not exist.
    """
    if match := _S3_URI.fullmatch(identifier):
        return S3Object(match["bucket"], match["key"])
    if (match := _PATH.fullmatch(identifier)) and (path := _file_below(match["path"], path_roots)):
        return path
    raise RefusalError(404, "There is no source with this identifier.")


def _file_below(name: str, roots: tuple[Path, ...]) -> Path | None:
    try:
        for root in roots:
            path = (root / name).resolve()
            if path.is_relative_to(root.resolve()) and path.is_file():
                return path
    except (OSError, ValueError):  # a name that is too long, a folder that may not be entered, a NUL
        return None
    return None


def _decoded(segment: str) -> str:
    try:
        return unquote_to_bytes(segment.encode("latin-1")).decode()
    except UnicodeDecodeError as error:
        raise bad_request("The path is not UTF-8 once it is percent-decoded.") from error
