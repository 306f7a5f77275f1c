"""What all pages stand on: the ledger, the pictures, the templates, and the addresses of Dagster's UI."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.partition_key import partition_key
from dlcs_assets.domain.redaction import without_login
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.reports import ImageStatus, Selection
from dlcs_assets.settings import Settings
from dlcs_assets.view.pictures import Pictures
from dlcs_assets.view.queries import Query, image_of
from dlcs_assets.view.templating import make_environment

ON_A_LIST: Final = 20  # batches or backfills, each with its numbers
RATE_WINDOW: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class Links:
    """Addresses of Dagster's UI; None where the settings do not say where it is."""

    ui_url: str | None
    prefix: str

    def run(self, run_id: str) -> str | None:
        """Return the address of a run."""
        return f"{self.ui_url}/runs/{quote(run_id, safe='')}" if self.ui_url else None

    @property
    def backfills(self) -> str | None:
        """The address of the runs and backfills that Dagster has."""
        return f"{self.ui_url}/runs" if self.ui_url else None

    def partition(self, stage: Stage, image: AssetId) -> str | None:
        """Return the address of an image's partition of an asset."""
        if self.ui_url is None:
            return None
        query = urlencode({"view": "partitions", "partition": partition_key(image)}, quote_via=quote)
        return f"{self.ui_url}/assets/{self.prefix}/{stage.value}?{query}"


class Site:
    """What the pages of an installation share. The ledger is opened by the first page that needs it."""

    def __init__(self, open_ledger: Callable[[], Ledger], pictures: Pictures, settings: Settings) -> None:
        self.pictures = pictures
        self.settings = settings
        ui_url = without_login(settings.ui_url).rstrip("/") if settings.ui_url else None
        self.links = Links(ui_url, settings.asset_key_prefix)
        self._open_ledger = open_ledger
        self._opening = threading.Lock()
        self._opened: Ledger | None = None
        self._environment = make_environment()

    @property
    def ledger(self) -> Ledger:
        """The ledger, open."""
        with self._opening:
            if self._opened is None:
                self._opened = self._open_ledger()
            return self._opened

    def close(self) -> None:
        """Close the ledger and what pictures are read with."""
        with self._opening:
            if self._opened is not None:
                self._opened.close()
        self.pictures.close()

    def page(self, template: str, title: str, *, status: int = 200, **values: Any) -> Response:
        """Return a template as a page."""
        text = self._environment.get_template(template).render(
            title=title, ui_url=self.links.ui_url, now=datetime.now(UTC), **values
        )
        return HTMLResponse(text, status)

    def sorry(self, status: int, title: str, text: str) -> Response:
        """Return a page that says why there is no other."""
        return self.page("sorry.html", title, status=status, text=text)

    def known(self, query: Query) -> tuple[AssetId, ImageStatus]:
        """Return the image that an address names. Raises `HTTPException` (404) if the ledger has none."""
        asset_id = image_of(query)
        found = self.ledger.reports.images(Selection(ids=(str(asset_id),)), limit=1)
        if not found:
            raise HTTPException(404)
        return asset_id, found[0]
