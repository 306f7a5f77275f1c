"""What a check of `dlcs doctor` finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from dlcs_assets.domain.errors import IngestError
from dlcs_assets.settings import Settings


class Verdict(StrEnum):
    """How a check ended. A failure keeps images from being ingested, or has cost one; a warning does neither."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `found` and `remedy` are for people, and hold no credentials."""

    check: str
    verdict: Verdict
    found: str
    remedy: str = ""

    def whole(self) -> str:
        """Return what was found and what to do about it."""
        return f"{self.found.rstrip('.')}. {self.remedy}" if self.remedy else self.found

    def to_json(self) -> dict[str, str]:
        """Return plain JSON values: the shape of `dlcs doctor --json`."""
        return {"check": self.check, "result": self.verdict.value, "found": self.found, "remedy": self.remedy}


class Check(Protocol):
    """A function that makes one check, or some that belong together."""

    __name__: str

    def __call__(self, settings: Settings, /) -> Iterable[Finding]:
        """Make it."""


def ok(check: str, found: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Verdict.OK, found)


def warn(check: str, found: str, remedy: str) -> Finding:
    """Return what should be different."""
    return Finding(check, Verdict.WARN, found, remedy)


def fail(check: str, found: str, remedy: str) -> Finding:
    """Return what keeps images from being ingested."""
    return Finding(check, Verdict.FAIL, found, remedy)


def failed(check: str, error: IngestError) -> Finding:
    """Return an error of the error tree, which says itself what to do."""
    return fail(check, error.cause, error.remedy)
