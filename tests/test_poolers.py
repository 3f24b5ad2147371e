"""Behind PgBouncer, with fewer connections than callers; ``nox -s poolers`` has whole rooms of tests go through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from pooler import pooler
from rowsmith import (
    CommitOutcomeUnknown,
    Database,
    DatabaseUnavailable,
    EntityNotFound,
    MappingError,
    OptionalState,
    UnfitPooler,
)
from rowsmith.execution import pool
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import Does
from rowsmith.testing.faults import FaultProxy
from tenants import DomainRow, OwnedBy, ThingPatch, ThingRepository, ThingRow
from verbs import VERBS, outcome, spec, stored, world_of

SERVERS = 2
CALLERS = 4


@pytest.fixture(scope="module")
def behind(rowsmith_url: URL) -> Iterator[URL]:
    """Give the tests' database behind a pooler whose clients share two connections, one transaction each."""
    with pooler(rowsmith_url, connections=SERVERS) as url:
        yield url


@pytest.fixture
async def db(behind: URL, with_tables: WithTables) -> AsyncIterator[Database]:
    async with with_tables(DomainRow, ThingRow):
        made = Database.from_url(behind, pooler=True, pool_size=CALLERS, max_overflow=0)
        yield made
        await made.dispose()


@pytest.fixture
async def things(db: Database) -> ThingRepository:
    return ThingRepository(db)


async def fill(things: ThingRepository) -> None:
    """Have every verb find a row for a tenant of its own, and nothing else be there."""
    async with things.db.begin_session() as session:
        await session.execute(sa.delete(ThingRow))
        for id, (name, verb) in enumerate(VERBS.items()):
            if not verb.makes:
                await things.create(spec(id), scope=OwnedBy(f"tenant {id}"))
            if "restore" in name:
                await things.delete(id, scope=OwnedBy(f"tenant {id}"))


def calls(things: ThingRepository) -> list[Awaitable[str]]:
    """Have every verb called on its row."""
    world = world_of(things)
    return [outcome(verb.call(world, id, OwnedBy(f"tenant {id}"))) for id, verb in enumerate(VERBS.values())]


async def left(things: ThingRepository) -> dict[int, tuple[object, ...]]:
    """Give what is in the table, without when it was deleted."""
    at = list(ThingRow.__table__.columns.keys()).index("deleted_at")
    return {id: (*row[:at], row[at] is None, *row[at + 1 :]) for id, row in (await stored(things)).items()}


async def test_every_verb_goes_through_it_from_more_callers_than_connections(
    things: ThingRepository, database: Database
) -> None:
    """All at once, each on a row of its own, give what each gives alone and without a pooler."""
    direct = ThingRepository(database)
    await fill(direct)
    expected = [await call for call in calls(direct)], await left(direct)
    await fill(direct)
    assert (await asyncio.gather(*calls(things)), await left(direct)) == expected


@pytest.mark.of_the_native_lane
async def test_reads_take_the_native_lane_and_transactions_do_not(things: ThingRepository) -> None:
    """A write has to say in its transaction which server it is on, as the pooler may have moved; one alone has not."""
    await things.create(spec(1), scope=OwnedBy("a"))
    native = things.db.native
    assert native is not None
    await things.get(1, OwnedBy("a"))
    assert native.taken == 1
    assert native.opened(writes=True) is None
    with native.writes_as("statement"):
        assert native.opened(writes=True) is native


BLOCKS: dict[str, Callable[[Database], AbstractAsyncContextManager[object]]] = {
    "a session": lambda db: db.begin_session(),
    "a read-only session": lambda db: db.begin_readonly_session(),
    "a snapshot": lambda db: db.begin_readonly_session(snapshot=True),
    "a unit of work": lambda db: db.unit_of_work(),
}


@pytest.mark.of_the_native_lane
@pytest.mark.parametrize("name", BLOCKS)
async def test_reads_in_a_block_take_the_lane(things: ThingRepository, database: Database, name: str) -> None:
    """On the connection that the pooler gives the transaction, and give what they give without one."""
    world, direct = world_of(things), world_of(ThingRepository(database))
    await things.create(spec(1), scope=OwnedBy("a"))
    native = things.db.native
    assert native is not None
    for verb, read in VERBS.items():
        if read.does is Does.READ:
            expected, before = await outcome(read.call(direct, 1, OwnedBy("a"))), native.taken
            async with BLOCKS[name](things.db):
                for _ in range(2):
                    assert await outcome(read.call(world, 1, OwnedBy("a"))) == expected, verb
            assert native.taken == before + 2 * (verb not in ("aggregate", "stream"))


@pytest.mark.of_the_native_lane
@pytest.mark.parametrize("size", [1, SERVERS, CALLERS])
async def test_units_of_work_of_more_callers_than_connections(behind: URL, db: Database, size: int) -> None:
    """Each writes and reads in the lane, whichever connections its transactions have, and nobody else's rows."""
    small = Database.from_url(behind, pooler=True, pool_size=size, max_overflow=0)
    things = ThingRepository(small)
    native = small.native
    assert native is not None

    async def work(id: int) -> tuple[int, int]:
        mine = OwnedBy(f"tenant {id}")
        await things.create(spec(id), scope=mine)
        async with small.unit_of_work():
            before = (await things.get(id, mine)).uses
            await things.update(id, ThingPatch(uses=OptionalState.update(id + 10)), scope=mine)
            [seen] = await things.search(mine)
            async with small.unit_of_work():
                assert await things.count(mine) == 1
        return before, seen.uses

    callers = range(3 * CALLERS)
    assert await asyncio.gather(*map(work, callers)) == [(1, id + 10) for id in callers]
    assert native.taken == 4 * len(callers)
    assert small.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    await small.dispose()


async def test_nothing_is_reset_on_a_connection_that_is_somebody_elses(db: Database, behind: URL) -> None:
    """What other clients have set stays as it was, whoever gives a connection back meanwhile."""
    other = create_async_engine(behind, connect_args={"statement_cache_size": 0})
    async with other.connect() as connection:
        await connection.execute(sa.text("SET work_mem = '4321kB'"))
        await connection.commit()
        async with db.begin_session() as session:  # on one of the two servers; the next, on the other
            await session.execute(sa.text("SELECT 1"))
            async with db.engine.connect() as beside:
                seen = {(await each.execute(sa.text("SHOW work_mem"))).scalar() for each in (session, beside)}
        assert "4321kB" in seen
        for _ in range(SERVERS):
            async with db.begin_session() as session, db.engine.connect() as beside:
                again = {(await each.execute(sa.text("SHOW work_mem"))).scalar() for each in (session, beside)}
            assert again == seen
        await connection.execute(sa.text("RESET work_mem"))
        await connection.commit()
    await other.dispose()


async def test_types_are_looked_up_in_one_transaction(db: Database, behind: URL) -> None:
    """For that the JIT is switched off and on again: on the same connection, outside of a transaction too."""
    async with db.begin_session() as session:
        await session.execute(sa.text("CREATE TYPE pooled_mood AS ENUM ('fine', 'not')"))
    try:
        async with FaultProxy(behind) as proxy:
            own = Database.from_url(proxy.url, pooler=True)
            pooled = await own.engine.raw_connection()
            proxy.seen.clear()
            driver: Any = pooled.driver_connection
            assert await driver.fetchval("SELECT ARRAY['fine'::pooled_mood]") == ["fine"]
            marks = [word for said in proxy.seen for word in ("BEGIN", "'jit'", "COMMIT") if word in said]
            assert [mark for mark, before in zip(marks, [None, *marks], strict=False) if mark != before] == [
                *("BEGIN", "'jit'", "COMMIT")
            ]
            pooled.close()
            await own.dispose()
    finally:
        async with db.begin_session() as session:
            await session.execute(sa.text("DROP TYPE pooled_mood"))


async def test_a_lost_commit_is_resolved(db: Database, behind: URL) -> None:
    """The server is asked through the pooler; one that the pooler has moved to meanwhile is not believed."""
    async with FaultProxy(behind) as proxy:
        own = Database.from_url(proxy.url, pooler=True)
        proxy.drop_answer("COMMIT")
        async with own.begin_session() as session:
            await session.execute(sa.insert(DomainRow).values(name="b"))
        proxy.drop_request("COMMIT")
        with pytest.raises(DatabaseUnavailable):
            async with own.begin_session() as session:
                await session.execute(sa.insert(DomainRow).values(name="c"))
        await own.dispose()
    async with db.begin_readonly_session() as session:
        assert list((await session.execute(sa.select(DomainRow.name))).scalars()) == ["b"]


async def test_a_pooler_that_moved_to_another_server_is_noticed(
    db: Database, behind: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections stay, and the server's say in every transaction which they are of."""
    async with FaultProxy(behind) as proxy:
        own = Database.from_url(proxy.url, pooler=True)
        async with own.begin_session() as session:
            await session.execute(sa.select(1))
        async with own.begin_session() as first, own.begin_session() as session:
            await first.execute(sa.select(1))
            await session.execute(sa.insert(DomainRow).values(name="b"))
            proxy.drop_answer("COMMIT")
            moved = pool.IDENTITY.replace("(SELECT system_identifier", "'moved' || (SELECT system_identifier")
            monkeypatch.setattr("rowsmith.execution.committing.IDENTITY", moved)
            with pytest.raises(CommitOutcomeUnknown):
                await session.commit()
        await own.dispose()


async def in_session(untold: Database) -> object:
    """Ask for a row where SQLAlchemy does."""
    async with untold.begin_session() as session:
        return await session.get(ThingRow, 1)


async def on_the_native_lane(untold: Database) -> object:
    """Ask for a row without a session."""
    return await ThingRepository(untold).find(1, OwnedBy("a"))


@pytest.mark.parametrize("ask", [in_session, on_the_native_lane])
async def test_a_database_that_was_not_told_of_it_is(
    db: Database, behind: URL, ask: Callable[[Database], Awaitable[object]]
) -> None:
    """A statement that is not there where it was prepared says what to write; another client's is never run instead."""
    untold = Database.from_url(behind, pool_size=1, max_overflow=0)
    async with db.engine.connect() as one, db.engine.connect() as other:
        await one.execute(sa.select(1))
        await ask(untold)  # on the server that is left
        await other.execute(sa.select(1))
        await one.rollback()
        with pytest.raises(UnfitPooler, match="pooler=True"):
            await ask(untold)
    async with db.begin_session() as session, db.engine.connect() as beside:
        query = sa.text("SELECT name FROM pg_prepared_statements WHERE statement LIKE '%things%'")
        names = [name for each in (session, beside) for name in (await each.execute(query)).scalars()]
    assert names
    assert all(len(name) > 40 for name in names)
    await untold.dispose()


@pytest.mark.parametrize("told", [False, True])
async def test_a_pooler_without_transactions_is_refused_by_name(rowsmith_url: URL, told: bool) -> None:
    """Its error says which mode it has to have."""
    with pooler(rowsmith_url, mode="statement") as url:
        db = Database.from_url(url, pooler=told)
        with pytest.raises(UnfitPooler, match="pool_mode=transaction"):
            async with db.begin_session():
                pass
        with pytest.raises(UnfitPooler, match="pool_mode=transaction"):
            await ThingRepository(db).find(1)
        await db.dispose()


async def test_a_pooler_of_sessions_needs_nothing(rowsmith_url: URL, with_tables: WithTables) -> None:
    """Its connections are as good as the server's own, and statements keep their names."""
    with pooler(rowsmith_url, mode="session", connections=CALLERS) as url:
        async with with_tables(ThingRow):
            db = Database.from_url(url)
            things = ThingRepository(db)
            await things.create(spec(1), scope=OwnedBy("a"))
            assert (await things.get(1, OwnedBy("a"))).id == 1
            with pytest.raises(EntityNotFound):
                await things.get(1, OwnedBy("b"))
            await db.dispose()


async def test_an_engine_that_cannot_be_set_up_for_it_is_refused(rowsmith_url: URL) -> None:
    """SQLite has none, and a creator of the application's own would have to know."""
    with pytest.raises(MappingError, match="is for PostgreSQL"):
        Database.from_url("sqlite://", pooler=True)

    async def connect(*given: object, **options: object) -> object:
        plain: Any = asyncpg
        return await plain.connect(host=rowsmith_url.query["host"], user="postgres", database=rowsmith_url.database)

    db = Database.from_url(rowsmith_url, pooler=True, async_creator=connect)
    with pytest.raises(MappingError, match="creator of its own"):
        async with db.begin_session():
            pass
    await db.dispose()
