"""Everything that can go wrong with an image or a message, as a small tree.

    IngestError
      PermanentError       recorded once, never retried by itself
      TransientError       retried inside the stage, then by the ledger's schedule
        ServiceDownError        the service does not answer at all: the image waits, nothing is burnt
        RunLostError            the run died, and this image need not be why: it worked on others, too
    MessageRejectedError        a message that cannot become a request

Every one carries a code (a word for programs and for `dlcs retry --reason`), the cause and what to do. Both are made
visible here, as they quote what comes from outside, and are shown in logs, on terminals and in pages. None carries
a credential: the code that raises one passes URLs through `dlcs_assets.domain.redaction.shown_url`.
"""

from __future__ import annotations

import traceback
from datetime import timedelta
from pathlib import PurePath
from typing import Any, Final

from dlcs_assets.domain.stages import Stage
from dlcs_assets.domain.text import visible

_MOST_SHOWN: Final = 6
# Where Python itself keeps what `raise ... from` names, and what was being handled.
_CAUSE: Final[Any] = vars(BaseException)["__cause__"]
_CONTEXT: Final[Any] = vars(BaseException)["__context__"]


class WithheldError(Exception):
    """Stands in tracebacks for an exception whose text may quote what was sent or came in, and is not shown."""


class CompleteError(Exception):
    """An error whose text says all that may be shown: of the exceptions that led to it, tracebacks show no text.

    Libraries quote what they were given or were sent: addresses with passwords, headers, parameters, rows.
    """

    @property
    def __cause__(self) -> BaseException | None:
        behind = _CAUSE.__get__(self) or _CONTEXT.__get__(self)
        return None if behind is None else WithheldError(where_raised(behind))

    @__cause__.setter
    def __cause__(self, cause: BaseException | None) -> None:
        _CAUSE.__set__(self, cause)

    @property
    def __suppress_context__(self) -> bool:
        return True

    @__suppress_context__.setter
    def __suppress_context__(self, _: bool) -> None:
        """Keep it so."""


def unexpected(error: Exception) -> PermanentError:
    """Return what is said of an image for an error that is a bug, or of the ledger's: its text may hold anything."""
    return PermanentError(
        "internal_error",
        f"Unexpected error: {type(error).__name__}",
        remedy="The traceback is in the run's log; please report it",
    )


def where_raised(error: BaseException) -> str:
    """Return the types of an exception and those behind it, and the last lines they came through, without texts."""
    parts: list[str] = []
    behind: BaseException | None = error
    while behind is not None and len(parts) < _MOST_SHOWN:
        frames = traceback.extract_tb(behind.__traceback__)[-_MOST_SHOWN:]
        lines = " < ".join(f"{PurePath(each.filename).name}:{each.lineno} {each.name}" for each in reversed(frames))
        parts.append(f"{type(behind).__name__} at {lines or 'an unknown place'}")
        behind = None if isinstance(behind, CompleteError) else behind.__cause__ or behind.__context__
    return ", from ".join(parts)


class IngestError(CompleteError):
    """A stage of an image could not be completed.

    `code` is one word in snake_case, `cause` one sentence that says what happened, `remedy` one that says what to do.
    The stage is filled in by the pipeline where the raiser does not know it.
    """

    def __init__(self, code: str, cause: str, *, remedy: str, stage: Stage | None = None) -> None:
        self.code = visible(code)
        self.cause = visible(cause)
        self.remedy = visible(remedy)
        self.stage = stage
        super().__init__(self.cause)

    def __str__(self) -> str:
        where = f"{self.stage}: " if self.stage else ""
        return f"{where}{self.cause} ({self.code}). {self.remedy}"


class PermanentError(IngestError):
    """Trying again would give the same result until a person changes something."""


class TransientError(IngestError):
    """Trying again later may help. `retry_after` is what the service asked for, if it did."""

    def __init__(
        self,
        code: str,
        cause: str,
        *,
        remedy: str,
        stage: Stage | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(code, cause, remedy=remedy, stage=stage)
        self.retry_after = retry_after


class ServiceDownError(TransientError):
    """A service of ours does not answer. The image waits; this does not count as an attempt."""


class RunLostError(TransientError):
    """A run died that worked on several images, or a person ended it. This does not count as an attempt."""


class MessageRejectedError(CompleteError):
    """A message that cannot become an ingest request. Kept in the ledger with its body and this reason."""

    def __init__(self, code: str, cause: str, *, remedy: str) -> None:
        self.code = visible(code)
        self.cause = visible(cause)
        self.remedy = visible(remedy)
        super().__init__(self.cause)

    def __str__(self) -> str:
        return f"{self.cause} ({self.code}). {self.remedy}"


ORIGIN_CODES: Final = "origin_"  # how the codes of all errors begin that are about an image's origin

RETRYABLE_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


def is_retryable(error: BaseException | int) -> bool:
    """Return whether an HTTP status, or an error of this tree, is worth another try.

    Network errors of the client libraries are translated into this tree at the boundary, so this is the one place
    that decides.
    """
    if isinstance(error, int):
        return error in RETRYABLE_STATUSES
    return isinstance(error, TransientError)
