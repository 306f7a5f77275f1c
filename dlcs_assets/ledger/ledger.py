"""The ledger as one object: its parts by what they are for."""

from __future__ import annotations

from dlcs_assets.ledger.accounting import Accounting
from dlcs_assets.ledger.batches import Batches
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.deletions import Deletions
from dlcs_assets.ledger.dispatch import Dispatch
from dlcs_assets.ledger.fixity import Fixity
from dlcs_assets.ledger.health import Health
from dlcs_assets.ledger.inbox import Inbox
from dlcs_assets.ledger.outbox import Outbox
from dlcs_assets.ledger.registrations import Registrations
from dlcs_assets.ledger.reports import Reports
from dlcs_assets.ledger.results import Work
from dlcs_assets.ledger.retention import Retention
from dlcs_assets.ledger.uploads import Uploads


class Ledger:
    """Open the ledger at an SQLAlchemy URL, creating its tables if they are missing.

    `inbox` takes messages in, `dispatch` gives due images to chunks, `work` is where runs claim and commit, `deletions`
    likewise for images that go, `reports` tells where everything is, `catalogue` goes through all that is registered,
    `batches` how far batches are, `accounting` how much is stored, `outbox` keeps what is to be told to others,
    `uploads` what buckets held, `fixity` knows what is to be read again and compared, `watch` looks at
    everything together, `housekeeping` lets go of what is old.
    """

    def __init__(self, url: str, keys: str | None = None) -> None:
        self._database = Database(url, keys)
        self.inbox = Inbox(self._database)
        self.dispatch = Dispatch(self._database)
        self.work = Work(self._database)
        self.reports = Reports(self._database)
        self.uploads = Uploads(self._database)
        self.registrations = Registrations(self._database)
        self.deletions = Deletions(self._database)
        self.batches = Batches(self._database)
        self.outbox = Outbox(self._database)
        self.accounting = Accounting(self._database)
        self.fixity = Fixity(self._database)
        self.health = Health(self._database)
        self.retention = Retention(self._database)

    def close(self) -> None:
        """Close the connections."""
        self._database.close()
