"""Values that cannot be written: their own type refuses them, the driver, or the server that is to read them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import chain
from typing import Any, Final, cast

from asyncpg import InterfaceError, PostgresError
from sqlalchemy import Table
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.default import DefaultExecutionContext

from rowsmith.execution.kinds import INSUFFICIENT_PRIVILEGE
from rowsmith.execution.parameters import lists_of, subject_of
from rowsmith.execution.refusals.again import failure_of, frames_of
from rowsmith.execution.refusals.refusal import Refusal


def argument_of(driver: BaseException) -> tuple[int, int | None] | None:
    """Give the place of the parameter that an error of asyncpg's is about, and that of its row among many.

    The words in front are the driver's own, or PostgreSQL's: what quotes the value stands behind them.
    """
    if _is_of_server(driver) and (is_malformed(driver) or str(getattr(driver, "sqlstate", "")).startswith("22")):
        found = _PORTAL.match(getattr(driver, "context", None) or "")
    elif isinstance(driver, (PostgresError, InterfaceError)) and not _is_of_server(driver):
        found = _ARGUMENT.match(str(driver))
    else:
        return None
    if found is None:
        return None
    place, row = found["place"], found.groupdict().get("row")
    return int(place) - 1, None if row is None else int(row)


def is_malformed(driver: BaseException) -> bool:
    """Say whether PostgreSQL could not read a value that is in a language of its own, or the name of something.

    It says so by the SQLSTATEs of statements (a JSON path, a tsvector, a regclass), or by that of an internal error.
    """
    sqlstate = str(getattr(driver, "sqlstate", ""))
    # A privilege that is missing is no matter of the value.
    is_of_statements = sqlstate.startswith("42") and sqlstate != INSUFFICIENT_PRIVILEGE
    is_read = _PORTAL.match(getattr(driver, "context", None) or "") is not None
    return (is_of_statements and is_read) or getattr(driver, "server_source_filename", None) in _QUERY_SOURCES


_QUERY_SOURCES: Final = frozenset({"tsquery.c"})
"""The file of PostgreSQL that reads a full text query: it calls what it cannot read an internal error (XX000)."""


def _is_of_server(driver: BaseException) -> bool:
    """Say whether an error of asyncpg's came from the server: what cannot be written is an error of the same class."""
    return getattr(driver, "severity", None) is not None


_ARGUMENT: Final = re.compile(
    r"(?:invalid input for )?query argument \$(?P<place>\d+)"
    r"(?: in element #(?P<row>\d+) of executemany\(\) sequence)?: "
)
"""What asyncpg says of a value that it cannot write (its ``prepared_stmt.pyx``)."""


_PORTAL: Final = re.compile(r"unnamed portal parameter \$(?P<place>\d+)")
"""What PostgreSQL says of a value that it cannot read (its ``postgres.c``)."""


def unbound(failure: BaseException) -> Refusal:
    """Say which value its own type refused, of those that SQLAlchemy was about to hand to the driver.

    They are bound once more: SQLAlchemy does not say which parameter it was at.
    """
    with suppress(Exception):
        binding = DefaultExecutionContext._init_compiled.__code__  # pyright: ignore[reportPrivateUsage]
        inside = next(frame.f_locals for frame in frames_of(failure) if frame.f_code is binding)
        run, processors = inside["self"], inside["flattened_processors"]
        row, name = next(
            (number, name)
            for number, given in enumerate(run.compiled_parameters)
            for name, value in given.items()
            if (process := processors.get(name)) is not None and not _binds(process, value)
        )
        subject = subject_of(run.compiled, lists_of(run._expanded_parameters).get(name, (name, None)))
        item = None
        if subject.is_array:
            followed = _Followed(run.compiled_parameters[row][name])
            item = None if _binds(processors[name], followed) else followed.last
        return Refusal.of(subject, row if run.executemany else None, item)
    return Refusal()


def _binds(process: Any, value: Any) -> bool:
    try:
        process(value)
    except Exception:  # noqa: BLE001 - a type may raise anything
        return False
    return True


def refused_argument(context: ExceptionContext) -> tuple[int, int | None] | None:
    """Give the place of the parameter that was refused, and that of its row where each was sent by itself."""
    failure: Any = context.original_exception
    if context.dialect.driver == "asyncpg":
        return argument_of(failure.driver_exception)
    if context.dialect.name != "sqlite" or hasattr(failure, "sqlite_errorcode"):
        return None
    given: Any = context.parameters
    run: Any = context.execution_context
    is_many = bool(run.executemany) and type(given) is list
    rows = cast("Sequence[Any]", given if is_many else [given])
    return next(((place, row if is_many else None) for row, place in _unwritable(rows)), None)


def _unwritable(rows: Sequence[Sequence[object]]) -> Iterator[tuple[int, int]]:
    """Give what Python's sqlite3 cannot write, by asking it: a database of nobody's takes each value in turn."""
    with closing(sqlite3.connect(":memory:")) as nobodys:
        for number, row in enumerate(rows):
            for place, value in enumerate(row):
                try:
                    nobodys.execute("SELECT ?", (value,))
                except Exception:  # noqa: BLE001 - an adapter may raise anything
                    yield number, place


class _Followed(list[Any]):
    """An array that knows how far it has been read."""

    last: int | None = None

    def __iter__(self) -> Iterator[Any]:
        for self.last, item in enumerate(super().__iter__()):
            yield item


def refused_item(context: ExceptionContext, place: int) -> int | None:
    """Give the item of an array that the driver cannot write: it is asked again, and again sends nothing."""
    given: Any = context.parameters
    if _is_of_server(cast("Any", context.original_exception).driver_exception):
        return None  # it was sent
    followed = _Followed(_unfolded(given[place]))
    failure_of(context, str(context.statement), (*given[:place], followed, *given[place + 1 :]))
    return followed.last


def _unfolded(array: Sequence[Any]) -> Iterable[Any]:
    """Give the items of an array that travels in rows of equal length."""
    return chain.from_iterable(array) if array and type(array[0]) is list else array


async def refused_item_of(failure: BaseException, prepared: Any, arguments: Sequence[Any], place: int) -> int | None:
    """Give the same of a statement on asyncpg itself, which is asked once more."""
    if _is_of_server(failure):
        return None
    followed = _Followed(_unfolded(arguments[place]))
    with suppress(Exception):  # the same again
        await prepared.fetch(*arguments[:place], followed, *arguments[place + 1 :])
    return followed.last


def copied(failure: BaseException, table: Table) -> Refusal | None:
    """Give the value that PostgreSQL refused of a row that came by COPY, where it says which one it was.

    Args:
        failure: the driver's.
        table: the rows'.
    """
    if not str(getattr(failure, "sqlstate", "")).startswith("22"):
        return None
    context: str = getattr(failure, "context", None) or ""
    found = re.match(rf"COPY {re.escape(table.name)}, line (?P<line>\d+), column (?P<column>[^\n]+)", context)
    if found is None:
        return None
    return Refusal([column for column in table.c if column.name == found["column"]], int(found["line"]) - 1)
