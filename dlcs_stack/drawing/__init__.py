"""Draws pages of a manuscript that never was: parchment, script, ornament. Deterministic by seed."""
