"""A PostgreSQL server for tests: Debian's own binaries, in a temporary folder, reachable by its socket only."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from dlcs_assets.ledger import Ledger

ROLE = "dlcs"
MISSING = "no PostgreSQL server here: apt-get install postgresql"


def find_binaries() -> Path | None:
    """Return the folder of the newest server that is installed."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(found, key=lambda path: float(path.parent.name), default=None)


@dataclass(frozen=True)
class Server:
    """A server that is up. Every test gets a database of its own."""

    folder: Path
    numbers: Iterator[int]

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{ROLE}@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """Create an empty database; return its URL."""
        return self.url(self._create())

    def new_ledger(self) -> str:
        """Create a database with the tables of a ledger; return its URL. It is a copy: that takes half the time."""
        return self.url(self._create(f"TEMPLATE {self._ledger}"))

    @cached_property
    def _ledger(self) -> str:
        name = self._create()
        Ledger(self.url(name)).close()
        return name

    def _create(self, like: str = "") -> str:
        name = f"ledger_{next(self.numbers)}"
        self.execute(f"CREATE DATABASE {name} {like}")
        return name

    def execute(self, statement: str) -> list[Any]:
        """Run a statement as the server's administrator."""
        engine = create_engine(self.url().replace("postgresql:", "postgresql+psycopg2:"), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                result = connection.exec_driver_sql(statement)
                return list(result) if result.returns_rows else []
        finally:
            engine.dispose()


@contextmanager
def running(binaries: Path, options: Sequence[str] = ()) -> Iterator[Server]:
    """Start a server, and stop it at the end. `options` are settings of it, such as `work_mem=8MB`."""
    # Not below pytest's folder: the server must not run as root, and that folder is its owner's alone.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    user = _unprivileged()
    identity: dict[str, Any] = {}
    if user:
        shutil.chown(folder, user.pw_uid, user.pw_gid)
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    data, log = folder / "data", folder / "log"

    def run(*command: str) -> None:
        subprocess.run(
            [str(binaries / command[0]), "-D", str(data), *command[1:]],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            **identity,
        )

    try:
        run("initdb", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", f"--username={ROLE}")
        settings = ("listen_addresses=''", "fsync=off", *options)
        arguments = " ".join([f"-k {folder}", *(f"-c {setting}" for setting in settings)])
        run("pg_ctl", "start", "--wait", "--log", str(log), "-o", arguments)
        try:
            yield Server(folder, count())
        finally:
            run("pg_ctl", "stop", "--mode=immediate")
    finally:
        shutil.rmtree(folder)


def _unprivileged() -> pwd.struct_passwd | None:
    """Return whom to run the server as: root must not, every other user may."""
    if os.getuid() != 0:
        return None
    accounts = {entry.pw_name: entry for entry in pwd.getpwall()}
    return accounts.get("postgres") or accounts["nobody"]
