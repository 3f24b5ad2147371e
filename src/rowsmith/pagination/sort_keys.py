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
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import ColumnElement, Float, Numeric, Text, cast, type_coerce
from sqlalchemy.engine import Dialect
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine
from typing_extensions import override

from rowsmith.mapping.types import AsStored, ColumnType, Comparison, column_type, is_sqlalchemys, stored_form
from rowsmith.orders import OrderTerm

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
    def bind_expression(self, bindparam: Any) -> ColumnElement[Any]:
        return cast(type_coerce(bindparam, Text()), self.stored)


def stored_terms(terms: tuple[OrderTerm, ...], dialect: Dialect) -> tuple[OrderTerm, ...]:
    """Give the terms over what the database stores; those whose values are that anyway stay the same objects."""
    return tuple(_stored_term(term, dialect) for term in terms)


def _stored_term(term: OrderTerm, dialect: Dialect) -> OrderTerm:
    declared = term.expression.type
    kind = _on_postgresql(declared, dialect) if dialect.name in _AS_WRITTEN else _in_the_file(declared, dialect)
    return term if kind is None else replace(term, expression=type_coerce(term.expression, kind))


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
    if not is_sqlalchemys(form) or not _is_carried(record):
        return AsText(form)
    if record.compared is Comparison.DECIMAL and record.gives != (Decimal,):
        return Numeric()
    if record.compared is Comparison.FLOAT and record.gives != (float,):
        return Float(53)
    is_plain = is_sqlalchemys(declared) and not _varies(declared) and column_type(declared).wraps is None
    return None if is_plain else form


def _varies(declared: TypeEngine[Any]) -> bool:
    return bool(declared._variant_mapping)  # pyright: ignore[reportPrivateUsage]


def _is_carried(record: ColumnType) -> bool:
    is_plain = len(record.gives) == 1 and issubclass(record.gives[0], _CARRIED)
    return is_plain and record.compared not in _BY_TEXT
