"""The ledger: every image, request, attempt, outcome, stored object and rejected message, in a SQL database.

Dagster shows the working set and the lineage; this is the history and the truth.

The parts of a `Ledger` open transactions: each of their methods is one, or several short ones. A function that takes a
connection runs in the transaction of its caller. Requests are written by `transitions` only.
"""

from __future__ import annotations

from dlcs_assets.ledger.ledger import Ledger

__all__ = ["Ledger"]
