"""The one place where everything meets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from dlcs_assets.defs.assets import ingest_assets
from dlcs_assets.defs.checks import LEDGER, ledger_checks
from dlcs_assets.defs.jobs.delete import delete_job
from dlcs_assets.defs.jobs.fixity import fixity_job
from dlcs_assets.defs.jobs.ingest import INGEST_JOB
from dlcs_assets.defs.jobs.maintenance import maintenance_job
from dlcs_assets.defs.jobs.reprocess import backfill_job
from dlcs_assets.defs.loggers import json_loggers
from dlcs_assets.defs.resources import build_resources
from dlcs_assets.defs.schedules import schedule
from dlcs_assets.defs.sensors.sensors import ingest_sensors
from dlcs_assets.settings import Settings


def build_definitions(settings: Settings, *, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Return the whole project for these settings; `resources` take the place of those made from them."""

    def asset_graph() -> Any:
        return definitions.resolve_asset_graph()

    maintenance, fixity = maintenance_job(settings, asset_graph), fixity_job(settings)
    definitions = dg.Definitions(
        assets=[ingest_assets(settings), LEDGER],
        asset_checks=ledger_checks(settings),
        jobs=[INGEST_JOB, backfill_job(settings), delete_job(settings, asset_graph), maintenance, fixity],
        schedules=[
            schedule(maintenance, settings.maintenance_cron, "DLCS_MAINTENANCE_CRON"),
            schedule(fixity, settings.fixity_cron, "DLCS_FIXITY_CRON"),
        ],
        sensors=ingest_sensors(settings),
        loggers=json_loggers() if settings.log_format == "json" else None,
        resources={**build_resources(settings), **(resources or {})},
        # One process per run: a step process of its own would work on beside the successor of a killed run.
        executor=dg.in_process_executor,
    )
    return definitions


@dg.definitions
def defs() -> dg.Definitions:
    """Return the project as the environment configures it."""
    return build_definitions(Settings())
