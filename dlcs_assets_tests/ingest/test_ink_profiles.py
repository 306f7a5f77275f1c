"""CMYK with the profile of a press: what is published has the colours that the profile's table gives."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np  # noqa: TID253 (made of pixels)
import pytest

from dlcs_assets_tests.pictures.prints import difference, grey_scene, levels, levels_of, scene
from dlcs_testing.pipeline import Pipeline
from dlcs_testing.press_profile import press_profile, printed
from dlcs_testing.raw_tiff import UNDEFINED
from dlcs_testing.sample_tiff import CMYK, ICC_PROFILE, Page, tiff

PROFILE = press_profile()
INKS = np.dstack([scene(2), grey_scene(3) // 3])
RIGHT = levels(printed(PROFILE, INKS))


def as_tiff() -> bytes:
    return tiff(Page(INKS, CMYK, tags={ICC_PROFILE: (UNDEFINED, list(PROFILE))}))


def as_jpeg() -> bytes:
    from PIL import Image

    data = BytesIO()
    Image.frombytes("CMYK", (INKS.shape[1], INKS.shape[0]), INKS.tobytes()).save(
        data, "JPEG", quality=98, subsampling=0, icc_profile=PROFILE
    )
    return data.getvalue()


def test_a_profile_of_inks_is_not_the_rule_without_one() -> None:
    without = (255.0 - INKS[..., :3]) * (255.0 - INKS[..., 3:]) / 255
    assert difference(levels(without), RIGHT) > 10


@pytest.mark.parametrize("make", [as_tiff, as_jpeg])
@pytest.mark.parametrize("channels", ["iiif-img:default,thumbs:default", "iiif-img:use-original,thumbs:default"])
def test_inks_are_published_as_their_profile_means(pipeline: Pipeline, make: Any, channels: str, tmp_path: Any) -> None:
    """Within three levels, read by a program that converts nothing."""
    from PIL import Image

    assert difference(levels_of(make(), tmp_path), RIGHT) < 3
    pipeline.use(default_thumbnail_sizes=("!160,160",))
    status = pipeline.ingest("2/1/page", pipeline.serve("page", make()), channels)
    assert status.state == "done", status.reason
    with Image.open(BytesIO(pipeline.thumbs("2/1/page/")["2/1/page/open/160.jpg"].data)) as thumbnail:
        assert difference(levels(np.asarray(thumbnail.convert("RGB"))), RIGHT) < 3
