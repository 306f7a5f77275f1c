"""The ledger as a Dagster resource."""

from __future__ import annotations

from functools import lru_cache

import dagster as dg

from dlcs_assets.ledger.ledger import Ledger


class LedgerResource(dg.ConfigurableResource[Ledger]):
    """The ledger's database. URL and key are read from the environment, so that they are never shown."""

    url: str
    key: str | None = None

    def open(self) -> Ledger:
        """Return this process's ledger for the URL; its connections are shared by all ticks of a code server."""
        return _open(self.url, self.key)


@lru_cache(maxsize=8)
def _open(url: str, key: str | None) -> Ledger:
    return Ledger(url, key)
