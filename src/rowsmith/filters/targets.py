"""Targets: what a field of a filter compares, found on the row when the filter class is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import Interval, PickleType, TypeDecorator, TypeEngine

_NO_DECORATORS: Final = (Interval, PickleType)  # they are TypeDecorators, of known values that no filter compares

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

    expression: ColumnElement[Any] | InstrumentedAttribute[Any] | Any
    utc: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One side of every comparison: the SQL expression, its name for messages, and how values are bound."""

    expression: ColumnElement[Any]
    where: str
    prepare: Prepare


def stored_type(declared: TypeEngine[Any]) -> TypeEngine[Any]:
    """Give the type below any ``TypeDecorator``: what the database sees."""
    while isinstance(declared, TypeDecorator) and not isinstance(declared, _NO_DECORATORS):
        declared = declared.impl_instance
    return declared


def converts(declared: TypeEngine[Any]) -> bool:
    """Say whether a type makes values of its own kind out of stored ones, which nobody else can know."""
    return isinstance(declared, TypeDecorator) and not isinstance(stored_type(declared), (*_NO_DECORATORS, INTERVAL))


def as_given(value: Any) -> Any:
    """Bind the value as it is: the ``Prepare`` of types that need none."""
    return value
