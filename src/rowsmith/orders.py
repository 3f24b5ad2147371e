"""Orders: what rows are sorted by, taken apart so that ORDER BY and a cursor's predicate come from one list.

An order is written in SQLAlchemy's own words (``GroupRow.name``, ``GroupRow.name.desc().nulls_last()``).
NULLs go where PostgreSQL puts them, on every backend: last when ascending, first when descending, unless
the order says otherwise (https://www.postgresql.org/docs/current/queries-order.html). Nothing here talks
to a database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

from sqlalchemy import Column, ColumnElement, Label, UnaryExpression
from sqlalchemy.orm import InstrumentedAttribute, RelationshipProperty
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    _label_reference,  # pyright: ignore[reportPrivateUsage]
    _textual_label_reference,  # pyright: ignore[reportPrivateUsage]
)

from rowsmith.conditions import built
from rowsmith.errors import InvalidFilter, kind_of
from rowsmith.sql import are_same, as_sql, instead, own_parameters, parts_of

OrderExpression: TypeAlias = ColumnElement[Any] | InstrumentedAttribute[Any]
"""A column, mapped attribute or SQL expression, with or without ``.asc()``, ``.desc()``, ``.nulls_last()``."""

Order: TypeAlias = OrderExpression | Callable[[], OrderExpression]
"""What to sort by, or a callable without arguments that gives it when it is needed."""

_DIRECTIONS: dict[Any, bool] = {operators.asc_op: False, operators.desc_op: True}
_LABEL = object()
_NULLS: dict[Any, bool] = {operators.nulls_first_op: True, operators.nulls_last_op: False}


@dataclass(frozen=True, eq=False)
class OrderTerm:
    """One sort key: an expression without modifiers, its direction, and where its NULLs go.

    ``nullable`` is False only where the database itself rules NULL out. Terms compare by identity,
    because comparing SQL expressions makes SQL.
    """

    expression: ColumnElement[Any]
    descending: bool
    nulls_first: bool
    nullable: bool

    def clause(self) -> ColumnElement[Any]:
        """Give the ORDER BY item, with an explicit NULL placement only where there can be NULLs."""
        ordered = self.expression.desc() if self.descending else self.expression.asc()
        if not self.nullable:
            return ordered
        return ordered.nulls_first() if self.nulls_first else ordered.nulls_last()

    def reversed(self) -> OrderTerm:
        """Give the term that sorts exactly the other way round, NULLs included."""
        return replace(self, descending=not self.descending, nulls_first=not self.nulls_first)


def order_list(given: object, name: str = "orders") -> tuple[Order, ...]:
    """Give what stands for a list of orders as one.

    Raises:
        InvalidFilter: it is none; one order alone stands in a list, too.
    """
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise InvalidFilter(
            f"{name} are a list of columns or SQL expressions, not {kind_of(given)}: write {name}=[GroupRow.name]"
        )
    return tuple(cast("Sequence[Order]", given))


def order_terms(orders: Sequence[Order], primary_key: Sequence[ColumnElement[Any]]) -> tuple[OrderTerm, ...]:
    """Take orders apart and make them total by appending the primary key.

    The primary key's columns that are not named already follow in the direction of the last order, so
    that one plain index on ``(name, id)`` serves ``name`` and ``name.desc()`` alike.

    Args:
        orders: what to sort by, the most significant first; may be empty.
        primary_key: the columns that tell every row from every other.

    Raises:
        InvalidFilter: an order is no SQL expression (a string, ``text()``, a relationship), names a
            direction or NULL placement twice, or the same expression was given twice.
    """
    terms: list[OrderTerm] = []
    for order in orders:
        bare, direction, nulls = _unwrap(_expression_of(order))
        if _holds(terms, bare):
            raise InvalidFilter(f"the order {bare} is given twice: name each expression once")
        descending = direction is True
        nulls_first = descending if nulls is None else nulls
        terms.append(OrderTerm(bare, descending, nulls_first, _is_nullable(bare, primary_key)))
    descending = bool(terms) and terms[-1].descending
    for column in primary_key:
        if not _holds(terms, column):
            terms.append(OrderTerm(column, descending, nulls_first=descending, nullable=False))
    return tuple(terms)


def _expression_of(order: Any) -> ColumnElement[Any]:
    if isinstance(order, ColumnElement):
        return cast("ColumnElement[Any]", own_parameters(order))
    if parts := parts_of(order):
        raise InvalidFilter(f"{order} is made of several columns and has no order: sort by them, {', '.join(parts)}")
    if isinstance(getattr(order, "property", None), RelationshipProperty):
        raise InvalidFilter(f"{order} is a relationship and has no order: sort by one of its row's columns")
    if (expression := as_sql(order)) is not order:
        return _expression_of(expression)
    if callable(order) and not isinstance(order, type):
        given = built(order, "an order")
        if not callable(given):
            return _expression_of(given)
        raise _not_an_order(given)
    raise _not_an_order(order)


def _unwrap(given: ColumnElement[Any]) -> tuple[ColumnElement[Any], bool | None, bool | None]:
    """Peel modifiers and labels off; gives the expression, its direction and NULL placement if named."""
    expression: Any = given
    direction: bool | None = None
    nulls: bool | None = None
    while (modifier := _modifier(expression)) is not None:
        if modifier in _DIRECTIONS and direction is None:
            direction = _DIRECTIONS[modifier]
        elif modifier in _NULLS and nulls is None:
            nulls = _NULLS[modifier]
        elif modifier is not _LABEL:
            raise InvalidFilter(f"the order {given} names its direction or NULL placement twice: name it once")
        expression = expression.element
    if isinstance(expression, _textual_label_reference):
        raise _not_an_order(expression.element)
    return expression, direction, nulls


def _modifier(expression: object) -> Any:
    """Give what stands around an expression and is no part of its value, or None."""
    if isinstance(expression, _label_reference | Label):
        return _LABEL
    modifier = expression.modifier if isinstance(expression, UnaryExpression) else None
    return modifier if modifier in _DIRECTIONS or modifier in _NULLS else None


def _is_nullable(expression: ColumnElement[Any], primary_key: Sequence[ColumnElement[Any]]) -> bool:
    """A NOT NULL column of the row's own table has no NULLs; one of a table joined to it may."""
    if any(are_same(expression, column) for column in primary_key):
        return False
    if not isinstance(expression, Column) or expression.nullable is not False:
        return True
    return all(expression.table is not getattr(column, "table", None) for column in primary_key)


def _holds(terms: Sequence[OrderTerm], expression: ColumnElement[Any]) -> bool:
    return any(are_same(term.expression, expression) for term in terms)


def _not_an_order(given: object) -> InvalidFilter:
    return InvalidFilter(
        "an order must be a column or SQL expression such as GroupRow.name or GroupRow.name.desc(), not "
        f"{kind_of(given)}{instead(given, 'Text')}; for names from outside, choose the column from a list of your own"
    )
