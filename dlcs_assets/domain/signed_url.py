"""URLs that carry a right to read in their query, for a while: S3's, CloudFront's, Google's and Azure's signed ones."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, urlsplit

from dlcs_assets.domain.redaction import ELLIPSIS

_SIGNATURES: Final = frozenset({"x-amz-signature", "x-goog-signature", "signature", "sig"})
_SCHEMES: Final = frozenset({"http", "https"})


def is_signed(url: str) -> bool:
    """Return whether the query of a web address has a signature."""
    try:
        parts = urlsplit(url.strip())
        names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True, max_num_fields=1000)}
    except ValueError:
        return False
    return parts.scheme.lower() in _SCHEMES and not _SIGNATURES.isdisjoint(names)


def unsigned(url: str) -> str:
    """Return the URL with `?…` in the place of a query with a signature; any other URL as it is."""
    return url.strip().partition("?")[0] + ELLIPSIS if is_signed(url) else url


def was_signed(url: str) -> bool:
    """Return whether a signature was taken from the URL: it is no longer of use for reading anything."""
    return url.endswith(ELLIPSIS)
