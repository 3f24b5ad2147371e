"""What is known of a value that was refused, and the names of its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy import Column, ColumnElement, Table
from sqlalchemy.orm import Mapper

from rowsmith.execution.parameters import COLUMN, Subject
from rowsmith.mapped import mappers_by_table


@dataclass(frozen=True)
class Refusal:
    """A value that was refused: ``row`` is its row's place among those of the statement, None where it has only one.

    ``columns`` are those that it may be of: one, or several that cannot be told apart, or none; ``is_stored`` says
    that the database has it, and that it cannot be read; ``is_operand`` is as for a :class:`Subject`.
    """

    columns: Sequence[ColumnElement[Any]] = ()
    row: int | None = None
    is_stored: bool = False
    is_operand: bool = False

    @classmethod
    def of(cls, subject: Subject, *rows: int | None) -> Refusal:
        """Give that of a parameter's value; ``rows`` are the places of its row, None where one cannot be told."""
        columns = () if subject.column is None else (subject.column,)
        row = next((row for row in (*rows, subject.row) if row is not None), None)
        return cls(columns, row, is_operand=subject.is_operand)


_REFUSAL: Final = "_rowsmith_refusal"


def note(failure: BaseException, refusal: Refusal) -> None:
    """Keep with a driver's error what is known of the value that it is about."""
    setattr(failure, _REFUSAL, refusal)


def refusal_of(failure: BaseException) -> Refusal | None:
    """Give what is known of the value that an error is about, SQLAlchemy's or the driver's."""
    found: Refusal | None = getattr(failure, _REFUSAL, None)
    return getattr(getattr(failure, "orig", None), _REFUSAL, None) if found is None else found


def label(column: ColumnElement[Any], mapper: Mapper[Any] | None) -> str:
    """Name a column for a message, as the class that is called about has it, or another of the application's."""
    real = _real(column)
    if real is None:
        return str(getattr(column, "name", "a column"))
    others = () if mapper is None else mappers_by_table().get(real.table, ())
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
