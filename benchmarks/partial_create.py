"""Creating 2,000 rows of which 10 are bad, each for itself, beside creating 2,000 good ones together."""

from __future__ import annotations

from functools import partial

from benchmarks.common import Arena, Contender, Goal, benchmark
from benchmarks.groups import NumberedCreate, NumberedRepository, empty_tables, make_tables, records

TAKEN = NumberedCreate("domain-0", "taken", 0, None)


@benchmark
async def partial_create(arena: Arena) -> None:
    await make_tables(arena)
    good = [NumberedCreate(*row[1:5]) for row in records(arena.rows(2_000))]
    mixed = list(good)
    for place in range(0, len(good), max(len(good) // 10, 1)):
        mixed[place] = TAKEN
    groups = NumberedRepository(arena.db)

    async def before() -> None:
        await empty_tables(arena)
        await groups.create(TAKEN)

    contenders = [
        Contender("atomic, all good", partial(groups.batch_create, good), len(good), before),
        Contender("partial, all good", partial(groups.batch_create_partial, good), len(good), before),
        Contender("partial, 10 bad", partial(groups.batch_create_partial, mixed), len(good), before),
    ]
    await arena.race("batch_create_partial", contenders, [Goal("partial, 10 bad", "atomic, all good", 1 / 3)])
