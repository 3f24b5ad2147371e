"""Piccolo: its tables and query builder, on asyncpg's pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from piccolo.columns import BigInt, BigSerial, Integer, Text, Timestamptz
from piccolo.engine.postgres import PostgresEngine
from piccolo.table import Table

from benchmarks.contenders.contender import Contender, PageOf, Search, Values
from benchmarks.data import COLUMNS, GIVEN, PAGE, Change, Server

ROWS_OF_STATEMENT = 4_000
"""It writes a value for each column of each row, of which PostgreSQL takes 32,767."""


class Shared(Table):
    domain_name = Text()
    name = Text()
    weight = Integer()
    description = Text(null=True, default=None)
    created_at = Timestamptz()
    deleted_at = Timestamptz(null=True, default=None)


class GroupTable(Shared, tablename="bench_groups"):
    id = BigSerial(primary_key=True)


class NumberedTable(Shared, tablename="bench_numbered"):
    id = BigSerial(primary_key=True)


class PlainTable(Shared, tablename="bench_plain"):
    id = BigInt(primary_key=True)


class EventTable(Shared, tablename="bench_events"):
    id = BigSerial(primary_key=True)


TABLES: Any = (GroupTable, NumberedTable, PlainTable, EventTable)
GROUPS, NUMBERED, PLAIN, EVENTS = TABLES


def conditions_of(domain: str, search: Search) -> list[Any]:
    """Give the conditions of a client's search."""
    made = [GROUPS.domain_name == domain]
    for field, operators in search.items():
        column = getattr(GROUPS, field)
        for operator, operand in operators.items():
            if operator == "contains":
                made.append(column.like(f"%{operand}%"))
            elif operator == "gte":
                made.append(column >= operand)
            else:
                made.append(column.is_null() if operand else column.is_not_null())
    return made


def page_of(found: Sequence[Any], *key: str) -> PageOf:
    """Make a page of its dictionaries and one more."""
    rows = found[:PAGE]
    return rows, tuple(rows[-1][name] for name in key) if len(found) > PAGE else None


def in_order(rows: Sequence[Any], ids: Sequence[int]) -> list[Any]:
    """Give dictionaries in the order of the ids."""
    found = {row["id"]: row for row in rows}
    return [found[id_] for id_ in ids]


class Piccolos(Contender):
    """What its queries give: dictionaries."""

    cannot: ClassVar[Mapping[str, str]] = {"batch_update_each": "updates many rows to one value only"}

    async def open(self, server: Server) -> None:
        # It asks for the server's version when it is made, and the loop stands still meanwhile.
        self.engine = await asyncio.to_thread(PostgresEngine, server.options)
        await self.engine.start_connection_pool(min_size=1, max_size=server.pool)
        for table in TABLES:
            table._meta.db = self.engine

    async def close(self) -> None:
        await self.engine.close_connection_pool()

    async def get(self, id: int) -> Any:
        return await GROUPS.select().where(GROUPS.id == id).first()

    async def get_scoped(self, id: int, domain: str) -> Any:
        return await GROUPS.select().where(GROUPS.id == id, GROUPS.domain_name == domain).first()

    async def find(self, domain: str, name: str) -> Any:
        return await GROUPS.select().where(GROUPS.domain_name == domain, GROUPS.name == name).first()

    async def page(self, domain: str, after: Any) -> PageOf:
        return await self.filtered(domain, {}, after)

    async def filtered(self, domain: str, search: Search, after: Any) -> PageOf:
        beyond = [] if after is None else [GROUPS.id > after[0]]
        query = GROUPS.select().where(*conditions_of(domain, search), *beyond)
        return page_of(await query.order_by(GROUPS.id).limit(PAGE + 1), "id")

    async def offset(self, domain: str, search: Search, offset: int) -> PageOf:
        query = GROUPS.select().where(*conditions_of(domain, search)).order_by(GROUPS.id)
        return page_of(await query.limit(PAGE + 1).offset(offset), "id")

    async def count(self, domain: str, search: Search) -> int:
        return int(await GROUPS.count().where(*conditions_of(domain, search)))

    async def create(self, values: Values) -> Any:
        row = GROUPS(**dict(zip(GIVEN, values, strict=True)))
        [made] = await GROUPS.insert(row).returning(*GROUPS.all_columns())
        return made

    async def update(self, change: Change) -> Any:
        query = GROUPS.update({GROUPS.weight: change.weight, GROUPS.description: change.description})
        [row] = await query.where(GROUPS.id == change.id).returning(*GROUPS.all_columns())
        return row

    async def upsert(self, values: Values) -> Any:
        [row] = await self.batch_upsert([values])
        return row

    async def delete(self, id: int) -> Any:
        query = GROUPS.update({GROUPS.deleted_at: datetime.now(UTC)})
        query = query.where(GROUPS.id == id, GROUPS.deleted_at.is_null())
        [row] = await query.returning(*GROUPS.all_columns())
        return row

    async def purge(self, id: int) -> Any:
        [row] = await GROUPS.delete().where(GROUPS.id == id).returning(*GROUPS.all_columns())
        return row

    async def batch_get(self, ids: Sequence[int]) -> list[Any]:
        return in_order(await GROUPS.select().where(GROUPS.id.is_in(list(ids))), ids)

    async def batch_create(self, rows: Sequence[Values]) -> list[Any]:
        return await self._insert(NUMBERED, rows, GIVEN)

    async def batch_create_known(self, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        return await self._insert(PLAIN, rows, COLUMNS)

    async def load(self, rows: Sequence[tuple[Any, ...]]) -> None:
        await self._insert(PLAIN, rows, COLUMNS)

    async def _insert(self, table: Any, rows: Sequence[Any], names: Sequence[str]) -> list[Any]:
        made = [table(**dict(zip(names, row, strict=True))) for row in rows]
        back = []
        async with self.engine.transaction():
            for start in range(0, len(made), ROWS_OF_STATEMENT):
                chunk = made[start : start + ROWS_OF_STATEMENT]
                back += await table.insert(*chunk).returning(*table.all_columns())
        return back

    async def batch_update(self, ids: Sequence[int], weight: int) -> Any:
        query = NUMBERED.update({NUMBERED.weight: weight}).where(NUMBERED.id.is_in(list(ids)))
        return in_order(await query.returning(*NUMBERED.all_columns()), ids)

    async def batch_upsert(self, rows: Sequence[Values]) -> list[Any]:
        made = [GROUPS(**dict(zip(GIVEN, row, strict=True))) for row in rows]
        target, back = (GROUPS.domain_name, GROUPS.name), []
        async with self.engine.transaction():
            for start in range(0, len(made), ROWS_OF_STATEMENT):
                query = GROUPS.insert(*made[start : start + ROWS_OF_STATEMENT])
                query = query.on_conflict(target, "DO UPDATE", [GROUPS.weight, GROUPS.description])
                back += await query.returning(*GROUPS.all_columns())
        return back

    async def batch_delete(self, ids: Sequence[int]) -> Any:
        query = NUMBERED.update({NUMBERED.deleted_at: datetime.now(UTC)})
        query = query.where(NUMBERED.id.is_in(list(ids)), NUMBERED.deleted_at.is_null())
        return in_order(await query.returning(*NUMBERED.all_columns()), ids)

    async def batch_purge(self, ids: Sequence[int]) -> Any:
        query = NUMBERED.delete().where(NUMBERED.id.is_in(list(ids)))
        return in_order(await query.returning(*NUMBERED.all_columns()), ids)

    async def events(self, after: Any) -> PageOf:
        query = EVENTS.select()
        if after is not None:
            beyond = (EVENTS.weight > after[0]) | ((EVENTS.weight == after[0]) & (EVENTS.id > after[1]))
            query = query.where(beyond)
        query = query.order_by(EVENTS.weight).order_by(EVENTS.id)
        return page_of(await query.limit(PAGE + 1), "weight", "id")

    async def stream(self, last: int) -> AsyncIterator[Any]:
        query = EVENTS.select().where(EVENTS.id <= last).order_by(EVENTS.id)
        async with await query.batch(batch_size=1000) as batches:
            async for rows in batches:
                for row in rows:
                    yield row
