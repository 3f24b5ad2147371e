"""Steps over a relationship: what is said of related rows, each step with an alias of its own.

SQLAlchemy's ``any()`` and ``has()`` know the related table by its own name, or adapt everything that is said of it
where a row refers to its own table. A path that comes back to a table it left then speaks of the wrong row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias, TypeVar, cast

from sqlalchemy import (
    ColumnClause,
    ColumnElement,
    FromClause,
    SelectBase,
    TextClause,
    and_,
    exists,
    inspect,
    null,
    select,
    tuple_,
)
from sqlalchemy.orm import InstrumentedAttribute, RelationshipProperty, aliased
from sqlalchemy.sql import visitors
from sqlalchemy.sql.util import ClauseAdapter

from rowsmith.conditions import Condition, conjunction, limited, whole
from rowsmith.errors import InvalidFilter, kind_of

T = TypeVar("T")

Seen: TypeAlias = Callable[[type[Any]], Sequence[ColumnElement[bool]]]
"""Gives what holds of all related rows of a class that may be seen."""

_STEP: Final = "rowsmith_step"
"""The annotation of what ties related rows to the one above: the alias that they have."""


def related(relationship: InstrumentedAttribute[object], *conditions: Condition) -> ColumnElement[bool]:
    """Give the condition that at least one related row satisfies all of these, which are over its own class.

    ::

        related(GroupRow.members, related(UserRow.groups, GroupRow.name == "ops"))  # shares a user with ops

    Works for every relationship, to one or to many, however often a path comes back to the same table: each step has
    an alias of its own, and conditions speak of the row that their step leads to. As a filter it asks about rows alone
    that the scope of the call lets be seen (:meth:`SearchScope.to_related`).

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
    tied: Any = whole(on)
    tied = tied._annotate({_STEP: inspect(target)})  # the other way round nothing would be left of it
    return exists(limited(select(null()).select_from(target), tied, *said).correlate_except(*below))


def led_to(condition: ColumnElement[bool]) -> list[type[Any]]:
    """Give the classes of the rows that steps over relationships in a condition lead to, those of :func:`related`."""
    return [target.mapper.class_ for part in visitors.iterate(condition) if (target := _led_to(part)) is not None]


def narrowed(condition: ColumnElement[bool], seen: Seen) -> ColumnElement[bool]:
    """Give a condition whose steps over relationships lead to no other rows than those that may be seen.

    Raises:
        InvalidFilter: a step stands within an ``any()`` or ``has()`` of SQLAlchemy's, which is closed to all changes.
    """
    said = {row: conditions for row in led_to(condition) if (conditions := seen(row))}
    if not said:
        return condition
    left = [row for row in led_to(condition) if row in said]

    def limit(part: Any, **_: Any) -> ColumnElement[bool] | None:
        target = _led_to(part)
        if target is None or target.mapper.class_ not in said:
            return None
        left.remove(target.mapper.class_)
        return and_(part, said_of(target.entity, conjunction(said[target.mapper.class_])))

    # Aliases stay the ones that columns speak of.
    parts: Iterator[Any] = visitors.iterate(condition)
    kept: list[Any] = [part for part in parts if isinstance(part, FromClause) and not isinstance(part, SelectBase)]
    made = visitors.replacement_traverse(condition, {"stop_on": kept}, cast("Any", limit))
    if left:
        raise InvalidFilter(
            f"a condition on {left[0].__name__} by related(...) stands within any() or has(), to which a scope has no "
            "way: write related(...) around it, too"
        )
    return made


def _led_to(part: Any) -> Any:
    return part._annotations.get(_STEP)


def over(entity: object, expression: ColumnElement[T]) -> ColumnElement[T] | None:
    """Give an expression over a mapped class as one over an alias of it; None where SQL written as text is in it.

    Neither is what stands in an ``any()`` or ``has()``, which SQLAlchemy closes to all adaption.
    """
    if any(map(_is_closed, visitors.iterate(expression))):
        return None
    return ClauseAdapter(_selectable(entity)).traverse(expression)


def own_row(entity: object) -> list[ColumnElement[bool]]:
    """Give the conditions that a row under its own name is the one that an alias stands for."""
    row = inspect(cast("Any", entity)).mapper.class_
    return [own == other for own, other in zip(_key(row), _key(entity), strict=True)]


def _key(entity: Any) -> list[Any]:
    mapper = inspect(entity).mapper
    return [getattr(entity, mapper.get_property_by_column(column).key) for column in mapper.primary_key]


def of_any_alias(row: type[Any], said: ColumnElement[bool]) -> ColumnElement[bool]:
    """Give what is said of rows of a class so that SQLAlchemy can say it of whichever alias it gives them.

    It does so of columns. What else there is stands in a SELECT of its own.
    """
    if not any(isinstance(part, SelectBase) or _is_closed(part) for part in visitors.iterate(said)):
        return said
    target: Any = aliased(row, flat=True)
    keys, others = _key(row), _key(target)
    rows: Any = limited(select(*others), said_of(target, said))
    return (tuple_(*keys) if keys[1:] else keys[0]).in_(rows)


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
