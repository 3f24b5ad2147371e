"""Values that the server found too long or out of range while it wrote them: it says neither column nor row.

They are looked for among those that the statement had, by what the types of their columns take. Where none is plainly
too large, as the column in the database is narrower than its mapping, it can only be that of the one column of the
kind that was written. What is raised inside of a function is about other values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.dml import ValuesBase
from sqlalchemy.sql.elements import BinaryExpression

from rowsmith.execution.parameters import COLUMN, Subject, written_by
from rowsmith.execution.refusals.refusal import Refusal
from rowsmith.mapping.types import Comparison, column_type, stored_form

_KINDS: Final[Mapping[str, frozenset[Comparison]]] = {
    "22001": frozenset({Comparison.TEXT}),
    "22003": frozenset({Comparison.INTEGER, Comparison.DECIMAL, Comparison.FLOAT}),
}
"""Of which columns values are that PostgreSQL refuses with these SQLSTATEs: too long, out of range."""


Sent: TypeAlias = tuple[ColumnElement[Any], int | None, Any]
"""A value that was sent, with its column, and the place of its row where there are several."""


def unfit(
    failure: BaseException, compiled: Any, rows: Sequence[Mapping[str, Any]], *, many: bool, are_bound: bool = False
) -> Refusal | None:
    """Give the value that a statement of SQLAlchemy's failed for, if that is told by the values that it had.

    Args:
        failure: the driver's.
        compiled: the statement.
        rows: its parameters by name, as they were given; arrays of rowsmith's as the driver takes them.
        many: they are of several rows, each of which was written by itself.
        are_bound: they are as the driver takes them.
    """
    kinds = kinds_of(failure)
    if kinds is None or getattr(failure, "context", None) or not _writes(compiled.statement):
        return None
    written = {
        name: subject
        for name in compiled.binds
        if (subject := written_by(compiled, name)) is not None
        and not (compiled.isupdate and getattr(subject.column, "primary_key", False))  # by which it finds its rows
    }
    values = _values(written, {} if are_bound else compiled._bind_processors, rows, many)
    columns: list[Any] = [subject.column for subject in written.values()]
    tables = {column.table for column in columns if isinstance(column, COLUMN)}
    computed = (column for table in tables for column in table.c if column.computed is not None)
    others = [column for column in computed if _is_of(stored_form(column.type, compiled.dialect), kinds)]
    return unfit_among(values, kinds, compiled.dialect, others, is_all=not _computes(compiled.statement))


def _writes(statement: Any) -> bool:
    """Say whether a statement writes values: what any other finds out of range it has computed itself."""
    return any(isinstance(part, ValuesBase) for part in visitors.iterate(statement))


def _computes(statement: Any) -> bool:
    """Say whether a statement that writes computes something of rows besides, which may be out of range as well."""
    besides = (*getattr(statement, "_returning", ()), *getattr(statement, "_where_criteria", ()))
    return any(_is_arithmetic(part) for each in besides for part in visitors.iterate(each))


def _is_arithmetic(part: Any) -> bool:
    return isinstance(part, _BINARY) and part.operator in _ARITHMETIC


_BINARY: Final[Any] = BinaryExpression
_ARITHMETIC: Final = frozenset({operators.add, operators.sub, operators.mul, operators.truediv, operators.floordiv})


def kinds_of(failure: BaseException) -> frozenset[Comparison] | None:
    """Give of which columns a value can be that the server refused; None where that is no matter of how large it is."""
    is_of_server = getattr(failure, "severity", None) is not None
    return _KINDS.get(str(getattr(failure, "sqlstate", None))) if is_of_server else None


def unfit_among(
    values: Iterable[Sent],
    kinds: frozenset[Comparison],
    dialect: Dialect,
    others: Sequence[ColumnElement[Any]] = (),
    *,
    is_all: bool = True,
) -> Refusal | None:
    """Give the one of some values that its column does not take; else the only one that it can be of, if it is one.

    Args:
        values: in the order in which they are written.
        kinds: of the columns that it can be of.
        dialect: of the database.
        others: columns of these kinds that the server makes of others.
        is_all: it can be of nothing else.
    """
    seen = {column: set[int | None]() for column in others}
    for column, row, value in values:
        form = stored_form(column.type, dialect)
        if value is None or not _is_of(form, kinds):
            continue
        if column_type(form).check(value) is not None:
            return Refusal([column], row)
        seen.setdefault(column, set()).add(row)
    if len(seen) != 1 or not is_all:
        return None
    [(column, places)] = seen.items()
    return Refusal([column], places.pop() if len(places) == 1 else None)


def _is_of(form: Any, kinds: frozenset[Comparison]) -> bool:
    return column_type(getattr(form, "item_type", form)).compared in kinds  # of an array, its members


def _values(
    written: Mapping[str, Subject], processors: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], many: bool
) -> Iterator[Sent]:
    """Give the values of a statement as they were sent, row by row, each with its column and the place of its row."""
    for number, row in enumerate(rows):
        for name, subject in written.items():
            if name not in row or subject.column is None:
                continue
            if subject.is_array:
                yield from ((subject.column, place, value) for place, value in enumerate(row[name]))
                continue
            process, bound = processors.get(name), None
            with suppress(Exception):  # a type may raise anything; then it is another value that was sent
                bound = row[name] if process is None else process(row[name])
            yield subject.column, number if many else subject.row, bound
