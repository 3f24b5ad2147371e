"""SQLAlchemy's ORM: a session for each call, mapped objects in and out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import async_sessionmaker

from benchmarks.contenders.contender import Contender, PageOf, Search, Values
from benchmarks.contenders.core import conditions_of, dicts, upserting
from benchmarks.contenders.models import EventRow, GroupRow, NumberedRow, PlainRow, engine_on
from benchmarks.data import COLUMNS, GIVEN, PAGE, Change, Server

NULLS_TOO = {"render_nulls": True}
"""Without it rows that have a NULL and such as have none are inserted by statements of their own."""


def page_of(found: Sequence[Any], *key: str) -> PageOf:
    """Make a page of its objects and one more."""
    rows = found[:PAGE]
    return rows, tuple(getattr(rows[-1], name) for name in key) if len(found) > PAGE else None


class Sessions(Contender):
    """An engine, and what makes sessions of it."""

    async def open(self, server: Server) -> None:
        self.engine = engine_on(server)
        self.session = async_sessionmaker(self.engine, expire_on_commit=False)

    async def close(self) -> None:
        await self.engine.dispose()


class Orm(Sessions):
    """What a session does by itself."""

    async def read(self, statement: Any) -> Sequence[Any]:
        """Give the objects that a statement selects."""
        async with self.session() as session:
            return (await session.scalars(statement)).all()

    async def write(self, statement: Any, values: Any = None) -> Sequence[Any]:
        """Give the objects that a statement changed."""
        async with self.session.begin() as session:
            return (await session.scalars(statement, values, execution_options=NULLS_TOO)).all()

    async def get(self, id: int) -> GroupRow | None:
        async with self.session() as session:
            return await session.get(GroupRow, id)

    async def get_scoped(self, id: int, domain: str) -> GroupRow:
        [found] = await self.read(select(GroupRow).where(GroupRow.id == id, GroupRow.domain_name == domain))
        return found

    async def find(self, domain: str, name: str) -> GroupRow:
        [found] = await self.read(select(GroupRow).where(GroupRow.domain_name == domain, GroupRow.name == name))
        return found

    async def page(self, domain: str, after: Any) -> PageOf:
        return await self.filtered(domain, {}, after)

    async def filtered(self, domain: str, search: Search, after: Any) -> PageOf:
        statement = select(GroupRow).where(*conditions_of(GroupRow, domain, search))
        if after is not None:
            statement = statement.where(GroupRow.id > after[0])
        return page_of(await self.read(statement.order_by(GroupRow.id).limit(PAGE + 1)), "id")

    async def offset(self, domain: str, search: Search, offset: int) -> PageOf:
        statement = select(GroupRow).where(*conditions_of(GroupRow, domain, search)).order_by(GroupRow.id)
        return page_of(await self.read(statement.limit(PAGE + 1).offset(offset)), "id")

    async def count(self, domain: str, search: Search) -> int:
        statement = select(func.count()).select_from(GroupRow).where(*conditions_of(GroupRow, domain, search))
        [found] = await self.read(statement)
        return int(found)

    async def create(self, values: Values) -> GroupRow:
        row = GroupRow(**dict(zip(GIVEN, values, strict=True)))
        async with self.session.begin() as session:
            session.add(row)
        return row

    async def update(self, change: Change) -> GroupRow:
        async with self.session.begin() as session:
            row = await session.get_one(GroupRow, change.id)
            row.weight, row.description = change.weight, change.description
        return row

    async def upsert(self, values: Values) -> GroupRow:
        [row] = await self.batch_upsert([values])
        return row

    async def delete(self, id: int) -> GroupRow:
        async with self.session.begin() as session:
            [row] = await session.scalars(select(GroupRow).where(GroupRow.id == id, GroupRow.deleted_at.is_(None)))
            row.deleted_at = datetime.now(UTC)
        return row

    async def purge(self, id: int) -> GroupRow:
        async with self.session.begin() as session:
            row = await session.get_one(GroupRow, id)
            await session.delete(row)
        return row

    async def batch_get(self, ids: Sequence[int]) -> list[GroupRow]:
        found = {row.id: row for row in await self.read(select(GroupRow).where(GroupRow.id.in_(ids)))}
        return [found[id_] for id_ in ids]

    async def batch_create(self, rows: Sequence[Values]) -> Sequence[NumberedRow]:
        statement = insert(NumberedRow).returning(NumberedRow, sort_by_parameter_order=True)
        return await self.write(statement, dicts(rows))

    async def batch_create_known(self, rows: Sequence[tuple[Any, ...]]) -> list[PlainRow]:
        made = [PlainRow(**values) for values in dicts(rows, COLUMNS)]
        async with self.session.begin() as session:
            session.add_all(made)
        return made

    async def load(self, rows: Sequence[tuple[Any, ...]]) -> None:
        async with self.session.begin() as session:
            await session.execute(insert(PlainRow), dicts(rows, COLUMNS), execution_options=NULLS_TOO)

    async def batch_update(self, ids: Sequence[int], weight: int) -> Sequence[NumberedRow]:
        statement = update(NumberedRow).where(NumberedRow.id.in_(ids)).values(weight=weight)
        return await self.write(statement.returning(NumberedRow))

    async def batch_update_each(self, changes: Sequence[Change]) -> list[NumberedRow]:
        ids = [change.id for change in changes]
        async with self.session.begin() as session:
            found = await session.scalars(select(NumberedRow).where(NumberedRow.id.in_(ids)))
            rows = {row.id: row for row in found}
            for change in changes:
                rows[change.id].weight, rows[change.id].description = change.weight, change.description
        return [rows[id_] for id_ in ids]

    async def batch_upsert(self, rows: Sequence[Values]) -> Sequence[GroupRow]:
        return await self.write(upserting(GroupRow).returning(GroupRow), dicts(rows))

    async def batch_delete(self, ids: Sequence[int]) -> Sequence[NumberedRow]:
        statement = update(NumberedRow).where(NumberedRow.id.in_(ids), NumberedRow.deleted_at.is_(None))
        return await self.write(statement.values(deleted_at=func.now()).returning(NumberedRow))

    async def batch_purge(self, ids: Sequence[int]) -> Sequence[NumberedRow]:
        return await self.write(delete(NumberedRow).where(NumberedRow.id.in_(ids)).returning(NumberedRow))

    async def events(self, after: Any) -> PageOf:
        statement = select(EventRow).order_by(EventRow.weight, EventRow.id).limit(PAGE + 1)
        if after is not None:
            statement = statement.where(tuple_(EventRow.weight, EventRow.id) > after)
        return page_of(await self.read(statement), "weight", "id")

    async def stream(self, last: int) -> AsyncIterator[EventRow]:
        statement = select(EventRow).where(EventRow.id <= last).order_by(EventRow.id)
        async with self.session() as session:
            async for row in await session.stream_scalars(statement, execution_options={"yield_per": 1000}):
                yield row
