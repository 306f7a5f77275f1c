"""The ledger's tables from version to version.

`versions` has a file for each: `revision` is the next number, `upgrade` the step from the one before. A step runs in
one transaction, on SQLite as on PostgreSQL; it names tables and columns itself, as `schema` will have moved on.
"""
