"""What a stage left behind, as one column of its outcome has it: data version, facts, recipe and stored objects.

Nothing is asked for by what is in it. What is asked for by the database is in columns next to it, which follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Dialect, LargeBinary, TypeDecorator

from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger.packing import pack, unpack

# The kinds of which totals and quotas count the bytes, and the stage that stores them.
STAGE_OF_KIND = {
    ObjectKind.ORIGINAL: Stage.ORIGINAL,
    ObjectKind.JP2: Stage.JP2,
    ObjectKind.THUMBNAIL: Stage.THUMBNAILS,
}


@dataclass(frozen=True, slots=True)
class Holding:
    """A stored object, when it was last read again and compared (None: never), and what was wrong with it then."""

    record: ObjectRecord
    audited_at: datetime | None = None
    damage: str | None = None


@dataclass(frozen=True, slots=True)
class Details:
    """What a stage left behind."""

    data_version: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] | None = None
    holdings: tuple[Holding, ...] = ()

    @classmethod
    def of_result(cls, result: StageResult) -> Details:
        """Return those of a result, with objects that have not been audited."""
        holdings = tuple(Holding(record) for record in result.objects)
        return cls(result.data_version, result.facts, result.recipe, holdings)

    def columns(self) -> dict[str, Any]:
        """Return these details, and the columns that follow from them."""
        counted = [each.record.bytes for each in self.holdings if each.record.kind in STAGE_OF_KIND]
        audited = [each.audited_at for each in self.holdings if each.audited_at is not None]
        return {
            "details": self,
            "bytes": sum(counted) if self.holdings else None,
            "audited_at": min(audited) if audited and len(audited) == len(self.holdings) else None,
            "damaged": any(each.damage is not None for each in self.holdings),
        }


class PackedDetails(TypeDecorator[Details]):
    """`Details` in few bytes."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Details | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002 (its signature)
        """Pack them."""
        if value is None:
            return None
        recipe = None if value.recipe is None else dict(value.recipe)
        return pack([value.data_version, dict(value.facts), recipe, [_entry(each) for each in value.holdings]])

    def process_result_value(self, value: Any, dialect: Dialect) -> Details | None:  # noqa: ARG002 (its signature)
        """Unpack them."""
        if value is None:
            return None
        data_version, facts, recipe, entries = unpack(bytes(value))
        return Details(data_version, facts, recipe, tuple(_holding(*entry) for entry in entries))


def _entry(holding: Holding) -> list[Any]:
    record = holding.record
    entry = [record.bucket, record.key, record.kind, record.bytes, record.sha256, record.content_type]
    if holding.audited_at is not None:
        entry.append(int(holding.audited_at.timestamp()))
        if holding.damage is not None:
            entry.append(holding.damage)
    return entry


def _holding(bucket: str, key: str, kind: str, *others: Any) -> Holding:
    size, sha256, content_type, *audited = others
    record = ObjectRecord(bucket, key, ObjectKind(kind), size, sha256, content_type)
    if not audited:
        return Holding(record)
    audited_at, *damage = audited
    return Holding(record, datetime.fromtimestamp(audited_at, UTC), damage[0] if damage else None)
