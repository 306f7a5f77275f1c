"""Images as a IIIF manifest, for viewers and for checking: `dlcs manifest`, and an address of the pages."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.presentation import Leaf, presentation
from dlcs_assets.domain.redaction import without_login
from dlcs_assets.domain.request_states import ShownState
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.gallery import Place, Shown
from dlcs_assets.ledger.reports import ImageStatus, Selection
from dlcs_assets.settings import Settings
from dlcs_assets.view.pictures import Of, Pictures, size_of
from dlcs_assets.view.templating import address

MOST: Final = 1000  # images of a manifest: viewers take seconds for more


def manifest_of(
    ledger: Ledger, pictures: Pictures, shown: Shown, *, base: str, title: str, after: Place | None = None
) -> dict[str, Any] | None:
    """Return the manifest of up to `MOST` images, the first ones after a place; None if none of them can be shown.

    `base`: the address of the pages. Left out are images that are not done, that not everyone may see, or that the
    image server cannot read.
    """
    wall = ledger.gallery.wall(shown, after=after, limit=MOST)
    ids = tuple(tile.place.image_id for tile in wall.tiles if tile.state is ShownState.DONE)
    if not ids:  # a selection of no ids is one of all images
        return None
    known = {image.asset_id: image for image in ledger.reports.images(Selection(ids=ids))}
    found = (_leaf(pictures, known[each], base) for each in ids if each in known)
    leaves = [leaf for leaf in found if leaf is not None]
    if not leaves:
        return None
    left_out = len(wall.tiles) - len(leaves)
    why = "not done, not to be seen by everyone, or with neither JP2 nor original in S3"
    parts = [f"{left_out} images are left out: {why}."] if left_out else []
    parts += [f"There are more images after {wall.tiles[-1].place.image_id}."] if wall.after else []
    here = f"{base}{address('/manifest', **parameters_of(shown), after=after.image_id if after else None)}"
    return presentation(here, title, leaves, summary=" ".join(parts) or None)


def base_of(settings: Settings) -> str | None:
    """Return the address of the pages as the settings have it."""
    return without_login(settings.view_url).rstrip("/") if settings.view_url else None


def parameters_of(shown: Shown) -> dict[str, object]:
    """Return a selection as the parameters of an address."""
    return {
        "customer": shown.customer,
        "space": shown.space,
        "batch": shown.batch,
        "state": shown.state.value if shown.state else None,
        "reason": shown.code,
    }


def title_of(shown: Shown) -> str:
    """Return a selection in words."""
    parts = [] if shown.customer is None else [f"customer {shown.customer}"]
    parts += [] if shown.space is None else [f"space {shown.space}"]
    parts += [] if shown.batch is None else [f"batch {shown.batch}"]
    parts += [] if shown.state is None else [shown.state.value]
    parts += [] if shown.code is None else [shown.code]
    return f"Images: {', '.join(parts)}" if parts else "Images"


def _leaf(pictures: Pictures, image: ImageStatus, base: str) -> Leaf | None:
    stored = pictures.renderable(image, Of.JP2) or pictures.renderable(image, Of.ORIGINAL)
    size = size_of(image)
    if stored is None or size is None:
        return None
    settings = pictures.settings
    if settings.public_iiif_url is not None:
        service = f"{settings.public_iiif_url.rstrip('/')}/{quote(str(AssetId.parse(image.asset_id)), safe='/')}"
    else:
        identifier = S3Location(stored.bucket, stored.key).uri(settings.s3_uri_region)
        server = f"{without_login(settings.image_server_url).rstrip('/')}/{settings.image_server_path.strip('/')}"
        service = f"{server}/{quote(identifier, safe='')}"
    return Leaf(image.asset_id, f"{base}{address('/image', id=image.asset_id)}", size, service)
