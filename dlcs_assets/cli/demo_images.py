"""How the demo ingests each of its samples: with enough variety to see most rows of the ingest plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import NO_POLICY, USE_ORIGINAL, Channel, RequestedChannel
from dlcs_assets.domain.stages import Lane
from dlcs_stack.samples import Sample

CUSTOMER = 2
FOLIOS_PER_SPACE = 5
USE_ORIGINAL_AND_THUMBS = (RequestedChannel(Channel.IIIF_IMG, USE_ORIGINAL), RequestedChannel(Channel.THUMBS))
THUMBS = (RequestedChannel(Channel.THUMBS),)
FILE_AND_THUMBS = (RequestedChannel(Channel.FILE, NO_POLICY), RequestedChannel(Channel.THUMBS))


@dataclass(frozen=True, slots=True)
class Variant:
    """How an image is to be ingested; without channels, with the defaults. `over_http`: by a web address."""

    channels: tuple[RequestedChannel, ...] | None = None
    over_http: bool = False
    max_unauthorised: int | None = None
    roles: tuple[str, ...] | None = None
    lane: Lane = Lane.INGEST


ORDINARY = Variant()
DEMO_VARIANTS = {
    "f002r": Variant(USE_ORIGINAL_AND_THUMBS),
    "f003r": Variant(THUMBS),
    "f004v": Variant(FILE_AND_THUMBS),
    "f007r": Variant(max_unauthorised=400, roles=("https://example.org/roles/readers",)),
    "f007v": Variant(over_http=True),
    "f009v": Variant(USE_ORIGINAL_AND_THUMBS),
    "f010r": Variant(USE_ORIGINAL_AND_THUMBS, over_http=True),
    "f011v": Variant(THUMBS, over_http=True),
    "f013r": Variant(FILE_AND_THUMBS, over_http=True),
    "f014r": Variant(over_http=True),
    "f015v": Variant(lane=Lane.PRIORITY),
}


@dataclass(frozen=True, slots=True)
class DemoImage:
    """A sample, the id that it gets, and how it is ingested."""

    sample: Sample
    asset_id: AssetId
    variant: Variant

    @property
    def expected(self) -> str:
        """The state in which it should end."""
        return "failed" if self.sample.broken else "done"


def demo_images(samples: Sequence[Sample]) -> list[DemoImage]:
    """Return every sample with an id; the folios are in spaces of a few each."""
    return [
        DemoImage(sample, AssetId(CUSTOMER, _space(sample.name), sample.name), DEMO_VARIANTS.get(sample.name, ORDINARY))
        for sample in samples
    ]


def _space(name: str) -> int:
    folio = int("".join(character for character in name if character.isdigit()))
    return (folio - 1) // FOLIOS_PER_SPACE + 1
