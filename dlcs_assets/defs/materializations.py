"""Outcomes as Dagster events: one materialisation per image and stage, the same whoever reports it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg

from dlcs_assets.defs import tags
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.partition_key import partition_key
from dlcs_assets.domain.recipe import CODE_VERSIONS
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import Stage

UPSTREAM: Mapping[Stage, Stage] = {Stage.JP2: Stage.ORIGINAL, Stage.THUMBNAILS: Stage.JP2}


class Upstream:
    """The storage ids of the upstream records that a materialisation was made from.

    With them Dagster tells whether a partition is up to date with what it was made from; a pointer that is missing or
    guessed makes it miss changes.
    """

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance

    def tags(self, stage: Stage, key: str) -> dict[str, str]:
        """Return the tags that name the newest record of the stage's upstream, as it is stored now."""
        upstream = UPSTREAM.get(stage)
        latest = newest(self._instance, upstream, key) if upstream else None
        if upstream is None or latest is None or latest.asset_materialization is None:
            return {}
        version = (latest.asset_materialization.tags or {}).get("dagster/data_version", "")
        return {
            f"dagster/input_data_version/{upstream}": version,
            f"dagster/input_event_pointer/{upstream}": str(latest.storage_id),
        }


def newest(instance: dg.DagsterInstance, stage: Stage, key: str) -> dg.EventLogRecord | None:
    """Return the record of the newest materialisation of one stage of one image."""
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(stage.value), asset_partitions=[key]), limit=1
    )
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
        data = base64.b64encode(picture).decode()
        metadata["picture"] = dg.MetadataValue.md(f"![{asset_id}](data:image/jpeg;base64,{data})")
    metadata |= {name: _shown(name, value) for name, value in result.facts.items()}
    metadata |= {name: dg.MetadataValue.url(url) for name, url in (links or {}).items()}
    metadata["request"] = request_id
    return dg.AssetMaterialization(
        asset_key=dg.AssetKey(result.stage.value),
        partition=key,
        description=result.outcome.value,
        metadata=metadata,
        tags={
            "dagster/data_version": result.data_version,
            "dagster/code_version": CODE_VERSIONS[result.stage],
            tags.REQUEST: request_id,
            **upstream.tags(result.stage, key),
        },
    )


def _shown(name: str, value: Any) -> dg.MetadataValue[Any]:
    if name == "sizes":
        return dg.MetadataValue.text(", ".join(f"{width} x {height}" for width, height in value))
    match value:
        case bool():
            return dg.MetadataValue.bool(value)
        case int():
            return dg.MetadataValue.int(value)
        case list():
            return dg.MetadataValue.text("; ".join(str(item) for item in value))
        case str() if name == "origin" and value.startswith(("http://", "https://")):
            return dg.MetadataValue.url(value)
        case _:
            return dg.MetadataValue.text(str(value))
