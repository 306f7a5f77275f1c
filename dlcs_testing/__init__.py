"""What tests and bench share: a whole system in one process, servers that misbehave, real PostgreSQL, pictures."""
