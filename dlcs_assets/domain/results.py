"""What a stage of an image leaves behind: its outcome, the facts about it, and the objects it stored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.stages import Outcome, Stage


class ObjectKind(StrEnum):
    """What a stored object is for."""

    ORIGINAL = "original"
    TRANSIENT = "transient"
    JP2 = "jp2"
    THUMBNAIL = "thumbnail"
    SIZES = "sizes"


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """An object in storage, as the ledger accounts for it."""

    bucket: str
    key: str
    kind: ObjectKind
    bytes: int
    sha256: str
    content_type: str


def joint_version(records: Sequence[ObjectRecord]) -> str:
    """Return what changes when any of several objects changes: the checksum of their checksums."""
    return hashlib.sha256("".join(record.sha256 for record in records).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StageResult:
    """How a stage ended well.

    `facts` are plain JSON values (bytes, width, height, milliseconds, sha256, location, sizes, notes ...), the same in
    the ledger and in Dagster's metadata. `data_version` changes exactly when what was produced changes. `recipe` is
    what decided about it (see `dlcs_assets.domain.recipe`); a result whose recipe is not today's is stale.
    """

    stage: Stage
    outcome: Outcome
    data_version: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    objects: tuple[ObjectRecord, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One image in a run: what is asked for, and what is there already.

    `done` holds the stages that this very request has completed (before a crash or a retry); `latest` the last result
    of each stage under any request. `is_first`: no run has had this image before, under any request on record.
    `renews_done`: the image is done, and a person asks for what is registered of it again.
    """

    request_id: str
    asset_id: AssetId
    registration: Registration
    stages: frozenset[Stage]
    attempt: int = 1
    batch: int | None = None
    done: Mapping[Stage, StageResult] = field(default_factory=dict)
    latest: Mapping[Stage, StageResult] = field(default_factory=dict)
    objects: tuple[ObjectRecord, ...] = ()
    is_first: bool = False
    renews_done: bool = False
