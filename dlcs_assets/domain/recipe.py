"""Recipes: what decided about the result of a stage. A result whose recipe differs from today's is stale.

A recipe is recorded with every result; `dlcs_assets.domain.ingest_spec` makes today's. A result without one was made
before recipes were kept, or found in storage when the ledger was rebuilt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from dlcs_assets.domain.ingest_plan import ImageServerSource
from dlcs_assets.domain.signed_url import unsigned
from dlcs_assets.domain.stages import STAGES, Stage

Recipe = Mapping[str, Any]

# Raised by hand when a stage's result would differ: images made under an older one are stale then.
CODE_VERSIONS: Final[Mapping[Stage, str]] = {Stage.ORIGINAL: "1", Stage.JP2: "1", Stage.THUMBNAILS: "1"}

_REASONS: Final = {
    "code": "code version",
    "origin": "origin",
    "profile": "profile",
    "sizes": "policy",
    "source": "channels",
    "kept": "channels",
    "made": "channels",
    "limit": "access",
    "restricted": "access",
}
UNKNOWN: Final = "recipe not known"


def origin_mark(origin: str) -> str:
    """Return a mark that differs between origins and reveals nothing of them: their addresses may hold credentials."""
    # A signature that has changed, or is no longer kept, makes it no other origin.
    return hashlib.sha256(unsigned(origin).encode()).hexdigest()[:16]


def compare_recipes(made: Mapping[Stage, Recipe], today: Mapping[Stage, Recipe]) -> dict[Stage, tuple[str, ...]]:
    """Return the stages whose results are stale, each with its reasons.

    An original that would not be kept today counts as one: its record is to say so; nothing is fetched for that. A
    thumbnail policy of another name and the same sizes changes nothing.
    """
    found: dict[Stage, tuple[str, ...]] = {}
    for stage in STAGES:
        if not made.get(stage):
            found[stage] = (UNKNOWN,)
            continue
        before, after = made[stage], today[stage]
        differing = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
        if differing:
            found[stage] = tuple(dict.fromkeys(_REASONS.get(name, name) for name in differing))
    if Stage.JP2 in found and today[Stage.THUMBNAILS].get("source") == ImageServerSource.JP2:
        found.setdefault(Stage.THUMBNAILS, found[Stage.JP2])
    return found


def is_only_released(made: Recipe, today: Recipe) -> bool:
    """Return whether all that changed about an original is that it is no longer kept."""
    return bool(made.get("kept")) and {**made, "kept": False} == today
