"""Operands: what a field of a filter compares, found on the row when the filter class is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from sqlalchemy import Column, ColumnElement
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql import visitors
from sqlalchemy.types import TypeEngine

from rowsmith.mapping.types import ColumnType, Comparison, column_type, stored_form

Prepare: TypeAlias = Callable[[Any], Any]
"""Turns an operator's value into what is bound against the column; raises InvalidValue if none fits."""


@dataclass(frozen=True, eq=False)
class On:
    """Says what a filter's field compares, where its name alone does not.

    ::

        class GroupFilter(Filter[GroupRow]):
            title: Annotated[StringFilter | None, On(GroupRow.name)] = None
            size: Annotated[NumberFilter | None, On(func.length(GroupRow.name, type_=Integer))] = None

    ``expression`` is a column, an attribute, a relationship or any typed SQL expression over the row; most of
    ``func``'s functions have no type unless ``type_=`` says it.
    ``utc`` says that a column of local times (``DateTime`` without time zone) holds UTC.
    """

    __rowsmith_mark__: ClassVar[bool] = True

    expression: ColumnElement[Any] | InstrumentedAttribute[Any] | Any
    utc: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """One side of every comparison: the SQL expression, its name for messages, and how values are bound."""

    expression: ColumnElement[Any]
    where: str
    prepare: Prepare

    @property
    def columns(self) -> tuple[str, ...]:
        """The names in the schema of the columns that it reads; none of a relationship."""
        parts = visitors.iterate(self.expression) if hasattr(self.expression, "get_children") else ()
        return tuple(dict.fromkeys(str(part.name) for part in parts if isinstance(part, Column)))


def stored(declared: TypeEngine[Any]) -> ColumnType:
    """Give what is known of the type that the database sees, below any ``TypeDecorator``."""
    return column_type(stored_form(declared))


def stored_name(declared: TypeEngine[Any]) -> str:
    """Give the name of that type, for messages."""
    return type(stored_form(declared)).__name__


def converts(declared: TypeEngine[Any]) -> bool:
    """Say whether a type makes values of its own kind out of stored ones, which nobody else can know."""
    return column_type(declared).wraps is not None and stored(declared).compared is not Comparison.NEVER


def as_given(value: object) -> Any:
    """Bind the value as it is: the ``Prepare`` of types that need none."""
    return value
