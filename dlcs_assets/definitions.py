"""The one place where everything meets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

from dlcs_assets.clients.appetiser import Appetiser
from dlcs_assets.clients.aws import PooledS3Resource
from dlcs_assets.clients.image_server import ImageServer
from dlcs_assets.clients.listings import Listings
from dlcs_assets.clients.origins import Origins
from dlcs_assets.clients.sns import Notifications
from dlcs_assets.clients.sqs import Queues
from dlcs_assets.clients.storage import Storage
from dlcs_assets.defs.assets import ingest_assets
from dlcs_assets.defs.checks import LEDGER, ledger_checks
from dlcs_assets.defs.jobs.delete import delete_job
from dlcs_assets.defs.jobs.fixity import fixity_job
from dlcs_assets.defs.jobs.ingest import INGEST_JOB
from dlcs_assets.defs.jobs.maintenance import maintenance_job
from dlcs_assets.defs.jobs.reprocess import backfill_job
from dlcs_assets.defs.ledger_resource import LedgerResource
from dlcs_assets.defs.loggers import json_loggers
from dlcs_assets.defs.schedules import schedule
from dlcs_assets.defs.sensors.sensors import ingest_sensors
from dlcs_assets.domain.image_servers import ImageServerKind, SourceAccess
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


def build_resources(settings: Settings) -> dict[str, Any]:
    """Return the resources that assets and sensors use, by name."""
    s3 = PooledS3Resource(endpoint_url=settings.s3_endpoint_url)
    slots = str(settings.slots.absolute())
    shared = settings.image_server_sources is SourceAccess.DISK
    return {
        # Named, not written out: the UI shows resources' configuration, and a database's URL may hold a password.
        "ledger": LedgerResource(
            url=dg.EnvVar("DLCS_LEDGER_URL") if "DLCS_LEDGER_URL" in os.environ else settings.ledger_url,
            key=dg.EnvVar("DLCS_LEDGER_KEY") if settings.ledger_key else None,
        ),
        "queues": Queues(),
        "notifications": Notifications(),
        # A tick waits for its listings, so they are not waited for long.
        "listings": Listings(
            s3=PooledS3Resource(
                endpoint_url=settings.s3_endpoint_url,
                connect_timeout_seconds=3,
                read_timeout_seconds=15,
                max_attempts=1,
                connections=2,
            )
        ),
        "storage": Storage(s3=s3, storage_bucket=settings.storage_bucket, thumbs_bucket=settings.thumbs_bucket),
        "origins": Origins(
            s3=s3,
            in_flight=settings.origin_in_flight,
            timeout_seconds=settings.origin_timeout.total_seconds(),
            max_bytes=settings.origin_max_bytes,
            min_rate=settings.origin_min_rate,
            private_networks=list(settings.private_networks),
        ),
        "appetiser": Appetiser(
            url=settings.appetiser_url,
            optimisation=settings.appetiser_optimisation,
            scratch_root=str(settings.scratch.absolute()),
            appetiser_scratch_root=str(settings.appetiser_root),
            in_flight=settings.appetiser_in_flight,
            slots_folder=slots,
            timeout_seconds=settings.appetiser_timeout.total_seconds(),
        ),
        "image_server": ImageServer(
            url=settings.image_server_url,
            path=settings.image_server_path,
            kind=settings.image_server_kind,
            cache=settings.image_server_cache if settings.image_server_kind is ImageServerKind.CANTALOUPE else "",
            reads_jp2=settings.thumbnails_of_jp2,
            scratch_root=str(settings.scratch.absolute()) if shared else None,
            server_scratch_root=settings.image_server_scratch_root,
            late_files_seconds=settings.image_server_late_files.total_seconds(),
            in_flight=settings.image_server_in_flight,
            slots_folder=slots,
            timeout_seconds=settings.image_server_timeout.total_seconds(),
        ),
    }


@dg.definitions
def defs() -> dg.Definitions:
    """Return the project as the environment configures it."""
    return build_definitions(Settings())
