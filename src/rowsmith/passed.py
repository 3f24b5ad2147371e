"""What a relationship reads to find the rows that it leads to: tables between, and what stands in its own SELECTs.

Rows of a table between (``secondary``) are limited from outside. Those that an alias reads which a relationship leads
to, or a subquery in its conditions or its order, are not: what they give is decided before anything outside is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import CompoundSelect, FromClause, Join, Select, SelectBase, Table
from sqlalchemy.orm import RelationshipProperty
from sqlalchemy.sql import visitors

from rowsmith.mapped import mapped_to
from rowsmith.several import Several, several_in
from rowsmith.ties import STEP

_NOTHING: Final = frozenset[Any]()
_OF_MANY: Final = frozenset({Several.AGGREGATE, Several.WINDOW})
_SELECT: Final[Any] = Select  # which has type parameters that isinstance() cannot tell
_OPEN: Final = (Select, CompoundSelect)
"""The kinds of SELECT that can be looked into."""


class Read(NamedTuple):
    """A table that is read; ``is_picked`` says that others of its rows may decide which of them are given."""

    table: Any
    is_picked: bool


def rows_between(relationship: RelationshipProperty[Any]) -> list[type[Any]]:
    """Give the classes that the tables between are mapped to, but for those below others of them."""
    return mapped_to(_tables_between(relationship))


def rows_inside(relationship: RelationshipProperty[Any]) -> list[type[Any]]:
    """Give the classes of the rows by which it is decided, where nothing outside limits them, what is led to.

    A subquery that only leaves out some rows of the class itself decides by none.
    """
    return mapped_to(_tables_inside(relationship))


def rows_sorting(relationship: RelationshipProperty[Any]) -> list[type[Any]]:
    """Give the classes of the rows by which subqueries sort what is led to, but for steps of ``related(...)``."""
    return mapped_to(_tables_sorting(relationship))


def is_limitable(secondary: Any, table: Any) -> bool:
    """Say whether conditions on a table between limit all that is read of it: it is there once, in inner joins."""
    if any(isinstance(part, Join) and (part.isouter or part.full) for part in visitors.iterate(secondary)):
        return False
    sources = frozenset(froms(secondary))
    return table in sources and [read.table for read in _reads(secondary, sources)].count(table) == 1


def froms(element: Any) -> list[Any]:
    """Give what stands in FROM for an element."""
    return list(element._from_objects)  # there is no public name


@cache
def _tables_between(relationship: RelationshipProperty[Any]) -> frozenset[Any]:
    secondary = relationship.secondary
    return _NOTHING if secondary is None else _tables(secondary, frozenset(froms(secondary)))


@cache
def _tables_inside(relationship: RelationshipProperty[Any]) -> frozenset[Any]:
    known = _known(relationship)
    given = (relationship.primaryjoin, relationship.secondaryjoin)
    conditions: list[Any] = [condition for condition in given if condition is not None]
    sources = [source for condition in conditions for source in froms(condition) if source not in known]
    asked = (_tables(part, known) for part in (*conditions, *sources))
    return _of_alias(relationship).union(*asked)


@cache
def _tables_sorting(relationship: RelationshipProperty[Any]) -> frozenset[Any]:
    known = _known(relationship)
    return _NOTHING.union(*(_tables(part, known, is_narrowed=True) for part in relationship.order_by or ()))


def _known(relationship: Any) -> frozenset[Any]:
    """Give what a relationship's conditions are about: the row, the one led to, and what is between."""
    above, entity, between = relationship.parent, relationship.entity, relationship.secondary
    ends = [above.selectable, entity.selectable, *([] if between is None else [between])]
    tables = above.tables if entity.is_aliased_class else [*above.tables, *entity.tables]
    return frozenset([*tables, *(source for end in ends for source in froms(end))])


def _of_alias(relationship: Any) -> frozenset[Any]:
    """Give the tables in an alias that is led to which are not just those of its row."""
    entity = relationship.entity
    if not entity.is_aliased_class:
        return _NOTHING
    own = {table for mapper in (entity.mapper, *entity.with_polymorphic_mappers) for table in mapper.tables}
    parts: Iterator[Any] = visitors.iterate(entity.selectable)
    if any(isinstance(part, SelectBase) and not isinstance(part, _OPEN) for part in parts):
        return frozenset(own)
    read = [*_reads(entity.selectable, _NOTHING)]
    once = [each.table for each in read if each.table in own and not each.is_picked]
    return frozenset(each.table for each in read if once.count(each.table) != 1 or each.is_picked)


def _tables(element: Any, around: frozenset[Any], *, is_narrowed: bool = False) -> frozenset[Any]:
    return frozenset(read.table for read in _reads(element, around, is_narrowed=is_narrowed))


def _reads(element: Any, around: frozenset[Any], *, is_narrowed: bool = False) -> Iterator[Read]:
    """Give the tables that are read, each as often as it is, but for what subqueries take from around them.

    Where steps of ``related(...)`` are narrowed, these lead to no rows that are not limited.
    """
    if isinstance(element, Table):
        yield Read(element, is_picked=False)
        return
    beside: Iterable[Any] = element.get_children()
    if isinstance(element, SelectBase):
        beside, sources, is_picked = list(beside), _read_from(element, around), _picks(element)
        for source in () if is_narrowed and STEP in getattr(element, "_execution_options", ()) else sources:
            for read in _reads(source, _NOTHING, is_narrowed=is_narrowed):
                yield Read(read.table, is_picked or read.is_picked)
        beside = [part for part in beside if not isinstance(part, (FromClause, SelectBase))]
        around = around.union(*map(froms, sources))
    for part in beside:
        yield from _reads(part, around, is_narrowed=is_narrowed)


def _read_from(select: Any, around: frozenset[Any]) -> list[Any]:
    """Give what a SELECT reads of its own."""
    if not isinstance(select, _SELECT):
        return [part for part in select.get_children() if isinstance(part, SelectBase)]
    sources: list[Any] = select.get_final_froms()
    taken = [source for source in sources if source in around]
    if select._correlate:
        taken = [source for source in taken if source in select._correlate]
    elif select._correlate_except is not None:
        taken = [source for source in taken if source not in select._correlate_except]
    elif not select._auto_correlate or len(taken) == len(sources):
        taken = []
    return [source for source in sources if source not in taken]


def _picks(select: Any) -> bool:
    """Say whether a SELECT gives rows by what others there are."""
    if not isinstance(select, _SELECT):
        return True
    ends = (select._limit_clause, select._offset_clause, select._fetch_clause)
    if select._group_by_clauses or select._having_criteria or select._distinct_on:
        return True
    columns: Iterable[Any] = select.exported_columns
    return any(end is not None for end in ends) or any(several_in(each, _OF_MANY) for each in columns)
