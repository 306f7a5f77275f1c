"""The ledger as one object: its parts by what they are for."""

from __future__ import annotations

from dlcs_assets.ledger.accounting import Accounting
from dlcs_assets.ledger.backfills import Backfills
from dlcs_assets.ledger.batches import Batches
from dlcs_assets.ledger.claims import Claims
from dlcs_assets.ledger.comparison import Comparison
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.deletions import Deletions
from dlcs_assets.ledger.dispatch import Dispatch
from dlcs_assets.ledger.fixity import Fixity
from dlcs_assets.ledger.gallery import Gallery
from dlcs_assets.ledger.health import Health
from dlcs_assets.ledger.inbox import Inbox
from dlcs_assets.ledger.launches import Launches
from dlcs_assets.ledger.outbox import Outbox
from dlcs_assets.ledger.ownership import Ownership
from dlcs_assets.ledger.rates import Rates
from dlcs_assets.ledger.rebuilding import Rebuilding
from dlcs_assets.ledger.registrations import Registrations
from dlcs_assets.ledger.reports import Reports
from dlcs_assets.ledger.results import Results
from dlcs_assets.ledger.retention import Retention
from dlcs_assets.ledger.uploads import Uploads
from dlcs_assets.ledger.workers import Workers
from dlcs_assets.ledger.write_backs import WriteBacks


class Ledger:
    """Open the ledger at an SQLAlchemy URL, creating its tables if they are missing.

    Its parts, by what they are for:

    - `inbox` takes messages in, `uploads` remembers what buckets held
    - `registrations` lists everything that is registered, and requests images again
    - `dispatch` gives due images to chunks, and chunks to runs; `launches` says whether runs start
    - `claims` says which run works on which image; `results` records what runs made, and how attempts ended
    - `deletions` does both for images that are deleted
    - `backfills` withdraws backfills and resumes them, and says how far they are
    - `batches` counts how far batches are, `accounting` how much is stored, `reports` returns the state of images
    - `gallery` returns images in pages, to be looked through; `rates` says how many ended when
    - `outbox` keeps notifications until they are published
    - `write_backs` keeps how images ended until a DLCS's database has it
    - `fixity` says which objects are to be compared next, `health` what is stalled or failed
    - `retention` deletes old rows
    - `rebuilding` adds images that were found in storage, `comparison` says what should be there
    - `ownership` says which Dagster instance the ledger works for, `workers` which process works on a run

    `writer` is the id of the Dagster instance for which it is opened; None where a person works with it. Once the
    ledger works for another instance, all that would write raises NotOwnerError.
    """

    def __init__(self, url: str, keys: str | None = None, *, writer: str | None = None) -> None:
        self._database = Database(url, keys, writer=writer)
        self.inbox = Inbox(self._database)
        self.dispatch = Dispatch(self._database)
        self.launches = Launches(self._database)
        self.claims = Claims(self._database)
        self.results = Results(self._database)
        self.reports = Reports(self._database)
        self.uploads = Uploads(self._database)
        self.registrations = Registrations(self._database)
        self.deletions = Deletions(self._database)
        self.backfills = Backfills(self._database)
        self.batches = Batches(self._database)
        self.outbox = Outbox(self._database)
        self.accounting = Accounting(self._database)
        self.gallery = Gallery(self._database)
        self.rates = Rates(self._database)
        self.fixity = Fixity(self._database)
        self.health = Health(self._database)
        self.rebuilding = Rebuilding(self._database)
        self.comparison = Comparison(self._database)
        self.retention = Retention(self._database)
        self.ownership = Ownership(self._database)
        self.workers = Workers(self._database)
        self.write_backs = WriteBacks(self._database)

    def close(self) -> None:
        """Close the connections."""
        self._database.close()
