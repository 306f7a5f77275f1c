"""Bodies that come compressed without being asked for: decompressed piece by piece, so that none fills the memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

import httpx

from dlcs_assets.domain.text import shown_text

_GZIP: Final = 16 + zlib.MAX_WBITS
_CHUNK_BYTES: Final = 2**18


class UnsupportedContentEncodingError(Exception):
    """A body is packed in a way, or so many times over, that it is not unpacked."""


def unpacked(response: httpx.Response, *, cut_off: bool = False) -> Iterator[bytes]:
    """Go through a body, unpacked if it is gzip, in pieces of 256 KB at most; `cut_off` says that it may be a part.

    Raises UnsupportedContentEncodingError, httpx.DecodingError and other httpx errors.
    """
    packing = response.headers.get("content-encoding", "").strip().lower()
    chunks = response.iter_raw(_CHUNK_BYTES)
    if packing in {"", "identity"}:
        return chunks
    if packing in {"gzip", "x-gzip"}:
        return _gunzipped(chunks, cut_off=cut_off)
    raise UnsupportedContentEncodingError(shown_text(packing))


def _gunzipped(chunks: Iterator[bytes], *, cut_off: bool) -> Iterator[bytes]:
    member = None
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                if member is None or member.eof:
                    member = zlib.decompressobj(_GZIP)
                yield member.decompress(rest, _CHUNK_BYTES)
                rest = member.unconsumed_tail or member.unused_data
        if member is not None and not member.eof:
            yield member.flush()
    except zlib.error as error:
        raise httpx.DecodingError("it says that it is gzip, and is not") from error
    if member is not None and not member.eof and not cut_off:
        raise httpx.DecodingError("its gzip ends in the middle")
