"""The job `fixity_audit`: stored objects are read again, a few each night, and compared with what was stored."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import dagster as dg
from pydantic import Field

from dlcs_assets.clients.storage import Digest, Storage
from dlcs_assets.defs import shown
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.ledger.fixity import Deposit
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.settings import Settings

FIXITY_JOB: Final = "fixity_audit"
MISSING: Final = "missing"
LISTED: Final = 100  # in a run's metadata; the ledger has all of them


class FixityConfig(dg.Config):
    """What a person may choose in the launchpad."""

    objects: int | None = Field(default=None, ge=1, description="How many objects; default: DLCS_FIXITY_OBJECTS.")


@dataclass
class Audit:
    """What came of it. `archived` are objects that S3 keeps in an archive: they are there, and cannot be read for now.

    `unread` are objects that storage did not give, with the reason.
    """

    sound: int = 0
    archived: int = 0
    replaced: int = 0
    bytes: int = 0
    damaged: list[tuple[Deposit, str]] = field(default_factory=list)
    unread: list[tuple[Deposit, str]] = field(default_factory=list)


@dg.op(
    name="verify_fixity",
    description="Reads stored objects and compares their SHA-256 with that of what was stored: those never read "
    "before first, then those not read for the longest time. Fails if one is damaged or missing, and names it.",
)
def _verify_fixity(
    context: dg.OpExecutionContext,
    config: FixityConfig,
    settings: dg.ResourceParam[Settings],
    ledger: dg.ResourceParam[Ledger],
    storage: dg.ResourceParam[Storage],
) -> None:
    found = audit(ledger, storage, config.objects or settings.fixity_objects)
    metadata: dict[str, Any] = {
        "sound": found.sound,
        "damaged": len(found.damaged),
        "archived": found.archived,
        "not read": len(found.unread),
        "reprocessed meanwhile": found.replaced,
        "bytes read": found.bytes,
        "objects": shown.as_table(("image", "object", "found"), list(_rows(found))[:LISTED]),
    }
    if found.damaged or found.unread:
        raise shown.failure(_complaint(found), metadata)
    archived = f"; {found.archived} are archived" if found.archived else ""
    context.log.info("%d objects are as they were stored (%d bytes)%s", found.sound, found.bytes, archived)
    context.add_output_metadata(metadata)


@dg.job(name=FIXITY_JOB, description="Reads a sample of what is stored and compares it with what was stored.")
def fixity_audit() -> None:
    """Audit a sample."""
    _verify_fixity()


def audit(ledger: Ledger, storage: Storage, limit: int) -> Audit:
    """Read the objects whose turn it is, and note in the ledger what each was found to be."""
    found = Audit()
    for deposit in ledger.fixity.next(limit):
        try:
            digest = storage.digest(deposit.bucket, deposit.key)
        except IngestError as error:  # the others are read nevertheless
            if error.code == Storage.ARCHIVED:  # it is not the first of the next audit: others would never be read
                ledger.fixity.record(deposit, deposit.damage, now=datetime.now(UTC))
                found.archived += 1
                continue
            found.unread.append((deposit, str(error)))
            continue
        found.bytes += digest.bytes if digest else 0
        damage = _damage(deposit, digest)
        if not ledger.fixity.record(deposit, damage, now=datetime.now(UTC)):
            found.replaced += 1
        elif damage:
            found.damaged.append((deposit, damage))
        else:
            found.sound += 1
    return found


def _damage(deposit: Deposit, digest: Digest | None) -> str | None:
    if digest is None:
        return MISSING
    if digest.bytes != deposit.bytes:
        return f"{digest.bytes} bytes instead of {deposit.bytes}"
    return None if digest.sha256 == deposit.sha256 else f"other bytes: SHA-256 {digest.sha256}"


def _complaint(found: Audit) -> str:
    parts = []
    if found.damaged:
        deposit, damage = found.damaged[0]
        parts.append(
            f"{len(found.damaged)} stored objects are not what was stored, the first one {deposit.uri} "
            f"({damage}). See who writes to the bucket besides this system, then have their images made "
            f"again: dlcs retry {deposit.image_id}. `dlcs doctor` lists them until then."
        )
    if found.unread:
        deposit, reason = found.unread[0]
        parts.append(
            f"{len(found.unread)} objects could not be read, the first one {deposit.uri}: "
            f"{reason} The next audit begins with them."
        )
    return " ".join(parts)


def _rows(found: Audit) -> Iterator[tuple[str, str, str]]:
    for deposit, what in (*found.damaged, *found.unread):
        yield deposit.image_id, deposit.uri, what
