"""Numbers that count up within a parent, such as a ticket's in its project: without gaps, whoever creates at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, ForeignKeyConstraint, FromClause, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql import visitors

from rowsmith.errors import ErrorFacts, InvalidValue, MappingError, ReferenceNotFound, RepositoryError
from rowsmith.execution import execute
from rowsmith.mapping import RowInfo, check_for_comparison, row_info
from rowsmith.operations.bulk.block import Block
from rowsmith.operations.entity import Entity
from rowsmith.operations.keys import Key, columns_condition, dialect_of, key_chunks
from rowsmith.scope import NO_LIMITS, Limits, Related, resolve_scope


@dataclass(frozen=True)
class NextValue:
    """A column that counts up within a parent: each new row takes the parent's highest number and one more.

    ::

        class TicketRepository(Repository[TicketRow, TicketData, TicketId]):
            next_value = NextValue(TicketRow.number, within=TicketRow.project_id)

    The parent's row is locked until the transaction ends, so numbers have no gaps and no two rows the same one; a
    rolled-back transaction gives its numbers back. A unique constraint over parent and number is still wise, for
    rows that are written past the repository and for transactions stricter than READ COMMITTED.

    Under a scope the parent has to be inside as well, or it is an absent one: what ``to_related`` says about its class
    holds for it. Where that says nothing, the scope's own conditions will do if they read the foreign key; else its
    equalities hold for the parent's columns of the same names; without any such column the call is refused.

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
        self, db_sess: AsyncSession, entity: Entity[Any, Any], blocks: Sequence[Block], related: Related, operation: str
    ) -> list[Block]:
        """Lock the parents and give the rows with their numbers; two statements.

        Raises:
            ReferenceNotFound: a parent is absent or outside the scope; or the error declared for its foreign key.
            InvalidValue: a spec gives a number itself, or no parent.
            ScopeRequired: the scope does not tell whose parents are meant.
        """
        inside = self._inside(entity.info, related)
        parents = [self._parents_of(block, entity.info) for block in blocks]
        wanted = sorted({key for keys in parents for key in keys}, key=repr)
        await self._lock(db_sess, entity, wanted, inside, operation)
        last = await self._last(db_sess, entity, wanted, operation)
        return [self._numbered(block, keys, last) for block, keys in zip(blocks, parents, strict=True)]

    def _inside(self, info: RowInfo[Any], related: Related) -> Sequence[ColumnElement[bool]]:
        """Give what must hold for a parent under the scope."""
        foreign_key = self.foreign_key(info)
        table, row = foreign_key.referred_table, _row_of(foreign_key.referred_table, info)
        limits = NO_LIMITS if related.is_free else None if row is None else related.limits(row_info(row))
        if limits is not None:
            return limits.conditions
        own = resolve_scope(related.scope, info)
        if any(_reads(condition, foreign_key) for condition in own.conditions):
            return ()
        if same := _same_columns(own, info, table):
            return same
        raise related.silence(table.name if row is None else row.__name__)

    def _parents_of(self, block: Block, info: RowInfo[Any]) -> list[Key]:
        if self.column.key in block.columns:
            raise InvalidValue(f"{info.row.__name__}.{self.column.key} is numbered here: leave it out of the spec")
        for name in self.parents:
            if name not in block.columns or type(None) in block.types[name]:
                raise InvalidValue(f"{info.row.__name__}.{name} says within what is counted: give it")
        return list(zip(*(block.columns[name] for name in self.parents), strict=True))

    async def _lock(
        self,
        db_sess: AsyncSession,
        entity: Entity[Any, Any],
        parents: Sequence[Key],
        inside: Sequence[ColumnElement[bool]],
        operation: str,
    ) -> None:
        foreign_key, found = self.foreign_key(entity.info), set[Key]()
        places = {element.parent: element.column for element in foreign_key.elements}
        columns: list[Column[Any]] = [places[entity.info.columns[name]] for name in self.parents]
        dialect = dialect_of(db_sess)
        for chunk in key_chunks(parents, dialect):
            wanted = columns_condition(columns, chunk, dialect)
            statement = select(*columns).where(wanted, *inside).order_by(*columns)
            # NO KEY UPDATE: rows that merely refer to the parent are not kept waiting.
            statement = statement.with_for_update(key_share=True)
            found.update(map(tuple, (await execute(db_sess, statement, entity.origin(operation))).all()))
        if len(found) != len(parents):
            raise _absent(entity, foreign_key, operation)

    async def _last(
        self, db_sess: AsyncSession, entity: Entity[Any, Any], parents: Sequence[Key], operation: str
    ) -> dict[Key, int]:
        columns, last = [entity.info.columns[name] for name in self.parents], dict[Key, int]()
        number, dialect = entity.info.columns[self.column.key], dialect_of(db_sess)
        for chunk in key_chunks(parents, dialect):
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


def _row_of(table: FromClause, info: RowInfo[Any]) -> type[Any] | None:
    """Give the class that a table is mapped to; of several the base."""
    mappers = [mapper for mapper in info.mapper.registry.mappers if mapper.local_table is table]
    bases = [mapper.class_ for mapper in mappers if mapper.inherits not in mappers]
    return bases[0] if bases else None


def _reads(condition: ColumnElement[bool], foreign_key: ForeignKeyConstraint) -> bool:
    keys = {(column.table.key, column.name) for column in foreign_key.columns}
    parts: Iterator[Any] = visitors.iterate(condition)
    return any(isinstance(part, Column) and (getattr(part.table, "key", None), part.name) in keys for part in parts)


def _same_columns(own: Limits, info: RowInfo[Any], table: FromClause) -> list[ColumnElement[bool]]:
    """Give the scope's equalities as those on a parent's columns of the same names, where their values fit."""
    stamps = {info.columns[name].name: value for name, value in own.stamps.items()}
    columns = [column for column in table.columns if column.name in stamps]
    fitting = [column for column in columns if not check_for_comparison(column.type)(stamps[column.name])]
    return [column == stamps[column.name] for column in fitting]


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
