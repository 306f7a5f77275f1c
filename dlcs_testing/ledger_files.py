"""New ledgers in files, as copies of one: to make its tables takes several times as long."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from dlcs_assets.ledger import Ledger


def new_ledger_at(path: Path) -> str:
    """Put a ledger without images there, unless there is a file already; return its URL."""
    if not path.exists():
        path.touch(0o600)  # as the product makes it
        path.write_bytes(_ledger())
    return f"sqlite:///{path}"


@cache
def _ledger() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        Ledger(f"sqlite:///{path}").close()  # which leaves nothing next to the file
        return path.read_bytes()
