"""IIIF Presentation 3: images in an order, for viewers. Not the manifest that a batch is submitted with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.text import visible

CONTEXT: Final = "http://iiif.io/api/presentation/3/context.json"
MEDIA_TYPE: Final = f'application/ld+json;profile="{CONTEXT}"'
SHOWN_SIZE: Final = 1024  # pixels of the longest edge of what viewers without tiles show
THUMBNAIL_SIZE: Final = 200
_LEVEL: Final = "level2"


@dataclass(frozen=True, slots=True)
class Leaf:
    """An image: its name for people, its own address, its pixels, and the address of its image service."""

    label: str
    page: str
    size: Size
    service: str


def presentation(address: str, label: str, leaves: Sequence[Leaf], *, summary: str | None = None) -> dict[str, Any]:
    """Return a Presentation 3 manifest as plain JSON. There is at least one leaf: the standard has no empty ones."""
    if not leaves:
        raise ValueError("a manifest has at least one canvas")
    found: dict[str, Any] = {
        "@context": CONTEXT,
        "id": address,
        "type": "Manifest",
        "label": _text(label),
        "items": [_canvas(leaf) for leaf in leaves],
    }
    if summary is not None:
        found["summary"] = _text(summary)
    return found


def _canvas(leaf: Leaf) -> dict[str, Any]:
    service = {"id": leaf.service, "type": "ImageService3", "profile": _LEVEL}
    return {
        "id": leaf.page,
        "type": "Canvas",
        "label": _text(leaf.label),
        "width": leaf.size.width,
        "height": leaf.size.height,
        "thumbnail": [_picture(leaf, THUMBNAIL_SIZE, service)],
        "homepage": [{"id": leaf.page, "type": "Text", "label": _text(leaf.label), "format": "text/html"}],
        "items": [
            {
                "id": f"{leaf.page}&part=pictures",
                "type": "AnnotationPage",
                "items": [
                    {
                        "id": f"{leaf.page}&part=picture",
                        "type": "Annotation",
                        "motivation": "painting",
                        "target": leaf.page,
                        "body": _picture(leaf, SHOWN_SIZE, service),
                    }
                ],
            }
        ],
    }


def _picture(leaf: Leaf, edge: int, service: dict[str, str]) -> dict[str, Any]:
    shown = within(leaf.size, edge)
    return {
        "id": f"{leaf.service}/full/{shown.width},{shown.height}/0/default.jpg",
        "type": "Image",
        "format": "image/jpeg",
        "width": shown.width,
        "height": shown.height,
        "service": [service],
    }


def within(size: Size, edge: int) -> Size:
    """Return the size of a picture whose longest edge is at most `edge`; it is not enlarged."""
    scale = min(edge / size.longest, 1)
    return Size(max(round(size.width * scale), 1), max(round(size.height * scale), 1))


def _text(text: str) -> dict[str, list[str]]:
    return {"none": [visible(text)]}
