"""What pages of Dagster show of ours: as text, tables and addresses of our own, and never as Markdown from outside.

Dagster renders Markdown with its pictures and links: a name that is written into it is obeyed by the browser.
So this is the only module that makes values for metadata, reasons of failures and of skipped ticks; a test sees to it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import dagster as dg

from dlcs_assets.domain.text import visible

# Nothing of Markdown: no address, no mail address, no mark but the underscores of our own codes.
_PLAIN: Final = re.compile(r"(?!.*(?:://|www\.))[A-Za-z0-9_ .,:;()'/-]*", re.IGNORECASE)


def as_text(value: object) -> dg.TextMetadataValue:
    """Return a text, shown as it is."""
    return dg.MetadataValue.text(visible(str(value)))


def as_lines(lines: Sequence[str]) -> dg.TableMetadataValue:
    """Return lines of text, one below another."""
    return as_table(("",), [(line,) for line in lines])


def as_table(columns: Sequence[str], rows: Sequence[Sequence[str | int]]) -> dg.TableMetadataValue:
    """Return a table of texts and numbers."""
    schema = dg.TableSchema([dg.TableColumn(name) for name in columns])
    records = [dg.TableRecord({name: _cell(cell) for name, cell in zip(columns, row, strict=True)}) for row in rows]
    return dg.MetadataValue.table(records, schema=schema)


def as_picture(base64_jpeg: str) -> dg.MarkdownMetadataValue:
    """Return a picture, the only Markdown there is: letters and digits of our own making."""
    if not base64_jpeg.isascii() or not base64_jpeg.replace("+", "").replace("/", "").rstrip("=").isalnum():
        raise ValueError("not base64")
    return dg.MetadataValue.md(f"![picture](data:image/jpeg;base64,{base64_jpeg})")


def as_link(url: str) -> dg.UrlMetadataValue:
    """Return a link to a service of ours; what of it comes from outside is percent-encoded by the caller."""
    return dg.MetadataValue.url(visible(url))


def as_description(text: str) -> str:
    """Return the description of a check's evaluation, which Dagster takes for Markdown: as code if it could be any."""
    text = visible(text)
    if _PLAIN.fullmatch(text):
        return text
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}"


def failure(description: str, metadata: Mapping[str, Any] | None = None) -> dg.Failure:
    """Return the exception that ends a run red, and is not retried by Dagster."""
    return dg.Failure(visible(description), metadata=metadata, allow_retries=False)


def skip_reason(text: str) -> dg.SkipReason:
    """Return why a tick launches nothing, or what it did instead."""
    return dg.SkipReason(visible(text))


def _cell(value: str | int) -> str | int:
    return value if isinstance(value, int) else visible(str(value))  # plain, if it is of an enum
