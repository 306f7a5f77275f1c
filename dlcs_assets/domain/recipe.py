"""What decides about the result of each stage, and with it: which results are no longer what would be made today.

A recipe is written down with every result. One that differs from today's tells which stages to do again, and why; a
result without one was made before recipes were kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dlcs_assets.domain.ingest_plan import Conversion, ImageServerSource, IngestPlan
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.signed_url import unsigned
from dlcs_assets.domain.stages import STAGES, Outcome, Stage
from dlcs_assets.domain.thumbnails import UNRESTRICTED

Recipe = Mapping[str, Any]

# Raised by hand when a stage's result would differ: images made under an older one are outdated then.
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
UNKNOWN: Final = "made before recipes were kept"


@dataclass(frozen=True, slots=True)
class IngestSpec:
    """What a registration comes to, under today's customers and settings."""

    registration: Registration
    plan: IngestPlan
    sizes: tuple[str, ...]
    profile: str
    engine_open_thumbnails: bool

    def recipes(self) -> Mapping[Stage, Recipe]:
        """Return what would be made today, by stage: plain JSON values."""
        origin = origin_mark(self.registration.origin)
        original: dict[str, Any] = {
            "code": CODE_VERSIONS[Stage.ORIGINAL],
            "origin": origin,
            "kept": self.plan.keep_original,
        }
        jp2: dict[str, Any] = {"code": CODE_VERSIONS[Stage.JP2], "made": False}
        if self.plan.conversion is not Conversion.NONE:
            jp2 |= {"made": True, "origin": origin}
            if self.plan.jp2_outcome is not Outcome.COPIED:
                jp2["profile"] = self.profile
        thumbnails: dict[str, Any] = {"code": CODE_VERSIONS[Stage.THUMBNAILS], "made": self.plan.thumbnails}
        if self.plan.thumbnails:
            registration = self.registration
            unlimited = registration.max_unauthorised == UNRESTRICTED
            thumbnails |= {
                "origin": origin,
                "source": _source(self.plan),
                "sizes": list(self.sizes),
                "limit": registration.max_unauthorised,
                "restricted": unlimited and bool(registration.roles) and not self.engine_open_thumbnails,
            }
        return {Stage.ORIGINAL: original, Stage.JP2: jp2, Stage.THUMBNAILS: thumbnails}


def origin_mark(origin: str) -> str:
    """Return what tells origins apart and shows nothing of them: their addresses may hold credentials."""
    # A signature that has changed, or is no longer kept, makes it no other origin.
    return hashlib.sha256(unsigned(origin).encode()).hexdigest()[:16]


def outdated(made: Mapping[Stage, Recipe], today: Mapping[Stage, Recipe]) -> dict[Stage, tuple[str, ...]]:
    """Return the stages whose results are not what would be made today, each with its reasons.

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
    """Tell of the stage `original` whether all that changed is that it is no longer kept."""
    return bool(made.get("kept")) and {**made, "kept": False} == today


def _source(plan: IngestPlan) -> str:
    """Return what the thumbnails are made of. A kept original and a transient one are the same bytes."""
    source = ImageServerSource.ORIGINAL if plan.transient else plan.source
    return source.value
