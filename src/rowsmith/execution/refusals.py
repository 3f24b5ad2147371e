"""Which value a statement failed for: told by the place of its parameter, or of its column, never by what it is.

A driver that cannot write a value says so before anything is sent, and PostgreSQL says of a value that it cannot read
which parameter it came by (:mod:`rowsmith.execution.parameters`). All is looked up once a statement has failed.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from traceback import walk_tb
from types import CodeType, FrameType
from typing import Any, Final, cast

from asyncpg import InterfaceError, PostgresError
from sqlalchemy import Column, ColumnElement, CursorResult, Table, TextClause
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.engine.result import ResultInternal
from sqlalchemy.exc import EmulatedDBAPIException
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import ExpandedState
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.functions import FunctionElement

from rowsmith.execution.parameters import COLUMN, Subject, in_lists, lists_of, named_at, subject_of

_FUNCTION: Final[Any] = FunctionElement


@dataclass(frozen=True)
class Refusal:
    """A value that was refused: ``row`` is its row's place among those of the statement, None where it has only one.

    ``columns`` are those that it may be of: one, or several that cannot be told apart, or none; ``is_stored`` says
    that the database has it, and that it cannot be read.
    """

    columns: Sequence[ColumnElement[Any]] = ()
    row: int | None = None
    is_stored: bool = False

    @classmethod
    def of(cls, subject: Subject, *rows: int | None) -> Refusal:
        """Give that of a parameter's value; ``rows`` are the places of its row, None where one cannot be told."""
        columns = () if subject.column is None else (subject.column,)
        return cls(columns, next((row for row in (*rows, subject.row) if row is not None), None))


_REFUSAL: Final = "_rowsmith_refusal"


def note(failure: BaseException, refusal: Refusal) -> None:
    """Keep with a driver's error what is known of the value that it is about."""
    setattr(failure, _REFUSAL, refusal)


def refusal_of(failure: BaseException) -> Refusal | None:
    """Give what is known of the value that an error is about, SQLAlchemy's or the driver's."""
    found: Refusal | None = getattr(failure, _REFUSAL, None)
    return getattr(getattr(failure, "orig", None), _REFUSAL, None) if found is None else found


def argument_of(driver: BaseException) -> tuple[int, int | None] | None:
    """Give the place of the parameter that an error of asyncpg's is about, and that of its row among many.

    The words in front are the driver's own, or PostgreSQL's: what quotes the value stands behind them.
    """
    is_of_server = getattr(driver, "severity", None) is not None
    if is_of_server and str(getattr(driver, "sqlstate", "")).startswith("22"):
        found = _PORTAL.match(getattr(driver, "context", None) or "")
    elif isinstance(driver, (PostgresError, InterfaceError)) and not is_of_server:
        found = _ARGUMENT.match(str(driver))
    else:
        return None
    if found is None:
        return None
    place, row = found["place"], found.groupdict().get("row")
    return int(place) - 1, None if row is None else int(row)


_ARGUMENT: Final = re.compile(
    r"(?:invalid input for )?query argument \$(?P<place>\d+)"
    r"(?: in element #(?P<row>\d+) of executemany\(\) sequence)?: "
)
"""What asyncpg says of a value that it cannot write (its ``prepared_stmt.pyx``)."""

_PORTAL: Final = re.compile(r"unnamed portal parameter \$(?P<place>\d+)")
"""What PostgreSQL says of a value that it cannot read (its ``postgres.c``)."""


def note_refused(context: ExceptionContext) -> None:
    """Look for the value that a statement of SQLAlchemy's failed for, and note it with the driver's error."""
    failure = context.original_exception
    if refusal_of(failure) is not None:  # of an engine and of one made of it, each of which is listened to
        return
    if context.dialect.driver == "asyncpg" and is_of_codec(failure):
        note(failure, Refusal(is_stored=True))
    with suppress(Exception):  # what cannot be told is left untold: the failure itself goes on
        if (refusal := _refused(context)) is not None:
            note(failure, refusal)


def _refused(context: ExceptionContext) -> Refusal | None:
    run: Any = context.execution_context
    if getattr(run, "compiled", None) is None:
        return None
    if refusal_of(context.original_exception) is not None:
        return Refusal(_unread(context), is_stored=True)
    if (found := _argument(context)) is None:
        return None
    place, row = found
    named, among = named_at(run, place, context.parameters)
    subject = subject_of(run.compiled, named)
    item = _item_of(context, place) if subject.is_array else None
    return Refusal.of(subject, row, among, item)


def unbound(failure: BaseException) -> Refusal:
    """Say which value its own type refused, of those that SQLAlchemy was about to hand to the driver.

    They are bound once more: SQLAlchemy does not say which parameter it was at.
    """
    with suppress(Exception):
        binding = DefaultExecutionContext._init_compiled.__code__  # pyright: ignore[reportPrivateUsage]
        inside = next(frame.f_locals for frame in _frames(failure) if frame.f_code is binding)
        run, processors = inside["self"], inside["flattened_processors"]
        row, name = next(_unbound_in(run.compiled_parameters, processors))
        subject = subject_of(run.compiled, lists_of(run._expanded_parameters).get(name, (name, None)))
        item = _unbound_item(processors[name], run.compiled_parameters[row][name]) if subject.is_array else None
        return Refusal.of(subject, row if run.executemany else None, item)
    return Refusal()


def _unbound_in(rows: Sequence[Mapping[str, Any]], processors: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    for number, row in enumerate(rows):
        for name, value in row.items():
            if (process := processors.get(name)) is not None and not _binds(process, value):
                yield number, name


def _unbound_item(process: Any, items: Sequence[Any]) -> int | None:
    followed = _Followed(items)
    return None if _binds(process, followed) else followed.last


def _binds(process: Any, value: Any) -> bool:
    try:
        process(value)
    except Exception:  # noqa: BLE001 - a type may raise anything
        return False
    return True


def _argument(context: ExceptionContext) -> tuple[int, int | None] | None:
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


def _unwritable(rows: Sequence[Sequence[Any]]) -> Iterator[tuple[int, int]]:
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


def _item_of(context: ExceptionContext, place: int) -> int | None:
    """Give the item of an array that the driver cannot write: it is asked again, and again sends nothing."""
    given: Any = context.parameters
    if getattr(cast("Any", context.original_exception).driver_exception, "severity", None) is not None:
        return None  # it was sent
    followed = _Followed(given[place])
    _failure_of(context, str(context.statement), (*given[:place], followed, *given[place + 1 :]))
    return followed.last


def _failure_of(context: ExceptionContext, statement: str, parameters: Sequence[Any]) -> Exception | None:
    """Send a statement on the connection on which one has failed, and give its error."""
    connection: Any = context.connection
    try:
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(statement, parameters)
    except Exception as exc:  # noqa: BLE001 - which is what is asked for
        return exc
    except BaseException:
        connection.invalidate()  # nobody knows what is still on the wire
        raise
    return None


async def note_refused_by(
    failure: BaseException, prepared: Any, arguments: Sequence[Any], compiled: Any, state: ExpandedState
) -> None:
    """Look for the value that a statement on asyncpg itself failed for, and note it with the error.

    Args:
        failure: the driver's.
        prepared: its statement.
        arguments: what that was given.
        compiled, state: SQLAlchemy's statement, and its parameters.
    """
    if is_of_codec(failure):
        note(failure, Refusal(is_stored=True))
    with suppress(Exception):
        if is_of_codec(failure):
            columns = results_of(compiled)
            places = _doubtful([attribute.type.oid for attribute in prepared.get_attributes()])
            note(failure, Refusal(_chosen(columns, places), is_stored=True))
        elif (found := argument_of(failure)) is not None:
            subject = subject_of(compiled, in_lists(state)[found[0]])
            item = await _item_by(prepared, arguments, found[0]) if subject.is_array else None
            note(failure, Refusal.of(subject, item))


async def _item_by(prepared: Any, arguments: Sequence[Any], place: int) -> int | None:
    followed = _Followed(arguments[place])
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


def _unread(context: ExceptionContext) -> Sequence[ColumnElement[Any]]:
    """Give the column whose value asyncpg could not read, or those that it may be of."""
    run: Any = context.execution_context
    oids = [entry[1] for entry in run.cursor.description or ()]
    columns = results_of(run.compiled)
    if len(columns) != len(oids):
        return ()
    places = _doubtful(oids)
    if len(places) > 1 and not run.cursor.server_side and _is_repeatable(run.compiled.statement):
        places = [place for place in places if _is_unread(context, place, len(oids))] or places
    return _chosen(columns, places)


def _is_repeatable(statement: Any) -> bool:
    """Say whether a statement does nothing but read, as far as its parts tell."""
    parts: list[Any] = list(visitors.iterate(statement))
    calls = (getattr(part, "name", None) for part in parts if isinstance(part, _FUNCTION))
    return not any(isinstance(part, (UpdateBase, TextClause)) for part in parts) and _OF_OURS.issuperset(calls)


_OF_OURS: Final = frozenset({"generate_series", "lower", "unnest", "upper"})
"""The functions in what rowsmith reads rows by."""


def _doubtful(oids: Sequence[int]) -> Sequence[int]:
    """Give the places of what may be out of Python's range; all, if none is known to be such."""
    return [place for place, oid in enumerate(oids) if oid in _OF_TIME] or range(len(oids))


def _chosen(columns: Sequence[ColumnElement[Any] | None], places: Sequence[int]) -> Sequence[ColumnElement[Any]]:
    return [column for place in places if (column := columns[place]) is not None]


def _is_unread(context: ExceptionContext, place: int, width: int) -> bool:
    """Ask for one column alone, and say whether the driver can read that; of a SELECT, which changes nothing."""
    names = ", ".join(f"c{number}" for number in range(width))
    statement = f"SELECT c{place} FROM ({context.statement}) AS given ({names})"  # noqa: S608 - as it was sent
    failure = _failure_of(context, statement, cast("Any", context.parameters))
    return failure is not None and is_of_codec(failure)


def results_of(compiled: Any) -> list[ColumnElement[Any] | None]:
    """Give the columns that a compiled statement gives, None for what is none."""
    return [next((each for each in entry[2] if isinstance(each, COLUMN)), None) for entry in compiled._result_columns]


def unreadable(failure: BaseException) -> Refusal:
    """Say which column's type could not read a value: SQLAlchemy's result, and what it had called, say so.

    Several where one type is that of several columns, or where what has failed is not written in Python.
    """
    with suppress(Exception):
        found: Iterator[Any] = filter(None, map(_read_in, _frames(failure)))
        result = next(found)
        readers: list[tuple[int, Any]] = [*enumerate(result._metadata._processors)]
        return unread_by(failure, readers, results_of(result.context.compiled))
    return Refusal(is_stored=True)


def unread_by(
    failure: BaseException, readers: Sequence[tuple[int, Any]], columns: Sequence[ColumnElement[Any] | None]
) -> Refusal:
    """Say which column's type could not read a value.

    Args:
        failure: what the type raised.
        readers: the result processors, each with the place of its column.
        columns: what the statement gives.
    """
    with suppress(Exception):
        frames = _frames(failure)
        places = [place for place, reader in readers if any(_runs_in(frame, reader) for frame in frames)]
        places = places or [place for place, reader in readers if reader and not hasattr(reader, "__code__")]
        return Refusal(_chosen(columns, places), is_stored=True)
    return Refusal(is_stored=True)


def _frames(failure: BaseException) -> list[FrameType]:
    return [frame for frame, _ in walk_tb(failure.__traceback__)]


def _read_in(frame: FrameType) -> Any:
    """Give the driver's result that some code is busy with, None where there is none."""
    given: list[Any] = [value for value in frame.f_locals.values() if isinstance(value, ResultInternal)]
    real = (getattr(value, "_real_result", None) or value for value in given)
    results: Iterator[Any] = (getattr(value, "raw", value) for value in real)
    is_of_driver: Any = CursorResult
    return next((result for result in results if isinstance(result, is_of_driver)), None)


def _runs_in(frame: FrameType, reader: Any) -> bool:
    """Say whether code is that of a result processor, with the same type around it."""
    code: CodeType | None = getattr(reader, "__code__", None)
    if code is None or frame.f_code is not code:
        return False
    around = zip(code.co_freevars, reader.__closure__ or (), strict=True)
    return all(frame.f_locals.get(name) is cell.cell_contents for name, cell in around)


def label(column: ColumnElement[Any], mapper: Mapper[Any] | None) -> str:
    """Name a column for a message, as the class that is called about has it, or another of the application's."""
    real = _real(column)
    if real is None:
        return str(getattr(column, "name", "a column"))
    others = () if mapper is None else (each for each in mapper.registry.mappers if each.local_table is real.table)
    for each in (*filter(None, [mapper]), *sorted(others, key=str)):
        if any(item is real for item in each.columns):
            return f"{each.class_.__name__}.{each.get_property_by_column(real).key}"
    return f"{real.table.name}.{real.name}"


def _real(column: ColumnElement[Any]) -> Column[Any] | None:
    """Give the column of a table behind one of an alias."""
    columns = (base for base in column.base_columns if isinstance(base, COLUMN) and isinstance(base.table, Table))
    return cast("Column[Any] | None", next(columns, None))


def names_of(refusal: Refusal) -> tuple[str, ...]:
    """Give the names in the schema of the columns that a value may be of."""
    return tuple(str(getattr(_real(column), "name", None) or getattr(column, "name", "")) for column in refusal.columns)
