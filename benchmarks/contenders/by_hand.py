"""asyncpg by hand: on one connection (the limit of the wire), as an expert writes it, and without transactions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from operator import attrgetter
from typing import Any

import asyncpg

from benchmarks.contenders.contender import Contender, PageOf, Search, Values
from benchmarks.data import COLUMNS, PAGE, Change, Group, Server

BACK = ", ".join(COLUMNS)
GET = f"SELECT {BACK} FROM bench_groups WHERE id = $1"
GET_SCOPED = f"{GET} AND domain_name = $2"
FIND = f"SELECT {BACK} FROM bench_groups WHERE domain_name = $1 AND name = $2"
CREATE = f"""
INSERT INTO bench_groups (domain_name, name, weight, description) VALUES ($1, $2, $3, $4) RETURNING {BACK}
"""
UPDATE = f"UPDATE bench_groups SET weight = $2, description = $3 WHERE id = $1 RETURNING {BACK}"
UPSERT = f"""
INSERT INTO bench_groups (domain_name, name, weight, description) VALUES ($1, $2, $3, $4)
ON CONFLICT (domain_name, name) DO UPDATE SET weight = excluded.weight, description = excluded.description
RETURNING {BACK}
"""
DELETE = f"UPDATE bench_groups SET deleted_at = now() WHERE id = $1 AND deleted_at IS NULL RETURNING {BACK}"
PURGE = f"DELETE FROM bench_groups WHERE id = $1 RETURNING {BACK}"
BATCH_GET = f"SELECT {BACK} FROM bench_groups WHERE id = ANY($1::bigint[])"
BATCH_CREATE = f"""
INSERT INTO bench_numbered (domain_name, name, weight, description)
SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::text[]) RETURNING {BACK}
"""
BATCH_UPDATE = f"UPDATE bench_numbered SET weight = $2 WHERE id = ANY($1::bigint[]) RETURNING {BACK}"
BATCH_UPDATE_EACH = f"""
UPDATE bench_numbered AS g SET weight = u.weight, description = u.description
FROM unnest($1::bigint[], $2::int[], $3::text[]) AS u (id, weight, description) WHERE g.id = u.id
RETURNING {", ".join(f"g.{column}" for column in COLUMNS)}
"""
BATCH_UPSERT = f"""
INSERT INTO bench_groups (domain_name, name, weight, description)
SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::text[])
ON CONFLICT (domain_name, name) DO UPDATE SET weight = excluded.weight, description = excluded.description
RETURNING {BACK}
"""
BATCH_DELETE = f"""
UPDATE bench_numbered SET deleted_at = now() WHERE id = ANY($1::bigint[]) AND deleted_at IS NULL RETURNING {BACK}
"""
BATCH_PURGE = f"DELETE FROM bench_numbered WHERE id = ANY($1::bigint[]) RETURNING {BACK}"
EVENTS = f"SELECT {BACK} FROM bench_events"
STREAM = f"{EVENTS} WHERE id <= $1 ORDER BY id"


def searched(domain: str, search: Search) -> tuple[list[str], list[Any]]:
    """Give the conditions of a client's search, and their values."""
    conditions, values = ["domain_name = $1"], list[Any]([domain])
    for field, operators in search.items():
        for operator, operand in operators.items():
            if operator == "is_null":
                conditions.append(f"{field} IS {'' if operand else 'NOT '}NULL")
                continue
            values.append(operand)
            if operator == "contains":
                escaped = operand.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
                values[-1] = f"%{escaped}%"
            sign = {"contains": "LIKE", "gte": ">=", "equals": "="}[operator]
            conditions.append(f"{field} {sign} ${len(values)}")
    return conditions, values


def page_of(found: Sequence[Any], *key: str) -> PageOf:
    """Make a page of its rows and one more."""
    rows = [Group(*record) for record in found[:PAGE]]
    more = len(found) > PAGE
    return rows, tuple(getattr(rows[-1], name) for name in key) if more else None


class ByHand(Contender):
    """The statements that all three send."""

    async def read(self, query: str, *values: Any) -> list[Any]:
        """Send a statement that reads."""
        raise NotImplementedError

    async def write(self, query: str, *values: Any) -> list[Any]:
        """Send a statement that writes."""
        raise NotImplementedError

    def transaction(self, *, readonly: bool = False) -> AbstractAsyncContextManager[Any]:
        """Give a connection in a transaction, for COPY and cursors."""
        raise NotImplementedError

    async def get(self, id: int) -> Group:
        [record] = await self.read(GET, id)
        return Group(*record)

    async def get_scoped(self, id: int, domain: str) -> Group:
        [record] = await self.read(GET_SCOPED, id, domain)
        return Group(*record)

    async def find(self, domain: str, name: str) -> Group:
        [record] = await self.read(FIND, domain, name)
        return Group(*record)

    async def page(self, domain: str, after: Any) -> PageOf:
        return await self.filtered(domain, {}, after)

    async def filtered(self, domain: str, search: Search, after: Any) -> PageOf:
        conditions, values = searched(domain, search)
        if after is not None:
            values.extend(after)
            conditions.append(f"id > ${len(values)}")
        query = f"SELECT {BACK} FROM bench_groups WHERE {' AND '.join(conditions)} ORDER BY id LIMIT {PAGE + 1}"
        return page_of(await self.read(query, *values), "id")

    async def offset(self, domain: str, search: Search, offset: int) -> PageOf:
        conditions, values = searched(domain, search)
        where, last = " AND ".join(conditions), f"ORDER BY id LIMIT {PAGE + 1} OFFSET ${len(values) + 1}"
        return page_of(await self.read(f"SELECT {BACK} FROM bench_groups WHERE {where} {last}", *values, offset), "id")

    async def count(self, domain: str, search: Search) -> int:
        conditions, values = searched(domain, search)
        [[found]] = await self.read(f"SELECT count(*) FROM bench_groups WHERE {' AND '.join(conditions)}", *values)
        return int(found)

    async def create(self, values: Values) -> Group:
        [record] = await self.write(CREATE, *values)
        return Group(*record)

    async def update(self, change: Change) -> Group:
        [record] = await self.write(UPDATE, change.id, change.weight, change.description)
        return Group(*record)

    async def upsert(self, values: Values) -> Group:
        [record] = await self.write(UPSERT, *values)
        return Group(*record)

    async def delete(self, id: int) -> Group:
        [record] = await self.write(DELETE, id)
        return Group(*record)

    async def purge(self, id: int) -> Group:
        [record] = await self.write(PURGE, id)
        return Group(*record)

    async def batch_get(self, ids: Sequence[int]) -> list[Group]:
        return in_order(await self.read(BATCH_GET, ids), ids)

    async def batch_create(self, rows: Sequence[Values]) -> list[Group]:
        return [Group(*record) for record in await self.write(BATCH_CREATE, *columns_of(rows))]

    async def batch_create_known(self, rows: Sequence[tuple[Any, ...]]) -> list[Group]:
        await self.copy(rows)
        return [Group(*row) for row in rows]

    async def load(self, rows: Sequence[tuple[Any, ...]]) -> None:
        made = (Group(*row) for row in rows)
        await self.copy(map(attrgetter(*COLUMNS), made))

    async def copy(self, records: Iterable[tuple[Any, ...]]) -> None:
        """Send whole rows by COPY."""
        async with self.transaction() as connection:
            await connection.copy_records_to_table("bench_plain", records=records, columns=COLUMNS)

    async def batch_update(self, ids: Sequence[int], weight: int) -> list[Group]:
        return in_order(await self.write(BATCH_UPDATE, ids, weight), ids)

    async def batch_update_each(self, changes: Sequence[Change]) -> list[Group]:
        ids = [change.id for change in changes]
        weights, texts = [change.weight for change in changes], [change.description for change in changes]
        return in_order(await self.write(BATCH_UPDATE_EACH, ids, weights, texts), ids)

    async def batch_upsert(self, rows: Sequence[Values]) -> list[Group]:
        return [Group(*record) for record in await self.write(BATCH_UPSERT, *columns_of(rows))]

    async def batch_delete(self, ids: Sequence[int]) -> list[Group]:
        return in_order(await self.write(BATCH_DELETE, ids), ids)

    async def batch_purge(self, ids: Sequence[int]) -> list[Group]:
        return in_order(await self.write(BATCH_PURGE, ids), ids)

    async def events(self, after: Any) -> PageOf:
        where = "" if after is None else "WHERE (weight, id) > ($1, $2)"
        query = f"{EVENTS} {where} ORDER BY weight, id LIMIT {PAGE + 1}"
        return page_of(await self.read(query, *(after or ())), "weight", "id")

    async def stream(self, last: int) -> AsyncIterator[Group]:
        async with self.transaction(readonly=True) as connection:
            async for record in connection.cursor(STREAM, last, prefetch=1000):
                yield Group(*record)


def columns_of(rows: Sequence[Values]) -> list[list[Any]]:
    """Turn rows into columns."""
    return [list(column) for column in zip(*rows, strict=True)]


def in_order(records: Iterable[Any], ids: Sequence[int]) -> list[Group]:
    """Make data of what came back, in the order of the ids."""
    found = {record[0]: Group(*record) for record in records}
    return [found[id_] for id_ in ids]


class Wire(ByHand):
    """One connection that nobody else uses, its statements prepared beforehand: nothing can be faster."""

    is_single = True

    async def open(self, server: Server) -> None:
        self.held = await asyncpg.connect(**server.options)
        self.prepared: dict[str, Any] = {}

    async def close(self) -> None:
        await self.held.close()

    async def read(self, query: str, *values: Any) -> list[Any]:
        statement = self.prepared.get(query)
        if statement is None:
            statement = self.prepared[query] = await self.held.prepare(query)
        found: list[Any] = await statement.fetch(*values)
        return found

    write = read

    @asynccontextmanager
    async def transaction(self, *, readonly: bool = False) -> AsyncIterator[Any]:
        async with self.held.transaction(readonly=readonly):
            yield self.held


class Pooled(ByHand):
    """A pool of asyncpg's own."""

    async def open(self, server: Server) -> None:
        self.pool = await asyncpg.create_pool(**server.options, min_size=1, max_size=server.pool)

    async def close(self) -> None:
        await self.pool.close()

    @asynccontextmanager
    async def transaction(self, *, readonly: bool = False) -> AsyncIterator[Any]:
        async with self.pool.acquire() as connection, connection.transaction(readonly=readonly):
            yield connection


class Hand(Pooled):
    """A pool, and for everything a transaction of the right kind."""

    async def read(self, query: str, *values: Any) -> list[Any]:
        async with self.transaction(readonly=True) as connection:
            found: list[Any] = await connection.fetch(query, *values)
            return found

    async def write(self, query: str, *values: Any) -> list[Any]:
        async with self.transaction() as connection:
            found: list[Any] = await connection.fetch(query, *values)
            return found


class Bare(Pooled):
    """A pool, and each statement by itself: nothing keeps a read from writing."""

    async def read(self, query: str, *values: Any) -> list[Any]:
        found: list[Any] = await self.pool.fetch(query, *values)
        return found

    write = read
