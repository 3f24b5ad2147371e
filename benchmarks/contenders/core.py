"""SQLAlchemy Core: statements of tables, no session, records made into data."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Executable, bindparam, delete, func, insert, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert

from benchmarks.contenders.by_hand import in_order, page_of
from benchmarks.contenders.contender import Contender, PageOf, Search, Values
from benchmarks.contenders.models import EventRow, GroupRow, NumberedRow, PlainRow, engine_on
from benchmarks.data import COLUMNS, GIVEN, PAGE, Change, Group, Server

GROUPS, NUMBERED, PLAIN, EVENTS = (row.__table__ for row in (GroupRow, NumberedRow, PlainRow, EventRow))


def conditions_of(table: Any, domain: str, search: Search) -> list[ColumnElement[bool]]:
    """Give the conditions of a client's search; ``table`` has its columns as attributes."""
    made = [table.domain_name == domain]
    for name, operators in search.items():
        column = getattr(table, name)
        for operator, operand in operators.items():
            if operator == "contains":
                made.append(column.contains(operand, autoescape=True))
            elif operator == "gte":
                made.append(column >= operand)
            else:
                made.append(column.is_(None) if operand else column.is_not(None))
    return made


def upserting(into: Any) -> Any:
    """Give the statement that inserts groups, by their table or mapped class, or changes those that are there."""
    statement = upsert(into)
    excluded = {name: statement.excluded[name] for name in ("weight", "description")}
    return statement.on_conflict_do_update(index_elements=["domain_name", "name"], set_=excluded)


def dicts(rows: Iterable[Sequence[Any]], names: Sequence[str] = GIVEN) -> list[dict[str, Any]]:
    """Name the values of rows."""
    return [dict(zip(names, row, strict=True)) for row in rows]


class Core(Contender):
    """An engine."""

    async def open(self, server: Server) -> None:
        self.engine = engine_on(server)

    async def close(self) -> None:
        await self.engine.dispose()

    async def read(self, statement: Executable) -> Sequence[Any]:
        """Send a statement that reads."""
        async with self.engine.connect() as connection:
            return (await connection.execute(statement)).all()

    async def write(self, statement: Executable, values: Any = None) -> Sequence[Any]:
        """Send a statement that writes, and commit."""
        async with self.engine.begin() as connection:
            return (await connection.execute(statement, values)).all()

    async def get(self, id: int) -> Group:
        [record] = await self.read(select(GROUPS).where(GROUPS.c.id == id))
        return Group(*record)

    async def get_scoped(self, id: int, domain: str) -> Group:
        [record] = await self.read(select(GROUPS).where(GROUPS.c.id == id, GROUPS.c.domain_name == domain))
        return Group(*record)

    async def find(self, domain: str, name: str) -> Group:
        [record] = await self.read(select(GROUPS).where(GROUPS.c.domain_name == domain, GROUPS.c.name == name))
        return Group(*record)

    async def page(self, domain: str, after: Any) -> PageOf:
        return await self.filtered(domain, {}, after)

    async def filtered(self, domain: str, search: Search, after: Any) -> PageOf:
        statement = select(GROUPS).where(*conditions_of(GROUPS.c, domain, search))
        if after is not None:
            statement = statement.where(GROUPS.c.id > after[0])
        return page_of(await self.read(statement.order_by(GROUPS.c.id).limit(PAGE + 1)), "id")

    async def offset(self, domain: str, search: Search, offset: int) -> PageOf:
        statement = select(GROUPS).where(*conditions_of(GROUPS.c, domain, search)).order_by(GROUPS.c.id)
        return page_of(await self.read(statement.limit(PAGE + 1).offset(offset)), "id")

    async def count(self, domain: str, search: Search) -> int:
        statement = select(func.count()).select_from(GROUPS).where(*conditions_of(GROUPS.c, domain, search))
        [[found]] = await self.read(statement)
        return int(found)

    async def create(self, values: Values) -> Group:
        made = dict(zip(GIVEN, values, strict=True))
        [record] = await self.write(insert(GROUPS).values(made).returning(*GROUPS.c))
        return Group(*record)

    async def update(self, change: Change) -> Group:
        statement = update(GROUPS).where(GROUPS.c.id == change.id)
        statement = statement.values(weight=change.weight, description=change.description)
        [record] = await self.write(statement.returning(*GROUPS.c))
        return Group(*record)

    async def upsert(self, values: Values) -> Group:
        [record] = await self.write(upserting(GROUPS).returning(*GROUPS.c), dicts([values]))
        return Group(*record)

    async def delete(self, id: int) -> Group:
        statement = update(GROUPS).where(GROUPS.c.id == id, GROUPS.c.deleted_at.is_(None))
        [record] = await self.write(statement.values(deleted_at=func.now()).returning(*GROUPS.c))
        return Group(*record)

    async def purge(self, id: int) -> Group:
        [record] = await self.write(delete(GROUPS).where(GROUPS.c.id == id).returning(*GROUPS.c))
        return Group(*record)

    async def batch_get(self, ids: Sequence[int]) -> list[Group]:
        return in_order(await self.read(select(GROUPS).where(GROUPS.c.id.in_(ids))), ids)

    async def batch_create(self, rows: Sequence[Values]) -> list[Group]:
        statement = insert(NUMBERED).returning(*NUMBERED.c, sort_by_parameter_order=True)
        return [Group(*record) for record in await self.write(statement, dicts(rows))]

    async def batch_create_known(self, rows: Sequence[tuple[Any, ...]]) -> list[Group]:
        await self.load(rows)
        return [Group(*row) for row in rows]

    async def load(self, rows: Sequence[tuple[Any, ...]]) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(insert(PLAIN), dicts(rows, COLUMNS))

    async def batch_update(self, ids: Sequence[int], weight: int) -> list[Group]:
        statement = update(NUMBERED).where(NUMBERED.c.id.in_(ids)).values(weight=weight)
        return in_order(await self.write(statement.returning(*NUMBERED.c)), ids)

    async def batch_update_each(self, changes: Sequence[Change]) -> list[Group]:
        statement = update(NUMBERED).where(NUMBERED.c.id == bindparam("key"))
        statement = statement.values(weight=bindparam("weight"), description=bindparam("description"))
        values = [{"key": c.id, "weight": c.weight, "description": c.description} for c in changes]
        ids = [change.id for change in changes]
        async with self.engine.begin() as connection:
            await connection.execute(statement, values)
            changed = await connection.execute(select(NUMBERED).where(NUMBERED.c.id.in_(ids)))
            return in_order(changed, ids)

    async def batch_upsert(self, rows: Sequence[Values]) -> list[Group]:
        return [Group(*record) for record in await self.write(upserting(GROUPS).returning(*GROUPS.c), dicts(rows))]

    async def batch_delete(self, ids: Sequence[int]) -> list[Group]:
        statement = update(NUMBERED).where(NUMBERED.c.id.in_(ids), NUMBERED.c.deleted_at.is_(None))
        return in_order(await self.write(statement.values(deleted_at=func.now()).returning(*NUMBERED.c)), ids)

    async def batch_purge(self, ids: Sequence[int]) -> list[Group]:
        return in_order(await self.write(delete(NUMBERED).where(NUMBERED.c.id.in_(ids)).returning(*NUMBERED.c)), ids)

    async def events(self, after: Any) -> PageOf:
        statement = select(EVENTS).order_by(EVENTS.c.weight, EVENTS.c.id).limit(PAGE + 1)
        if after is not None:
            statement = statement.where(tuple_(EVENTS.c.weight, EVENTS.c.id) > after)
        return page_of(await self.read(statement), "weight", "id")

    async def stream(self, last: int) -> AsyncIterator[Group]:
        statement = select(EVENTS).where(EVENTS.c.id <= last).order_by(EVENTS.c.id)
        async with self.engine.connect() as connection:
            async for record in await connection.stream(statement, execution_options={"yield_per": 1000}):
                yield Group(*record)
