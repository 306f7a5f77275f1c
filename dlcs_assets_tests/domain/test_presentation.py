"""Manifests as Presentation 3 has them: what is required is there, under ids that differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.presentation import Leaf, presentation, within

BASE = "https://images.example.org"
LEAVES = [
    Leaf(f"2/1/{name}", f"{BASE}/image?id=2%2F1%2F{name}", Size(3000, 2000), f"{BASE}/iiif/3/{name}") for name in "ab"
]


def resources(value: Any) -> Iterator[dict[str, Any]]:
    """Yield everything in a manifest that has a type."""
    if isinstance(value, dict):
        if "type" in value:
            yield value
        for each in value.values():
            yield from resources(each)
    elif isinstance(value, list):
        for each in value:
            yield from resources(each)


def test_a_manifest_has_a_canvas_for_each_image() -> None:
    manifest = presentation(f"{BASE}/manifest", "Two leaves", LEAVES)
    assert manifest["@context"] == "http://iiif.io/api/presentation/3/context.json"
    assert (manifest["type"], manifest["label"]) == ("Manifest", {"none": ["Two leaves"]})
    assert [(each["type"], each["width"], each["height"]) for each in manifest["items"]] == [("Canvas", 3000, 2000)] * 2
    for canvas in manifest["items"]:
        (page,) = canvas["items"]
        (annotation,) = page["items"]
        assert (page["type"], annotation["type"]) == ("AnnotationPage", "Annotation")
        assert (annotation["motivation"], annotation["target"]) == ("painting", canvas["id"])
        (service,) = annotation["body"]["service"]
        assert (service["type"], service["profile"]) == ("ImageService3", "level2")
        assert annotation["body"]["id"] == f"{service['id']}/full/1024,683/0/default.jpg"


def test_everything_has_an_address_without_a_fragment() -> None:
    """Canvases, pages and annotations each one of their own."""
    manifest = presentation(f"{BASE}/manifest", "Two leaves", LEAVES)
    found = [
        each for each in resources(manifest) if each["type"] in {"Manifest", "Canvas", "AnnotationPage", "Annotation"}
    ]
    assert max(Counter(each["id"] for each in found).values()) == 1
    for each in resources(manifest):
        parts = urlsplit(each["id"])
        assert (parts.scheme, parts.fragment) == ("https", "")


def test_labels_hide_nothing() -> None:
    leaf = Leaf("2/1/\u202egpj", LEAVES[0].page, Size(1, 1), LEAVES[0].service)
    manifest = presentation(BASE, "a\x00b", [leaf], summary="\u200b")
    assert manifest["items"][0]["label"] == {"none": ["2/1/\\u202egpj"]}
    assert (manifest["label"], manifest["summary"]) == ({"none": ["a\\x00b"]}, {"none": ["\\u200b"]})


def test_a_manifest_of_nothing_is_none() -> None:
    with pytest.raises(ValueError, match="at least one canvas"):
        presentation(BASE, "Nothing", [])


@pytest.mark.parametrize(
    ("size", "expected"),
    [(Size(3000, 2000), Size(200, 133)), (Size(100, 50), Size(100, 50)), (Size(60_000, 1), Size(200, 1))],
)
def test_a_picture_is_within_its_edge(size: Size, expected: Size) -> None:
    assert within(size, 200) == expected
