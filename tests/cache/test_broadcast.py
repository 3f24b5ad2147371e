"""What is written in one process ends the entries in another: here each knows of its own caches only."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from pooler import pooler
from rowsmith import Database, InvalidValue, MappingError, OptionalState, UnfitPooler, touched
from rowsmith.cache import Broadcast, MemoryCacheSource
from rowsmith.cache.broadcast import LONGEST, MOST_IDS
from rowsmith.testing import FaultProxy, WithTables, kill_backend, tables
from support import count_statements
from tenants import DomainRow, OwnedBy, ThingData, ThingPatch, ThingRepository, ThingRow
from verbs import spec

SECRET = "shared by all processes"  # noqa: S105
SEVEN = ThingPatch(uses=OptionalState.update(7))


class OtherRepository(ThingRepository):
    scope_required = False


@pytest.fixture
async def db(with_tables: WithTables) -> AsyncIterator[Database]:
    async with with_tables(DomainRow, ThingRow) as made:
        things = ThingRepository(made)
        await things.batch_create([spec(id) for id in (1, 2, 3)], scope=OwnedBy("a"))
        yield made


def writer(db: Database, secret: str = SECRET) -> ThingRepository:
    """Give this process's repository, whose cache need not listen for others to be told."""
    broadcast = Broadcast(db, secret=secret)
    return ThingRepository(db, cache_source=MemoryCacheSource(ThingData, broadcast=broadcast))


@asynccontextmanager
async def other_process(db: Database, url: Any = None) -> AsyncIterator[OtherRepository]:
    """Give the repository of another process, whose cache listens."""
    own = Database.from_url(url or db.engine.url)
    async with Broadcast(own, secret=SECRET, heartbeat=60) as broadcast:
        with mock.patch.dict(touched.KEEPERS, clear=True):  # of this one's writes nobody tells it here
            others = OtherRepository(own, cache_source=MemoryCacheSource(ThingData, broadcast=broadcast))
        yield others
    await own.dispose()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what another task is about to do."""
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def warm(things: Any) -> MemoryCacheSource[int, ThingData]:
    """Have all rows in a cache."""
    await things.batch_get([1, 2, 3])
    cache: MemoryCacheSource[int, ThingData] = things.cache_source
    assert len(cache) == 3
    return cache


async def ids_in(cache: MemoryCacheSource[int, ThingData]) -> set[int]:
    return set(await cache.get_many([1, 2, 3]))


async def in_a_unit(things: ThingRepository) -> None:
    async with things.db.unit_of_work():
        await things.update(1, SEVEN, scope=OwnedBy("a"))


async def by_a_flush(things: ThingRepository) -> None:
    async with things.db.begin_session() as session:
        (await session.get_one(ThingRow, 1)).uses = 7


async def in_a_borrowed_session(things: ThingRepository) -> None:
    async with AsyncSession(things.db.engine) as session:
        own = ThingRepository(Database.from_session(session))
        await own.update(1, SEVEN, scope=OwnedBy("a"))
        await session.commit()


async def by_hand(things: ThingRepository) -> None:
    async with things.db.engine.begin() as connection:
        await connection.execute(sa.update(ThingRow).where(ThingRow.id == 1).values(uses=7))
    await things.invalidate([1])


async def in_a_part_of_a_transaction(things: ThingRepository) -> None:
    async with (
        things.db.engine.begin() as connection,
        AsyncSession(connection, join_transaction_mode="rollback_only") as session,
    ):
        await ThingRepository(Database.from_session(session)).update(1, SEVEN, scope=OwnedBy("a"))
        await session.commit()


@pytest.mark.parametrize(
    "write",
    [
        lambda things: things.update(1, SEVEN, scope=OwnedBy("a")),
        lambda things: things.batch_update([1], SEVEN, scope=OwnedBy("a")),
        in_a_unit,
        by_a_flush,
        in_a_borrowed_session,
        in_a_part_of_a_transaction,
        by_hand,
    ],
    ids=["update", "batch_update", "unit", "flush", "from_session", "outer transaction", "invalidate"],
)
async def test_a_write_ends_the_entry_in_another_process(db: Database, write: Callable[[Any], Any]) -> None:
    """The row is read anew there, and those beside it are kept."""
    things = writer(db)
    async with other_process(db) as others:
        cache = await warm(others)
        await write(things)
        await until(lambda: len(cache) < 3)
        assert await ids_in(cache) == {2, 3}
        assert (await others.get(1)).uses == 7


async def test_many_and_unknown_rows_end_all_entries(db: Database) -> None:
    """A condition says nothing of ids."""
    things = writer(db)
    async with other_process(db) as others:
        cache = await warm(others)
        await things.update_where([ThingRow.id == 1], SEVEN, scope=OwnedBy("a"))
        await until(lambda: len(cache) == 0)


async def test_nothing_is_told_of_what_is_undone(db: Database) -> None:
    """Neither of a transaction nor of a savepoint that is rolled back; and what is told quotes no key."""
    things, told = writer(db), list[str]()
    pooled = await db.engine.raw_connection()
    driver: Any = pooled.driver_connection
    await driver.add_listener("rowsmith", lambda *given: told.append(given[-1]))
    with pytest.raises(RuntimeError):
        async with db.unit_of_work():
            await things.update(1, SEVEN, scope=OwnedBy("a"))
            raise RuntimeError
    async with db.unit_of_work():
        with pytest.raises(RuntimeError):
            async with db.unit_of_work():
                await things.update(2, SEVEN, scope=OwnedBy("a"))
                raise RuntimeError
        await things.update(3, SEVEN, scope=OwnedBy("a"))
        await driver.fetchval("SELECT 1")
        assert told == []
    await until(lambda: bool(told))
    digest = things.cache_source.broadcast.digest(3)  # type: ignore[union-attr]
    assert [payload.split("\n")[0::2] for payload in told] == [["things", digest]]
    pooled.detach()
    driver.terminate()


@pytest.mark.parametrize("payload", ["things", "", "things\nx y z\n3", "things\nanybody anything"])
async def test_sql_of_ones_own_may_tell(db: Database, payload: str) -> None:
    """A table's name means all of its rows, and so does whatever else is not plainly ours."""
    async with other_process(db) as others:
        cache = await warm(others)
        async with db.engine.begin() as connection:
            await connection.execute(sa.select(sa.func.pg_notify("rowsmith", "members")))
            await connection.execute(sa.select(sa.func.pg_notify("rowsmith", payload)))
        await until(lambda: len(cache) == 0)


class Hearer:
    """Notes that it was told of something."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    def forget(self, digests: object) -> None:
        self.told.set()


async def test_what_is_told_by_itself_ends_nothing(db: Database) -> None:
    """Its caches knew of it at once, and have the row as it is by the time that they hear of it."""
    own, later = OwnedBy("a"), Hearer()
    async with Broadcast(db, secret=SECRET, heartbeat=60) as broadcast:
        broadcast.add("elsewhere", later)
        things = ThingRepository(db, cache_source=MemoryCacheSource(ThingData, broadcast=broadcast))
        await things.update(1, SEVEN, scope=own)
        await things.get(1, own)
        async with db.engine.begin() as connection:
            await connection.execute(sa.text("SELECT pg_notify('rowsmith', 'elsewhere')"))
        async with asyncio.timeout(60):
            await later.told.wait()
        with count_statements(db) as sent:
            assert (await things.get(1, own)).uses == 7
        assert sent == []


async def test_another_tables_rows_end_nothing(db: Database) -> None:
    """Notifications come in their order: what ends an entry comes after what must not."""
    async with other_process(db) as others:
        cache = await warm(others)
        word = others.cache_source.broadcast.digest(1)  # type: ignore[union-attr]
        mark = next(iter(others.cache_source.broadcast.payloads("things", None))).split()[-1]  # type: ignore[union-attr]
        async with db.engine.begin() as connection:
            for payload in ("members", f"things\nx {mark}\n{word}"):
                await connection.execute(sa.select(sa.func.pg_notify("rowsmith", payload)))
        await until(lambda: len(cache) < 3)
        assert await ids_in(cache) == {2, 3}


async def test_another_secret_ends_all_entries(db: Database) -> None:
    """Its digests mean nothing here."""
    things = writer(db, SECRET[::-1])
    async with other_process(db) as others:
        cache = await warm(others)
        await things.update(1, SEVEN, scope=OwnedBy("a"))
        await until(lambda: len(cache) == 0)


async def test_while_its_connection_is_lost_nothing_is_kept(db: Database) -> None:
    """All is dropped and nothing taken until it listens again, and then it hears."""
    things = writer(db)
    async with FaultProxy(db.engine.url) as proxy, other_process(db, proxy.url) as others:
        cache = await warm(others)
        broadcast: Any = cache.broadcast
        await proxy.refuse()
        await others.db.dispose()  # whose idle connections it could listen on at once
        await kill_backend(db, broadcast._driver.get_server_pid())
        await until(lambda: not broadcast.is_listening)
        assert len(cache) == 0
        assert await cache.lease([1]) == {}
        await proxy.accept()
        await until(lambda: broadcast.is_listening)
        await warm(others)
        await things.update(1, SEVEN, scope=OwnedBy("a"))
        await until(lambda: len(cache) == 2)


async def test_it_listens_again_whatever_keeps_it_from_that(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    """What an application does to new connections may fail as it likes; the log says since when nothing is kept."""
    own, failures = Database.from_url(db.engine.url), [RuntimeError("secret")]

    def fail(*_: object) -> None:
        if refusing and failures:
            raise failures.pop()

    refusing = False
    sa.event.listen(own.engine.sync_engine, "do_connect", fail)
    async with Broadcast(own, secret=SECRET, heartbeat=60) as broadcast:
        refusing = True
        broadcast._driver.terminate()
        await until(lambda: not failures and broadcast.is_listening)
    await own.dispose()
    (lost,) = [record for record in caplog.records if record.name == "rowsmith.cache"]
    assert lost.levelno == logging.WARNING
    assert "secret" not in caplog.text


async def test_processes_that_were_forked_hear_each_other(db: Database) -> None:
    """A broadcast that was made before the fork is another one's in each of them."""
    made = Broadcast(db, secret=SECRET)
    forked = copy.copy(made)
    forked._lost = asyncio.Event()
    async with made, forked:
        assert list(made.payloads("things", [1])) != list(forked.payloads("things", [1]))


async def test_a_write_elsewhere_tells_nobody(db: Database, sqlite_database: Database) -> None:
    """Rows of the same classes in another database are written as ever: nobody there could be told."""
    things = writer(db)
    async with tables(sqlite_database, DomainRow, ThingRow):
        elsewhere = ThingRepository(sqlite_database)
        await elsewhere.create(spec(1), scope=OwnedBy("a"))
        assert (await elsewhere.update(1, SEVEN, scope=OwnedBy("a"))).uses == 7
        await elsewhere.invalidate([1])
    assert things.cache_source is not None


async def test_a_connection_that_is_silent_is_found_dead(db: Database) -> None:
    """Nobody says that the network is gone; the heartbeat does."""
    async with FaultProxy(db.engine.url) as proxy:
        own = Database.from_url(proxy.url)
        async with Broadcast(own, secret=SECRET, heartbeat=0.05) as broadcast:
            await until(lambda: broadcast.is_listening)
            proxy.freeze()
            await until(lambda: not broadcast.is_listening)
            proxy.thaw()
            await until(lambda: broadcast.is_listening)
        await own.dispose()


async def test_a_cache_whose_broadcast_does_not_listen_keeps_nothing(db: Database) -> None:
    """Before its block and after it; rows are read all the same."""
    broadcast = Broadcast(db, secret=SECRET)
    things = ThingRepository(db, cache_source=MemoryCacheSource(ThingData, broadcast=broadcast))
    cache: Any = things.cache_source
    for _ in range(2):
        assert (await things.get(1, OwnedBy("a"))).id == 1
        assert len(cache) == 0
        async with broadcast:
            await things.get(1, OwnedBy("a"))
            assert len(cache) == 1
            assert (await things.get(1, OwnedBy("a"))).id == 1
        assert len(cache) == 0


async def test_behind_a_pooler_it_is_refused(db: Database) -> None:
    """Told of or not; those who write may go through it."""
    with pooler(db.engine.url) as url:
        behind = Database.from_url(url, pooler=True)
        untold = Database.from_url(url)
        for each in (behind, untold):
            with pytest.raises(UnfitPooler, match="server's URL"):
                async with Broadcast(each, secret=SECRET):
                    pass
        broadcast = Broadcast(db, secret=SECRET)
        things = ThingRepository(behind, cache_source=MemoryCacheSource(ThingData, broadcast=broadcast))
        async with other_process(db) as others:
            cache = await warm(others)
            await things.update(1, SEVEN, scope=OwnedBy("a"))
            await until(lambda: len(cache) == 2)
        await behind.dispose()
        await untold.dispose()


def test_notifications_are_as_short_as_postgresql_takes_them(database: Database) -> None:
    """Many keys go in pieces, too many as all."""
    broadcast = Broadcast(database, secret=SECRET)
    pieces = list(broadcast.payloads("t" * 63, [f"key {n}" for n in range(MOST_IDS)]))
    assert max(map(len, pieces)) < LONGEST
    words = [word for piece in pieces for word in piece.split("\n")[2].split()]
    assert len(set(words)) == MOST_IDS
    assert [piece.count("\n") for piece in broadcast.payloads("things", range(MOST_IDS + 1))] == [1]
    assert list(broadcast.payloads("things", [])) == []


async def test_digests_are_forgotten_with_their_rows(db: Database) -> None:
    """A cache of few rows does not know the digests of many."""
    async with Broadcast(db, secret=SECRET) as broadcast:
        cache = MemoryCacheSource[int, ThingData](ThingData, max_entries=2, broadcast=broadcast)
        for id in range(50):
            await cache.set_many({}, await cache.lease([id]))
        assert len(cache._by_digest) <= 10


@pytest.mark.parametrize(
    "options",
    [
        {"secret": ""},
        {"secret": 5},
        {"secret": SECRET, "channel": ""},
        {"secret": SECRET, "channel": "c" * 64},
        {"secret": SECRET, "heartbeat": 0},
    ],
)
def test_arguments(database: Database, options: dict[str, Any]) -> None:
    """What is none is refused when it is made."""
    with pytest.raises(InvalidValue):
        Broadcast(database, **options)


def test_a_broadcast_is_of_the_rows_own_database(database: Database, sqlite_database: Database) -> None:
    """PostgreSQL tells within one database, and SQLite tells nobody."""
    with pytest.raises(MappingError, match="PostgreSQL"):
        Broadcast(sqlite_database, secret=SECRET)
    with pytest.raises(MappingError, match=r"not Database: write broadcast=Broadcast\(db"):
        MemoryCacheSource(ThingData, broadcast=database)  # type: ignore[arg-type]
    elsewhere = Database.from_url(database.engine.url.set(database="elsewhere"))
    for db, broadcast in ((database, elsewhere), (sqlite_database, database)):
        cache = MemoryCacheSource(ThingData, broadcast=Broadcast(broadcast, secret=SECRET))
        with pytest.raises(MappingError, match="another database"):
            ThingRepository(db, cache_source=cache)
