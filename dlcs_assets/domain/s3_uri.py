"""Locations in S3: the address forms that the DLCS reads, and those it writes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

# The names of AWS regions, and no more: `s3://my-bucket-1/a/b` is a bucket and a key, not a region and a bucket.
_REGION: Final = (
    r"(?:[a-z]{2}|eusc)(?:-gov|-iso[a-z]?|-de)?-(?:north|south|east|west|central|(?:north|south)(?:east|west))-[0-9]"
)
_BUCKET: Final = r"(?P<bucket>[^/?#]+)"
_HOST_BUCKET: Final = r"(?P<bucket>[^/?#]+?)"
_ANY_REGION: Final = r"(?P<region>[a-z0-9-]+)"

# Tried in this order. A `?` or `#` is part of the key in the s3 forms only: a web address with a query (a presigned
# one, say) is read as the web address that it is. All are anchored, so that an address which merely contains
# `s3://...` is not taken for an object.
_S3_FORMS: Final = (
    re.compile(rf"s3://(?P<region>{_REGION})/(?P<bucket>[^/]+)/(?P<key>.*)", re.IGNORECASE | re.DOTALL),
    re.compile(r"s3://(?P<bucket>[^/]+)/(?P<key>.*)", re.IGNORECASE | re.DOTALL),
)
_WEB_FORMS: Final = (
    re.compile(rf"https?://s3[-.]{_ANY_REGION}\.amazonaws\.com/{_BUCKET}/(?P<key>[^?#]*)", re.IGNORECASE),
    re.compile(rf"https?://{_HOST_BUCKET}\.s3\.amazonaws\.com/(?P<key>[^?#]*)", re.IGNORECASE),
    re.compile(rf"https?://{_HOST_BUCKET}\.s3\.{_ANY_REGION}\.amazonaws\.com/(?P<key>[^?#]*)", re.IGNORECASE),
    re.compile(rf"https?://s3\.amazonaws\.com/{_BUCKET}/(?P<key>[^?#]*)", re.IGNORECASE),
)


@dataclass(frozen=True, slots=True)
class S3Location:
    """An object in S3; the key is as S3 knows it, not URL-encoded."""

    bucket: str
    key: str
    region: str | None = None

    def uri(self, default_region: str | None = None) -> str:
        """Return `s3://bucket/key`; with a default region the DLCS's own form, `s3://region/bucket/key`."""
        if default_region is None:
            return f"s3://{self.bucket}/{self.key}"
        return f"s3://{self.region or default_region}/{self.bucket}/{self.key}"

    def web_address(self) -> str:
        """Return the https address, by virtual host where the region is known."""
        if self.region is None:
            return f"https://s3.amazonaws.com/{self.bucket}/{quote(self.key)}"
        return f"https://{self.bucket}.s3.{self.region}.amazonaws.com/{quote(self.key)}"


def parse_s3_uri(text: str) -> S3Location | None:
    """Read one of the six forms of an S3 address; None for anything else. The key may be empty."""
    for form in _S3_FORMS:
        if found := form.fullmatch(text):
            return _location(found, found["key"])
    for form in _WEB_FORMS:
        if found := form.fullmatch(text):
            # A web address is URL-encoded, the key in S3 is not. (The DLCS engine asks S3 for the encoded one.)
            return _location(found, unquote(found["key"]))
    return None


def _location(found: re.Match[str], key: str) -> S3Location:
    return S3Location(found["bucket"], key, found.groupdict().get("region"))
