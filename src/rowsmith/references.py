"""References: what has to hold of a foreign key that is written under a scope which says whose rows it may lead to.

The database takes a key to any row that is there, another tenant's too. So a foreign key is a condition on the row
that has it, held once that is written: it is NULL, or leads to a row inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from sqlalchemy import Column, ColumnElement, ForeignKeyConstraint, and_, exists, inspect, not_, null, or_, select
from sqlalchemy.orm import aliased

from rowsmith.conditions import Condition, conjunction, limited, negation
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


def unless_below(row: type[Any], conditions: Sequence[Condition], above: RowInfo[object]) -> ColumnElement[bool]:
    """Give the condition on rows of a class that one which is of a class below it is inside of what is said of that."""
    target: Any = aliased(row, flat=True)
    there, same = (
        inspect(target).selectable,
        [getattr(target, name) == above.attribute(name) for name in above.primary_key],
    )
    outside = said_of(target, conjunction([*row_info(row).own_rows, negation(conjunction(conditions))]))
    return not_(exists(limited(select(null()).select_from(target), *same, outside).correlate_except(there)))


def classes_of(key: ForeignKeyConstraint, info: RowInfo[object]) -> list[type[Any]]:
    """Give the classes that the table which a foreign key leads to is mapped to, but for those below others of them.

    Args:
        key: the foreign key.
        info: the row that has it.
    """
    table = referred_by(key)
    mappers = [mapper for mapper in info.mapper.registry.mappers if mapper.local_table is table]
    return [mapper.class_ for mapper in mappers if mapper.inherits not in mappers]
