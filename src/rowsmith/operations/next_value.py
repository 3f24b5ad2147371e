"""Numbers that count up within a parent, such as a ticket's in its project: without gaps, whoever creates at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ForeignKeyConstraint
from sqlalchemy.orm import InstrumentedAttribute

from rowsmith.errors import MappingError
from rowsmith.mapping import RowInfo


@dataclass(frozen=True)
class NextValue:
    """A column that counts up within a parent: each new row takes the parent's highest number and one more.

    ::

        class TicketRepository(Repository[TicketRow, TicketData, TicketId]):
            next_value = NextValue(TicketRow.number, within=TicketRow.project_id)

    The parent's row is locked until the transaction ends, so numbers have no gaps and no two rows the same one; a
    rolled-back transaction gives its numbers back. A unique constraint over parent and number is still wise, for
    rows that are written past the repository and for transactions stricter than READ COMMITTED. Rows are numbered as
    they are created; ``upsert`` and its batch forms refuse such rows. Classes that share a table count each for itself,
    unless a unique key has the number in it: then they count together.

    Under a scope the parent has to be inside as well, or it is an absent one; so has one that a patch moves a row to,
    which keeps its number. What ``to_related`` says about its class holds for it. Where that says nothing, the scope's
    own conditions will do if they read the foreign key: with a parent outside, or none, the row would leave its scope.
    Else its equalities hold for the parent's columns of the same names; without any such column the call is refused.

    Args:
        column: the number; specs leave it out (``class TicketCreate(Spec[TicketRow], filled={"number"})``).
        within: the column, or columns, of the foreign key to the parent.
        start: the first number.
    """

    column: InstrumentedAttribute[Any]
    within: InstrumentedAttribute[Any] | Sequence[InstrumentedAttribute[Any]]
    start: int = 1

    @property
    def parents(self) -> tuple[str, ...]:
        """The attributes of the foreign key."""
        return tuple(attribute.key for attribute in self._within)

    def is_within(self, names: Iterable[str]) -> bool:
        """Say whether what is written moves a row to another parent."""
        return not {*self.parents}.isdisjoint(names)

    @property
    def _within(self) -> list[InstrumentedAttribute[Any]]:
        within: Any = self.within
        return [within] if isinstance(within, InstrumentedAttribute) else list(within)

    def foreign_key(self, info: RowInfo[object]) -> ForeignKeyConstraint:
        """Give the foreign key to the parent.

        Raises:
            MappingError: a column is none of the row, or they make no foreign key.
        """
        for attribute in (self.column, *self._within):
            if not info.has(attribute):
                raise MappingError(f"NextValue names {attribute}, no column of {info.row.__name__}")
        within = {info.columns[name] for name in self.parents}
        found = (item for item in info.table.foreign_key_constraints if set(item.columns) == within)
        foreign_key = next(found, None)
        if foreign_key is None:
            names = ", ".join(self.parents)
            raise MappingError(f"NextValue counts within ({names}), which is no foreign key of {info.row.__name__}")
        return foreign_key
