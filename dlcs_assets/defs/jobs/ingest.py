"""The jobs that sensors launch and that people find in the launchpad."""

import dagster as dg

from dlcs_assets.domain.stages import Stage

INGEST_JOB = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets(*(stage.value for stage in Stage)),
    description="Ingests a chunk of images, which the sensors choose. For images of your own choice use Materialize.",
)
