"""Conditions: what a row must satisfy, as SQLAlchemy expressions or zero-argument callables giving one.

All combinators here have the meaning of ordinary two-valued logic on top of SQL's three-valued one:
a condition that is NULL for a row does not hold for it, and :func:`negation` is the exact complement,
rows with NULL included. Each stands in parentheses of its own, whatever it is made of: SQLAlchemy gives none to
SQL written as text, so that an OR in it would open what stands beside it. :func:`limited` is the one way to a
statement's WHERE. Nothing here talks to a database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self, TypeAlias, TypeVar, cast

from sqlalchemy import ColumnElement, UnaryExpression, and_, or_, true
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import AsBoolean, BooleanClauseList, Grouping

from rowsmith.errors import InvalidFilter

Condition: TypeAlias = ColumnElement[bool] | Callable[[], ColumnElement[bool]]
"""A boolean SQL expression, or a callable without arguments that gives one when it is needed."""


T = TypeVar("T")


class _HasWhere(Protocol):
    def where(self, *conditions: Any) -> Self: ...


TStatement = TypeVar("TStatement", bound=_HasWhere)


class Whole(Grouping[T]):
    """An expression in parentheses of its own that stay: SQLAlchemy dissolves its own around an AND inside an AND."""

    inherit_cache = True
    operator = None  # where SQLAlchemy looks for what it may dissolve


def whole(expression: ColumnElement[T]) -> ColumnElement[T]:
    """Give an expression that nothing beside it can take apart, nor one part of it another."""
    return expression if isinstance(expression, Whole) else Whole(_of_wholes(expression))


def _of_wholes(given: Any) -> Any:
    match given:
        case Grouping():
            return _of_wholes(given.element)
        case BooleanClauseList() if given.clauses:
            join = and_ if given.operator is operators.and_ else or_
            return join(*map(whole, given.clauses))
        case AsBoolean():
            make: Any = AsBoolean
            return make(whole(given.element), given.operator, given.negate)
        case UnaryExpression() if given.operator is operators.inv:
            return UnaryExpression(whole(given.element), operator=operators.inv, type_=given.type)
        case _:
            return given


def limited(statement: TStatement, *conditions: ColumnElement[bool]) -> TStatement:
    """Give a statement over only those rows for which all conditions hold, each of them whole."""
    return statement.where(*map(whole, conditions))


def resolve(condition: Condition) -> ColumnElement[bool]:
    """Give the SQL expression of one condition, whole, calling it if it is a callable.

    Raises:
        InvalidFilter: it is neither; a Python ``bool`` is the usual slip (``is None`` for ``.is_(None)``).
    """
    given: Any = condition
    expression: Any = given() if callable(given) and not isinstance(given, ColumnElement) else given  # pyright: ignore[reportUnknownVariableType]
    if hasattr(expression, "__clause_element__"):
        expression = expression.__clause_element__()
    if not isinstance(expression, ColumnElement):
        raise InvalidFilter(
            f"a condition must be a SQL expression such as GroupRow.name == 'x', not {type(expression).__name__}; "
            "compare with None by .is_(None), not by 'is None'"
        )
    return whole(cast("ColumnElement[bool]", expression))


def resolve_all(conditions: Sequence[Condition]) -> list[ColumnElement[bool]]:
    """Give the SQL expressions of several conditions, in their order."""
    return [resolve(condition) for condition in conditions]


def conjunction(conditions: Sequence[Condition]) -> ColumnElement[bool]:
    """All conditions together; of nothing it is true, as in logic."""
    return and_(true(), *resolve_all(conditions))


def disjunction(conditions: Sequence[Condition]) -> ColumnElement[bool]:
    """At least one of the conditions.

    Raises:
        InvalidFilter: there is none. SQLAlchemy's ``or_()`` of nothing would match every row.
    """
    if not conditions:
        raise InvalidFilter("an OR needs at least one condition: leave it out if nothing is to be limited")
    return or_(*resolve_all(conditions))


def negation(condition: Condition) -> ColumnElement[bool]:
    """The exact complement: holds where the condition is false or NULL."""
    return resolve(condition).is_not(true())
