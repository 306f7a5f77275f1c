"""The former place of the run launcher, for a `dagster.yaml` that still names it."""

import logging

from dlcs_assets.instance.launcher import ForkingRunLauncher

__all__ = ["ForkingRunLauncher"]

logging.getLogger(__name__).warning(
    "dagster.yaml names dlcs_assets.launcher. Write instead: module: dlcs_assets.instance.launcher"
)
