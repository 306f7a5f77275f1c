"""`dlcs usage`: how much there is of each customer and space, and of its quota."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.options import CustomerOption, SpaceOption, parse_space
from dlcs_assets.cli.output import echo, echo_data, make_console, print_table, shown_bytes
from dlcs_assets.customers import customer_source
from dlcs_assets.domain.customers import Customers, Quota
from dlcs_assets.ledger.accounting import Usage, total

HEADINGS = ("customer", "space", "images", "JP2s and originals", "thumbnails", "reserved")


@dataclass(frozen=True, slots=True)
class CustomerUsage:
    """The usage of a customer: in all, in each space, and the quota."""

    whole: Usage
    spaces: tuple[Usage, ...]
    quota: Quota

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: the shape of `dlcs usage --json`."""
        return {
            "customer": self.whole.customer,
            **_numbers(self.whole),
            "quota": {"images": self.quota.images, "bytes": self.quota.bytes},
            "spaces": [{"space": part.space, **_numbers(part)} for part in self.spaces],
        }


def usage(
    customer: CustomerOption = None,
    space: SpaceOption = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array of objects instead.")] = False,
) -> None:
    """Show images, stored bytes and quotas. For each customer and space."""
    chosen = parse_space(customer, space)
    settings = load_settings()
    customers = customer_source(settings).customers()
    with open_ledger(settings) as ledger:
        found = _by_customer(ledger.accounting.by_space(*chosen), customers, *chosen)
    if as_json:
        echo_data(json.dumps([each.to_json() for each in found], indent=2))
    elif found:
        print_table(make_console(), HEADINGS, [row for each in found for row in _rows(each, of_space=chosen[1])])
    else:
        echo("Nothing is registered or stored there.")


def _by_customer(
    parts: Sequence[Usage], customers: Customers, customer: int | None, space: int | None
) -> list[CustomerUsage]:
    """Put the spaces of each customer together; a quota is shown also where nothing is taken of it yet."""
    numbers = {part.customer for part in parts}
    if space is None:
        limited = {each.number for each in customers.by_number.values() if each.quota != Quota()}
        numbers |= limited if customer is None else {customer}
    found = []
    for number in sorted(numbers):
        spaces = tuple(part for part in parts if part.customer == number)
        configured = customers.find(number)
        found.append(CustomerUsage(total(number, space, spaces), spaces, configured.quota if configured else Quota()))
    return found


def _rows(each: CustomerUsage, *, of_space: int | None) -> list[tuple[str, ...]]:
    spaces: list[tuple[str, ...]] = [
        (
            str(part.customer),
            str(part.space),
            str(part.images),
            shown_bytes(part.source),
            shown_bytes(part.thumbnails),
            shown_bytes(part.reserved),
        )
        for part in each.spaces
    ]
    if of_space is not None:  # a quota is the customer's, not the space's
        return spaces
    whole, quota = each.whole, each.quota
    images = str(whole.images) + (f" of {quota.images}" if quota.images is not None else "")
    source = shown_bytes(whole.source)
    if quota.bytes is not None:
        source += f" of {shown_bytes(quota.bytes)} ({100 * whole.source // quota.bytes} %)"
    return [
        *spaces,
        (str(whole.customer), "all", images, source, shown_bytes(whole.thumbnails), shown_bytes(whole.reserved)),
    ]


def _numbers(part: Usage) -> dict[str, int]:
    return {
        "images": part.images,
        "source": part.source,
        "thumbnails": part.thumbnails,
        "reserved": part.reserved,
    }
