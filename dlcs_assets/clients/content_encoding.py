"""Bodies that come compressed: decompressed piece by piece, so that none fills the memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from dlcs_assets.domain.text import shown_text

CHUNK_BYTES: Final = 2**18

_GZIP: Final = 16 + zlib.MAX_WBITS
_GZIPPED: Final = (("gzip",), ("x-gzip",))
# Written by clients that mean no compression: how the upload was signed, the charset of a text, or a word for nothing.
_FORMAL: Final = frozenset({"", "identity", "none", "aws-chunked", "utf-8", "utf8", "binary", "8bit"})


class ContentEncodingError(Exception):
    """A body is not what its Content-Encoding says, or ends in the middle."""


class UnsupportedContentEncodingError(Exception):
    """A body has an encoding, or so many of them, that it is not unpacked."""


def is_packed(content_encoding: str | None) -> bool:
    """Return whether a body with this Content-Encoding must be unpacked."""
    return bool(_packings(content_encoding))


def unpacked(chunks: Iterator[bytes], content_encoding: str | None, *, cut_off: bool = False) -> Iterator[bytes]:
    """Yield a body, unpacked if it is gzip, in pieces of 256 KB at most; `cut_off` says that it may be a part.

    Raises UnsupportedContentEncodingError at once, ContentEncodingError while it is read, and what `chunks` raises.
    """
    packings = _packings(content_encoding)
    if not packings:
        return chunks
    if packings in _GZIPPED:
        return _gunzipped(chunks, cut_off=cut_off)
    raise UnsupportedContentEncodingError(shown_text(", ".join(packings)))


def _packings(content_encoding: str | None) -> tuple[str, ...]:
    named = (part.strip().lower() for part in (content_encoding or "").split(","))
    return tuple(name for name in named if name not in _FORMAL)


def _gunzipped(chunks: Iterator[bytes], *, cut_off: bool) -> Iterator[bytes]:
    member = None
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                if member is None or member.eof:
                    member = zlib.decompressobj(_GZIP)
                yield member.decompress(rest, CHUNK_BYTES)
                rest = member.unconsumed_tail or member.unused_data
        if member is not None and not member.eof:
            yield member.flush()
    except zlib.error as error:
        raise ContentEncodingError("it says that it is gzip, and is not") from error
    if member is not None and not member.eof and not cut_off:
        raise ContentEncodingError("its gzip ends in the middle")
