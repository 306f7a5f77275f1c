"""Everything that can go wrong with an image or a message, as a small tree.

    IngestError
      PermanentError       recorded once, never retried by itself
      TransientError       retried inside the stage, then by the ledger's schedule
        ServiceDownError        the service does not answer at all: the image waits, nothing is burnt
    MessageRejectedError        a message that cannot become a request

Every one carries a code (a word for programs and for `dlcs retry --reason`), the cause and what to do. None carries
a credential: the code that raises one passes URLs through `dlcs_assets.domain.redaction.shown_url`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from dlcs_assets.domain.stages import Stage


class IngestError(Exception):
    """A stage of an image could not be completed.

    `code` is one word in snake_case, `cause` one sentence that says what happened, `remedy` one that says what to do.
    The stage is filled in by the pipeline where the raiser does not know it.
    """

    def __init__(self, code: str, cause: str, *, remedy: str, stage: Stage | None = None) -> None:
        super().__init__(cause)
        self.code = code
        self.cause = cause
        self.remedy = remedy
        self.stage = stage

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


class MessageRejectedError(Exception):
    """A message that cannot become an ingest request. Kept in the ledger with its body and this reason."""

    def __init__(self, code: str, cause: str, *, remedy: str) -> None:
        super().__init__(cause)
        self.code = code
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.cause} ({self.code}). {self.remedy}"


RETRYABLE_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


def is_retryable(error: BaseException | int) -> bool:
    """Return whether an HTTP status, or an error of this tree, is worth another try.

    Network errors of the client libraries are translated into this tree at the boundary, so this is the one place
    that decides.
    """
    if isinstance(error, int):
        return error in RETRYABLE_STATUSES
    return isinstance(error, TransientError)
