"""The Dagster instance that a command is about, for those few commands that need to know it."""

from __future__ import annotations


def instance_at(home: str) -> tuple[str, str]:
    """Return the id of the Dagster instance of a folder, and its name for people."""
    import dagster as dg  # noqa: PLC0415 (a second and a half that few commands need)

    from dlcs_assets.defs.ledgers import identity  # noqa: PLC0415 (as above)

    with dg.DagsterInstance.from_config(home) as found:
        return identity(found)
