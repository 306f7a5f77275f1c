"""The check of `dlcs doctor` on what is left without an end in the DLCS's database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Final

from dlcs_assets.cli.connection import ledger_keys
from dlcs_assets.cli.doctor_finding import Check, Finding, ok, warn
from dlcs_assets.cli.doctor_parts import is_usable
from dlcs_assets.clients.dlcs_database import DlcsDatabase
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.recovery.left_in_dlcs import find_left
from dlcs_assets.settings import Settings

_NAMED: Final = 3


def check_left_in_the_dlcs(settings: Settings) -> Iterator[Finding]:
    """Report images that the DLCS waits for and that are not in progress here, and batches that wait for none."""
    if settings.database_url is None or not is_usable(settings.ledger_url):
        return
    ledger = Ledger(settings.ledger_url, ledger_keys(settings))
    with closing(ledger), closing(DlcsDatabase(settings.database_url.get_secret_value())) as database:
        left = find_left(database, ledger, settings)
    if not left.images and not left.batches:
        yield ok("left in the dlcs", f"nothing has waited there for longer than {settings.abandoned_after}")
        return
    named = [*(str(each.asset_id) for each in left.images), *(f"batch {each.id}" for each in left.batches)]
    yield warn(
        "left in the dlcs",
        f"{len(left.images)} images and {len(left.batches)} batches have no end for longer than "
        f"{settings.abandoned_after}, such as {', '.join(named[:_NAMED])}",
        "No engine ends them: dlcs repair --dry-run shows them, and dlcs repair has them ended.",
    )


CHECKS: Final[tuple[Check, ...]] = (check_left_in_the_dlcs,)
