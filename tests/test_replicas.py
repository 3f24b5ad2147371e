"""Reads go to a replica that has all that this process has written; everything else goes to the primary."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from rowsmith import (
    CommitOutcome,
    Database,
    DatabaseUnavailable,
    DeadlineExceeded,
    InvalidValue,
    Lag,
    MappingError,
    ReadOnlyViolation,
    TransactionError,
    commit_outcome,
    replicas,
    watched,
)
from rowsmith.cache import MemoryCacheSource
from rowsmith.testing import FaultProxy, tables
from rowsmith.testing.contract.verbs import Does
from standby import Pair, served
from support import until
from tenants import OwnedBy, ThingData, ThingRepository, ThingRow
from verbs import VERBS, World, outcome, read, world_of

A = OwnedBy("a")


@pytest.fixture(scope="module", params=["native", "sqlalchemy"])
async def db(pair: Pair, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """A Database of both servers, with the things on it."""
    made = pair.database(native=request.param == "native")
    async with tables(made, ThingRow):
        yield made
    await made.dispose()


@pytest.fixture
async def world(db: Database, pair: Pair) -> World:
    made = world_of(ThingRepository(db))
    await made.refill()
    await pair.caught_up()
    return made


READS = [name for name, verb in VERBS.items() if verb.does is Does.READ]
OTHERS = [name for name in VERBS if name not in READS]


async def test_every_read_goes_to_the_replica(world: World) -> None:
    """Outside of sessions none of them takes a connection of the primary's pool, whichever lane it goes."""
    db = world.things.db
    for name in READS:
        with served(db) as taken:
            await VERBS[name].call(world, 1, A)
        assert set(taken) == {"replica"}, name
    lane = db.replicas.servers[0].native
    assert lane is None or lane.taken >= len(READS) - 3  # a stream and what is worked out by the database are no part


async def test_a_read_only_session_is_the_replicas(world: World, pair: Pair) -> None:
    """A snapshot, too; calls inside join it, and see nothing else."""
    db = world.things.db
    for snapshot in (False, True):
        with served(db) as taken:
            async with db.begin_readonly_session(snapshot=snapshot) as session:
                assert (await session.execute(sa.text("SELECT pg_is_in_recovery()"))).scalar_one()
                await world.things.get(1, A)
        assert taken == ["replica"]


@pytest.mark.parametrize("snapshot", [False, True])
async def test_every_read_in_a_read_only_session_is_the_replicas(world: World, snapshot: bool) -> None:
    """It gives what the primary gives, and who stands in for the driver of the replica's engine sees it."""
    db = world.things.db
    direct, sent = replace(world, things=ThingRepository(db.replicas.primary)), list[str]()

    def note(cursor: object, statement: str, *rest: object) -> None:
        sent.append(statement)

    engine = db.replicas.servers[0].engine.sync_engine
    event.listen(engine, "do_execute", note)
    try:
        for name in READS:
            expected = await outcome(VERBS[name].call(direct, 1, A))
            sent.clear()
            with served(db) as taken:
                async with db.begin_readonly_session(snapshot=snapshot):
                    assert await outcome(VERBS[name].call(world, 1, A)) == expected, name
            assert any("things" in statement for statement in sent), name
            assert set(taken) == {"replica"}, name
    finally:
        event.remove(engine, "do_execute", note)


@pytest.mark.of_the_native_lane
@pytest.mark.parametrize("db", ["native"], indirect=True)
@pytest.mark.parametrize("snapshot", [False, True])
async def test_reads_in_a_read_only_session_take_the_lane_of_its_server(world: World, snapshot: bool) -> None:
    """The replica's own; and in a unit of work the primary's."""
    db = world.things.db
    primary, replica = db.native, db.replicas.servers[0].native
    assert primary is not None
    assert replica is not None
    for opened, lane in ((lambda: db.begin_readonly_session(snapshot=snapshot), replica), (db.unit_of_work, primary)):
        before, refused = lane.taken, replica.refused.total() + primary.refused.total()
        async with opened():
            assert (await world.things.get(1, A)).id == 1
        assert lane.taken == before + 1
        assert replica.refused.total() + primary.refused.total() == refused


async def test_a_write_in_it_gives_no_connection_up(world: World) -> None:
    """That a replica takes no writes does not mean that it was demoted."""
    db = world.things.db

    async def backend() -> int:
        async with db.begin_readonly_session() as session:
            return int((await session.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one())

    first = await backend()
    with pytest.raises(ReadOnlyViolation) as caught:
        async with db.begin_readonly_session() as session:
            await session.execute(sa.delete(ThingRow))
    assert not caught.value.is_demoted
    assert await backend() == first


async def test_no_write_goes_there(world: World) -> None:
    """Every verb that writes is the primary's, the statements it reads by among it."""
    ids = {Does.MAKE: 9, Does.PUT: 9, Does.UNMARK: 4}
    before = await world.stored()
    for name in OTHERS:
        with served(world.things.db) as taken:
            await VERBS[name].call(world, ids.get(VERBS[name].does, 1), A)
        assert set(taken) == {"primary"}, name
        await world.reset(before)


async def test_what_is_read_in_a_transaction_is_the_primarys(world: World) -> None:
    """Sessions and units of work have one server."""
    db = world.things.db
    with served(db) as taken:
        async with db.begin_session():
            await world.things.get(1, A)
        async with db.unit_of_work():
            await read(world.things.stream(A))
            async with db.begin_readonly_session():
                await world.things.count(A)
    assert set(taken) == {"primary"}


async def by_a_verb(world: World) -> None:
    await world.things.update(1, world.patch, scope=A)


async def by_a_statement(world: World) -> None:
    with world.things.db.writes_as("statement"):
        await by_a_verb(world)


async def by_many(world: World) -> None:
    await world.things.batch_update([1], world.patch, scope=A)


async def by_chunks(world: World) -> None:
    await world.things.purge_where([ThingRow.id == 2], scope=A, chunk_size=1)
    await by_a_verb(world)


async def by_a_unit(world: World) -> None:
    async with world.things.db.unit_of_work():
        await by_a_verb(world)


async def by_a_session(world: World) -> None:
    async with world.things.db.begin_session() as session:
        await session.execute(UPDATE)


async def by_a_commit_inside(world: World) -> None:
    async with world.things.db.begin_session() as session:
        await session.execute(UPDATE)
        await session.commit()


async def by_the_engine(world: World) -> None:
    async with world.things.db.engine.begin() as connection:
        await connection.execute(UPDATE)


async def by_autocommit(world: World) -> None:
    async with world.things.db.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(UPDATE)


async def by_somebody_elses_session(world: World) -> None:
    async with AsyncSession(world.things.db.engine) as session:
        await ThingRepository(Database.from_session(session)).update(1, world.patch, scope=A)
        await session.commit()


async def by_two_phases(world: World) -> None:
    async with AsyncSession(world.things.db.engine, twophase=True) as session:
        await session.execute(UPDATE)
        await session.commit()


async def by_the_driver(world: World) -> None:
    pooled = await world.things.db.engine.raw_connection()
    driver: Any = pooled.driver_connection
    await driver.execute("UPDATE things SET uses = 7 WHERE id = 1")
    pooled.close()


async def by_other_tasks(world: World) -> None:
    await asyncio.gather(by_a_verb(world))


async def by_another_database(world: World) -> None:
    await ThingRepository(Database(world.things.db.engine)).update(1, world.patch, scope=A)


UPDATE = sa.update(ThingRow).values(uses=7).where(ThingRow.id == 1)
WAYS = [
    by_a_verb,
    by_a_statement,
    by_many,
    by_chunks,
    by_a_unit,
    by_a_session,
    by_a_commit_inside,
    by_the_engine,
    by_autocommit,
    by_somebody_elses_session,
    by_two_phases,
    by_the_driver,
    by_other_tasks,
    by_another_database,
]


@pytest.mark.parametrize("way", WAYS)
async def test_a_read_sees_what_the_process_wrote(
    world: World, pair: Pair, way: Callable[[World], Awaitable[None]]
) -> None:
    """The replica stays behind, and is passed over for as long; then it is read from again."""
    db = world.things.db
    assert (await world.things.get(1, A)).uses == 1
    async with pair.held_up():
        await way(world)
        with served(db) as taken:
            assert (await world.things.get(1, A)).uses == 7
            assert [one.uses for one in await read(world.things.stream(A, [ThingRow.id == 1]))] == [7]
            async with db.begin_readonly_session() as session:
                assert (await session.execute(sa.select(ThingRow.uses).where(ThingRow.id == 1))).scalar_one() == 7
        assert set(taken) == {"primary"}
    await pair.caught_up()
    await asyncio.sleep(0.02)  # it is not asked all the time
    with served(db) as taken:
        await world.things.get(1, A)
    assert taken == ["replica"]


async def test_others_writes_come_when_they_come(world: World, pair: Pair) -> None:
    """What this process has not written does not keep it from the replica."""
    other = Database.from_url(pair.primary.url())
    await world.things.get(1, A)
    async with pair.held_up():
        await ThingRepository(other).update(1, world.patch, scope=A)
        assert (await world.things.get(1, A)).uses == 1
    await other.dispose()


async def test_a_token_carries_a_position_to_another_process(world: World, pair: Pair) -> None:
    """Reads inside of the block see what was committed when it was given, in whatever task; those outside need not."""
    other = Database.from_url(pair.primary.url())
    db = world.things.db
    async with pair.held_up():
        async with db.reading_from(await db.position()):
            assert (await world.things.get(1, A)).uses == 1
        await ThingRepository(other).update(1, world.patch, scope=A)
        token = await other.position()
        async with db.reading_from(token):
            assert (await world.things.get(1, A)).uses == 7
            assert (await asyncio.create_task(world.things.get(1, A))).uses == 7
            async with db.reading_from("/0/0"):
                assert (await world.things.get(1, A)).uses == 7
        assert (await world.things.get(1, A)).uses == 1
    await pair.caught_up()
    await asyncio.sleep(replicas.PAUSE)  # it is not asked all the time
    with served(db) as taken:
        async with db.reading_from(token):
            await world.things.get(1, A)
    assert taken == ["replica"]
    await other.dispose()


async def test_a_position_is_the_primarys(world: World, pair: Pair) -> None:
    """Inside of a read-only session, too, which may be a replica's."""
    other = Database.from_url(pair.primary.url())
    db = world.things.db
    async with pair.held_up():
        async with db.begin_readonly_session():
            await ThingRepository(other).update(1, world.patch, scope=A)
            token = await db.position()
        async with db.reading_from(token):
            assert (await world.things.get(1, A)).uses == 7
    await other.dispose()


async def test_a_read_waits_for_a_replica_where_that_is_asked(world: World, pair: Pair) -> None:
    """It is told when the replica has caught up, and not before; nothing else waits meanwhile."""
    db = pair.database(lag=Lag(wait=300))
    things = ThingRepository(db)
    async with pair.held_up():
        await things.update(1, world.patch, scope=A)
        with served(db) as taken:
            reading = asyncio.create_task(things.get(1, A))
            await asyncio.wait((reading,), timeout=0.1)
            assert not reading.done()
            await pair.go_on()
            assert (await reading).uses == 7
    assert taken == ["replica"]
    await db.dispose()


async def test_and_no_longer_than_that(world: World, pair: Pair) -> None:
    """After the bound the primary answers."""
    db = pair.database(lag=Lag(wait=0.05))
    things = ThingRepository(db)
    async with pair.held_up():
        await things.update(1, world.patch, scope=A)
        with served(db) as taken:
            assert (await things.get(1, A)).uses == 7
    assert taken == ["primary"]
    await db.dispose()


async def test_a_replica_that_lacks_something_for_too_long_is_left(world: World, pair: Pair) -> None:
    """Others write on; as it is not known for how long a new one has lacked what it lacks, it is not read from yet."""
    db, other = pair.database(lag=Lag(most=0.05)), Database.from_url(pair.primary.url())
    fresh = pair.database()
    things = ThingRepository(db)

    async def is_seen() -> bool:
        return (await things.get(1, A)).uses == 7

    async with pair.held_up():
        assert not await is_seen()
        await ThingRepository(other).update(1, world.patch, scope=A)
        await until(is_seen)
        assert (await ThingRepository(fresh).get(1, A)).uses == 7
    for each in (db, other, fresh):
        await each.dispose()


async def test_a_cache_is_filled_from_the_primary(world: World, pair: Pair) -> None:
    """Another process has written, and had the entry dropped: the replica would give it back as it was."""
    other = Database.from_url(pair.primary.url())
    cache = MemoryCacheSource(ThingData, ttl=3600.0)
    things = ThingRepository(world.things.db, cache_source=cache)
    assert (await things.get(1, A)).uses == 1
    await world.things.get(1, A)  # so that the replica is known to have all that this process has written
    async with pair.held_up():
        await ThingRepository(other).batch_update([1, 2], world.patch, scope=A)
        await cache.invalidate([1, 2])
        assert [one.uses for one in await things.batch_get([2], scope=A)] == [7]
        assert (await things.get(1, A)).uses == 7
        assert (await world.things.get(1, A)).uses == 1
    await other.dispose()


async def test_what_a_replica_cannot_answer_the_primary_does(world: World, pair: Pair) -> None:
    """A table that is not there yet, or is not logged; the application's own verbs, too."""
    things = world.things

    async def spare(db_sess: AsyncSession) -> Any:
        return (await db_sess.execute(sa.text("SELECT spare FROM spare"))).scalar_one()

    await things.get(1, A)
    async with pair.held_up():
        async with pair.writer.connect() as connection:
            await connection.execute(sa.text("CREATE UNLOGGED TABLE spare AS SELECT 3 AS spare"))
        assert await things.db_source.read(spare) == 3
    await pair.caught_up()
    assert await things.db_source.read(spare) == 3
    async with pair.writer.connect() as connection:
        await connection.execute(sa.text("DROP TABLE spare"))


MAKE_MOOD = """
CREATE TYPE mood AS ENUM ('calm');
CREATE FUNCTION undone() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    IF pg_is_in_recovery() THEN RAISE EXCEPTION 'conflict with recovery' USING ERRCODE = 'deadlock_detected'; END IF;
    RETURN 3;
END $$
"""


async def test_it_answers_where_a_replica_lacks_a_label_or_breaks_a_deadlock(world: World, pair: Pair) -> None:
    """An enum's label that was added meanwhile is no value there, and what is replayed may wait for the read."""
    things, glad = world.things, sa.bindparam("glad", "glad", sa.Enum("calm", "glad", name="mood"))

    async def answer(db_sess: AsyncSession, expression: sa.ColumnElement[Any]) -> Any:
        return (await db_sess.execute(sa.select(expression))).scalar_one()

    async def streamed(db_sess: AsyncSession, expression: sa.ColumnElement[Any]) -> AsyncGenerator[list[Any], None]:
        yield [await answer(db_sess, expression)]

    async with pair.writer.connect() as connection:
        for command in MAKE_MOOD.split(";\n", 1):
            await connection.execute(sa.text(command))
    await pair.caught_up()
    await things.get(1, A)  # so that the replica is known to have all that this process has written
    async with pair.held_up():
        async with pair.writer.connect() as connection:
            await connection.execute(sa.text("ALTER TYPE mood ADD VALUE 'glad'"))
        for expression, expected in ((glad, "glad"), (sa.func.undone(), 3)):
            with served(things.db) as taken:
                assert await things.db_source.read(answer, expression) == expected
                assert await read(things.db_source.stream(streamed, expression)) == [expected]
            assert taken == ["replica", "primary"] * 2
    async with pair.writer.connect() as connection:
        for command in ("DROP FUNCTION undone()", "DROP TYPE mood"):
            await connection.execute(sa.text(command))


@pytest.fixture
async def behind_proxy(db: Database, world: World, pair: Pair) -> AsyncIterator[tuple[ThingRepository, FaultProxy]]:
    """The things, through a proxy in front of the replica; no policy calls again."""
    async with FaultProxy(pair.standby.url()) as proxy:
        own = Database.from_url(pair.primary.url(), replicas=[proxy.url], native=db.native is not None)
        yield ThingRepository(own, resilience=None), proxy
        await own.dispose()


async def test_a_replica_that_is_away_is_passed_over(
    behind_proxy: tuple[ThingRepository, FaultProxy], caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody meets an error; it is logged once, and read from again once it is back."""
    things, proxy = behind_proxy
    await things.get(1, A)
    caplog.set_level(logging.INFO, "rowsmith.replicas")
    await proxy.refuse()
    proxy.cut()
    with served(things.db) as taken:
        for _ in range(3):
            assert (await things.get(1, A)).uses == 1
            assert len(await read(things.stream(A))) == 2
            async with things.db.begin_readonly_session() as session:
                await session.execute(sa.text("SELECT 1"))
    assert taken[-8:] == ["primary"] * 8  # of the first read it is found out
    await proxy.accept()
    with served(things.db) as taken:
        while "replica" not in taken:
            await things.get(1, A)
            await asyncio.sleep(0.01)
    told = [record.getMessage() for record in caplog.records if record.name == "rowsmith.replicas"]
    assert [message.split(":")[0] for message in told] == [
        "replica 1 of 1 is passed over",
        "replica 1 of 1 is back",
    ]


async def test_a_read_that_it_dies_under_is_made_again(behind_proxy: tuple[ThingRepository, FaultProxy]) -> None:
    """On the primary, by itself."""
    things, proxy = behind_proxy
    await things.get(1, A)
    proxy.drop_request("FROM things")
    with served(things.db) as taken:
        assert (await things.get(1, A)).uses == 1
    assert taken == ["replica", "primary"]


async def test_it_is_made_of_all_that_the_first_was(behind_proxy: tuple[ThingRepository, FaultProxy]) -> None:
    """What can be read only once, and was there, is given again."""
    things, proxy = behind_proxy

    async def uses(db_sess: AsyncSession, ids: Iterator[int]) -> list[int]:
        return [*(await db_sess.scalars(sa.select(ThingRow.uses).where(ThingRow.id.in_([*ids]))))]

    async def streamed(db_sess: AsyncSession, *, ids: Iterator[int]) -> AsyncGenerator[list[int], None]:
        yield await uses(db_sess, ids)

    for call in (
        lambda: things.db_source.read(uses, iter([1])),
        lambda: read(things.db_source.stream(streamed, ids=iter([1]))),
    ):
        proxy.drop_request("FROM things")
        with served(things.db) as taken:
            while "replica" not in taken:
                assert await call() == [1]
        assert taken[-2:] == ["replica", "primary"]


async def test_a_replica_that_hangs_is_passed_over(
    behind_proxy: tuple[ThingRepository, FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first reads wait for it, for a bounded time; nobody does after them."""
    things, proxy = behind_proxy
    monkeypatch.setattr(watched, "PATIENCE", 0.2)
    proxy.freeze()
    with served(things.db) as taken:
        assert (await things.get(1, A)).uses == 1
    assert taken == ["primary"]
    proxy.thaw()


async def test_it_takes_half_of_a_reads_time_at_most(
    behind_proxy: tuple[ThingRepository, FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other half is for the primary."""
    things, proxy = behind_proxy
    monkeypatch.setattr(watched, "PATIENCE", 3600.0)
    monkeypatch.setattr(replicas, "remaining", lambda: 0.02)
    proxy.freeze()
    with served(things.db) as taken:
        assert (await things.get(1, A)).uses == 1
    assert set(taken) == {"primary"}
    proxy.thaw()


async def test_an_error_says_whose_it_is(pair: Pair, world: World) -> None:
    """Also where no server was come to; of a stream, too."""
    async with FaultProxy(pair.primary.url()) as proxy:
        own = Database.from_url(proxy.url, replicas=[pair.standby.url()], deadline=0.05)
        things = ThingRepository(own, resilience=None)
        proxy.freeze()
        with pytest.raises(DeadlineExceeded) as caught:
            await things.get(1, A)
        assert caught.value.error_code == "thing_get_deadline-exceeded"
        assert commit_outcome(caught.value) is CommitOutcome.NOT_COMMITTED
        await proxy.refuse()
        proxy.cut()
        patient = Database.from_url(proxy.url, replicas=[pair.standby.url()])
        with pytest.raises(DatabaseUnavailable) as lost:
            await read(ThingRepository(patient, resilience=None).stream(A))
        assert lost.value.error_code == "thing_stream_database-unavailable"
        await own.dispose()
        await patient.dispose()


async def test_a_commit_whose_answer_is_lost_counts(db: Database, world: World, pair: Pair) -> None:
    """It is found out that it was committed, after its connection was lost: a read sees it."""
    async with FaultProxy(pair.primary.url()) as proxy:
        own = Database.from_url(proxy.url, replicas=[pair.standby.url()], native=db.native is not None)
        things = ThingRepository(own, resilience=None)
        await things.get(1, A)
        async with pair.held_up():
            proxy.drop_answer("COMMIT")
            await things.update(1, world.patch, scope=A)
            assert (await things.get(1, A)).uses == 7
        await own.dispose()


async def test_a_server_of_another_group_is_no_replica(world: World, pair: Pair, database: Database) -> None:
    """One that follows nobody, or somebody else, is never read from."""
    own = Database.from_url(pair.primary.url(), replicas=[database.engine.url])
    things = ThingRepository(own)
    assert [(await things.get(1, A)).uses for _ in range(2)] == [1, 1]
    await own.dispose()


NONE_LEFT = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'left'"


async def test_nothing_is_left_behind(pair: Pair, world: World) -> None:
    """Disposed of, it has no task and no connection; used again, it makes new ones."""
    own = pair.database(connect_args={"server_settings": {"application_name": "left"}})
    things = ThingRepository(own)
    tasks = asyncio.all_tasks()
    for _ in range(2):
        assert (await things.get(1, A)).uses == 1
        await own.dispose()
        assert asyncio.all_tasks() <= tasks
        await until(lambda: pair.tell(NONE_LEFT))


NAME = "postgresql+asyncpg://a/b"
HOSTS = [create_async_engine(f"postgresql+asyncpg://host{n}/b") for n in range(3)]
SQLITE = create_async_engine("sqlite+aiosqlite://")


@pytest.mark.parametrize(
    "engine, replicas, words",
    [
        (HOSTS[0], HOSTS[1], "replicas=[engine]"),
        (HOSTS[0], [NAME], "create_async_engine(url)"),
        (HOSTS[0], [None], "not None"),
        (HOSTS[0], [SQLITE], "sqlite"),
        (SQLITE, [HOSTS[0]], "sqlite"),
        (HOSTS[0], [HOSTS[0]], "each given once"),
        (HOSTS[0], [HOSTS[1], HOSTS[1]], "each given once"),
        (HOSTS[0], [HOSTS[0].execution_options(isolation_level="READ COMMITTED")], "each given once"),
        (HOSTS[0], [create_async_engine(HOSTS[0].url)], "each given once"),
        (HOSTS[0], [HOSTS[1].execution_options(schema_translate_map={None: "other"})], "schema_translate_map"),
        (HOSTS[0], [create_async_engine(HOSTS[1].url, isolation_level="SERIALIZABLE")], "REPEATABLE READ"),
        (HOSTS[0], [HOSTS[1].execution_options(isolation_level="SERIALIZABLE")], "REPEATABLE READ"),
        (HOSTS[0], [create_async_engine(f"{NAME}?host=x:1&host=y:2")], "each of the hosts"),
    ],
)
def test_what_is_no_replica_is_refused_at_once(engine: AsyncEngine, replicas: Any, words: str) -> None:
    """With what to write instead, before any server is asked."""
    with pytest.raises(MappingError) as caught:
        Database(engine, replicas=replicas)
    assert words in str(caught.value)


def test_urls_of_replicas_are_a_list() -> None:
    """A text would be taken for one URL a character."""
    with pytest.raises(MappingError, match="write replicas="):
        Database.from_url(NAME, replicas=NAME)
    with pytest.raises(MappingError, match="sqlite"):
        Database.from_url("sqlite://", replicas=["sqlite:///other"])


async def test_a_borrowed_session_has_no_replicas() -> None:
    """Its owner chose where it goes."""
    with pytest.raises(MappingError, match="leave replicas out"):
        Database.from_session(AsyncSession(HOSTS[0]), replicas=HOSTS[1:])


@pytest.mark.parametrize("given", [{"wait": -1}, {"wait": "1"}, {"most": 0}, {"most": float("nan")}, {"most": None}])
def test_a_lag_is_told_in_seconds(given: dict[str, Any]) -> None:
    """Of the two numbers each says what is wrong with it."""
    with pytest.raises(InvalidValue, match=next(iter(given))):
        Lag(**given)
    lag: Any = 3
    with pytest.raises(MappingError, match="lag=Lag"):
        Database(HOSTS[0], lag=lag)


@pytest.mark.parametrize(
    "token", ["", "x", "1/1", "1/1/1/1", "1/G/1", "1/1/-1", "1/1/1 ", "1/1/" + 17 * "F", None, 3, b"1/1/1"]
)
async def test_what_is_no_token_is_refused(any_database: Database, token: Any) -> None:
    """Tokens come from outside."""
    with pytest.raises(InvalidValue) as caught:
        async with any_database.reading_from(token):
            pass
    assert str(token) not in str(caught.value) or token in ("", "x", None)


async def test_a_database_of_one_server_has_positions_too(any_database: Database) -> None:
    """So the code is the same; inside of what is not committed yet there is none."""
    async with any_database.reading_from(await any_database.position()):
        pass
    async with any_database.begin_readonly_session():
        assert await any_database.position()
    for block in (any_database.begin_session(), any_database.unit_of_work()):
        async with block:
            with pytest.raises(TransactionError, match="after the block"):
                await any_database.position()
            async with any_database.begin_readonly_session():
                with pytest.raises(TransactionError, match="after the block"):
                    await any_database.position()
    async with AsyncSession(any_database.engine) as session:
        with pytest.raises(TransactionError, match="after its commit"):
            await Database.from_session(session).position()


async def test_a_role_that_may_not_ask_for_all_has_positions(world: World, pair: Pair) -> None:
    """Timeline and system stay unknown then, to all servers alike."""
    async with pair.writer.connect() as connection:
        hide = "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM public"
        for command in ("CREATE ROLE poor LOGIN", "GRANT SELECT ON things TO poor", hide):
            await connection.execute(sa.text(command))
    await pair.caught_up()
    urls = [server.url().set(username="poor") for server in (pair.primary, pair.standby)]
    own = Database.from_url(urls[0], replicas=urls[1:])
    things = ThingRepository(own)
    token = await own.position()
    assert token.startswith("/0/")
    await pair.caught_up()
    with served(own) as taken:
        async with own.reading_from(token):
            await things.get(1, A)
    assert taken == ["replica"]
    async with own.begin_readonly_session():
        assert (await own.position()).startswith("/0/")
        assert await things.count(A)
    await own.dispose()
    async with pair.writer.connect() as connection:
        for command in (
            "GRANT EXECUTE ON FUNCTION pg_control_system() TO public",
            "DROP OWNED BY poor",
            "DROP ROLE poor",
        ):
            await connection.execute(sa.text(command))
