"""The embedded stand-ins that let the whole system run on a laptop."""
