from __future__ import annotations

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel, DeliveryChannel
from dlcs_assets.domain.errors import MessageRejectedError, PermanentError
from dlcs_assets.domain.ingest_plan import plan_ingest
from dlcs_assets.domain.quota import Taken, require_room, require_room_for_image, stored_kinds
from dlcs_assets.domain.results import ObjectKind
from dlcs_assets.domain.stages import STAGES, Stage

IMAGE = AssetId(2, 1, "page")


def fits(*, stored: int, new: int, limit: int, replaced: int = 0, reserved: int = 0) -> bool:
    try:
        require_room(IMAGE, limit, Taken(stored, reserved), new=new, replaced=replaced)
    except PermanentError:
        return False
    return True


@pytest.mark.parametrize(
    ("stored", "replaced", "new", "limit", "expected"),
    [
        (900, 0, 100, 1000, True),
        (950, 500, 1000, 1000, False),
        (950, 950, 1000, 1000, True),
        (950, 0, 1000, 1000, False),
        (99, 0, 100, 100, False),
    ],
)
def test_an_image_fits_if_the_dlcs_would_accept_it(
    stored: int, replaced: int, new: int, limit: int, expected: bool
) -> None:
    assert fits(stored=stored, replaced=replaced, new=new, limit=limit) is expected


def test_what_other_images_have_reserved_counts_as_used() -> None:
    assert fits(stored=500, reserved=400, new=100, limit=1000)
    assert not fits(stored=500, reserved=401, new=100, limit=1000)


def test_an_image_that_shrinks_fits_a_quota_that_was_lowered() -> None:
    """Replacing an image by a smaller one helps a customer over its quota, and must be allowed."""
    assert fits(stored=1000, replaced=500, new=400, limit=900)
    assert not fits(stored=1000, replaced=500, new=401, limit=900)


@pytest.mark.parametrize(("new", "replaced", "growth"), [(100, 0, 100), (100, 30, 70), (100, 100, 0), (100, 500, 0)])
def test_only_growth_is_reserved(new: int, replaced: int, growth: int) -> None:
    """What an image has stored already counts as stored: reserved as well it would count twice."""
    assert require_room(IMAGE, 1000, Taken(500), new=new, replaced=replaced) == growth


def test_a_refusal_names_customer_quota_total_and_remedy() -> None:
    """An operator can act on the message alone, without looking up who stores how much."""
    with pytest.raises(PermanentError) as refused:
        require_room(IMAGE, 1000, Taken(900, 50), new=1_234_567, replaced=10)
    assert refused.value.code == "quota_exceeded"
    assert refused.value.cause == (
        "StoragePolicy size limit exceeded: customer 2 may have 1,000 bytes stored and has 900, 50 reserved by images "
        "in progress; this image needs 1,234,567, in place of 10"
    )
    assert "quota.bytes of customer 2" in refused.value.remedy
    assert "dlcs retry --reason quota_exceeded" in refused.value.remedy


def test_one_image_more_than_the_limit_is_refused() -> None:
    require_room_for_image(IMAGE, 3, 2)
    with pytest.raises(MessageRejectedError) as refused:
        require_room_for_image(IMAGE, 3, 3)
    assert refused.value.code == "quota_images_exceeded"
    assert "2/1/page: customer 2 may have 3 images and has 3" in str(refused.value)


JP2, ORIGINAL = ObjectKind.JP2, ObjectKind.ORIGINAL


@pytest.mark.parametrize(
    ("channels", "optimised", "expected"),
    [
        ("iiif-img:default", False, (JP2,)),
        ("iiif-img:default", True, (JP2,)),
        ("iiif-img:default,file:none", False, (JP2, ORIGINAL)),
        ("iiif-img:default,file:none", True, (JP2,)),
        ("iiif-img:use-original,thumbs:default", False, (ORIGINAL,)),
        ("iiif-img:use-original,thumbs:default", True, ()),
        ("thumbs:default", False, ()),
        ("thumbs:default", True, ()),
        ("file:none", False, (ORIGINAL,)),
        ("file:none", True, ()),
        ("none:none", False, ()),
    ],
)
def test_only_what_will_be_stored_counts(channels: str, optimised: bool, expected: tuple[ObjectKind, ...]) -> None:
    """A transient object does not, nor an original that stays where it is."""
    named = (part.split(":") for part in channels.split(","))
    plan = plan_ingest(
        [DeliveryChannel(Channel(channel), policy) for channel, policy in named], optimised=optimised, is_jp2=None
    )
    assert stored_kinds(plan, STAGES) == expected


def test_a_stage_that_is_not_requested_stores_nothing() -> None:
    channels = [DeliveryChannel(Channel.IIIF_IMG, "default"), DeliveryChannel(Channel.FILE, "none")]
    plan = plan_ingest(channels, optimised=False, is_jp2=None)
    assert stored_kinds(plan, [Stage.ORIGINAL]) == (ORIGINAL,)
    assert stored_kinds(plan, [Stage.JP2, Stage.THUMBNAILS]) == (JP2,)
    assert stored_kinds(plan, [Stage.THUMBNAILS]) == ()
