"""Numbering rows within their parents: the parents are locked, and the highest numbers looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, ForeignKeyConstraint, FromClause, func, select
from sqlalchemy.sql import visitors

from rowsmith.conditions import limited
from rowsmith.errors import ReferenceNotFound
from rowsmith.execution import Broken, violation
from rowsmith.mapping import RowInfo, row_info
from rowsmith.mapping.constraints import unique_keys_of
from rowsmith.mapping.types import column_type
from rowsmith.operations.arrays.keys import Key, columns_condition, key_chunks
from rowsmith.operations.blocks.block import Block
from rowsmith.operations.call import Call
from rowsmith.operations.next_value import NextValue
from rowsmith.scope import NO_LIMITS, Limits, RelatedScope, resolve_scope


async def number_within(call: Call[object, object], blocks: Sequence[Block]) -> list[Block]:
    """Lock the parents of some rows and give the rows with their numbers; two statements.

    Raises:
        ReferenceNotFound: a parent is absent or outside the scope; or the error declared for its foreign key.
        InvalidValue: a spec gives a number itself, or no parent.
        ScopeRequired: the scope does not tell whose parents are meant.
    """
    numbering = _Numbering(call)
    parents = [numbering.parents_of(block) for block in blocks]
    keys = sorted({key for found in parents for key in found}, key=repr)
    stored = await numbering.lock(keys)
    last = await numbering.last(list(dict.fromkeys(stored.values())))
    return numbering.numbered(blocks, [[stored[key] for key in found] for found in parents], last)


class _Numbering:
    """The statements about the parents of one call's rows."""

    def __init__(self, call: Call[object, object]) -> None:
        number: NextValue | None = call.entity.next_value
        assert number is not None  # noqa: S101 - only asked for where rows are numbered
        self.call, self.info, self.number = call, call.info, number
        self.foreign_key = number.foreign_key(call.info)

    def parents_of(self, block: Block) -> list[Key]:
        """Give the key of each row's parent."""
        number = self.number
        if number.column.key in block.columns:
            raise self.info.refusal(number.column.key, "is numbered here: leave it out of the spec")
        for name in number.parents:
            if name not in block.columns or any(value is None for value in block.columns[name]):
                raise self.info.refusal(name, "says within what is counted: give it")
        return list(zip(*(block.columns[name] for name in number.parents), strict=True))

    async def lock(self, parents: Sequence[Key]) -> Mapping[Key, Key]:
        """Lock the parents until the transaction ends; gives the key of each as the database has it."""
        inside, found, dialect = self._inside(), set[Key](), self.call.dialect
        table = self.foreign_key.referred_table
        whole = _row_of(table, self.info) or table  # with all of its tables, which the scope may be about
        places = {element.parent: element.column for element in self.foreign_key.elements}
        columns: list[Column[Any]] = [places[self.info.columns[name]] for name in self.number.parents]
        for chunk in key_chunks(parents, dialect, columns):
            these = columns_condition(columns, chunk, dialect)
            statement = limited(select(*columns).select_from(whole), these, *inside).order_by(*columns)
            # NO KEY UPDATE: rows that merely refer to the parent are not kept waiting.
            locking = statement.with_for_update(of=table, key_share=True)
            found.update(map(tuple, (await self.call.execute(locking)).all()))
        stored = await self.call.as_stored(columns, parents, found)
        if len(stored) != len(parents):
            message = f"the {table.name} row to count within does not exist"
            raise violation(ReferenceNotFound, message, Broken.of(self.foreign_key), self.call.origin())
        return stored

    async def last(self, parents: Sequence[Key]) -> dict[Key, int]:
        """Give the highest number within each parent that has one."""
        columns, found = [self.info.columns[name] for name in self.number.parents], dict[Key, int]()
        number, dialect = self.info.columns[self.number.column.key], self.call.dialect
        numbered = {self.info.columns[name] for name in (*self.number.parents, self.number.column.key)}
        # A unique key over them knows no classes: rows of others in the table take numbers away too.
        is_shared = any(set(key.columns) <= numbered for key in unique_keys_of(self.info.table))
        counted = () if is_shared else self.info.own_rows
        for chunk in key_chunks(parents, dialect, columns):
            these = columns_condition(columns, chunk, dialect)
            statement = limited(select(*columns, func.max(number)), these, *counted).group_by(*columns)
            rows = (await self.call.execute(statement)).all()
            found.update({tuple(row[:-1]): row[-1] for row in rows if row[-1] is not None})
        stored = await self.call.as_stored(columns, parents, found)
        return {key: found[other] for key, other in stored.items()}

    def numbered(self, blocks: Sequence[Block], parents: Sequence[Sequence[Key]], last: dict[Key, int]) -> list[Block]:
        """Give the rows with their numbers, counted in the order of the input; ``last`` counts on with them."""
        numbers = [[0] * block.size for block in blocks]
        rows = ((place, at, row) for at, block in enumerate(blocks) for row, place in enumerate(block.places))
        for _, at, row in sorted(rows):
            parent = parents[at][row]
            last[parent] = numbers[at][row] = last.get(parent, self.number.start - 1) + 1
        name = self.number.column.key
        return [block.beside({name: own}, {name: {int}}) for block, own in zip(blocks, numbers, strict=True)]

    def _inside(self) -> Sequence[ColumnElement[bool]]:
        """Give what must hold for a parent under the scope."""
        related = self.call.related or RelatedScope(None, self.info)
        table = self.foreign_key.referred_table
        row = _row_of(table, self.info)
        limits = NO_LIMITS if related.is_free else None if row is None else related.limits(row_info(row))
        if limits is not None:
            return limits.conditions
        own = resolve_scope(related.scope, self.info)
        if any(_reads_key(condition, self.foreign_key) for condition in own.conditions):
            return ()
        if same := _same_columns(own, self.info, table):
            return same
        raise related.silence(table.name if row is None else row.__name__)


def _row_of(table: FromClause, info: RowInfo[object]) -> type[Any] | None:
    """Give the class that a table is mapped to; of several the base."""
    mappers = [mapper for mapper in info.mapper.registry.mappers if mapper.local_table is table]
    bases = [mapper.class_ for mapper in mappers if mapper.inherits not in mappers]
    return bases[0] if bases else None


def _reads_key(condition: ColumnElement[bool], foreign_key: ForeignKeyConstraint) -> bool:
    keys = {(column.table.key, column.name) for column in foreign_key.columns}
    parts: list[Any] = list(visitors.iterate(condition))
    columns: list[Column[Any]] = [part for part in parts if isinstance(part, Column)]
    return any((getattr(column.table, "key", None), column.name) in keys for column in columns)


def _same_columns(own: Limits, info: RowInfo[object], table: FromClause) -> list[ColumnElement[bool]]:
    """Give the scope's equalities as those on a parent's columns of the same names, where their values fit."""
    stamps = {info.columns[name].name: value for name, value in own.stamps.items()}
    columns: list[Any] = [column for column in table.columns if column.name in stamps]
    fitting = [column for column in columns if not column_type(column.type).operand(stamps[column.name])]
    return [column == stamps[column.name] for column in fitting]
