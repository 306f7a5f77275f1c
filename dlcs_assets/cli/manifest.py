"""`dlcs manifest`: images of a space, a batch or a selection as a IIIF manifest."""

from __future__ import annotations

import json
from typing import Annotated, Final

import typer

from dlcs_assets.cli.clients import make_storage
from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.failure import CommandError, UsageError
from dlcs_assets.cli.options import BatchOption, CustomerOption, SpaceOption, parse_space
from dlcs_assets.cli.output import echo_data
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.ledger.gallery import Place, Shown
from dlcs_assets.view.manifests import base_of, manifest_of, title_of
from dlcs_assets.view.pictures import Pictures, make_image_server

NOWHERE: Final = "http://127.0.0.1:3001"  # where `dlcs view` has its pages if nothing else is said


def manifest(
    customer: CustomerOption = None,
    space: SpaceOption = None,
    batch: BatchOption = None,
    *,
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="Begin after this image: a manifest has 1000 at most.")
    ] = None,
) -> None:
    """Print images as a IIIF manifest. Of those that are done, for a viewer (Presentation 3)."""
    chosen_customer, chosen_space = parse_space(customer, space)
    if chosen_customer is None:
        raise UsageError("Say whose images: --customer 2, --space 2/5, or --customer 2 --batch 7.")
    settings = load_settings()
    shown = Shown(chosen_customer, chosen_space, batch)
    begin = AssetId.parse(after) if after is not None else None
    place = Place(begin.customer, begin.space, str(begin)) if begin else None
    pictures = Pictures(make_storage(settings), make_image_server(settings), settings)
    base = base_of(settings) or NOWHERE
    with open_ledger(settings) as ledger:
        found = manifest_of(ledger, pictures, shown, base=base, title=title_of(shown), after=place)
    if found is None:
        raise CommandError(
            "None of these images is done, may be seen by everyone, and is where the image server reads it."
        )
    echo_data(json.dumps(found, indent=2, ensure_ascii=False))
