"""Overlapping batches in shuffled order: they queue up for each other, and none is the victim of a deadlock."""

from __future__ import annotations

import asyncio
import os
from random import Random

import pytest
import sqlalchemy as sa

from rowsmith import OptionalState
from rowsmith.testing import WithTables
from tenants import OwnedBy, ThingCreate, ThingPatch, ThingRepository, ThingRow

BATCHES = int(os.environ.get("ROWSMITH_DEADLOCK_BATCHES", "400"))
"""How many batches are sent in all; the full number is 10,000."""

TASKS, ROWS, LARGEST = 8, 300, 60
TENANT = OwnedBy("a")
USED = ThingPatch(uses=OptionalState.expression(lambda: ThingRow.uses + 1))
MARKED = ThingPatch(name=OptionalState.expression(lambda: ThingRow.name + "'"))


class Worker:
    """Sends batches over random rows in random order, and counts how often it has counted a row up."""

    def __init__(self, things: ThingRepository, seed: int) -> None:
        self.things, self.random, self.counted = things, Random(seed), 0

    async def send(self, batches: int) -> None:
        for _ in range(batches):
            ids = self.random.sample(range(ROWS), self.random.randint(2, LARGEST))
            await self.random.choice([self._update, self._each, self._where, self._rename, self._delete])(ids)

    async def _update(self, ids: list[int]) -> None:
        self.counted += len((await self.things.batch_update(ids, USED, scope=TENANT)).succeeded)

    async def _each(self, ids: list[int]) -> None:
        result = await self.things.batch_update_each(dict.fromkeys(ids, USED), scope=TENANT)
        self.counted += len(result.succeeded)

    async def _where(self, ids: list[int]) -> None:
        self.counted += await self.things.update_where([ThingRow.id.in_(ids)], USED, scope=TENANT)

    async def _rename(self, ids: list[int]) -> None:
        """A unique column changes too: PostgreSQL locks such rows harder."""
        await self.things.batch_update(ids, MARKED, scope=TENANT)

    async def _delete(self, ids: list[int]) -> None:
        """Rows that others delete meanwhile are missing here, and come back by whoever marked them."""
        deleted = await self.things.batch_delete(ids, scope=TENANT)
        mine = [data.id for data in deleted.succeeded]
        self.random.shuffle(mine)
        assert (await self.things.batch_restore(mine, scope=TENANT)).missing == []


async def test_overlapping_batches_never_deadlock(with_tables: WithTables) -> None:
    """Eight tasks, every verb that locks rows; no count is lost either."""
    async with with_tables(ThingRow) as db:
        things = ThingRepository(db)
        await things.batch_create([ThingCreate(id_, f"name {id_}", 0, None) for id_ in range(ROWS)], scope=TENANT)
        workers = [Worker(things, seed) for seed in range(TASKS)]
        await asyncio.gather(*(worker.send(BATCHES // TASKS) for worker in workers))
        async with db.engine.connect() as connection:
            total = await connection.scalar(sa.select(sa.func.sum(ThingRow.uses)))
        assert total == sum(worker.counted for worker in workers)


async def test_shuffled_purges_never_deadlock(with_tables: WithTables) -> None:
    """Each row is removed by exactly one of eight overlapping purges."""
    async with with_tables(ThingRow) as db:
        things = ThingRepository(db)
        for round_ in range(max(BATCHES // 200, 1)):
            await things.batch_create([ThingCreate(id_, f"name {id_}", 0, None) for id_ in range(ROWS)], scope=TENANT)
            orders = [Random(seed + round_).sample(range(ROWS), ROWS) for seed in range(TASKS)]
            results = await asyncio.gather(*(things.batch_purge(ids, scope=TENANT) for ids in orders))
            assert sorted(data.id for result in results for data in result.succeeded) == list(range(ROWS))
            assert all(len(result.succeeded) + len(result.missing) == ROWS for result in results)


@pytest.mark.parametrize("verb", ["batch_update", "batch_purge"])
async def test_a_batch_beside_single_writes(with_tables: WithTables, verb: str) -> None:
    """Units of work that hold one row each make a batch wait, never fail."""
    async with with_tables(ThingRow) as db:
        things = ThingRepository(db)
        await things.batch_create([ThingCreate(id_, f"name {id_}", 0, None) for id_ in range(ROWS)], scope=TENANT)

        async def single(id_: int) -> None:
            async with db.unit_of_work():
                await things.update(id_, USED, scope=TENANT)
                await asyncio.sleep(0.01)

        ids = Random(1).sample(range(ROWS), ROWS)
        is_update = verb == "batch_update"
        call = things.batch_update(ids, USED, scope=TENANT) if is_update else things.batch_purge(ids, scope=TENANT)
        singles = [asyncio.create_task(single(id_)) for id_ in range(4)]
        await asyncio.sleep(0.005)
        assert (await call).missing == []
        await asyncio.gather(*singles, return_exceptions=not is_update)
