"""Sort keys as the database stores them: what a cursor carries, whatever a team's types make of it in Python.

ORDER BY sorts what is stored. A value that a type has made of it need not lead back: None may stand for ``''``, a
float for more digits than it has, a duration for months. So keys are selected, carried and compared at the stored
type, and where PostgreSQL alone knows what that holds (JSON, arrays, ranges, intervals, a type of a team's), as the
text that it writes and reads itself.
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Float,
    Numeric,
    Text,
    Tuple,
    cast,
    type_coerce,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import False_, Null, True_
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.sqltypes import TableValueType
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine
from typing_extensions import override

from rowsmith.errors import InvalidFilter
from rowsmith.mapping.types import DIALECTS, AsStored, Comparison, column_type, is_sqlalchemys, stored_form
from rowsmith.orders import OrderTerm
from rowsmith.pagination.ends import Finite, has_ends
from rowsmith.several import INSTEAD, Several, several_in

_CARRIED: Final = (int, float, Decimal, str, bytes, dt.date, dt.time, uuid.UUID, enum.Enum)
_BY_TEXT: Final = (Comparison.LEXEMES, Comparison.DATE)
"""Only its text tells a date from infinity: asyncpg writes 9999-12-31, with which many tables end, as infinity."""
_AS_WRITTEN: Final = {"postgresql"}
"""Databases whose drivers give and take values of types; the others are asked for what is in the file."""


class AsText(TypeDecorator[str]):
    """A type whose values are carried as the text that PostgreSQL writes of them."""

    impl = Text
    cache_ok = True

    def __init__(self, stored: TypeEngine[Any]) -> None:
        super().__init__()
        self.stored = stored

    @override
    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return cast(type_coerce(column, NullType()), Text())

    @override
    def bind_expression(self, bindparam: object) -> ColumnElement[Any]:
        return cast(type_coerce(bindparam, Text()), self.stored)


def check_sortable(terms: Iterable[OrderTerm], dialect: Dialect) -> None:
    """Refuse what has no order, or not the same one in each statement: no cursor would lead back to its place.

    Raises:
        InvalidFilter: an order is one of these; the message says what to sort by instead.
    """
    for term in terms:
        why = _unsortable(term.expression, dialect)
        if why is not None:
            raise InvalidFilter(f"an order is {why}")


def check_groupable(terms: Iterable[OrderTerm], dialect: Dialect) -> None:
    """Refuse what has no equality, by which rows are one group or two, and what is of many rows itself.

    Raises:
        InvalidFilter: rows are to be grouped by one of these; the message says what to write instead.
    """
    for term in terms:
        found = several_in(term.expression, _OF_MANY)
        why = _incomparable(term.expression, dialect, "equality", "group") if found is None else _NO_KEY[found]
        if why is not None:
            raise InvalidFilter(f"group_by is {why}")


def _unsortable(expression: ColumnElement[Any], dialect: Dialect) -> str | None:
    if isinstance(expression, Tuple):
        return "a tuple: give its parts, each as an order of its own"
    if isinstance(expression, Null | True_ | False_) or isinstance(expression.type, TableValueType):
        return "no value that rows could be sorted by: give a column"
    return _incomparable(expression, dialect, "order", "sort") or _unsteady(expression)


def _incomparable(expression: ColumnElement[Any], dialect: Dialect, what: str, verb: str) -> str | None:
    """Say why the database could not compare rows by an expression; ``what`` it would need, to do what by it."""
    if getattr(expression, "is_literal", False) and str(getattr(expression, "name", "")).strip().isdigit():
        return "a number, which SQL takes for a place among what is selected: give the column itself"
    form = stored_form(expression.type, dialect) if dialect.name in _AS_WRITTEN else None
    record = None if form is None else column_type(form)
    if record is not None and not record.beside.is_ordered:
        if record.compared is Comparison.DOCUMENT:
            instead = f"{verb} by Row.doc['member'].as_string(), or cast it to JSONB"
            return f"JSON, of which PostgreSQL has no {what}: {instead}"
        return f"of a type that PostgreSQL has no {what} of, as JSON paths: {verb} by another column"
    return None


def _unsteady(expression: ColumnElement[Any]) -> str | None:
    if isinstance(expression, Column):
        return None
    is_told = not isinstance(expression.type, NullType)
    elements: Iterator[Any] = visitors.iterate(expression)
    functions: Iterator[Any] = filter(lambda each: isinstance(each, FunctionElement), elements)
    for function in functions:
        name = str(getattr(function, "name", "")).lower()
        if name in _CHANGING:
            return f"{name}(), which gives other values in each statement: sort by a column"
        if name.startswith(_JSON) and isinstance(function.type, NullType) and not is_told:
            return f"of {name}(), whose type is not told: write type_coerce(..., JSONB), or Integer, or Text"
    found = several_in(expression)
    return None if found is None else _WHY[found]


_OF_MANY: Final = frozenset({Several.AGGREGATE, Several.WINDOW})
_NO_KEY: Final = {
    Several.AGGREGATE: "an aggregate, which is of the rows of a group: have it in the data class, as in "
    "Annotated[int, count()], and group by a column",
    Several.WINDOW: "a window function, which is of many rows: group by a column",
}
_WHY: Final = {
    Several.WINDOW: "a window function, which no condition can compare with a cursor: sort by a column",
    Several.AGGREGATE: "an aggregate, which is of many rows: sort by a scalar subquery that has it",
    Several.SET: f"{Several.SET.value}: {INSTEAD[Several.SET]}",
}
_JSON: Final = ("to_json", "row_to_json", "array_to_json", "json")
_CHANGING: Final = frozenset(
    {
        *("random", "random_normal", "randomblob", "setseed", "gen_random_uuid", "uuidv4", "uuidv7"),
        *("uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4", "gen_random_bytes"),
        *("clock_timestamp", "statement_timestamp", "transaction_timestamp", "timeofday", "now", "sysdate"),
        *("current_timestamp", "current_date", "current_time", "localtime", "localtimestamp"),
        *("nextval", "currval", "lastval", "next_value", "txid_current", "pg_current_xact_id", "changes"),
        *("last_insert_rowid", "total_changes"),
    }
)
"""Functions whose values differ from statement to statement, of PostgreSQL, its extensions, and SQLite."""


def stored_terms(terms: tuple[OrderTerm, ...], dialect: Dialect) -> tuple[OrderTerm, ...]:
    """Give the terms over what the database stores; those whose values are that anyway stay the same objects."""
    stored_type = _on_postgresql if dialect.name in _AS_WRITTEN else _in_the_file
    kinds = [stored_type(term.expression.type, dialect) for term in terms]
    return tuple(
        term if kind is None else replace(term, expression=type_coerce(term.expression, kind))
        for term, kind in zip(terms, kinds, strict=True)
    )


def leading_back(declared: TypeEngine[Any]) -> TypeEngine[Any]:
    """Give the type by which PostgreSQL gives a key that it finds again: text, where a value stands for two of them."""
    form = stored_form(declared, DIALECTS[0])
    has_another = has_ends(form) or column_type(form).compared is Comparison.DATE
    return AsText(form) if has_another else declared


def beside(key: OrderTerm, dialect: Dialect) -> Finite | None:
    """Give what is selected beside a key whose value may stand for another one. See :mod:`rowsmith.pagination.ends`."""
    return Finite(key.expression) if dialect.name in _AS_WRITTEN and has_ends(key.expression.type) else None


def _in_the_file(declared: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any] | None:
    """SQLite gives and takes a few types of values as they are; only what nobody converts is left alone."""
    form = declared.dialect_impl(dialect)
    converts = form.result_processor(dialect, None) or form.bind_processor(dialect)
    has_sql = form._has_column_expression or form._has_bind_expression  # pyright: ignore[reportPrivateUsage]
    return AsStored() if converts or has_sql else None


def _on_postgresql(declared: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any] | None:
    if isinstance(declared, NullType):  # func.lower(...) and the like: the driver knows
        return None
    form = stored_form(declared, dialect)
    record = column_type(form)
    is_carried = len(record.gives) == 1 and issubclass(record.gives[0], _CARRIED) and record.compared not in _BY_TEXT
    if not is_sqlalchemys(form) or not is_carried:
        return AsText(record.beside.wider or form)  # an expression may be finer than its type
    if record.compared is Comparison.DECIMAL and record.gives != (Decimal,):
        return Numeric()
    if record.compared is Comparison.FLOAT and record.gives != (float,):
        return Float(53)
    varies = bool(declared._variant_mapping)  # pyright: ignore[reportPrivateUsage]
    is_plain = is_sqlalchemys(declared) and not varies and column_type(declared).wraps is None
    return None if is_plain else form
