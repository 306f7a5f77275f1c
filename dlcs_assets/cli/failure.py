"""How a command fails: one line on standard error and an exit status, 2 for wrong usage and 1 for everything else."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from dlcs_assets.domain.errors import IngestError, MessageRejectedError

FAILED = 1
USAGE = 2


class CommandError(Exception):
    """What the user is told on standard error; `status` is the exit status."""

    def __init__(self, message: str, *, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


class UsageError(CommandError):
    """Something is wrong with what was typed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=USAGE)


class Commands(TyperGroup):
    """The group of all commands: what they raise in foreseeable ways is told in plain words, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command. Messages that the rules refuse are the user's own, and so wrong usage."""
        try:
            return super().invoke(ctx)
        except CommandError as failure:
            typer.echo(str(failure), err=True)
            raise typer.Exit(failure.status) from failure
        except MessageRejectedError as rejected:
            typer.echo(str(rejected), err=True)
            raise typer.Exit(USAGE) from rejected
        except IngestError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(FAILED) from error
