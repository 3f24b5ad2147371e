"""Creating 100,000 rows: all known beforehand (COPY), and with ids and times of the server's (arrays)."""

from __future__ import annotations

from functools import partial
from typing import Any

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import insert

from benchmarks.common import Arena, Contender, Goal, benchmark
from benchmarks.groups import (
    COLUMNS,
    GroupCreate,
    GroupData,
    GroupRepository,
    GroupRow,
    NumberedCreate,
    NumberedData,
    NumberedRepository,
    empty_tables,
    make_tables,
    records,
)

UNNEST = """
INSERT INTO bench_numbered (domain_name, name, weight, description)
SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::text[])
RETURNING id, domain_name, name, weight, description, created_at
"""


class Advanced(SQLAlchemyAsyncRepository[GroupRow]):
    model_type = GroupRow


@benchmark
async def batch_create(arena: Arena) -> None:
    await make_tables(arena)
    rows = list(records(arena.rows(100_000)))
    specs = [GroupCreate(*row) for row in rows]
    groups, before = GroupRepository(arena.db), partial(empty_tables, arena)

    async def hand() -> None:
        async with arena.pool.acquire() as connection, connection.transaction():
            await connection.copy_records_to_table("bench_groups", records=rows, columns=COLUMNS)

    async def hand_with_data() -> list[GroupData]:
        await hand()
        return [GroupData(*row) for row in rows]

    async def core() -> None:
        async with arena.db.begin_session() as session:
            await session.execute(insert(GroupRow.__table__), [dict(zip(COLUMNS, row, strict=True)) for row in rows])

    async def advanced(some: list[tuple[Any, ...]]) -> None:
        async with arena.db.begin_session() as session:
            made = [GroupRow(**dict(zip(COLUMNS, row, strict=True))) for row in some]
            await Advanced(session=session).add_many(made)

    few = rows[: len(rows) // 5]  # it would take minutes otherwise
    contenders = [
        Contender("COPY by hand", hand, len(rows), before),
        Contender("COPY by hand, data made", hand_with_data, len(rows), before),
        Contender("rowsmith batch_create", partial(groups.batch_create, specs), len(rows), before),
        Contender("rowsmith load", partial(groups.load, specs), len(rows), before),
        Contender("SQLAlchemy Core", core, len(rows), before),
        Contender("advanced-alchemy add_many", partial(advanced, few), len(few), before),
    ]
    goal = Goal("rowsmith batch_create", "COPY by hand", 0.85)
    await arena.race("batch_create, everything known", contenders, [goal])


@benchmark
async def batch_create_returning(arena: Arena) -> None:
    await make_tables(arena)
    rows = [row[1:5] for row in records(arena.rows(100_000))]
    specs = [NumberedCreate(*row) for row in rows]
    groups, before = NumberedRepository(arena.db), partial(empty_tables, arena)

    async def hand() -> list[NumberedData]:
        async with arena.pool.acquire() as connection, connection.transaction():
            returned = await connection.fetch(UNNEST, *map(list, zip(*rows, strict=True)))
            return [NumberedData(*row) for row in returned]

    contenders = [
        Contender("unnest by hand", hand, len(rows), before),
        Contender("rowsmith batch_create", partial(groups.batch_create, specs), len(rows), before),
    ]
    await arena.race("batch_create, ids and times by the server", contenders)
