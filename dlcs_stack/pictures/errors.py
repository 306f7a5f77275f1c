"""Why a source cannot be read. Each text continues "The source ...", without a full stop."""

from __future__ import annotations


class UnreadableError(Exception):
    """A source cannot be read."""


class NotAnImageError(UnreadableError):
    """It is empty, or something else than an image."""


class UnsupportedError(UnreadableError):
    """It is an image, perhaps a good one, of a kind that no library here reads right."""


class DamagedError(UnreadableError):
    """It is a supported image that cannot be decoded whole."""
