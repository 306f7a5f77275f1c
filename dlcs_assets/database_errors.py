"""What a database's errors say, without the values that a statement was given or a row has.

SQLAlchemy's errors quote parameters, PostgreSQL's the row that was refused (DETAIL) and the place in the statement, of
which parameters are a part (LINE), and SQLite's the text that it could not decode. They come into logs, into failed
ticks, and with them into Dagster's history.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, StatementError

# SQLSTATEs of which the first line of the message quotes what could not be read: class 22, data exception.
_QUOTES_VALUES: Final = "22"
# SQLite and Python's driver quote values in these; in what else they say are names of tables and columns.
_QUOTING: Final = ("Could not decode", "Error binding")


def hide_values() -> None:
    """Keep values out of the errors of all engines of this process, Dagster's own included, from now on."""
    if not event.contains(Engine, "handle_error", _strip):
        event.listen(Engine, "handle_error", _strip)


def _strip(context: ExceptionContext) -> None:
    """Take values out of an error before it is raised: SQLAlchemy's, and the driver's that it is chained to."""
    original, wrapped = context.original_exception, context.sqlalchemy_exception
    if wrapped is None:
        return
    if isinstance(wrapped, DBAPIError):
        said = _said(original)
        original.args = (said,)
    else:  # Python's own, of a value that cannot be bound
        said = "a value cannot be bound"
        original.args = ()
    kind = type(original)
    wrapped.args = (f"({kind.__module__}.{kind.__qualname__}) {said}",)
    if isinstance(wrapped, StatementError):
        wrapped.hide_parameters = True
        wrapped.params = None


def _said(original: BaseException) -> str:
    """Return what a driver's error says of tables, columns and constraints, in one line."""
    state: str | None = getattr(original, "pgcode", None)
    diagnostics: Any = getattr(original, "diag", None)
    if state:
        if state.startswith(_QUOTES_VALUES):
            return f"a value does not fit its column or function ({state})"
        return f"{diagnostics.message_primary} ({state})"
    first_line = str(original).strip().partition("\n")[0]
    quoting = next((words for words in _QUOTING if first_line.startswith(words)), None)
    return f"{quoting} a value" if quoting else first_line
