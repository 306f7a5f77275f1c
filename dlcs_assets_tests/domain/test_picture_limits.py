from __future__ import annotations

import pytest

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.picture_limits import Demand, PictureLimits, require_modest

LIMITS = PictureLimits(pixels=10**8, frames=10, parts=1000, components=5, memory_bytes=10**8)


@pytest.mark.parametrize(
    ("demand", "code", "named"),
    [
        (Demand(10_001, 10_000), "too_many_pixels", "DLCS_MAX_PIXELS"),
        (Demand(10, 10, frames=11), "too_many_parts", "DLCS_MAX_FRAMES"),
        (Demand(10, 10, components=6), "too_many_parts", "DLCS_MAX_COMPONENTS"),
        (Demand(10, 10, parts=1001), "too_many_parts", "DLCS_MAX_PARTS"),
        (Demand(10, 10, memory_bytes=10**8 + 1), "too_much_memory", "DLCS_DECODER_MEMORY"),
        (Demand(5000, 4000), "too_few_bytes", "cut off"),
        (Demand(2000, 2000, pixels_per_byte=1000, is_exact=True), "too_few_bytes", "cut off"),
    ],
)
def test_each_limit_has_its_code_and_says_what_to_do(demand: Demand, code: str, named: str) -> None:
    with pytest.raises(PermanentError) as caught:
        require_modest(demand, 300, LIMITS)
    assert caught.value.code == code
    assert named in caught.value.remedy


def test_what_is_just_within_all_limits_passes() -> None:
    demand = Demand(10_000, 10_000, components=5, frames=10, parts=1000, memory_bytes=10**8, pixels_per_byte=1000)
    require_modest(demand, 10**5, LIMITS)


def test_a_small_picture_may_have_few_bytes() -> None:
    """A file that is cut off is reported by its decoder, which says where; and it costs little."""
    require_modest(Demand(1000, 1000, pixels_per_byte=1, is_exact=True), 100, LIMITS)
    require_modest(Demand(4000, 4000), 100, LIMITS)
