"""What goes wrong in a conversion."""

from __future__ import annotations


class ConversionError(Exception):
    """A source cannot be converted. Its text is one sentence, and becomes the `detail` of a 500."""
