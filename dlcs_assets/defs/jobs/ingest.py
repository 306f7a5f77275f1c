"""The job `ingest`, which sensors launch for chunks of images."""

from __future__ import annotations

from typing import Any, Final

import dagster as dg

from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.domain.stages import Stage

INGEST_JOB: Final = "ingest"


def ingest_job(catalog: Catalog) -> Any:
    """Return the job. The checks of its assets are not in it: the sensor `watch` evaluates them."""
    assets = dg.AssetSelection.assets(*map(catalog.asset, Stage))
    return dg.define_asset_job(
        INGEST_JOB,
        selection=assets.without_checks(),
        description="Ingests a chunk of images, which the sensors choose. To choose images yourself, use Materialize.",
    )
