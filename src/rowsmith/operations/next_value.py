"""Numbers that count up within a parent, such as a ticket's in its project: without gaps, whoever creates at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ForeignKeyConstraint, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from rowsmith.errors import ErrorFacts, InvalidValue, MappingError, ReferenceNotFound, RepositoryError
from rowsmith.execution import execute
from rowsmith.mapping import RowInfo
from rowsmith.operations.bulk.block import Block
from rowsmith.operations.entity import Entity
from rowsmith.operations.keys import Key, columns_condition, dialect_of, key_chunks


@dataclass(frozen=True)
class NextValue:
    """A column that counts up within a parent: each new row takes the parent's highest number and one more.

    ::

        class TicketRepository(Repository[TicketRow, TicketData, TicketId]):
            next_value = NextValue(TicketRow.number, within=TicketRow.project_id)

    The parent's row is locked until the transaction ends, so numbers have no gaps and no two rows the same one; a
    rolled-back transaction gives its numbers back. A unique constraint over parent and number is still wise, for
    rows that are written past the repository and for transactions stricter than READ COMMITTED.

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
        within: Any = self.within
        items: list[Any] = [within] if isinstance(within, InstrumentedAttribute) else list(within)
        return tuple(item.key for item in items)

    def foreign_key(self, info: RowInfo[Any]) -> ForeignKeyConstraint:
        """Give the foreign key to the parent.

        Raises:
            MappingError: a column is none of the row, or they make no foreign key.
        """
        for name in (self.column.key, *self.parents):
            if name not in info.columns:
                raise MappingError(f"NextValue names {name!r}, no column of {info.row.__name__}")
        wanted = {info.columns[name] for name in self.parents}
        found = (item for item in info.table.foreign_key_constraints if set(item.columns) == wanted)
        foreign_key = next(found, None)
        if foreign_key is None:
            names = ", ".join(self.parents)
            raise MappingError(f"NextValue counts within ({names}), which is no foreign key of {info.row.__name__}")
        return foreign_key

    async def number(
        self, db_sess: AsyncSession, entity: Entity[Any, Any], blocks: Sequence[Block], operation: str
    ) -> list[Block]:
        """Lock the parents and give the rows with their numbers; two statements.

        Raises:
            ReferenceNotFound: a parent is absent; or the error declared for its foreign key.
            InvalidValue: a spec gives a number itself, or no parent.
        """
        parents = [self._parents_of(block, entity.info) for block in blocks]
        wanted = sorted({key for keys in parents for key in keys}, key=repr)
        await self._lock(db_sess, entity, wanted, operation)
        last = await self._last(db_sess, entity, wanted, operation)
        return [self._numbered(block, keys, last) for block, keys in zip(blocks, parents, strict=True)]

    def _parents_of(self, block: Block, info: RowInfo[Any]) -> list[Key]:
        if self.column.key in block.columns:
            raise InvalidValue(f"{info.row.__name__}.{self.column.key} is numbered here: leave it out of the spec")
        for name in self.parents:
            if name not in block.columns or type(None) in block.types[name]:
                raise InvalidValue(f"{info.row.__name__}.{name} says within what is counted: give it")
        return list(zip(*(block.columns[name] for name in self.parents), strict=True))

    async def _lock(
        self, db_sess: AsyncSession, entity: Entity[Any, Any], parents: Sequence[Key], operation: str
    ) -> None:
        foreign_key, found = self.foreign_key(entity.info), set[Key]()
        places = {element.parent: element.column for element in foreign_key.elements}
        columns: list[Column[Any]] = [places[entity.info.columns[name]] for name in self.parents]
        dialect = dialect_of(db_sess, entity.info)
        for chunk in key_chunks(parents, dialect, columns):
            wanted = columns_condition(columns, chunk, dialect)
            statement = select(*columns).where(wanted).order_by(*columns)
            # NO KEY UPDATE: rows that merely refer to the parent are not kept waiting.
            statement = statement.with_for_update(key_share=True)
            found.update(map(tuple, (await execute(db_sess, statement, entity.origin(operation))).all()))
        if len(found) != len(parents):
            raise _absent(entity, foreign_key, operation)

    async def _last(
        self, db_sess: AsyncSession, entity: Entity[Any, Any], parents: Sequence[Key], operation: str
    ) -> dict[Key, int]:
        columns, last = [entity.info.columns[name] for name in self.parents], dict[Key, int]()
        number, dialect = entity.info.columns[self.column.key], dialect_of(db_sess, entity.info)
        for chunk in key_chunks(parents, dialect, columns):
            wanted = columns_condition(columns, chunk, dialect)
            statement = select(*columns, func.max(number)).where(wanted).group_by(*columns)
            rows = (await execute(db_sess, statement, entity.origin(operation))).all()
            last.update({tuple(row[:-1]): row[-1] for row in rows if row[-1] is not None})
        return last

    def _numbered(self, block: Block, parents: Sequence[Key], last: dict[Key, int]) -> Block:
        numbers: list[int] = []
        for parent in parents:
            last[parent] = last.get(parent, self.start - 1) + 1
            numbers.append(last[parent])
        name = self.column.key
        return Block({**block.columns, name: numbers}, {**block.types, name: {int}}, block.size)


def _absent(entity: Entity[Any, Any], foreign_key: ForeignKeyConstraint, operation: str) -> Exception:
    name = None if foreign_key.name is None else str(foreign_key.name)
    kind = entity.violations.get(name or "", ReferenceNotFound)
    error = kind(f"the {foreign_key.referred_table.name} row to count within does not exist")
    if isinstance(error, RepositoryError):
        columns = tuple(column.name for column in foreign_key.columns)
        error.facts = ErrorFacts(
            domain=entity.domain, operation=operation, constraint=name, table=entity.info.table.name, columns=columns
        )
    return error
