"""Outcomes as Dagster events: one materialisation per image and stage, the same for every reporter."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg

from dlcs_assets.defs import shown, tags
from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.partition_key import partition_key
from dlcs_assets.domain.recipe import CODE_VERSIONS
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import Stage

UPSTREAM: Mapping[Stage, Stage] = {Stage.JP2: Stage.ORIGINAL, Stage.THUMBNAILS: Stage.JP2}


class Upstream:
    """The storage ids of the upstream records that a materialisation was made from.

    With them Dagster knows whether a partition is up to date with what it was made from; a pointer that is missing or
    guessed makes it miss changes.
    """

    def __init__(self, instance: dg.DagsterInstance, catalog: Catalog) -> None:
        self._instance = instance
        self.catalog = catalog

    def tags(self, stage: Stage, key: str) -> dict[str, str]:
        """Return the tags that name the newest record of the stage's upstream, as it is stored now."""
        upstream = UPSTREAM.get(stage)
        latest = newest(self._instance, self.catalog.asset(upstream), key) if upstream else None
        if upstream is None or latest is None or latest.asset_materialization is None:
            return {}
        name = self.catalog.asset(upstream).to_user_string()
        return {
            f"{tags.INPUT_DATA_VERSION}/{name}": (latest.asset_materialization.tags or {}).get(tags.DATA_VERSION, ""),
            f"{tags.INPUT_EVENT_POINTER}/{name}": str(latest.storage_id),
        }


def newest(instance: dg.DagsterInstance, asset: dg.AssetKey, key: str) -> dg.EventLogRecord | None:
    """Return the record of the newest materialisation of one image in an asset."""
    found = instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[key]), limit=1)
    return found.records[0] if found.records else None


def materialization(
    asset_id: AssetId,
    request_id: str,
    result: StageResult,
    *,
    upstream: Upstream,
    picture: bytes | None = None,
    links: Mapping[str, str] | None = None,
) -> dg.AssetMaterialization:
    """Return the event of one stage of one image. `picture` is a small JPEG that anyone may see."""
    key = partition_key(asset_id)
    metadata: dict[str, Any] = {"outcome": result.outcome.value}
    if picture:
        metadata["picture"] = shown.as_picture(base64.b64encode(picture).decode())
    metadata |= {name: _shown(name, value) for name, value in result.facts.items()}
    metadata |= {name: shown.as_link(url) for name, url in (links or {}).items()}
    metadata["request"] = request_id
    return dg.AssetMaterialization(
        asset_key=upstream.catalog.asset(result.stage),
        partition=key,
        description=result.outcome.value,
        metadata=metadata,
        tags={
            tags.DATA_VERSION: result.data_version,
            tags.CODE_VERSION: CODE_VERSIONS[result.stage],
            tags.REQUEST: request_id,
            **upstream.tags(result.stage, key),
        },
    )


def _shown(name: str, value: Any) -> dg.MetadataValue[Any]:
    if name == "sizes":
        return shown.as_text(", ".join(f"{width} x {height}" for width, height in value))
    match value:
        case bool():
            return dg.MetadataValue.bool(value)
        case int():
            return dg.MetadataValue.int(value)
        case list():
            return shown.as_text("; ".join(str(item) for item in value))
        case _:
            return shown.as_text(value)
