"""What a history of sensors and schedules has for good once it has it: tables and indexes that older ones lack."""

from __future__ import annotations

from sqlalchemy.engine import Connection


class Settled:
    """Has one of Dagster's storages of ticks look for them once: it looks many times in each tick.

    What is missing is looked for again, as a migration may add it at any time.
    """

    _has_instigators = False
    _built: frozenset[str] = frozenset()

    def has_instigators_table(self) -> bool:
        """Tell whether there is a table for the state of sensors."""
        return self._has_instigators or bool(super().has_instigators_table())  # type: ignore[misc]

    def has_built_index(self, migration_name: str) -> bool:
        """Tell whether a migration of the data has been made."""
        if migration_name not in self._built and super().has_built_index(migration_name):  # type: ignore[misc]
            self._built |= {migration_name}
        return migration_name in self._built

    def _has_instigators_table(self, conn: Connection) -> bool:
        self._has_instigators = self._has_instigators or super()._has_instigators_table(conn)  # type: ignore[misc]
        return self._has_instigators
