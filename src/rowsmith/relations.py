"""Steps over a relationship: what is said of related rows, each step with an alias of its own.

SQLAlchemy's ``any()`` and ``has()`` know the related table by its own name, or adapt everything that is said of it
where a row refers to its own table. A path that comes back to a table it left then speaks of the wrong row.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from sqlalchemy import ColumnClause, ColumnElement, TextClause, exists, inspect, null, select
from sqlalchemy.orm import InstrumentedAttribute, RelationshipProperty, aliased
from sqlalchemy.sql import visitors
from sqlalchemy.sql.util import ClauseAdapter

from rowsmith.conditions import Condition, conjunction, limited
from rowsmith.errors import InvalidFilter, kind_of

T = TypeVar("T")


def related(relationship: InstrumentedAttribute[object], *conditions: Condition) -> ColumnElement[bool]:
    """Give the condition that at least one related row satisfies all of these, which are over its own class.

    ::

        related(GroupRow.members, related(UserRow.groups, GroupRow.name == "ops"))  # shares a user with ops

    Works for every relationship, to one or to many, however often a path comes back to the same table: each step has
    an alias of its own, and conditions speak of the row that their step leads to.

    Raises:
        InvalidFilter: the first argument is no relationship, or another one no condition.
    """
    found: Any = getattr(relationship, "property", None)
    if not isinstance(found, RelationshipProperty):
        raise InvalidFilter(f"related takes a relationship such as GroupRow.members, not {kind_of(relationship)}")
    step = cast("Any", found)
    has_alias = inspect(step.entity).is_aliased_class  # one of its own already, and perhaps a subquery
    target: Any = step.entity.entity if has_alias else aliased(step.mapper.class_, flat=True)
    on: Any = relationship.expression if has_alias else relationship.of_type(target).expression
    above = _froms(cast("Any", relationship).parent.selectable)
    below = [_selectable(target), *(source for source in _froms(on) if source not in above)]
    said = [said_of(target, conjunction(conditions))] if conditions else []
    rows = limited(select(null()).select_from(target), on, *said)
    return exists(rows.correlate_except(*below))


def over(entity: object, expression: ColumnElement[T]) -> ColumnElement[T] | None:
    """Give an expression over a mapped class as one over an alias of it; None where SQL written as text is in it.

    Neither is what stands in an ``any()`` or ``has()``, which SQLAlchemy closes to all adaption.
    """
    if any(map(_is_closed, visitors.iterate(expression))):
        return None
    return ClauseAdapter(_selectable(entity)).traverse(expression)


def own_row(entity: object) -> list[ColumnElement[bool]]:
    """Give the conditions that a row under its own name is the one that an alias stands for."""
    mapper = inspect(entity).mapper
    names = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    return [getattr(mapper.class_, name) == getattr(entity, name) for name in names]


def said_of(target: object, said: ColumnElement[bool]) -> ColumnElement[bool]:
    """Give what is said of rows of a class as a condition on an alias of it."""
    adapted = over(target, said)
    if adapted is not None:
        return adapted
    row = inspect(target).mapper.class_
    found = limited(select(null()).select_from(row), *own_row(target), said)
    return exists(found.correlate_except(*_froms(inspect(row).selectable)))


def _is_closed(part: object) -> bool:
    if isinstance(part, ColumnElement) and "no_replacement_traverse" in cast("Any", part)._annotations:
        return True
    return isinstance(part, TextClause) or (isinstance(part, ColumnClause) and part.is_literal)


def _selectable(entity: object) -> Any:
    return inspect(entity).selectable


def _froms(element: Any) -> list[Any]:
    return list(element._from_objects)  # there is no public name
