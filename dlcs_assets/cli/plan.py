"""`dlcs plan`: what would be done for an image, and why."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Annotated

import typer

from dlcs_assets.cli.clients import load_customer
from dlcs_assets.cli.connection import load_settings, open_ledger, read_settings
from dlcs_assets.cli.failure import CommandError
from dlcs_assets.cli.image_view import known_of
from dlcs_assets.cli.options import ChannelsOption, PolicyOption, parse_channels
from dlcs_assets.cli.output import make_console, print_lines
from dlcs_assets.cli.planning import Known, explain
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.customers import Customer
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.quota import MIN_BYTES
from dlcs_assets.domain.results import ObjectKind
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.ledger.reports import ImageStatus, Selection
from dlcs_assets.settings import Settings


def plan(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The image, as customer/space/asset.")],
    origin: Annotated[
        str | None, typer.Option(metavar="URL", help="As if it were registered with this origin; needs no ledger.")
    ] = None,
    channels: ChannelsOption = None,
    policy: PolicyOption = None,
) -> None:
    """Show what would be done for an image, and why. From what is registered; nothing is done or requested."""
    asset_id = AssetId.parse(id_)
    if origin is None:
        settings = load_settings()
        image = _registered(asset_id, settings)
        assert image.registration is not None
        registration, known = image.registration, known_of(image)
    else:
        settings = _settings_for_planning()
        registration, known = Registration(origin), Known()
    customer = load_customer(settings, asset_id.customer)
    requested = parse_channels(channels, policy, customer.policies)
    if requested is not None:
        registration = replace(registration, channels=requested or None)

    def refusal(kinds: Collection[ObjectKind]) -> str | None:
        return _refusal(asset_id, customer, kinds, settings) if origin is None else None

    lines = explain(asset_id, registration, ingest_policy(settings), settings, known, refusal)
    console = make_console()
    console.print(str(asset_id), style="bold")
    print_lines(console, lines)


def _registered(asset_id: AssetId, settings: Settings) -> ImageStatus:
    with open_ledger(settings) as ledger:
        found = ledger.reports.images(Selection(ids=(str(asset_id),)))
    if not found or found[0].registration is None:
        raise CommandError(f"{asset_id} is not registered: give --origin to plan for an image that might be.")
    return found[0]


def _refusal(asset_id: AssetId, customer: Customer, kinds: Collection[ObjectKind], settings: Settings) -> str | None:
    """Say why the customer's quota has no room just now for an image that stores objects of these kinds."""
    if customer.quota.bytes is None or not kinds:
        return None
    with open_ledger(settings) as ledger:
        try:
            counted = customer.quota.counted_bytes
            ledger.accounting.check(asset_id, customer.quota.bytes, MIN_BYTES, kinds, counted=counted)
        except PermanentError as error:
            return f"refused before the original is fetched: {error}"
    return None


def _settings_for_planning() -> Settings:
    """Return the running stack's settings, for its bucket names; without one, the environment's."""
    try:
        return load_settings()
    except CommandError:
        return read_settings()
