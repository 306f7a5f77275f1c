"""A customer with policies of its own, and the policy of an installation that has it."""

from __future__ import annotations

from dlcs_assets.domain.customers import Customer, Customers
from dlcs_assets.domain.delivery import Channel, DefaultChannel, Policies, RequestedChannel
from dlcs_assets.domain.ingest_spec import IngestPolicy
from dlcs_assets.domain.thumbnails import ThumbnailMaker

POLICIES = Policies(
    thumbs={"tiny": ("!50,50",)},
    defaults=(
        DefaultChannel("image/*", Channel.IIIF_IMG, "default"),
        DefaultChannel("image/jp2", Channel.IIIF_IMG, "use-original"),
        DefaultChannel("application/*", Channel.FILE, "none"),
    ),
)
CUSTOMERS = Customers({2: Customer(2, POLICIES)})
POLICY = IngestPolicy(
    customers=lambda: CUSTOMERS,
    origin_bucket="uploads",
    own_buckets=("storage", "thumbs"),
    default_thumbnail_sizes=("!400,400", "!100,100"),
    engine_open_thumbnails=False,
    max_pixels=10**9,
    profile="kdu_max",
    notifies_cdn=False,
    thumbnails_by=ThumbnailMaker.IMAGE_SERVER,
)


def requested(channels: str) -> tuple[RequestedChannel, ...] | None:
    """Read channels as in `iiif-img:default,file`; none at all means the defaults."""
    named = (part.partition(":") for part in channels.split(",") if part)
    return tuple(RequestedChannel(Channel(name), policy or None) for name, _, policy in named) or None
