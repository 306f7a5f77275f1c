"""The one place where everything meets."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

from dlcs_assets.defs.assets import ingest_assets, ledger_asset
from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.checks import ledger_checks
from dlcs_assets.defs.jobs.delete import delete_job
from dlcs_assets.defs.jobs.fixity import fixity_audit
from dlcs_assets.defs.jobs.ingest import ingest_job
from dlcs_assets.defs.jobs.maintenance import maintenance_job
from dlcs_assets.defs.jobs.reprocess import reprocess_images
from dlcs_assets.defs.loggers import json_loggers
from dlcs_assets.defs.resources import build_resources
from dlcs_assets.defs.schedules import schedule
from dlcs_assets.defs.sensors.sensors import ingest_sensors
from dlcs_assets.logs import log_visibly
from dlcs_assets.settings import Settings, unknown_variables

log = logging.getLogger(__name__)


def build_definitions(settings: Settings, *, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Return the whole project for these settings; `resources` are all of them, if not as the settings say."""

    def asset_graph() -> Any:
        return definitions.resolve_asset_graph()

    maintenance = maintenance_job(asset_graph)
    log_visibly()
    definitions = dg.Definitions(
        assets=[ingest_assets(settings), ledger_asset(settings)],
        asset_checks=ledger_checks(settings),
        jobs=[ingest_job(Catalog.of(settings)), reprocess_images, delete_job(asset_graph), maintenance, fixity_audit],
        schedules=[
            schedule(maintenance, settings.maintenance_cron, "DLCS_MAINTENANCE_CRON"),
            schedule(fixity_audit, settings.fixity_cron, "DLCS_FIXITY_CRON"),
        ],
        sensors=ingest_sensors(),
        loggers=json_loggers() if settings.log_format == "json" else None,
        resources=build_resources(settings) if resources is None else resources,
        # One process per run: a step process of its own would work on next to the successor of a killed run.
        executor=dg.in_process_executor,
    )
    return definitions


@dg.definitions
def defs() -> dg.Definitions:
    """Return the project as the environment configures it."""
    for unknown in unknown_variables(os.environ):
        log.warning("%s", unknown)
    return build_definitions(Settings())
