"""Reading a file over SFTP with many requests in progress, so that its speed does not depend on the latency."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import paramiko  # type: ignore[import-untyped]  # its stubs would be one more package

_REQUESTS_IN_FLIGHT: Final = 64  # as many as OpenSSH's own sftp has
_BLOCK_BYTES: Final = 32768  # what each server must be able to answer with


def read_ahead(remote: paramiko.SFTPFile, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from start to before end, in order; fewer if the file is shorter by now.

    At most 2 MB wait in memory. Raises what paramiko raises: OSError, EOFError, SSHException.
    """
    return _ReadAhead(remote).blocks(start, end)


class _ReadAhead:
    """Asks and reads in one thread.

    `SFTPFile.prefetch` asks in a thread of its own, and takes itself for done as soon as the answers come faster than
    it asks: from there on each byte is fetched twice, and kept in memory (paramiko#2519). A connection that breaks
    ends that thread with a traceback.
    """

    def __init__(self, remote: paramiko.SFTPFile) -> None:
        self._remote = remote
        self._lengths: dict[int, int] = {}  # of what was asked for, by the number of the request
        self._answers: dict[int, bytes] = {}

    def blocks(self, start: int, end: int) -> Iterator[bytes]:
        waiting: deque[tuple[int, int, int]] = deque()  # of each request its number, offset and length
        asked = start
        while True:
            while asked < end and len(waiting) < _REQUESTS_IN_FLIGHT:
                length = min(_BLOCK_BYTES, end - asked)
                waiting.append((self._ask(asked, length), asked, length))
                asked += length
            if not waiting:
                return
            number, offset, length = waiting.popleft()
            while number not in self._answers:
                self._remote.sftp._read_response()  # noqa: SLF001 (there is no public name for it)
            data = self._answers.pop(number)
            if not data:
                return
            if len(data) < length:  # servers may answer with less
                offset, length = offset + len(data), length - len(data)
                waiting.appendleft((self._ask(offset, length), offset, length))
            yield data

    def _ask(self, offset: int, length: int) -> int:
        from paramiko.sftp import CMD_READ, int64  # type: ignore[import-untyped]  # it has no types

        client = self._remote.sftp
        number: int = client._async_request(  # noqa: SLF001 (see above)
            self, CMD_READ, self._remote.handle, int64(offset), length
        )
        self._lengths[number] = length
        return number

    def _async_response(self, kind: int, message: Any, number: int) -> None:
        """Take an answer: paramiko calls this for the one that asked."""
        from paramiko.sftp import CMD_DATA

        data, length = b"", self._lengths.pop(number)
        if kind == CMD_DATA:
            data = message.get_string()[:length]  # what is more is none of the file's, and would fill memory
        else:
            with suppress(EOFError):
                self._remote.sftp._convert_status(message)  # noqa: SLF001 (see above)
        self._answers[number] = data
