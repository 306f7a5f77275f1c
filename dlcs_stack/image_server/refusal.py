"""The one error of the image server: a status and a line that says why.

Statuses are Cantaloupe's: 400 for what cannot be asked, 403 for what is not allowed, 404 for a missing source, 415 for
an output format, 501 for a source that cannot be read, 500 for everything else.
"""

from __future__ import annotations

ENLARGED_WITHOUT_CARET = "Requests for scales in excess of 100% must prefix the size path component with a ^ character."


class RefusalError(Exception):
    """A request that gets `status` and `message`, as text/plain, for an answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return f"{self.status}: {self.message}"


def bad_request(message: str) -> RefusalError:
    """Return what answers a request that the Image API does not allow."""
    return RefusalError(400, message)


def unreadable(reason: str) -> RefusalError:
    """Return what answers a request for a source that is no picture, or a broken one."""
    return RefusalError(501, f"The source cannot be read: {reason}")
