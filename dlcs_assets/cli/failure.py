"""How a command fails: one line on standard error and an exit status, 2 for wrong usage and 1 for everything else.

Not with click's exceptions: Typer carries a click of its own and makes none of these public.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from dlcs_assets.cli.output import echo
from dlcs_assets.domain.errors import IngestError, MessageRejectedError

FAILED = 1
USAGE = 2


class CommandError(Exception):
    """What is printed on standard error; `status` is the exit status."""

    def __init__(self, message: str, *, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


class UsageError(CommandError):
    """The arguments cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=USAGE)


class Commands(TyperGroup):
    """The group of all commands: errors that are foreseen are printed as messages, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command. A message that the rules reject was typed by the user: wrong usage."""
        try:
            return super().invoke(ctx)
        except (CommandError, MessageRejectedError, IngestError) as error:
            echo(str(error), err=True)
            usage = USAGE if isinstance(error, MessageRejectedError) else FAILED
            raise typer.Exit(error.status if isinstance(error, CommandError) else usage) from error
