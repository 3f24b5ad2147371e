"""Steps over a relationship: what is said of related rows, each step with an alias of its own.

SQLAlchemy's ``any()`` and ``has()`` know the related table by its own name, or adapt everything that is said of it
where a row refers to its own table. A path that comes back to a table it left then speaks of the wrong row.

A step is marked, so that under a scope it can be kept to those rows that may be seen: those that it leads to, and those
of a table between (``secondary``) that is mapped to a class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Final, TypeAlias, TypeVar, cast

from sqlalchemy import (
    Column,
    ColumnClause,
    ColumnElement,
    FromClause,
    Join,
    SelectBase,
    TextClause,
    and_,
    exists,
    inspect,
    null,
    select,
    true,
    tuple_,
)
from sqlalchemy.orm import QueryableAttribute, RelationshipProperty, aliased
from sqlalchemy.orm.exc import UnmappedColumnError
from sqlalchemy.sql import visitors
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import FromGrouping
from sqlalchemy.sql.util import ClauseAdapter

from rowsmith.conditions import Condition, conjunction, conjuncts, limited, whole
from rowsmith.errors import InvalidFilter, MappingError, kind_of
from rowsmith.fallible import OfStep, may_fail, where_inside
from rowsmith.passed import froms, is_limitable, rows_between, rows_inside, rows_sorting
from rowsmith.sql import relationship_inside
from rowsmith.ties import STEP

T = TypeVar("T")

_COLUMN: Final[Any] = Column

Seen: TypeAlias = Callable[[type[Any]], Sequence[ColumnElement[bool]]]
"""Gives what holds of all related rows of a class that may be seen."""

Said: TypeAlias = Mapping[type[Any], Sequence[ColumnElement[bool]]]
"""What holds of related rows, by their classes."""

_BY: Final = "rowsmith_step_by"
"""The annotation of the same: the relationship."""
_OVER: Final = "rowsmith_step_over"
"""The annotation of the same where there are tables between: what these have in FROM."""
_TRAVERSED: Final = (SelectBase, FunctionElement)
"""What may stand in FROM and is no alias of a table's."""


def related(relationship: QueryableAttribute[object], *conditions: Condition) -> ColumnElement[bool]:
    """Give the condition that at least one related row satisfies all of these, which are over its own class.

    ::

        related(GroupRow.members, related(UserRow.groups, GroupRow.name == "ops"))  # shares a user with ops
        related(TeamRow.lead.of_type(EngineerRow), EngineerRow.level > 3)  # rows of a subclass

    Works for every relationship, to one or to many, however often a path comes back to the same table: each step has
    an alias of its own, and conditions speak of the row that their step leads to. As a filter, and wherever else a call
    is given it, it asks about rows alone that the scope of the call lets be seen (:meth:`SearchScope.to_related`).

    Raises:
        InvalidFilter: the first argument is no relationship, or another one no condition; or, where it is used, a
            condition names what the relationship does not lead to.
    """
    found: Any = getattr(relationship, "property", None)
    if not isinstance(found, RelationshipProperty):
        raise InvalidFilter(f"related takes a relationship such as GroupRow.members, not {kind_of(relationship)}")
    step = cast("Any", found)
    row = _class_of(relationship)
    target: Any = step.entity.entity if row is None else aliased(row, flat=True)
    # Not .expression, which says that it stands for the relationship.
    on: Any = cast("Any", relationship.of_type(target)).comparator.__clause_element__()
    below = [_selectable(target)]
    mark = {STEP: inspect(target), _BY: step}
    rows = select(null()).select_from(target).execution_options(**{STEP: True})
    if step.secondary is not None:
        apart = [*froms(cast("Any", relationship).parent.selectable), *froms(_selectable(target))]
        others = (source for source in froms(on) if source not in apart)
        known = {getattr(source, "element", source): source for source in others}
        between = mark[_OVER] = _between(step.secondary, known)
        # What ties the tables of a join to each other stands in no condition.
        rows, below = rows.select_from(between), [*below, *froms(between)]
    tied: Any = whole(on)
    tied = tied._annotate(mark)  # the other way round nothing would be left of it
    asked = conjunction(conditions)
    if complaint := relationship_inside(list(visitors.iterate(asked))):
        raise InvalidFilter(f"a condition {complaint}")
    said = [where_inside([tied], _asked_of(target, asked), OfStep)] if conditions else []
    return exists(limited(rows, tied, *said).correlate_except(*below))


def _class_of(relationship: Any) -> type[Any] | None:
    """Give the class of the rows that a step leads to: the relationship's, or the subclass that ``of_type()`` names.

    None where the relationship has an alias of its own, which may be a subquery.

    Raises:
        InvalidFilter: ``of_type()`` names an alias, of which no condition would speak; or there is that alias already.
    """
    entity, given = inspect(relationship.property.entity), relationship._of_type
    if given is not None and (entity.is_aliased_class or not given.is_mapper):
        raise InvalidFilter(
            f"related({relationship}.of_type(...)) takes a mapped class, and a relationship to one, not to an alias: a "
            "step has one of its own"
        )
    return None if entity.is_aliased_class else cast("type[Any]", (given or entity).class_)


def _between(secondary: Any, known: Mapping[Any, Any]) -> Any:
    """Give what stands between in a step: tables by the aliases that are known, or those of a join each by its own."""
    if isinstance(secondary, FromGrouping):
        return _between(cast("Any", secondary).element, known)
    if not isinstance(secondary, Join):
        return known[secondary] if secondary in known else secondary.alias()
    left, right = _between(secondary.left, known), _between(secondary.right, known)
    on = ClauseAdapter(left).chain(ClauseAdapter(right)).traverse(secondary.onclause)
    return left.join(right, on, isouter=secondary.isouter, full=secondary.full)


@cache
def computes(relationship: RelationshipProperty[Any]) -> bool:
    """Say whether the condition of a relationship itself computes what may fail for some row."""
    given = (relationship.primaryjoin, relationship.secondaryjoin, relationship.secondary)
    return any(may_fail(each) for each in given if each is not None)


def joined_inside(on: ColumnElement[bool], inside: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
    """Give the condition of a join, of which what may fail is evaluated for rows alone that something holds of."""
    return and_(true(), *(where_inside(inside, part) for part in conjuncts(on))) if may_fail(on) else on


def reached_by(relationship: RelationshipProperty[Any]) -> list[type[Any]]:
    """Give the classes of the rows that a relationship leads to, goes over or finds them by."""
    return [relationship.mapper.class_, *rows_between(relationship), *rows_inside(relationship)]


def refuse_inside(relationship: RelationshipProperty[Any], said: Said, *, is_sorted: bool = False) -> None:
    """Refuse a relationship that reads rows of which something is said where nothing outside can limit them.

    Args:
        relationship: the relationship.
        said: what holds of rows.
        is_sorted: whether its rows come in its order, which may read some, too.

    Raises:
        MappingError: it does.
    """
    rows = [*rows_inside(relationship), *(rows_sorting(relationship) if is_sorted else ())]
    if row := next((row for row in rows if said.get(row)), None):
        raise MappingError(
            f"{relationship} finds or sorts its rows by those of {row.__name__}, of which the scope says something, in "
            "a subquery or a join of its own, and no scope can limit what these read: lead to the class itself, by "
            "columns and, where it goes over others, a secondary that is a table or an inner join of tables, and "
            "choose among the rows where they are asked for"
        )


def said_between(relationship: RelationshipProperty[Any], said: Said) -> list[ColumnElement[bool]]:
    """Give what is said of the rows that a step goes over as conditions on the tables between.

    Raises:
        MappingError: these stand in something else than inner joins, or are read in subqueries, and nothing outside
            can limit them.
    """
    refuse_inside(relationship, said)
    found = list[ColumnElement[bool]]()
    for row in rows_between(relationship):
        if conditions := said.get(row):
            mapper = cast("Any", inspect(row))
            if not is_limitable(relationship.secondary, mapper.local_table):
                raise MappingError(
                    f"{relationship} goes over {row.__name__}, of which the scope says something, and its secondary is "
                    "no table, so no scope can limit it: give it the table, or an inner join of tables"
                )
            keys = list(mapper.local_table.primary_key) or mapper.primary_key
            found.append(leads_to(row, [(key, key) for key in keys], conditions))
    return found


def leads_to(
    row: type[Any], pairs: Iterable[tuple[Column[Any], Column[Any]]], conditions: Sequence[Condition]
) -> ColumnElement[bool]:
    """Give the condition that columns lead to a row of a class for which conditions hold.

    Args:
        row: the class.
        pairs: the columns, each with the one of that row which it equals.
        conditions: what holds of it.
    """
    target: Any = aliased(row, flat=True)
    there = _selectable(target)
    tied = [ClauseAdapter(there).traverse(other) == own for own, other in pairs]
    said = [said_of(target, conjunction(conditions))] if conditions else []
    return exists(limited(select(null()).select_from(target), *tied, *said).correlate_except(there))


def led_to(expression: ColumnElement[Any]) -> list[type[Any]]:
    """Give the classes of the rows that steps over relationships in an expression reach: those of :func:`related`."""
    return [row for part in visitors.iterate(expression) for row in _led_to(part)]


def narrowed(
    expression: ColumnElement[T], seen: Seen, refusal: Callable[[str], Exception] = InvalidFilter
) -> ColumnElement[T]:
    """Give an expression whose steps over relationships lead to no other rows than those that may be seen.

    Raises:
        InvalidFilter: a step stands where there is no way to it, as within an ``any()`` or ``has()`` of SQLAlchemy's;
            or what ``refusal`` makes of these words.
    """
    said = {row: conditions for row in led_to(expression) if (conditions := seen(row))}
    if not said:
        return expression
    # By what they are: one step may stand in several places, and is met in as many as SQLAlchemy looks at.
    left = {id(part): row for part in visitors.iterate(expression) for row in _led_to(part) if row in said}

    def limit(part: Any, **_: Any) -> ColumnElement[bool] | None:
        if said.keys().isdisjoint(_led_to(part)):
            return None
        left.pop(id(part), None)
        inside = [*_said_of_step(part, said)]
        return and_(where_inside(inside, part, OfStep), *inside)  # a relationship may compute something itself

    # Aliases stay the ones that columns speak of.
    parts: Iterator[Any] = visitors.iterate(expression)
    kept: list[Any] = [part for part in parts if isinstance(part, FromClause) and not isinstance(part, _TRAVERSED)]
    made = visitors.replacement_traverse(expression, {"stop_on": kept}, cast("Any", limit))
    if left:
        row = next(iter(left.values()))
        raise refusal(
            f"related(...) to {row.__name__} stands where no scope can limit it, as within any() or has(), or a "
            "SELECT in FROM: write related(...) there, too, or have it as a condition of its own"
        )
    return made


def _led_to(part: Any) -> list[type[Any]]:
    marks = part._annotations
    if STEP not in marks:
        return []
    return [marks[STEP].mapper.class_, *rows_between(marks[_BY]), *rows_inside(marks[_BY])]


def _said_of_step(part: Any, said: Said) -> Iterator[ColumnElement[bool]]:
    marks = part._annotations
    target = marks[STEP]
    for condition in said_between(marks[_BY], said):
        yield ClauseAdapter(marks[_OVER]).traverse(condition)
    if conditions := said.get(target.mapper.class_):
        yield said_of(target.entity, conjunction(conditions))


def over(entity: object, expression: ColumnElement[T]) -> ColumnElement[T] | None:
    """Give an expression over a mapped class as one over an alias of it; None where SQL written as text is in it.

    Neither is what stands in an ``any()`` or ``has()``, which SQLAlchemy closes to all adaption, nor what names a
    column that the alias has not, and so would speak of any row of the class.
    """
    if any(map(_is_closed, visitors.iterate(expression))):
        return None
    told: Any = inspect(entity)
    return _adapted(entity, expression, by_name=told._adapt_on_names)  # as the attributes of the alias are


def _adapted(entity: object, expression: ColumnElement[T], *, by_name: bool) -> ColumnElement[T] | None:
    made = ClauseAdapter(_selectable(entity), adapt_on_names=by_name).traverse(expression)
    return made if column_left(entity, visitors.iterate(made)) is None else None


def column_left(entity: object, parts: Iterable[Any]) -> Column[Any] | None:
    """Give the column of a class's tables that parts of an expression name beside an alias of it; None for none."""
    told: Any = inspect(entity)
    tables = {*told.mapper.tables}.difference(froms(told.selectable))
    columns: Iterator[Any] = (part for part in parts if isinstance(part, _COLUMN))
    return next((column for column in columns if column.table in tables), None)


def own_row(entity: object) -> list[ColumnElement[bool]]:
    """Give the conditions that a row under its own name is the one that an alias stands for.

    Raises:
        MappingError: the alias is of a join in which the row has its own name already.
    """
    told = inspect(cast("Any", entity))
    row = told.mapper.class_
    if not {*told.mapper.tables}.isdisjoint(froms(told.selectable)):
        raise MappingError(
            f"{row.__name__} stands under its own name in the join of an alias that a relationship leads to, where "
            "neither text nor a subquery can tell it from others: give aliased(...) a join of an alias of the table"
        )
    return [own == other for own, other in zip(_key(row), _key(entity), strict=True)]


def _key(entity: Any) -> list[Any]:
    """Give the columns that tell the rows of a class, or of an alias of it, apart.

    Raises:
        MappingError: the alias is of a subquery that has not each of them, under whatever name.
    """
    told = inspect(entity)
    for column in told.mapper.primary_key:
        if told.selectable.corresponding_column(column) is None:
            raise MappingError(
                f"an alias of {told.mapper.class_.__name__} that a relationship leads to has no {column}, so nothing "
                f"can be said of its rows: select that column in the subquery which aliased(...) is given"
            )
    return [getattr(entity, told.mapper.get_property_by_column(column).key) for column in told.mapper.primary_key]


def said_of(target: object, said: ColumnElement[bool]) -> ColumnElement[bool]:
    """Give what is said of rows of a class as a condition on an alias of it, or on the class itself.

    What is more than a comparison of columns that the alias has stands in a SELECT of its own, under the names that it
    was written with, and is closed to whatever SQLAlchemy adapts a statement by.

    Raises:
        MappingError: that takes the key of the row, which the alias has not.
    """
    row = inspect(cast("Any", target)).mapper.class_
    if not any(isinstance(part, SelectBase) or _is_closed(part) for part in visitors.iterate(said)):
        adapted = _of_class(cast("type[Any]", row), said) if target is row else _adapted(target, said, by_name=False)
        if adapted is not None:
            return adapted
    rows: Any = limited(select(*_key(row)).select_from(row), said).correlate_except(*froms(inspect(row).selectable))
    keys = _key(target)
    return (tuple_(*keys) if keys[1:] else keys[0]).in_(rows._annotate({"no_replacement_traverse": True}))


def _of_class(row: type[Any], said: ColumnElement[bool]) -> ColumnElement[bool]:
    """Give a condition on rows of a class, or of one above it, as one on those of the class.

    By what a column is of, SQLAlchemy knows whether it is the one of a row that it joins.
    """
    mapper = inspect(cast("Any", row))

    def own(part: Any, **_: Any) -> Any:
        if not isinstance(part, _COLUMN) or part._annotations.get("parententity") is mapper:
            return None
        if part.table not in mapper.tables:
            return None
        with suppress(UnmappedColumnError):
            return getattr(row, mapper.get_property_by_column(part._deannotate()).key).__clause_element__()
        return None

    traverse: Callable[..., ColumnElement[bool]] = cast("Any", visitors).replacement_traverse
    return traverse(said, {}, own)


def _asked_of(target: object, asked: ColumnElement[bool]) -> ColumnElement[bool]:
    """Give a caller's condition on rows of a class as one on an alias of it, whose own steps stay open to a scope."""
    adapted = over(target, asked)
    if adapted is not None:
        return adapted
    row = inspect(cast("Any", target)).mapper.class_
    own = own_row(target)
    rows = select(null()).select_from(row).execution_options(**{STEP: True})
    found = limited(rows, *own, where_inside(own, asked, OfStep))
    return exists(found.correlate_except(*froms(inspect(row).selectable)))


def _is_closed(part: object) -> bool:
    if isinstance(part, ColumnElement) and "no_replacement_traverse" in cast("Any", part)._annotations:
        return True
    return isinstance(part, TextClause) or (isinstance(part, ColumnClause) and part.is_literal)


def _selectable(entity: object) -> Any:
    return inspect(entity).selectable
