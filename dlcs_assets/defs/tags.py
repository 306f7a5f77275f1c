"""Tags of runs, materialisations and assets: this project's begin with `dlcs/`, Dagster's with `dagster/`."""

from __future__ import annotations

from typing import Final

CHUNK: Final = "dlcs/chunk"
CUSTOMER: Final = "dlcs/customer"
SPACE: Final = "dlcs/space"
LANE: Final = "dlcs/lane"  # who asked: see `Lane`
IMAGES: Final = "dlcs/images"  # how many
BATCH: Final = "dlcs/batch"
BACKFILL: Final = "dlcs/backfill"
REQUEST: Final = "dlcs/request"
WAITS_FOR: Final = "dlcs/waits_for"  # why a run could not be started when it was tried last
# of assets
STAGE: Final = "dlcs/stage"
FORMAT: Final = "dlcs/format"

PRIORITY: Final = "dagster/priority"
PARENT_RUN: Final = "dagster/parent_run_id"  # on a run that a person executes again
PARTITION: Final = "dagster/partition"
RANGE_START: Final = "dagster/asset_partition_range_start"
RANGE_END: Final = "dagster/asset_partition_range_end"
DATA_VERSION: Final = "dagster/data_version"
CODE_VERSION: Final = "dagster/code_version"
INPUT_DATA_VERSION: Final = "dagster/input_data_version"
INPUT_EVENT_POINTER: Final = "dagster/input_event_pointer"
