"""Upserting 10,000 rows by a unique key, half of which are there."""

from __future__ import annotations

from functools import partial

from benchmarks.common import Arena, Contender, Goal, benchmark
from benchmarks.groups import (
    NumberedCreate,
    NumberedData,
    NumberedRepository,
    empty_tables,
    make_tables,
    records,
)
from rowsmith import Upserted

UPSERT = """
INSERT INTO bench_numbered (domain_name, name, weight, description)
SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::text[])
ON CONFLICT (domain_name, name) DO UPDATE SET weight = excluded.weight, description = excluded.description
RETURNING id, domain_name, name, weight, description, created_at, xmax = 0
"""


@benchmark
async def batch_upsert(arena: Arena) -> None:
    await make_tables(arena)
    rows = [row[1:5] for row in records(arena.rows(10_000))]
    specs = [NumberedCreate(*row) for row in rows]
    groups = NumberedRepository(arena.db)

    async def before() -> None:
        await empty_tables(arena)
        await groups.load(specs[::2])

    async def hand() -> list[Upserted[NumberedData]]:
        async with arena.pool.acquire() as connection, connection.transaction():
            returned = await connection.fetch(UPSERT, *map(list, zip(*rows, strict=True)))
            return [Upserted(NumberedData(*row[:-1]), row[-1]) for row in map(tuple, returned)]

    contenders = [
        Contender("upsert by hand", hand, len(rows), before),
        Contender("rowsmith batch_upsert", partial(groups.batch_upsert, specs), len(rows), before),
    ]
    await arena.race("batch_upsert", contenders, [Goal("rowsmith batch_upsert", "upsert by hand", 0.8)])
