"""How this installation's assets and partitions are named in Dagster: several may share a workspace by their prefix."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import dagster as dg

from dlcs_assets.domain.stages import Stage
from dlcs_assets.settings import Settings

DEFAULT_PREFIX: Final = "dlcs"
STAGES_BY_NAME: Final = {stage.value: stage for stage in Stage}


@dataclass(frozen=True, slots=True)
class Catalog:
    """The names. All that is called by a prefix of its own is apart from other installations of the instance."""

    prefix: str = DEFAULT_PREFIX

    @classmethod
    def of(cls, settings: Settings) -> Catalog:
        """Return the names that the settings give."""
        return cls(settings.asset_key_prefix)

    def asset(self, stage: Stage) -> dg.AssetKey:
        """Return the key of a stage's asset."""
        return dg.AssetKey([self.prefix, stage.value])

    @property
    def ledger(self) -> dg.AssetKey:
        """The key of the ledger's asset, which bears checks."""
        return dg.AssetKey([self.prefix, "ledger"])

    @property
    def partitions_name(self) -> str:
        """The name of the images' partitions. That of the usual prefix is from before there were prefixes."""
        return "images" if self.prefix == DEFAULT_PREFIX else f"{self.prefix}_images"

    @property
    def partitions(self) -> dg.DynamicPartitionsDefinition:
        """The images as partitions."""
        return dg.DynamicPartitionsDefinition(name=self.partitions_name)

    def owns_any(self, keys: Collection[dg.AssetKey] | None) -> bool:
        """Return whether a selection has an asset of ours; True for one that names no assets at all."""
        return not keys or any(self._owns(key) or self.is_former(key) for key in keys)

    def is_former(self, key: dg.AssetKey) -> bool:
        """Return whether it is a key that an asset of ours had before there were prefixes."""
        return self.prefix == DEFAULT_PREFIX and len(key.path) == 1 and key.path[0] in STAGES_BY_NAME

    def _owns(self, key: dg.AssetKey) -> bool:
        return len(key.path) > 1 and key.path[0] == self.prefix and key.path[1] in STAGES_BY_NAME
