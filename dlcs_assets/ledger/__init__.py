"""The ledger: every image, request, attempt, outcome, stored object and rejected message, in a SQL database.

Dagster shows the working set and the lineage; this is the history and the truth.
"""

from __future__ import annotations

from dlcs_assets.ledger.ledger import Ledger

__all__ = ["Ledger"]
