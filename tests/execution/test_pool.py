"""What a pool hands out works, and whoever waits for a connection is told as soon as there is something to tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager

import pytest
import sqlalchemy as sa
from asyncpg import InternalClientError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from rowsmith import CommitOutcome, Database, DatabaseFault, DatabaseUnavailable, ReadOnlyViolation, commit_outcome
from rowsmith.cache import Broadcast
from rowsmith.embedded import EmbeddedPostgres
from rowsmith.execution import pool
from rowsmith.testing import FaultProxy, WithFaults, WithTables, kill_backend, tables
from support import until
from tenants import DomainRow, OwnedBy, ThingRepository, ThingRow
from verbs import spec

PID = sa.text("SELECT pg_backend_pid()")
SETUP = r"pg_backend_pid\(\), "
"""What a new connection is asked first."""


@pytest.fixture
async def db(with_tables: WithTables) -> AsyncIterator[Database]:
    async with with_tables(DomainRow) as made:
        own = Database.from_url(made.engine.url, pool_size=5, max_overflow=0)
        yield own
        await own.dispose()


async def pid(db: Database) -> int:
    async with db.begin_session() as session:
        return int((await session.execute(PID)).scalar_one())


async def warm(db: Database, connections: int = 5) -> set[int]:
    """Have the pool full of connections, and give their backends."""
    barrier = asyncio.Barrier(connections)

    async def hold() -> int:
        async with db.begin_session() as session:
            await barrier.wait()
            return int((await session.execute(PID)).scalar_one())

    return set(await asyncio.gather(*(hold() for _ in range(connections))))


async def test_connections_that_died_while_idle_are_not_handed_out(db: Database, database: Database) -> None:
    """Five dead ones: every next call succeeds, and no round trip was made to find out."""
    dead = await warm(db)
    for backend in dead:
        await kill_backend(database, backend)
    assert not await warm(db) & dead


async def test_what_is_being_closed_is_waited_for(db: Database) -> None:
    """Of a connection that was given up nothing is left to do once its database is disposed of."""
    before = asyncio.all_tasks()
    async with db.engine.connect() as connection:
        await connection.invalidate()
    assert asyncio.all_tasks() > before
    await db.dispose()
    assert asyncio.all_tasks() == before


async def test_a_live_connection_is_taken_again(db: Database) -> None:
    """What is alive stays: the same backend answers again."""
    first = await pid(db)
    assert [await pid(db) for _ in range(3)] == [first] * 3


async def test_those_who_wait_are_woken_when_connecting_fails(with_faults: WithFaults) -> None:
    """A hundred readers of a pool of two, the server away: all are told by themselves, none waits out the pool."""
    async with with_faults(DomainRow, pool_size=2, max_overflow=0, pool_timeout=3600) as (db, proxy):
        await proxy.refuse()
        told = await asyncio.gather(*(pid(db) for _ in range(100)), return_exceptions=True)
        assert {type(one) for one in told} == {DatabaseUnavailable}
        await proxy.accept()
        assert await pid(db)


async def test_a_cancelled_task_goes_on_at_once_and_its_statement_ends(with_faults: WithFaults) -> None:
    """With the network frozen nothing is waited for; with it alive the server is told, and its locks are free."""
    async with with_faults(DomainRow) as (db, proxy):
        await asyncio.wait_for(_cancelled(db, proxy, frozen=False), 60)
        await asyncio.wait_for(_cancelled(db, proxy, frozen=True), 60)


async def test_a_statement_ends_that_had_not_begun_when_it_was_cancelled(
    with_faults: WithFaults, database: Database
) -> None:
    """The server takes no notice of a cancellation that overtakes its statement, and so is told again."""

    async def is_over() -> bool:
        async with database.begin_readonly_session() as session:
            return not (await session.execute(sa.text(_SLEEPERS))).all()

    async with with_faults(DomainRow) as (db, proxy):
        proxy.delay("pg_sleep", 0.5)
        task = asyncio.create_task(_sleep(db))
        await until(lambda: asyncio.sleep(0, any("pg_sleep" in statement for statement in proxy.seen)))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(until(is_over), 60)


async def _sleep(db: Database) -> None:
    async with db.begin_session() as session:
        await session.execute(sa.text("SELECT pg_advisory_xact_lock(7), pg_sleep(3600)"))


async def _cancelled(db: Database, proxy: FaultProxy, *, frozen: bool) -> None:
    order: list[str] = []

    async def sleep() -> None:
        try:
            await _sleep(db)
        finally:
            order.append("left")

    task = asyncio.create_task(sleep())
    while not any("pg_sleep" in statement for statement in proxy.seen):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    proxy.seen.clear()
    await asyncio.sleep(0.1)
    if frozen:
        proxy.freeze()
    task.cancel()
    later = asyncio.get_running_loop().call_later(1.5, order.append, "polite close would be waiting still")
    with pytest.raises(asyncio.CancelledError):
        await task
    later.cancel()
    assert order == ["left"]
    proxy.thaw()
    async with db.begin_session() as session:  # would wait an hour
        if frozen:  # nobody told the server
            await session.execute(sa.text(_END_SLEEPERS))
        await session.execute(sa.text("SELECT pg_advisory_xact_lock(7)"))


_SLEEPERS = """
SELECT pid FROM pg_stat_activity
WHERE query LIKE '%pg_sleep%' AND datname = current_database() AND pid <> pg_backend_pid()
"""
_END_SLEEPERS = f"SELECT pg_terminate_backend(pid, 60000) FROM ({_SLEEPERS}) sleepers"


async def _is_read_only(door: AsyncEngine, wanted: str) -> bool:
    """Say whether a connection that is new finds the setting: those that are there have been told of it by then."""
    async with door.connect() as connection:
        return await connection.scalar(sa.text("SHOW default_transaction_read_only")) == wanted


@asynccontextmanager
async def demoted(database: Database) -> AsyncIterator[None]:
    """Have the server take no writes from anybody for a while, connections that are there included."""
    door = create_async_engine(database.engine.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    try:
        async with door.connect() as connection:
            await connection.execute(sa.text("SET default_transaction_read_only = off"))
            await connection.execute(sa.text("ALTER SYSTEM SET default_transaction_read_only = on"))
            await connection.execute(sa.text("SELECT pg_reload_conf()"))
            await until(lambda: _is_read_only(door, "on"))
            yield
    finally:
        async with door.connect() as connection:
            await connection.execute(sa.text("SET default_transaction_read_only = off"))
            await connection.execute(sa.text("ALTER SYSTEM RESET default_transaction_read_only"))
            await connection.execute(sa.text("SELECT pg_reload_conf()"))
            await until(lambda: _is_read_only(door, "off"))
        await door.dispose()


@pytest.mark.parametrize("many", [False, True], ids=["one row", "by COPY"])
async def test_a_demoted_server_is_left_for_the_next(with_faults: WithFaults, database: Database, many: bool) -> None:
    """Behind one address: the first write that it refuses gives all its connections up, and is made on the other."""
    async with with_faults(ThingRow, pool_size=3, max_overflow=0) as (db, proxy), EmbeddedPostgres() as promoted:
        url = promoted.create_database(database.engine.url.database or "")
        new = Database.from_url(url)
        async with tables(new, ThingRow):
            await warm(db, 3)
            async with demoted(database):
                proxy.redirect(url)
                things = ThingRepository(db)
                if many:
                    await things.batch_create([spec(id) for id in range(1, 4)], scope=OwnedBy("a"))
                else:
                    await things.create(spec(1), scope=OwnedBy("a"))
                assert await ThingRepository(new).count(OwnedBy("a")) == (3 if many else 1)
                for _ in range(4):  # whichever connection: none to the old server is left
                    assert await things.count(OwnedBy("a")) == (3 if many else 1)
        await new.dispose()


async def test_a_write_in_a_read_only_session_gives_no_connection_up(db: Database) -> None:
    """The server is the same, and so is the connection: it is the session that is wrong."""
    first = await pid(db)
    with pytest.raises(ReadOnlyViolation) as caught:
        async with db.begin_readonly_session() as session:
            await session.execute(sa.insert(DomainRow).values(name="a"))
    assert not caught.value.is_demoted
    assert await pid(db) == first


@contextmanager
def hung_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have asyncpg tell of the server's last word to a connection that is being set up as it does."""

    async def told(_: object) -> object:
        raise InternalClientError("cannot switch to state 12; another operation (2) is in progress")

    with monkeypatch.context() as patch:
        patch.setattr(pool, "_who", told)
        yield


async def _find(db: Database) -> None:
    await ThingRepository(db, resilience=None).find(1, OwnedBy("a"))


async def _stream(db: Database) -> None:
    async with aclosing(ThingRepository(db, resilience=None).stream(OwnedBy("a"))) as things:
        async for _ in things:
            pass


async def _create(db: Database) -> None:
    await ThingRepository(db, resilience=None).create(spec(1), scope=OwnedBy("a"))


async def _work(db: Database) -> None:
    async with db.begin_session() as session:
        await session.execute(PID)


async def _look(db: Database) -> None:
    async with db.begin_readonly_session() as session:
        await session.execute(PID)


async def _within(db: Database) -> None:
    async with AsyncSession(db.engine) as session:
        await ThingRepository(Database.from_session(session), resilience=None).find(1, OwnedBy("a"))


async def _hear(db: Database) -> None:
    async with Broadcast(db, secret="s" * 32):
        pass


WAYS = [_find, _stream, _create, _work, _look, _within, _hear]


@pytest.mark.parametrize("way", WAYS)
async def test_a_connection_lost_while_it_is_set_up_was_not_made(
    with_faults: WithFaults, monkeypatch: pytest.MonkeyPatch, way: Callable[[Database], Awaitable[None]]
) -> None:
    """Before its first answer, after it, or told by a last word of the server's: nothing was sent, and is undone."""
    async with with_faults(ThingRow, pool_size=1, max_overflow=0) as (db, proxy):
        for fault in (proxy.drop_request, proxy.drop_answer):
            fault(SETUP)
            await _is_undone(way(db))
        with hung_up(monkeypatch):
            await _is_undone(way(db))
        await way(db)


async def _is_undone(doing: Awaitable[None]) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        await doing
    assert commit_outcome(caught.value) is CommitOutcome.NOT_COMMITTED


async def test_what_was_lost_while_it_was_set_up_is_tried_again(with_faults: WithFaults) -> None:
    """By the policies that a repository has by itself, reads and writes alike."""
    async with with_faults(ThingRow, pool_size=1, max_overflow=0) as (db, proxy):
        proxy.drop_request(SETUP)
        assert await ThingRepository(db).find(1, OwnedBy("a")) is None
        await db.engine.dispose()
        proxy.drop_answer(SETUP)
        assert await ThingRepository(db).create(spec(1), scope=OwnedBy("a"))


async def test_what_the_server_answers_while_a_connection_is_set_up_is_told_as_it_is(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal is none of the network's, and keeps its SQLSTATE."""
    monkeypatch.setattr(pool, "_PROCESS", "no_such_function()")
    with pytest.raises(DatabaseFault) as caught:
        await _work(db)
    assert caught.value.facts.sqlstate == "42883"
