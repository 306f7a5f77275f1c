"""Options that several commands share, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from dlcs_assets.cli.failure import UsageError
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import (
    Channel,
    Policies,
    RequestedChannel,
    check_requested,
    parse_requested_channels,
)

IdsArgument = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Images, as customer/space/asset.")]
CustomerOption = Annotated[int | None, typer.Option(metavar="N", help="Images of this customer only.")]
SpaceOption = Annotated[
    str | None, typer.Option(metavar="SPACE", help="Images of this space only: 5, or 2/5 for that of customer 2.")
]
BatchOption = Annotated[int | None, typer.Option(metavar="N", help="Images of this batch only.")]
ChannelsOption = Annotated[
    str | None,
    typer.Option(
        metavar="CHANNELS",
        help="Delivery channels, separated by commas: iiif-img, thumbs, file, none. Default: those of the media type.",
    ),
]
PolicyOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="POLICY",
        help="Policy, for every channel that has one of that name, or CHANNEL=POLICY. May be given again.",
    ),
]
DEFAULT_CHANNELS = (Channel.IIIF_IMG, Channel.THUMBS)  # what a policy alone is for


def parse_ids(ids: Sequence[str] | None) -> tuple[str, ...]:
    """Return ids in their canonical form, each once. Raises `InvalidAssetIdError`."""
    return tuple(dict.fromkeys(str(AssetId.parse(text)) for text in ids or ()))


def parse_space(customer: int | None, space: str | None) -> tuple[int | None, int | None]:
    """Read --customer and --space, which may name the customer as well."""
    if space is None:
        return customer, None
    named, slash, number = space.rpartition("/")
    try:
        if not slash:
            return customer, int(number)
        if customer not in {None, int(named)}:
            raise UsageError(f"--space {space} is not a space of customer {customer}.")
        return int(named), int(number)
    except ValueError as error:
        raise UsageError(f"--space {space}: expected a number, or customer/space.") from error


def parse_channels(
    channels: str | None, policies: Sequence[str] | None, known: Policies
) -> tuple[RequestedChannel, ...] | None:
    """Read --channels and --policy; None if neither is given. Raises `MessageRejectedError` or UsageError."""
    if channels is None and not policies:
        return None
    names = [name.strip() for name in channels.split(",")] if channels is not None else list(map(str, DEFAULT_CHANNELS))
    chosen: dict[str, str] = {}
    for policy in policies or ():
        channel, _, name = policy.rpartition("=")
        having = [each for each in names if each in set(Channel) and name in (known.of(Channel(each)) or ())]
        targets = [channel] if channel else having
        if not targets or not set(targets) <= set(names):
            those = ", ".join(names)
            raise UsageError(
                f"--policy {policy}: {channel} is not among the channels {those}."
                if channel
                else f"--policy {policy}: none of the channels {those} has a policy of that name."
            )
        chosen |= dict.fromkeys(targets, name)
    requested = parse_requested_channels([{"channel": name, "policy": chosen.get(name)} for name in names])
    check_requested(requested, known)
    return requested
