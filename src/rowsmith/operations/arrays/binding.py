"""Values that their column's type cannot bind: named by index and column, never quoted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy.engine import Dialect

from rowsmith.errors import InvalidValue, RepositoryError
from rowsmith.mapping import RowInfo
from rowsmith.operations.arrays.wire import array_values, bound, fits_array
from rowsmith.sql import is_sql

T = TypeVar("T")


def unbindable(
    info: RowInfo[object],
    columns: Mapping[str, Sequence[object]],
    dialect: Dialect,
    places: Sequence[int],
    noun: str = "spec",
) -> InvalidValue | None:
    """Give the error for the first value that its column's type refuses to bind; None where all are taken.

    To be asked once something failed: it binds every value again.

    Args:
        info: whose columns they are.
        columns: values by attribute name; SQL expressions among them are passed over.
        dialect: of the database.
        places: the indexes in the caller's input, for the message.
        noun: what the values come from, for the message.
    """
    for name, column in columns.items():
        if (index := _first_refused(info.columns[name].type, column, dialect)) is not None:
            error = not_taken(info, name)
            return InvalidValue.at(places[index], str(error), noun, facts=error.facts)
    return None


def not_taken(info: RowInfo[object], name: str) -> InvalidValue:
    """Give the error for a value of an attribute that its column's type, or the driver, does not take."""
    return info.refusal(name, "holds a value that its type does not take")


async def naming(work: Awaitable[T], find: Callable[[], InvalidValue | None]) -> T:
    """Await a write; where it fails because a type refused to bind a value, have the error name it.

    Args:
        work: what sends the statement.
        find: looks for the value, as :func:`unbindable` does; asked only for failures that a type's code may have made.
    """
    try:
        return await work
    except Exception as exc:
        fault = find() if _may_be_unbindable(exc) else None
        if fault is None:
            raise
    raise fault


def _may_be_unbindable(failure: Exception) -> bool:
    if isinstance(failure, InvalidValue):
        return failure.facts.sqlstate is None and not failure.facts.columns
    return not isinstance(failure, RepositoryError)


def unbindable_value(info: RowInfo[object], values: Mapping[str, object], dialect: Dialect) -> InvalidValue | None:
    """Give the error for one row's values, as :func:`unbindable` for many."""
    for name, value in values.items():
        if _first_refused(info.columns[name].type, [value], dialect) is not None:
            return not_taken(info, name)
    return None


def _first_refused(kind: object, column: Sequence[object], dialect: Dialect) -> int | None:
    plain = ((index, value) for index, value in enumerate(column) if not is_sql(value))
    return next((index for index, value in plain if not _binds(kind, value, dialect)), None)


def _binds(kind: Any, value: Any, dialect: Dialect) -> bool:
    try:
        if dialect.name == "postgresql" and fits_array(kind, dialect):
            array_values(kind, [value], dialect)
        else:
            bound(kind, [value], dialect)
    except Exception:  # noqa: BLE001 - a type may raise anything, and quotes the value
        return False
    return True
