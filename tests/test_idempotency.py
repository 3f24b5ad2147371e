"""The table that idempotency keys are kept in: how it is made, and emptied."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa

from rowsmith import Database, IdempotencyMismatch, InvalidValue, TransactionError
from rowsmith.idempotency import TABLE, IdempotencyKeyRow, add_to, create, ddl, purge
from rowsmith.testing import WithTables
from tenants import OwnedBy, ThingRepository, ThingRow
from verbs import spec

A = OwnedBy("a")
WEEK = dt.timedelta(days=7)


def columns(connection: sa.Connection) -> Any:
    inspector = sa.inspect(connection)
    return [
        [(column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(TABLE.name)],
        inspector.get_pk_constraint(TABLE.name)["constrained_columns"],
        [(index["name"], index["column_names"]) for index in inspector.get_indexes(TABLE.name)],
    ]


async def test_the_table_is_made_in_three_ways(any_database: Database) -> None:
    """By a call, which may be made again; by the statements for a migration; within a team's own metadata."""
    engine, found = any_database.engine, []
    own = sa.MetaData()
    assert add_to(own).metadata is own
    for way in ("call", "statements", "metadata"):
        if way == "call":
            await create(any_database)
            await create(any_database)
        async with engine.begin() as connection:
            for statement in ddl(engine.dialect) if way == "statements" else ():
                await connection.execute(sa.text(statement))
            if way == "metadata":
                await connection.run_sync(own.create_all)
            found.append(await connection.run_sync(columns))
            await connection.execute(sa.schema.DropTable(TABLE))
    assert found == [found[0]] * 3
    assert found[0][1] == ["key"]


async def test_the_table_is_made_once_by_all_who_make_it_at_once(any_database: Database) -> None:
    """Processes that start together: one makes it, and the others find it."""
    others = [Database.from_url(any_database.engine.url) for _ in range(4)]
    for _ in range(2):
        await asyncio.gather(*map(create, others))
        async with any_database.engine.begin() as connection:
            assert (await connection.run_sync(columns))[1] == ["key"]
            await connection.execute(sa.schema.DropTable(TABLE))
    for each in others:
        await each.dispose()


def test_the_statements_are_postgresqls_by_default() -> None:
    """A migration is written before anybody has a connection."""
    assert "TIMESTAMP WITH TIME ZONE DEFAULT now()" in ddl()[0]


async def test_keys_are_forgotten_by_their_age(any_tables: WithTables) -> None:
    """What is young stays, and a key that is forgotten may be used anew."""
    async with any_tables(ThingRow, IdempotencyKeyRow) as db:
        things = ThingRepository(db)
        for id in range(3):
            await things.create(spec(id), scope=A, idempotency_key=f"{id}")
        assert await purge(db, older_than=WEEK) == 0
        async with db.begin_session() as session:
            old = dt.datetime.now(dt.UTC) - dt.timedelta(days=8)
            young = sa.select(sa.func.max(IdempotencyKeyRow.key)).scalar_subquery()
            await session.execute(
                sa.update(IdempotencyKeyRow).where(IdempotencyKeyRow.key != young).values(created_at=old)
            )
        assert await purge(db, older_than=WEEK) == 2
        told = 0
        for id in range(3):
            try:
                await things.create(spec(id + 10), scope=A, idempotency_key=f"{id}")
            except IdempotencyMismatch:
                told += 1
        assert told == 1


async def test_what_cannot_be_purged_is_told(database: Database) -> None:
    """No length of time, one that lies ahead, and a transaction that chunks would break up."""
    wrongs = {7: "not int", None: "not NoneType", -WEEK: "is negative", dt.timedelta(days=800000): "before the year 1"}
    for wrong, words in wrongs.items():
        with pytest.raises(InvalidValue, match=rf"{words}.*: write timedelta\(days=7\)"):
            await purge(database, older_than=wrong)  # type: ignore[arg-type]
    with pytest.raises(TransactionError, match=r"idempotency\.purge.*: call it outside$"):
        async with database.unit_of_work():
            await purge(database, older_than=WEEK)
