"""Changing and removing 10,000 rows by their ids, each way giving the same entities back in the order of the ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.common import Arena, Contender, Goal, benchmark
from benchmarks.groups import (
    NumberedCreate,
    NumberedData,
    NumberedRepository,
    NumberedRow,
    empty_tables,
    make_tables,
    records,
)
from rowsmith import BatchResult, OptionalState, Patch, TriState

TABLE = 100_000
BATCH = 10_000
BACK = "RETURNING id, domain_name, name, weight, description, created_at"

UPDATE_EACH = """
UPDATE bench_numbered AS g SET weight = u.weight, description = u.description
FROM unnest($1::bigint[], $2::int[], $3::text[]) AS u (id, weight, description) WHERE g.id = u.id
RETURNING g.id, g.domain_name, g.name, g.weight, g.description, g.created_at
"""
UPDATE = f"UPDATE bench_numbered SET weight = $2 WHERE id = ANY($1::bigint[]) {BACK}"
DELETE = f"DELETE FROM bench_numbered WHERE id = ANY($1::bigint[]) {BACK}"


class AlchemyRepository(SQLAlchemyAsyncRepository[NumberedRow]):
    model_type = NumberedRow


@dataclass(frozen=True)
class NumberedPatch(Patch[NumberedRow]):
    weight: OptionalState[int] = OptionalState.nop()
    description: TriState[str] = TriState.nop()


class Field:
    """A filled table, and which of its rows the next run is about: others each time, the same for everybody."""

    def __init__(self, arena: Arena) -> None:
        self.arena, self.random = arena, Random(1)  # noqa: S311 - the same rows in every run
        self.table, self.batch = arena.rows(TABLE), arena.rows(BATCH)
        self.ids: list[int] = []
        self.values: list[tuple[int, int, str]] = []

    async def fill(self) -> None:
        await make_tables(self.arena)
        await self.refill()

    async def refill(self) -> None:
        """Have the same rows with the same ids again, without the dead ones of the run before."""
        await empty_tables(self.arena)
        rows = (NumberedCreate(*row[1:5]) for row in records(self.table))
        await NumberedRepository(self.arena.db).load(rows)
        await self.arena.pool.execute("VACUUM ANALYZE bench_numbered")
        await self.choose()

    async def choose(self) -> None:
        """Take other rows."""
        self.ids = self.random.sample(range(1, self.table + 1), self.batch)
        self.values = [(id_, self.random.randrange(1000), f"note {id_}") for id_ in self.ids]

    async def by_hand(self, statement: str, *arguments: Sequence[Any] | int) -> BatchResult[NumberedData, int]:
        """Send a statement with RETURNING and sort what comes back by the ids, as a caller needs it."""
        async with self.arena.pool.acquire() as connection, connection.transaction():
            returned = await connection.fetch(statement, *arguments)
        found = {row[0]: NumberedData(*row) for row in returned}
        succeeded = [found[id_] for id_ in self.ids if id_ in found]
        return BatchResult(succeeded, [id_ for id_ in self.ids if id_ not in found])


@benchmark
async def batch_update_each(arena: Arena) -> None:
    field, groups = Field(arena), NumberedRepository(arena.db)
    await field.fill()

    async def hand() -> BatchResult[NumberedData, int]:
        return await field.by_hand(UPDATE_EACH, *map(list, zip(*field.values, strict=True)))

    async def rowsmith() -> BatchResult[NumberedData, int]:
        update, tri = OptionalState.update, TriState.update
        patches = {id_: NumberedPatch(update(weight), tri(text)) for id_, weight, text in field.values}
        return await groups.batch_update_each(patches)

    async def alchemy() -> Sequence[NumberedRow]:
        async with AsyncSession(arena.db.engine) as session, session.begin():
            repository = AlchemyRepository(session=session)
            changes = [{"id": id_, "weight": weight, "description": text} for id_, weight, text in field.values]
            return await repository.update_many([NumberedRow(**change) for change in changes])

    contenders = [
        Contender("unnest by hand", hand, field.batch, field.choose),
        Contender("rowsmith batch_update_each", rowsmith, field.batch, field.choose),
        Contender("advanced-alchemy update_many", alchemy, field.batch, field.choose),
    ]
    goals = [Goal("rowsmith batch_update_each", "unnest by hand", 0.8)]
    await arena.race("batch_update_each", contenders, goals)


@benchmark
async def batch_update(arena: Arena) -> None:
    field, groups = Field(arena), NumberedRepository(arena.db)
    await field.fill()

    async def rowsmith() -> BatchResult[NumberedData, int]:
        return await groups.batch_update(field.ids, NumberedPatch(OptionalState.update(7)))

    async def hand() -> BatchResult[NumberedData, int]:
        return await field.by_hand(UPDATE, field.ids, 7)

    contenders = [
        Contender("= ANY by hand", hand, field.batch, field.choose),
        Contender("rowsmith batch_update", rowsmith, field.batch, field.choose),
    ]
    await arena.race("batch_update", contenders, [Goal("rowsmith batch_update", "= ANY by hand", 0.8)])


@benchmark
async def batch_purge(arena: Arena) -> None:
    field, groups = Field(arena), NumberedRepository(arena.db)
    await field.fill()

    async def rowsmith() -> BatchResult[NumberedData, int]:
        return await groups.batch_purge(field.ids)

    async def alchemy() -> Sequence[NumberedRow]:
        async with AsyncSession(arena.db.engine) as session, session.begin():
            return await AlchemyRepository(session=session).delete_many(field.ids)

    contenders = [
        Contender("DELETE = ANY by hand", partial(_purge_by_hand, field), field.batch, field.refill),
        Contender("rowsmith batch_purge", rowsmith, field.batch, field.refill),
        Contender("advanced-alchemy delete_many", alchemy, field.batch, field.refill),
    ]
    await arena.race("batch_purge", contenders, [Goal("rowsmith batch_purge", "DELETE = ANY by hand", 0.9)])


async def _purge_by_hand(field: Field) -> BatchResult[NumberedData, int]:
    return await field.by_hand(DELETE, field.ids)
