"""What the tables of a contract hold, read and removed past its repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.ddl import sort_tables_and_constraints  # pyright: ignore[reportUnknownVariableType]

from rowsmith.conditions import limited
from rowsmith.mapping import RowInfo

Contents: TypeAlias = Mapping[tuple[str, tuple[Any, ...]], tuple[Any, ...]]
"""Each row as it is stored, by its table and key."""


class StoredRows:
    """The rows of one class, and the tables around; what was there before the tests stays there."""

    def __init__(self, engine: AsyncEngine, info: RowInfo[object], tables: Sequence[sa.Table]) -> None:
        self._engine, self._info = engine, info
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")  # one round trip, not three
        sort = cast("Any", sort_tables_and_constraints)
        self._tables: list[sa.Table] = []  # the row's own and those that refer to it, which come after it
        for table in [table for table, _ in sort(tables) if table is not None]:
            if table in info.tables or any(key.referred_table in self._tables for key in table.foreign_key_constraints):
                self._tables.append(table)
        self._kept: dict[sa.Table, list[tuple[Any, ...]]] = {}

    async def keep(self) -> None:
        """Have what is there now stay."""
        async with self._reading.connect() as connection:
            for table in self._tables:
                keys = await connection.execute(sa.select(*table.primary_key))
                self._kept[table] = [tuple(key) for key in keys]

    async def clear(self) -> None:
        """Remove what came since."""
        async with self._engine.begin() as connection:
            for table in reversed(self._tables):
                kept = self._kept[table]
                since = sa.tuple_(*table.primary_key).not_in(kept) if kept else sa.true()
                await connection.execute(limited(sa.delete(table), since))

    async def remove(self, key: tuple[Any, ...]) -> None:
        """Remove one row, and what refers to it."""
        async with self._engine.begin() as connection:
            for table in reversed(self._tables):
                for found in self._leading_to(table, key):
                    await connection.execute(limited(sa.delete(table), found))

    def _leading_to(self, table: sa.Table, key: tuple[Any, ...]) -> list[sa.ColumnElement[bool]]:
        """Give the conditions that a row of a table is part of the row with this key, or refers to it."""
        if table in self._info.tables:
            return [_equal(list(table.primary_key), key)]
        foreign = [each for each in table.foreign_key_constraints if each.referred_table in self._info.tables]
        own = [list(each.referred_table.primary_key) for each in foreign]
        return [
            _equal(list(each.columns), key)
            for each, columns in zip(foreign, own, strict=True)
            if [element.column for element in each.elements] == columns
        ]

    async def contents(self) -> Contents:
        """Give all that the row's own tables hold."""
        found: dict[tuple[str, tuple[Any, ...]], tuple[Any, ...]] = {}
        async with self._reading.connect() as connection:
            for table in self._info.tables:
                places = [list(table.columns).index(column) for column in table.primary_key]
                for row in await connection.execute(sa.select(table)):
                    found[table.name, tuple(row[place] for place in places)] = tuple(row)
        return found

    async def values(self, key: tuple[Any, ...]) -> Mapping[str, Any] | None:
        """Give a row's columns by the names of their attributes; None where there is no such row."""
        return next(iter(await self._select(self._info.key_condition(key))), None)

    async def new(self) -> Sequence[Mapping[str, Any]]:
        """Give the columns of all rows of the class that came since."""
        kept, key = self._kept[self._info.table], self._info.primary_key
        return [row for row in await self._select([]) if tuple(row[name] for name in key) not in kept]

    async def _select(self, conditions: Sequence[sa.ColumnElement[bool]]) -> Sequence[Mapping[str, Any]]:
        names = list(self._info.columns)
        selected = limited(sa.select(*map(self._info.attribute, names)), *conditions, *self._info.own_rows)
        async with self._reading.connect() as connection:
            return [dict(zip(names, row, strict=True)) for row in await connection.execute(selected)]


def _equal(columns: Sequence[sa.Column[Any]], key: Sequence[Any]) -> sa.ColumnElement[bool]:
    return sa.and_(*(column == part for column, part in zip(columns, key, strict=True)))
