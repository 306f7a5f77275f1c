"""What every command works with: the settings of the environment or of the running stack, and the ledger."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from dlcs_assets.cli.failure import CommandError
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.encryption import WrongKeyError
from dlcs_assets.ledger.engine import UnusableLedgerError
from dlcs_assets.settings import PREFIX, Settings
from dlcs_stack import data_folder

# Set, one of these means another system than the stack in this folder.
OTHER_SYSTEM_VARIABLES = ("DLCS_LEDGER_URL", "DLCS_INGEST_QUEUE_URL")
SQLITE = "sqlite:///"


def load_settings() -> Settings:
    """Read the environment; if it names no system, that of the stack that is up in the default data folder."""
    if not any(os.environ.get(name) for name in OTHER_SYSTEM_VARIABLES):
        try:
            found = data_folder.read_state(data_folder.DEFAULT_FOLDER).environment
            adopt({name: value for name, value in found.items() if not _is_set_by_user(name)})
        except data_folder.NoStackError as error:
            if not Path(_default_ledger()).exists():
                raise CommandError(f"{error} (or set DLCS_LEDGER_URL and the others, see docs/settings.md)") from error
    return read_settings()


def read_settings() -> Settings:
    """Read the environment as it is."""
    return settings_of(os.environ)


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Read the settings of an environment. Raises CommandError with what is wrong with them."""
    named = {name.lower(): value for name, value in environment.items()}
    variables = {name: f"{PREFIX}{name}".lower() for name in Settings.model_fields}
    values: dict[str, Any] = {name: named[variable] for name, variable in variables.items() if variable in named}
    try:
        return Settings(**values)
    except ValidationError as error:
        problems = "; ".join(
            f"DLCS_{'.'.join(map(str, each['loc'])).upper()}: {each['msg']}" for each in error.errors()
        )
        raise CommandError(f"These settings cannot be used: {problems}") from error


def adopt(environment: Mapping[str, str]) -> None:
    """Make a stack's environment that of this process, and forget what leads to the user's own AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(environment)


def _is_set_by_user(name: str) -> bool:
    """Return whether the shell has a setting of this name: for this command it holds in place of the stack's."""
    return name.startswith(PREFIX) and bool(os.environ.get(name, "").strip())


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """Open the ledger for the time of a command; a database that cannot be used is a CommandError."""
    try:
        ledger = Ledger(settings.ledger_url, ledger_keys(settings))
    except (UnusableLedgerError, WrongKeyError) as error:
        raise CommandError(str(error)) from error
    try:
        yield ledger
    except WrongKeyError as error:
        raise CommandError(str(error)) from error
    except DBAPIError as error:
        first_line = str(error.orig).strip().partition("\n")[0]
        raise CommandError(
            f"The ledger at {shown_url(settings.ledger_url)} (DLCS_LEDGER_URL) failed: {first_line}"
        ) from error
    finally:
        ledger.close()


def ledger_keys(settings: Settings) -> str | None:
    """Return the keys with which the ledger encrypts."""
    return settings.ledger_key.get_secret_value() if settings.ledger_key else None


def _default_ledger() -> str:
    default: str = Settings.model_fields["ledger_url"].default
    return default.removeprefix(SQLITE)
