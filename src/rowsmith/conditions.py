"""Conditions: what a row must satisfy, as SQLAlchemy expressions or zero-argument callables giving one.

All combinators here have the meaning of ordinary two-valued logic on top of SQL's three-valued one:
a condition that is NULL for a row does not hold for it, and :func:`negation` is the exact complement,
rows with NULL included. Nothing here talks to a database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

from sqlalchemy import ColumnElement, and_, or_, true

from rowsmith.errors import InvalidFilter

Condition: TypeAlias = ColumnElement[bool] | Callable[[], ColumnElement[bool]]
"""A boolean SQL expression, or a callable without arguments that gives one when it is needed."""


def resolve(condition: Condition) -> ColumnElement[bool]:
    """Give the SQL expression of one condition, calling it if it is a callable.

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
    return cast("ColumnElement[bool]", expression)


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
