"""The SQL that the code server's task begins with, given to a PostgreSQL by a role that is no superuser, as on RDS."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.engine import UnusableLedgerError
from dlcs_assets_tests.deploy.templates import FOLDER, TEMPLATES, read
from dlcs_testing.postgresql import MISSING, Server, find_binaries, running

# The tests' server has a superuser of the name that the ledger's role has.
SQL = re.sub(r"\bdlcs\b", "keeper", (FOLDER / "dlcs_aws/database.sql").read_text())
BINARIES = find_binaries()
pytestmark = pytest.mark.skipif(BINARIES is None, reason=MISSING)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    assert BINARIES is not None
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as rules:
        rules.write("local all dlcs trust\nlocal all master trust\nlocal all all scram-sha-256\n")
        rules.flush()
        Path(rules.name).chmod(0o644)
        with running(BINARIES, [f"hba_file={rules.name}"]) as found:
            found.execute("CREATE ROLE master LOGIN CREATEROLE CREATEDB")
            yield found


def prepare(server: Server, ledger_password: str) -> None:
    assert BINARIES is not None
    environment = {
        **os.environ,
        "PGHOST": str(server.folder),
        "PGUSER": "master",
        "PGDATABASE": "postgres",
        "LEDGER_PASSWORD": ledger_password,
        "DAGSTER_PASSWORD": "of-dagster",
    }
    command = [str(BINARIES / "psql"), "--no-psqlrc", "--quiet", "--file=-"]
    subprocess.run(command, input=SQL, env=environment, text=True, check=True, capture_output=True)


def open_ledger(server: Server, role: str, database: str) -> None:
    """As the template says: the address has no password."""
    Ledger(f"postgresql://{role}@/{database}?host={server.folder}").close()


def test_roles_and_databases_are_made_however_often_it_runs(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time the passwords are those of the secrets; each role gets into its own database only."""
    for password in ("the-first", "it's another"):
        prepare(server, password)
        monkeypatch.setenv("PGPASSWORD", password)
        open_ledger(server, "keeper", "ledger")
    monkeypatch.setenv("PGPASSWORD", "the-first")
    with pytest.raises(UnusableLedgerError, match="password authentication failed"):
        open_ledger(server, "keeper", "ledger")
    monkeypatch.setenv("PGPASSWORD", "of-dagster")
    with pytest.raises(UnusableLedgerError, match="permission denied for database"):
        open_ledger(server, "dagster", "ledger")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_the_template_has_this_sql(path: Path) -> None:
    environment = read(path).environment("CodeServerTask", "database")
    assert environment["SQL"] == (FOLDER / "dlcs_aws/database.sql").read_text()
