"""Values that the database has and that cannot be read: by the driver, or by the type of their column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import FrameType, FunctionType
from typing import Any, Final, cast

from asyncpg import InterfaceError, PostgresError
from sqlalchemy import ColumnElement, CursorResult, TextClause
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.result import ResultInternal
from sqlalchemy.exc import EmulatedDBAPIException
from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.functions import FunctionElement

from rowsmith.execution.parameters import COLUMN
from rowsmith.execution.refusals.again import failure_of, frames_of
from rowsmith.execution.refusals.refusal import Refusal


def is_of_codec(failure: BaseException) -> bool:
    """Say whether an error came, through asyncpg, from what reads a value: of what writes one it makes its own."""
    is_own = isinstance(failure, (InterfaceError, PostgresError, EmulatedDBAPIException, UnicodeEncodeError))
    return isinstance(failure, (ArithmeticError, LookupError, TypeError, ValueError)) and not is_own


_OF_TIME: Final = frozenset(
    {
        *(1082, 1083, 1114, 1184, 1186, 1266),  # date, time, timestamp, timestamptz, interval, timetz
        *(1182, 1183, 1115, 1185, 1187, 1270),  # arrays of them
        *(3912, 3908, 3910, 4535, 4533, 4534),  # ranges and multiranges of dates, timestamps and timestamptz
    }
)
"""The types (PostgreSQL's ``pg_type.dat``) some values of which are out of Python's range."""


def unread(context: ExceptionContext) -> Sequence[ColumnElement[Any]]:
    """Give the column whose value asyncpg could not read, or those that it may be of."""
    run: Any = context.execution_context
    oids = [entry[1] for entry in run.cursor.description or ()]
    columns = results_of(run.compiled)
    if len(columns) != len(oids):
        return ()
    places = doubtful(oids)
    if len(places) > 1 and not run.cursor.server_side and _is_repeatable(run.compiled.statement):
        places = [place for place in places if _is_unread(context, place, len(oids))] or places
    return chosen(columns, places)


def is_only_unread(context: ExceptionContext) -> bool:
    """Say whether a statement has but read, and asyncpg could not read what it gave."""
    run: Any = context.execution_context
    compiled = getattr(run, "compiled", None)
    is_driver = context.dialect.driver == "asyncpg" and is_of_codec(context.original_exception)
    return compiled is not None and is_driver and _is_repeatable(compiled.statement)


def _is_repeatable(statement: Any) -> bool:
    """Say whether a statement does nothing but read, as far as its parts tell."""
    parts: list[Any] = list(visitors.iterate(statement))
    calls = (getattr(part, "name", None) for part in parts if isinstance(part, _FUNCTION))
    return not any(isinstance(part, (UpdateBase, TextClause)) for part in parts) and _OF_OURS.issuperset(calls)


_FUNCTION: Final[Any] = FunctionElement


_OF_OURS: Final = frozenset({"generate_series", "lower", "unnest", "upper"})
"""The functions in what rowsmith reads rows by."""


def doubtful(oids: Sequence[int]) -> Sequence[int]:
    """Give the places of what may be out of Python's range; all, if none is known to be such."""
    return [place for place, oid in enumerate(oids) if oid in _OF_TIME] or range(len(oids))


def unread_of(columns: Sequence[ColumnElement[Any] | None], oids: Sequence[int]) -> Refusal:
    """Say which columns it may be of whose value asyncpg could not read, of a statement that gives these types."""
    return Refusal(chosen(columns, doubtful(oids)), is_stored=True)


def chosen(columns: Sequence[ColumnElement[Any] | None], places: Sequence[int]) -> Sequence[ColumnElement[Any]]:
    """Give the columns in these places; None is one of nobody's."""
    return [column for place in places if (column := columns[place]) is not None]


def _is_unread(context: ExceptionContext, place: int, width: int) -> bool:
    """Ask for one column alone, and say whether the driver can read that; of a SELECT, which changes nothing."""
    names = ", ".join(f"c{number}" for number in range(width))
    statement = f"SELECT c{place} FROM ({context.statement}) AS given ({names})"  # noqa: S608 - as it was sent
    failure = failure_of(context, statement, cast("Any", context.parameters))
    return failure is not None and is_of_codec(failure)


def results_of(compiled: Any) -> list[ColumnElement[Any] | None]:
    """Give the columns that a compiled statement gives, None for what is none."""
    return [next((each for each in entry[2] if isinstance(each, COLUMN)), None) for entry in compiled._result_columns]


def unreadable(failure: BaseException) -> Refusal:
    """Say which column's type could not read a value: SQLAlchemy's result, and what it had called, say so.

    Several where one type is that of several columns, or where what has failed is not written in Python.
    """
    with suppress(Exception):
        found: Iterator[Any] = filter(None, map(_read_in, frames_of(failure)))
        result = next(found)
        readers: list[tuple[int, Any]] = [*enumerate(result._metadata._processors)]
        return unread_by(failure, readers, results_of(result.context.compiled))
    return Refusal(is_stored=True)


def unread_by(
    failure: BaseException, readers: Sequence[tuple[int, object]], columns: Sequence[ColumnElement[Any] | None]
) -> Refusal:
    """Say which column's type could not read a value.

    Args:
        failure: what the type raised.
        readers: the result processors, each with the place of its column.
        columns: what the statement gives.
    """
    with suppress(Exception):
        frames = frames_of(failure)
        places = [place for place, reader in readers if any(_runs_in(frame, reader) for frame in frames)]
        places = places or [place for place, reader in readers if reader and not hasattr(reader, "__code__")]
        return Refusal(chosen(columns, places), is_stored=True)
    return Refusal(is_stored=True)


def _read_in(frame: FrameType) -> Any:
    """Give the driver's result that some code is busy with, None where there is none."""
    given: list[Any] = [value for value in frame.f_locals.values() if isinstance(value, ResultInternal)]
    real = (getattr(value, "_real_result", None) or value for value in given)
    results: Iterator[Any] = (getattr(value, "raw", value) for value in real)
    is_of_driver: Any = CursorResult
    return next((result for result in results if isinstance(result, is_of_driver)), None)


def _runs_in(frame: FrameType, reader: Any) -> bool:
    """Say whether code is that of a result processor, with the same type around it."""
    if reader is None:
        return False
    if not isinstance(reader, FunctionType):  # compiled, as SQLAlchemy's own are
        return frame.f_code.co_name == f"{reader.__module__}.{getattr(reader, '__qualname__', '')}"
    code = reader.__code__
    if frame.f_code is not code:
        return False
    around = zip(code.co_freevars, reader.__closure__ or (), strict=True)
    return all(frame.f_locals.get(name) is cell.cell_contents for name, cell in around)
