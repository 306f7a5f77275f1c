"""The check of `dlcs doctor` on ledger and S3: whether they have drifted apart, by a sample."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Final

from dlcs_assets.cli.connection import ledger_keys
from dlcs_assets.cli.doctor_aws import impatient_storage
from dlcs_assets.cli.doctor_finding import Check, Finding, fail, ok, warn
from dlcs_assets.cli.doctor_parts import is_usable
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.text import shown_text
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.recovery.compare import Kind
from dlcs_assets.recovery.sample import Drift, Sampler
from dlcs_assets.settings import Settings

_LOST: Final = frozenset({Kind.MISSING, Kind.DAMAGED})


def check_drift(settings: Settings) -> Iterator[Finding]:
    """Compare a sample of what is stored with the ledger, in a handful of listings."""
    if not is_usable(settings.ledger_url):
        return  # `check_ledger` reports it
    with (
        suppress(IngestError),  # the checks of the buckets report it
        closing(Ledger(settings.ledger_url, ledger_keys(settings))) as ledger,
        impatient_storage(settings) as storage,
    ):
        yield judge_drift(Sampler(ledger, storage).take())


def judge_drift(drift: Drift) -> Finding:
    """Return what a sample says about all that is stored."""
    sampled = f"{drift.objects} objects in {drift.requests} listings at random"
    if not drift.found:
        return ok("drift", f"ledger and S3 agree about {sampled}")
    parts = [
        f"{len(found)} {kind}, such as {shown_text(found[0])}" for kind in Kind if (found := drift.found.get(kind))
    ]
    verdict = fail if _LOST & drift.found.keys() else warn
    return verdict(
        "drift",
        f"ledger and S3 disagree: of {sampled} {'; '.join(parts)}",
        "Compare them whole, then repair what should be: dlcs ledger compare (docs/howto/restore.md).",
    )


CHECKS: Final[tuple[Check, ...]] = (check_drift,)
