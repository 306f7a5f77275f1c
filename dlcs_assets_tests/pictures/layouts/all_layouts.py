"""The families of layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dlcs_assets_tests.pictures.layouts.jp2 import jp2s
from dlcs_assets_tests.pictures.layouts.jpeg import jpegs
from dlcs_assets_tests.pictures.layouts.layout import Layout
from dlcs_assets_tests.pictures.layouts.others import others
from dlcs_assets_tests.pictures.layouts.png import pngs
from dlcs_assets_tests.pictures.layouts.tiff import tiffs

FAMILIES: dict[str, Callable[[], Iterator[Layout]]] = {
    "TIFF": tiffs,
    "PNG": pngs,
    "JPEG": jpegs,
    "JPEG 2000": jp2s,
    "Other formats": others,
}
