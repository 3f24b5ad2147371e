"""Statistics: the data class of an aggregation, field by field a group's key or something computed over it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, Generic, TypeVar
from typing import cast as cast_to

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Exists,
    Float,
    Interval,
    Numeric,
    ScalarSelect,
    Table,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    type_coerce,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import FunctionFilter, Label, Over, WithinGroup
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import SelectBase
from sqlalchemy.types import TypeEngine

from rowsmith.errors import MappingError
from rowsmith.mapping.agreement import disagreement, underlying
from rowsmith.mapping.annotations import annotation, options
from rowsmith.mapping.builders import builder
from rowsmith.mapping.expr import Aggregate, Expr, keep_to_row
from rowsmith.mapping.fields import Stored, complaint, computed, data_fields, hold
from rowsmith.mapping.generated import Build
from rowsmith.mapping.row import RowInfo, nearest
from rowsmith.mapping.types import Comparison, Family, column_type, reads_itself, stored_form
from rowsmith.reach import is_of_its_arguments
from rowsmith.several import is_of_many_rows, is_of_values
from rowsmith.sql import are_same
from rowsmith.ties import taken_from

TData = TypeVar("TData")

# Classes that are generic in the type of a value, which nothing here knows.
_CALLS: Final[Any] = (FunctionElement, FunctionFilter, WithinGroup)
_FILTERED: Final[Any] = FunctionFilter
_WINDOW: Final[Any] = Over
_SUBQUERIES: Final[Any] = (Exists, ScalarSelect, SelectBase)
_ARITHMETIC: Final = ("sum", "avg")
_NUMBERS: Final[dict[Any, TypeEngine[Any]]] = {Decimal: Numeric(), float: Float(53), int: BigInteger()}
"""What a figure is made, to be a number of the field's type; of several in a union, of the first one here."""


def _exact(over: TypeEngine[Any]) -> Collection[type[Any]]:
    """Give the numbers that a figure over a type can be made without rounding it, or with a float's own error."""
    match column_type(stored_form(over)).compared:
        case Comparison.FLOAT:
            return (float,)
        case Comparison.DECIMAL:
            return (Decimal, float)
        case _:
            return _NUMBERS


@dataclass(frozen=True)
class Statistics(Generic[TData]):
    """What an aggregation selects, and what makes data of its records."""

    selects: tuple[ColumnElement[Any], ...]
    build: Build


def statistics(
    info: RowInfo[object], into: type[TData], keys: Sequence[ColumnElement[Any]], dialect: Dialect
) -> Statistics[TData]:
    """Hold a data class against the keys that rows are grouped by.

    Args:
        info: the row.
        into: each field is named like a key's column, has a key's expression as ``Expr``, or aggregates.
        keys: what the rows are grouped by.
        dialect: of the database that computes them.

    Raises:
        MappingError: a field is neither grouped nor aggregated, or may be NULL and does not say so, or is of another
            type than its figure.
    """
    names = data_fields(into)
    reader = _Reader(info, into, keys, dialect)
    return Statistics(tuple(reader.field(name) for name in names), builder(into, names))


@dataclass(frozen=True)
class _Reader:
    info: RowInfo[Any]
    into: type[Any]
    keys: Sequence[ColumnElement[Any]]
    dialect: Dialect

    def field(self, name: str) -> ColumnElement[Any]:
        """Give a field's expression."""
        marker = computed(self.into, name)
        if isinstance(marker, Aggregate):
            if marker.distinct:
                self._hold_apart(name, Expr(marker.expression).resolve().type)
            return self._aggregate(name, marker)
        if marker is None and name not in self.info.columns and name not in self.info.mapper.column_attrs:
            meant = nearest(name, (key.key for key in self.keys if isinstance(key, Column) and key.key))
            raise MappingError(f"{self._where(name)} is neither grouped by nor aggregated{meant}")
        expression = self.info.attribute(name).expression if marker is None else marker.resolve()
        if isinstance(expression, Label):  # of a column_property, around what is grouped by
            expression = expression.element
        key = next((key for key in self.keys if are_same(key, expression)), None)
        if key is not None:
            hold(self.info, self.into, name, Stored() if marker is None else marker)
            return key
        if marker is not None:
            keep_to_row(expression, self.info, self._where(name))
        left = [expression] if marker is None or isinstance(expression, Column) else list(self._left(expression))
        if left:
            raise self._ungrouped(name, left)
        return expression

    def _ungrouped(self, name: str, left: Sequence[Any]) -> MappingError:
        """Give the error for a field in whose expression these are of single rows: columns and subqueries."""
        if not all(isinstance(part, _SUBQUERIES) for part in left):
            return MappingError(
                f"{self._where(name)} is neither grouped by nor aggregated: add it to group_by, or write "
                "Annotated[..., max_(...)] or another aggregate"
            )
        return MappingError(
            f"{self._where(name)} has a subquery that asks about a single row, and a group is of many: group by "
            "the columns of the row that it names, or write an aggregate around it, as in "
            "count().filter(related(...)) or max_(select(...).scalar_subquery())"
        )

    def _aggregate(self, name: str, marker: Aggregate) -> ColumnElement[Any]:
        expression = marker.resolve()
        keep_to_row(expression, self.info, self._where(name))
        if marker.kind == "count":
            self._hold(name, BigInteger())
            return expression
        over = Expr(marker.expression).resolve()
        family = column_type(stored_form(over.type)).beside.family
        if family is Family.DURATIONS and marker.kind in _ARITHMETIC and self.dialect.name == "sqlite":
            raise MappingError(f"{self._where(name)}: SQLite has no {marker.kind} of durations: give each as a number")
        found = list(map(underlying, options(annotation(self.into, name)[0])))
        if found != [Any] and type(None) not in found:
            expression = self._never_none(name, marker, expression, over, family)
        number = next((kind for kind in _NUMBERS if kind in found), None)
        if number is int and marker.kind == "avg":
            raise MappingError(f"{self._where(name)} is int, and a mean would be rounded: write float or Decimal")
        if reads_itself(over.type) or family not in (None, Family.NUMBERS) or number not in _exact(over.type):
            self._hold(name, over.type)
        if reads_itself(over.type):  # sums as SQLAlchemy reads them, and so means
            return type_coerce(expression, over.type)
        # PostgreSQL's sums and means are wider than what they are of.
        stored = stored_form(over.type, self.dialect)
        if number is Decimal and isinstance(stored, Numeric) and marker.kind != "avg":
            return type_coerce(expression, Numeric(stored.precision, stored.scale))
        return expression if number is None else self._made(expression, number)

    def _made(self, figure: ColumnElement[Any], number: type[Any]) -> ColumnElement[Any]:
        """Give a figure as a number of this type; the database says that it does not fit."""
        is_clamped = number is int and self.dialect.name == "sqlite"
        return _whole(figure) if is_clamped else cast(figure, _NUMBERS[number])

    def _hold_apart(self, name: str, kind: TypeEngine[Any]) -> None:
        """Refuse to tell different values apart where the database has no equality of them."""
        is_told = self.dialect.name == "postgresql"
        if is_told and not column_type(stored_form(kind, self.dialect)).beside.is_ordered:
            raise MappingError(
                f"{self._where(name)} is of different values of {type(kind).__name__}, of which PostgreSQL has no "
                "equality: write count(cast(Row.doc, JSONB), distinct=True)"
            )

    def _hold(self, name: str, kind: TypeEngine[Any]) -> None:
        """Refuse a field that is of another type than values of a column of this one would be."""
        column, given = Column(name, kind, nullable=False), annotation(self.into, name)[0]
        # A model of pydantic's would take a number of another type for its own, and round it.
        is_number = any(each in (bool, *_NUMBERS) for each in map(underlying, options(given)))
        wrong = disagreement(given, column) if is_number else complaint(self.into, name, column)
        if wrong is not None:
            raise MappingError(f"{self._where(name)} {wrong}")

    def _never_none(
        self,
        name: str,
        marker: Aggregate,
        expression: ColumnElement[Any],
        over: ColumnElement[Any],
        family: Family | None,
    ) -> ColumnElement[Any]:
        """Give a figure that there is where there are no values, too."""
        if marker.kind == "sum":
            nothing = literal(timedelta(), Interval()) if family is Family.DURATIONS else literal(0)
            return func.coalesce(expression, nothing, type_=expression.type)
        may_be_null = not isinstance(over, Column) or over.nullable is not False
        if may_be_null or marker.conditions or not self.keys:  # a group, unlike the whole, is never empty
            given: Any = annotation(self.into, name)[0]
            named = given.__name__ if isinstance(given, type) else str(given)
            raise MappingError(f"{self._where(name)} is None where there is no value: write {named} | None")
        return expression

    def _left(self, expression: Any) -> Iterator[Any]:
        """Give what in an expression is of single rows: columns and subqueries neither aggregated nor grouped by."""
        if self._is_key(expression):
            return
        if isinstance(expression, _SUBQUERIES):
            if self._asks_about_a_row(expression):
                yield expression
        elif isinstance(expression, Column):
            yield expression
        elif not _is_aggregated(expression):
            for part in _parts_of(expression):
                yield from self._left(part)

    def _asks_about_a_row(self, subquery: Any) -> bool:
        """Say whether a subquery takes more from outside than aggregates and what is grouped by."""

        def aggregated(part: Any, **_: Any) -> ColumnElement[Any] | None:
            columns: list[Any] = [each for each in visitors.iterate(part) if isinstance(each, Column)]
            return null() if is_of_many_rows(part) and all(self.info.owns(each.table) for each in columns) else None

        rest = cast_to("Any", visitors).replacement_traverse(subquery, {}, aggregated)
        return any(not self._is_key(column) for column in taken_from(rest, self.info.tables))

    def _is_key(self, expression: Any) -> bool:
        """Say whether rows are grouped by an expression; the columns of a table are told by its primary key."""
        if any(are_same(key, expression) for key in self.keys):
            return True
        table = expression.table if isinstance(expression, Column) else None
        primary = table.primary_key.columns if isinstance(table, Table) and self.info.owns(table) else ()
        return bool(primary) and all(any(are_same(key, column) for key in self.keys) for column in primary)

    def _where(self, name: str) -> str:
        return f"{self.into.__name__}.{name} (of {self.info.row.__name__})"


def _whole(figure: ColumnElement[Any]) -> ColumnElement[Any]:
    """Give a figure of SQLite's as an integer, or SQLite's error for one that is past those.

    What is computed of integers is a float there once it is past 64 bits, and a CAST gives the largest integer for it.
    Of the least one ``abs`` is "integer overflow", as a sum is.
    """
    least = cast(func.min(-func.abs(figure), -(2.0**63)), BigInteger)
    is_past = and_(func.typeof(figure) == "real", func.abs(figure) >= 2.0**53)
    return case((is_past, func.abs(least)), else_=cast(figure, BigInteger))


def _is_aggregated(expression: Any) -> bool:
    """Say whether a part of an expression is an aggregate, or may be one that only the database knows."""
    return isinstance(expression, _CALLS) and not (is_of_its_arguments(expression) or is_of_values(expression))


def _parts_of(expression: Any) -> list[Any]:
    """Give what an expression is made of; a window function is made of what the function is given."""
    parts: list[Any] = list(expression.get_children())
    if not isinstance(expression, _WINDOW):
        return parts
    function: Any = expression.element
    parts.remove(function)
    if isinstance(function, _FILTERED):
        parts += [part for part in function.get_children() if part is not function.func]
        function = function.func
    return [*parts, *function.get_children()]
