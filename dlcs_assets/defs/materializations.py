"""Outcomes as Dagster events: one materialisation per image and stage, the same for every reporter.

And why an image failed: one observation, of the stage in which it did.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import Any

import dagster as dg

from dlcs_assets.defs import shown, tags
from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.partition_key import partition_key
from dlcs_assets.domain.recipe import CODE_VERSIONS
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.ledger.transitions import Failure

UPSTREAM: Mapping[Stage, Stage] = {Stage.JP2: Stage.ORIGINAL, Stage.THUMBNAILS: Stage.JP2}


class Upstream:
    """The storage ids of the upstream records that a materialisation was made from.

    With them Dagster knows whether a partition is up to date with what it was made from; a pointer that is missing or
    guessed makes it miss changes.
    """

    def __init__(self, instance: dg.DagsterInstance, catalog: Catalog) -> None:
        self._instance = instance
        self.catalog = catalog

    def tags(self, stage: Stage, keys: Collection[str]) -> dict[str, dict[str, str]]:
        """Return by key the tags that name the newest record of the stage's upstream, as it is stored now.

        Keys without one are left out.
        """
        if (upstream := UPSTREAM.get(stage)) is None:
            return {}
        asset = self.catalog.asset(upstream)
        name = asset.to_user_string()
        return {
            key: {
                f"{tags.INPUT_DATA_VERSION}/{name}": (found.tags or {}).get(tags.DATA_VERSION, ""),
                f"{tags.INPUT_EVENT_POINTER}/{name}": str(record.storage_id),
            }
            for key, record in newest_of(self._instance, asset, keys).items()
            if (found := record.asset_materialization) is not None
        }


def newest_of(instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Collection[str]) -> dict[str, dg.EventLogRecord]:
    """Return by key the records of the newest materialisations of images in an asset."""
    found: dict[str, dg.EventLogRecord] = {}
    missing = set(keys)
    while missing:
        wanted = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=sorted(missing))
        # Newest first: of images that have several records, all others may be further down.
        records = instance.fetch_materializations(wanted, limit=len(missing)).records
        for record in records:
            if record.partition_key is not None:
                found.setdefault(record.partition_key, record)
        if len(records) < len(missing):
            break
        missing -= found.keys()
    return found


def newest(instance: dg.DagsterInstance, asset: dg.AssetKey, key: str) -> dg.EventLogRecord | None:
    """Return the record of the newest materialisation of one image in an asset."""
    return newest_of(instance, asset, [key]).get(key)


def is_newest(record: dg.EventLogRecord | None, request_id: str, data_version: str) -> bool:
    """Return whether the newest record of an image in an asset is of this outcome."""
    if record is None or record.asset_materialization is None:
        return False
    found = record.asset_materialization.tags or {}
    return (found.get(tags.REQUEST), found.get(tags.DATA_VERSION)) == (request_id, data_version)


def materialization(
    asset_id: AssetId,
    request_id: str,
    result: StageResult,
    *,
    catalog: Catalog,
    made_from: Mapping[str, str] | None = None,
    picture: bytes | None = None,
    links: Mapping[str, str] | None = None,
) -> dg.AssetMaterialization:
    """Return the event of one stage of one image.

    `made_from` are the tags that name its upstream (`Upstream`), `picture` is a small JPEG that anyone may see.
    """
    metadata: dict[str, Any] = {"outcome": result.outcome.value}
    if picture:
        metadata["picture"] = shown.as_picture(base64.b64encode(picture).decode())
    metadata |= {name: _shown(name, value) for name, value in result.facts.items()}
    metadata |= {name: shown.as_link(url) for name, url in (links or {}).items()}
    metadata["request"] = request_id
    return dg.AssetMaterialization(
        asset_key=catalog.asset(result.stage),
        partition=partition_key(asset_id),
        description=result.outcome.value,
        metadata=metadata,
        tags={
            tags.DATA_VERSION: result.data_version,
            tags.CODE_VERSION: CODE_VERSIONS[result.stage],
            tags.REQUEST: request_id,
            **(made_from or {}),
        },
    )


def failure_observation(
    asset_id: AssetId,
    request_id: str,
    failure: Failure,
    *,
    stages: Collection[Stage],
    catalog: Catalog,
    links: Mapping[str, str] | None = None,
) -> dg.AssetObservation:
    """Return the event that says on an image's partition why it failed, with a link to each of the named pages.

    It is on the stage in which the image failed, otherwise on the first of those that were to be made.
    """
    chosen = [stage for stage in STAGES if stage in stages]
    return dg.AssetObservation(
        asset_key=catalog.asset(next((stage for stage in chosen if stage is failure.stage), chosen[0])),
        partition=partition_key(asset_id),
        description=shown.as_description(f"failed: {failure.code}"),
        metadata={
            "image": shown.as_text(asset_id),
            "stage": shown.as_text(failure.stage or "none"),
            "reason": shown.as_text(failure.cause),
            "code": shown.as_text(failure.code),
            "what to do": shown.as_text(failure.remedy),
            **{name: shown.as_link(url) for name, url in (links or {}).items()},
            "request": request_id,
        },
        tags={tags.REQUEST: request_id},
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
