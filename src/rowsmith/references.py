"""References: what has to hold of a foreign key that is written under a scope which says whose rows it may lead to.

The database takes a key to any row that is there, another tenant's too. So a foreign key is a condition on the row
that has it, held once that is written: it is NULL, or leads to a row inside.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, cast

from sqlalchemy import (
    Column,
    ColumnClause,
    ColumnElement,
    ForeignKeyConstraint,
    SelectBase,
    TextClause,
    and_,
    exists,
    inspect,
    not_,
    null,
    or_,
    select,
)
from sqlalchemy.orm import aliased
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BooleanClauseList
from sqlalchemy.sql.util import ClauseAdapter

from rowsmith.conditions import Condition, bare, conjunction, limited, negation, resolve, whole
from rowsmith.mapped import mapped_to
from rowsmith.mapping import RowInfo, row_info
from rowsmith.mapping.constraints import referred_by
from rowsmith.relations import leads_to, said_of

Pairs: TypeAlias = list[tuple[Column[Any], Column[Any]]]
"""The columns of a foreign key, each with the one that it refers to."""

Way: TypeAlias = tuple[Sequence[ColumnElement[bool]], Sequence[ColumnElement[bool]]]
"""One of several scopes that a row may be inside: its conditions on the row, and on what the row refers to."""


@dataclass(frozen=True)
class Reference:
    """A foreign key of a row, and what the scope says of the rows that it leads to.

    Attributes:
        key: the foreign key.
        row: the class of the rows that it leads to.
        conditions: what is said of those.
        ways: the same by each of several scopes, of which the row and what it refers to have to be inside the same one.
    """

    key: ForeignKeyConstraint
    row: type[Any]
    conditions: Sequence[Any]
    ways: Sequence[Way] = ()

    @cached_property
    def is_inside(self) -> ColumnElement[bool]:
        """The condition, on the row that has the key, that it is NULL or leads to one of those, or to itself."""
        itself = [and_(*(own == other for own, other in self.pairs))] if self.is_own else []
        return or_(self.leads_inside, *itself)

    @cached_property
    def leads_inside(self) -> ColumnElement[bool]:
        """The same of a row that cannot refer to itself: the key that it will have is not known yet."""
        empty: list[ColumnElement[bool]] = [own.is_(None) for own, _ in self.pairs if own.nullable]
        return or_(*empty, lead_inside(self.row, self.pairs, self.ways or [((), self.conditions)]))

    @cached_property
    def pairs(self) -> Pairs:
        """Its columns, each with the one that it refers to."""
        return [(element.parent, element.column) for element in self.key.elements]

    @property
    def is_own(self) -> bool:
        """Whether it leads to a row of the same table."""
        return self.key.referred_table is self.key.table


def lead_inside(row: type[Any], pairs: Pairs, ways: Sequence[Way]) -> ColumnElement[bool]:
    """Give the condition that a row and the one of a class that its columns lead to are inside in one of some ways."""
    return or_(*(conjunction([*here, leads_to(row, pairs, there)]) for here, there in ways))


def is_one_of(row: type[Any], other: RowInfo[object], *said: Condition) -> ColumnElement[bool]:
    """Give the condition on rows of a class that they are rows of another one, too, of which this holds.

    Args:
        row: the other one, some of whose tables are the same.
        other: the class whose rows the condition is on.
        said: what holds.
    """
    target: Any = aliased(row, flat=True)
    info, there = row_info(row), inspect(target).selectable
    shared = next(part for part in info.parts if other.owns(part.table))
    same = [ClauseAdapter(there).traverse(column) == _of(other, column) for column in shared.key]
    inside = said_of(target, conjunction([*info.own_rows, *said]))
    return exists(limited(select(null()).select_from(target), *same, inside).correlate_except(there))


def unless_of(row: type[Any], conditions: Sequence[Condition], other: RowInfo[object]) -> ColumnElement[bool]:
    """Give the condition on rows that one which is of another class, too, is inside of what is said of that."""
    return not_(is_one_of(row, other, negation(conjunction(conditions))))


def as_far_as_kept(condition: Condition, own: RowInfo[object], other: RowInfo[object]) -> ColumnElement[bool]:
    """Give a condition on rows of a class as one on those of another that shares tables with it.

    What reads a table that those have no part in does not hold for them.
    """
    missing = own.table_keys - other.table_keys
    kept_alike = row_info(next(step.class_ for step in own.mapper.iterate_to_root() if not step.single))

    def of_other(part: object) -> ColumnElement[bool]:
        given = bare(part)
        if isinstance(given, BooleanClauseList) and given.clauses:
            join: Any = and_ if given.operator is operators.and_ else or_
            joined: ColumnElement[bool] = join(*(whole(of_other(clause)) for clause in given.clauses))
            return joined
        if _may_read(given, missing):
            return is_one_of(kept_alike.row, other, _as_of(kept_alike, given))
        return _as_of(other, given)

    return of_other(resolve(condition)) if missing else _as_of(other, resolve(condition))


def _may_read(condition: ColumnElement[bool], tables: Collection[str]) -> bool:
    """Say whether a condition reads one of these tables as that of the row, or cannot be seen not to."""
    parts = list(visitors.iterate(condition))
    columns: list[Any] = [part for part in parts if isinstance(part, ColumnElement)]
    sources = (source for column in columns for source in column._from_objects)
    return any(map(_is_of_no_table, parts)) or any(getattr(source, "key", None) in tables for source in sources)


def _is_of_no_table(part: object) -> bool:
    """Say whether a part of an expression may name a column without saying of which table."""
    if isinstance(part, ColumnClause) and part.table is None:
        return any(map(str.isalpha, part.name))  # and not EXISTS (SELECT 1 ...)
    return isinstance(part, TextClause)


def _as_of(info: RowInfo[object], condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Give a condition by the columns of a class: by another's, SQLAlchemy would keep a SELECT to rows of that."""

    def own(part: Any, **_: Any) -> Any:
        if isinstance(part, SelectBase):  # which is about rows of its own
            return part
        return _of(info, part) if isinstance(part, Column) and info.owns(cast("Any", part).table) else None

    return visitors.replacement_traverse(condition, {}, cast("Any", own))


def _of(info: RowInfo[object], column: Any) -> ColumnElement[Any]:
    name, mapper = info.name_of(column), info.mapper
    if name is not None:
        return info.attribute(name).expression
    unmapped: ColumnElement[Any] = column._deannotate()._annotate({"parententity": mapper, "parentmapper": mapper})
    return unmapped


def classes_of(key: ForeignKeyConstraint) -> list[type[Any]]:
    """Give the classes that the table which a foreign key leads to is mapped to, but for those below others of them."""
    return mapped_to([referred_by(key)])
