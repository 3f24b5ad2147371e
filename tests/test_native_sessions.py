"""The native lane in sessions and units of work: reads go to asyncpg beneath them, and are the session's reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy import Result, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from columns import COLUMNS
from lanes import world
from native import ONE, A, lane_of, plain_of, renamed, taken, three_in, told
from rowsmith import (
    ConcurrentUse,
    CursorForwardPagination,
    Database,
    DatabaseUnavailable,
    InvalidCursor,
    InvalidValue,
    LockNotAvailable,
    Repository,
    RepositoryError,
    StalePlan,
    TransactionAborted,
    Unscoped,
)
from rowsmith.execution import connections_of, has_failed, is_sending
from rowsmith.execution.transaction_id import known_id
from rowsmith.operations.reads.search import as_query, prepare
from rowsmith.orders import order_terms
from rowsmith.pagination import CursorCodec, fingerprint
from rowsmith.scope import NO_LIMITS
from rowsmith.testing import FaultProxy, WithFaults, WithTables
from tenants import DomainRow, DomainScope, GroupId, GroupRepository, GroupRow
from test_native_lane import READS

pytestmark = pytest.mark.of_the_native_lane

POOL = 3


@pytest.fixture
async def groups(with_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with with_tables(DomainRow, GroupRow) as made:
        db = Database.from_url(made.engine.url, pool_size=POOL, max_overflow=0)
        yield await three_in(db)
        await db.dispose()


Opening = Callable[[Database], AbstractAsyncContextManager[Any]]
BLOCKS: dict[str, Opening] = {
    "a session": lambda db: db.begin_session(),
    "a read-only session": lambda db: db.begin_readonly_session(),
    "a snapshot": lambda db: db.begin_readonly_session(snapshot=True),
    "a unit of work": lambda db: db.unit_of_work(),
}


@pytest.mark.parametrize("name", BLOCKS)
async def test_every_read_goes_beneath(groups: GroupRepository, name: str) -> None:
    """Of each shape of each verb, in each kind of block; the answer is SQLAlchemy's."""
    plain = plain_of(groups)
    expected = {read: await told(call(plain)) for read, call in READS.items()}
    async with BLOCKS[name](groups.db):
        for read, call in READS.items():
            assert (read, await taken(groups, partial(_told_of, call, groups))) == (read, 1)
            assert (read, await told(call(groups))) == (read, expected[read])


async def _told_of(call: Callable[[GroupRepository], Awaitable[Any]], groups: GroupRepository) -> Any:
    return await told(call(groups))


async def test_the_statement_alone_is_sent(with_faults: WithFaults) -> None:
    """In the session's own transaction, which it begins as SQLAlchemy does, and which ends as ever."""
    async with with_faults(DomainRow, GroupRow, pool_size=1, max_overflow=0) as (db, proxy):
        groups = await three_in(db)
        seen = []
        for each in (groups, plain_of(groups)):
            async with each.db.begin_session():
                await each.get(ONE)
            proxy.seen.clear()
            async with each.db.begin_session():
                assert (await each.get(ONE)).name == "one"
                await each.get(ONE, A)
            seen.append([*proxy.seen])
        assert seen[0] == seen[1]
        assert [words.split()[0].rstrip(";") for words in seen[0][:3]] == ["BEGIN", "SELECT", "SELECT"]


async def test_what_the_block_wrote_is_read(groups: GroupRepository) -> None:
    """By a call, or by objects of the ORM that nobody flushed; but not where the session is told not to flush."""
    async with groups.db.begin_session() as db_sess:
        await groups.update(ONE, renamed("new"))
        assert (await groups.get(ONE)).name == "new"
        row = await db_sess.get_one(GroupRow, ONE)
        row.name = "newer"
        with db_sess.no_autoflush:
            assert (await groups.get(ONE)).name == "new"
        assert await taken(groups, lambda: groups.count(None, [GroupRow.name == "newer"])) == 1
        assert (await groups.get(ONE)).name == "newer"
    assert (await groups.get(ONE)).name == "newer"


async def test_nothing_of_it_is_seen_outside(groups: GroupRepository) -> None:
    """Until it is committed; and nothing is left of it where the block fails."""
    with suppress(ZeroDivisionError):
        async with groups.db.unit_of_work():
            await groups.update(ONE, renamed("new"))
            inside = await groups.get(ONE)
            outside = await plain_of(groups).get(ONE)
            assert (inside.name, outside.name) == ("new", "one")
            raise ZeroDivisionError
    assert (await groups.get(ONE)).name == "one"


async def test_a_savepoint_that_is_undone(groups: GroupRepository) -> None:
    """A read after it reads what was before it."""
    async with groups.db.unit_of_work():
        with suppress(ZeroDivisionError):
            async with groups.db.unit_of_work():
                await groups.update(ONE, renamed("new"))
                assert (await groups.get(ONE)).name == "new"
                raise ZeroDivisionError
        assert await taken(groups, lambda: groups.get(ONE)) == 1
        assert (await groups.get(ONE)).name == "one"


# What is not taken


def ignore(*args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize("name", ["do_orm_execute", "before_cursor_execute", "after_execute"])
async def test_who_listens_to_the_session_sees_it(groups: GroupRepository, name: str) -> None:
    """To this one alone, or to its connection."""
    async with groups.db.begin_session() as db_sess:
        target: Any = db_sess.sync_session
        if name != "do_orm_execute":
            target = (await db_sess.connection()).sync_connection
        assert await taken(groups, lambda: groups.get(ONE)) == 1
        event.listen(target, name, ignore)
        assert await taken(groups, lambda: groups.get(ONE)) == 0
        assert lane_of(groups.db).refused[name] == 1


async def test_schemas_of_the_session(groups: GroupRepository) -> None:
    """SQLAlchemy puts other names into the statement."""
    async with groups.db.begin_session() as db_sess:
        connection = (await db_sess.connection()).sync_connection
        assert connection is not None
        connection.execution_options(schema_translate_map={None: "public"})
        assert await taken(groups, lambda: groups.get(ONE)) == 0
    async with groups.db.begin_session() as db_sess:
        db_sess.sync_session.execution_options = sa.util.immutabledict(schema_translate_map={None: "public"})
        assert await taken(groups, lambda: groups.get(ONE)) == 0
    assert lane_of(groups.db).refused["schema_translate_map"] == 2


@pytest.mark.parametrize("name", BLOCKS)
async def test_who_logs_statements_logs_all(
    with_tables: WithTables, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLAlchemy sends what is to be logged: of an engine, and of those of readers, that were told so when made."""
    async with with_tables(DomainRow, GroupRow) as made:
        db = Database.from_url(made.engine.url, echo=True)
        groups = await three_in(db)
        for echo in (True, False):
            db.engine.echo = echo
            caplog.clear()
            async with BLOCKS[name](db):
                went = await taken(groups, lambda: groups.get(ONE))
            is_logged = any("FROM groups" in record.getMessage() for record in caplog.records)
            assert (went, is_logged) == ((0, True) if echo or "read" in name or "snapshot" in name else (1, False))
        await db.dispose()


@pytest.mark.parametrize(
    "options",
    [{"statement_cache_size": 0}, {"prepared_statement_name_func": lambda: f"own_{uuid4()}"}],
    ids=["no names", "own names"],
)
async def test_connections_whose_statements_are_named_otherwise(
    with_tables: WithTables, options: dict[str, Any]
) -> None:
    """For a pooler that may know none of the driver's names, SQLAlchemy sends what is read in a session as well."""
    async with with_tables(DomainRow, GroupRow) as made:
        db = Database.from_url(made.engine.url, connect_args=options)
        groups = await three_in(db)
        for opening in BLOCKS.values():
            async with opening(db):
                assert await taken(groups, lambda: groups.get(ONE)) == 0
        assert lane_of(db).refused["connection"] >= len(BLOCKS)
        await db.dispose()


async def test_a_session_of_another_engine(groups: GroupRepository) -> None:
    """Its database has a lane of its own; this one is not in that session."""
    other = Database.from_url(groups.db.engine.url)
    async with groups.db.begin_session():
        await groups.update(ONE, renamed("new"))
        assert (await GroupRepository(other, resilience=None).get(ONE)).name == "one"
    await other.dispose()


# What the application does to the transaction


Ending = Callable[[AsyncSession], Awaitable[Any]]


async def refused_commit(db_sess: AsyncSession) -> None:
    await db_sess.execute(sa.text("CREATE TEMP TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    await db_sess.execute(sa.text("INSERT INTO late VALUES (1), (1)"))
    await (await db_sess.connection()).commit()


async def refused_flush(db_sess: AsyncSession) -> None:
    db_sess.add(GroupRow(domain_name="a", name="three"))
    await db_sess.flush()


async def refused_flush_in_a_savepoint(db_sess: AsyncSession) -> None:
    await db_sess.begin_nested()
    await refused_flush(db_sess)


async def refused_release(db_sess: AsyncSession) -> None:
    connection = await db_sess.connection()
    savepoint = await connection.begin_nested()
    with suppress(DBAPIError):
        await connection.execute(sa.text("SELECT 1 / 0"))
    await savepoint.commit()


async def savepoint_undone(db_sess: AsyncSession) -> None:
    await (await (await db_sess.connection()).begin_nested()).rollback()


async def on_the_driver(db_sess: AsyncSession) -> None:
    driver: Any = (await (await db_sess.connection()).get_raw_connection()).driver_connection
    await driver.execute("ROLLBACK")


async def on_the_connection(db_sess: AsyncSession, name: str) -> None:
    await getattr(await db_sess.connection(), name)()


ENDINGS: dict[str, Ending] = {
    "session.commit": lambda db_sess: db_sess.commit(),
    "session.rollback": lambda db_sess: db_sess.rollback(),
    "COMMIT": lambda db_sess: db_sess.execute(sa.text("COMMIT")),
    "ROLLBACK": lambda db_sess: db_sess.execute(sa.text("ROLLBACK")),
    "ROLLBACK on the driver": on_the_driver,
    **{
        f"connection.{name}": partial(on_the_connection, name=name)
        for name in ("commit", "rollback", "close", "invalidate")
    },
    "a commit that is refused": refused_commit,
    "a flush that is refused": refused_flush,
    "a flush that is refused in a savepoint": refused_flush_in_a_savepoint,
    "a savepoint that is not released": refused_release,
    "a savepoint that is undone": savepoint_undone,
}
"""How a transaction, or a part of it, can be over while its block goes on."""


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("block", ["a session", "a read-only session", "a unit of work"])
async def test_a_transaction_that_was_ended_by_hand(groups: GroupRepository, name: str, block: str) -> None:
    """What is read after it, how the block ends and what is kept is what it is by SQLAlchemy's way."""
    plain, seen = plain_of(groups), []
    for each in (groups, plain):
        outcomes: list[Any] = []

        async def work(each: GroupRepository = each, outcomes: list[Any] = outcomes) -> None:
            async with BLOCKS[block](each.db) as opened:
                db_sess: AsyncSession = getattr(opened, "session", opened)
                await told(each.update(ONE, renamed("new")))
                await each.get(ONE)
                outcomes.append(await _ended(ENDINGS[name](db_sess)))
                outcomes.extend([await _ended(each.get(ONE)), await _ended(each.search(A))])

        outcomes.append(await _ended(work()))
        outcomes.append(await plain.get(ONE))
        await plain.update(ONE, renamed("one"))
        seen.append(outcomes)
    assert seen[0] == seen[1]


async def _ended(call: Awaitable[Any]) -> Any:
    """Give what a call came to, of an error of SQLAlchemy's too."""
    try:
        found = await call
    except RepositoryError as exc:
        return await told(_raised(exc))
    except Exception as exc:  # noqa: BLE001 - of the application's own call
        return type(exc)
    return None if isinstance(found, Result) else found


async def test_the_next_transaction_is_read_in(groups: GroupRepository) -> None:
    """After the session's own rollback the lane begins another one, as SQLAlchemy does."""
    async with groups.db.begin_session() as db_sess:
        await groups.get(ONE)
        await db_sess.rollback()
        assert (await groups.get(ONE)).name == "one"
        assert await taken(groups, lambda: groups.get(ONE)) == 1


# What goes wrong


async def test_an_error_that_is_swallowed(groups: GroupRepository) -> None:
    """The block does not commit, and says so; what is told is the same by either lane."""
    seen = []
    for each in (groups, plain_of(groups)):
        async with Database(groups.db.engine).begin_session() as others:
            await others.execute(sa.text("LOCK TABLE groups"))
            with pytest.raises(TransactionAborted):
                async with each.db.begin_session() as db_sess:
                    db_sess.add(DomainRow(name="new"))
                    await db_sess.execute(sa.text("SET LOCAL lock_timeout = '20ms'"))
                    seen.append([await told(each.get(ONE)), await told(each.get(ONE))])
                    assert all(map(has_failed, connections_of(db_sess)))
        async with groups.db.begin_session() as db_sess:
            assert await db_sess.get(DomainRow, "new") is None
    assert seen[0] == seen[1]
    assert seen[0][0][0] is LockNotAvailable


async def test_an_error_in_a_savepoint(groups: GroupRepository) -> None:
    """It alone is undone, and the transaction goes on."""
    async with Database(groups.db.engine).begin_session() as others:
        await others.execute(sa.text("LOCK TABLE groups"))
        async with groups.db.begin_session() as db_sess:
            await db_sess.execute(sa.text("SET LOCAL lock_timeout = '20ms'"))
            db_sess.add(DomainRow(name="new"))
            with pytest.raises(LockNotAvailable):
                async with groups.db.unit_of_work():
                    await groups.get(ONE)
            await others.rollback()
            assert await taken(groups, lambda: groups.get(ONE)) == 1
    async with groups.db.begin_session() as db_sess:
        assert await db_sess.get(DomainRow, "new") is not None


async def test_values_that_do_not_fit(groups: GroupRepository) -> None:
    """They are refused in a session as they are outside, in every place."""
    calls: list[Callable[[GroupRepository], Awaitable[Any]]] = [
        lambda of: of.get(GroupId(2**70)),
        lambda of: of.find("1"),  # type: ignore[arg-type]
        lambda of: of.batch_get([ONE, None]),  # type: ignore[list-item]
        lambda of: of.get(ONE, DomainScope("\x00")),
        lambda of: of.search(None, [GroupRow.size == 2**40]),
        lambda of: of.count(None, [GroupRow.name == "\ud800"]),
        lambda of: of.get(GroupId(99), A),
        lambda of: of.get_one(Unscoped("all"), []),
        lambda of: of.batch_get([GroupId(98), ONE], scope=A),
    ]
    seen = []
    for each in (groups, plain_of(groups)):
        outcomes = []
        for call in calls:
            with suppress(TransactionAborted):
                async with each.db.begin_session():
                    outcomes.append(await told(call(each)))
        seen.append(outcomes)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("value", ["nowhere", {1, 2}], ids=["the server", "the driver"])
@pytest.mark.parametrize("name", BLOCKS)
async def test_values_of_which_only_the_database_knows(with_tables: WithTables, name: str, value: object) -> None:
    """The error says of which column they are, though the transaction has failed by then and nothing can be asked.

    It is the server's, or the driver's where that cannot write the value.
    """
    places = world("refused", COLUMNS["macaddr8"])
    row = places.row

    class Places(Repository[row, places.made, int]):  # type: ignore[valid-type]
        pass

    calls: list[Callable[[Any], Awaitable[Any]]] = [
        lambda of: of.find_one(None, [row.value == value]),
        lambda of: of.count(None, [row.id > 1, sa.or_(row.value < value, row.made == 7)]),
        lambda of: of.search(None, [row.value.is_distinct_from(value)], orders=[row.value]),
    ]
    async with with_tables(row) as made:
        seen = []
        for native in (True, False):
            places_of = Places(Database(made.engine, native=native), resilience=None)
            outcomes: list[Any] = []
            for call in calls:
                with suppress(TransactionAborted):
                    async with BLOCKS[name](places_of.db):
                        outcomes += [await told(call(places_of)), await told(places_of.count())]
            seen.append(outcomes)
    assert seen[0] == seen[1]
    assert [kind for kind, *_ in seen[0][::2]] == [InvalidValue] * 3
    assert {each[1][2].columns for each in seen[0][::2]} == {("value",)}


async def test_cursors_of_other_values(groups: GroupRepository) -> None:
    """What the database does not take in one is the cursor's fault, by either lane."""
    orders, first = [GroupRow.name], CursorForwardPagination(1)
    search = prepare(groups.db_source.entity, NO_LIMITS, groups.db.engine.dialect, as_query(None, first, orders))
    digest = fingerprint(search.terms, search.conditions)
    terms = order_terms([sa.func.anything(type_=sa.String), sa.func.any(type_=sa.Integer)], ())
    forged = [CursorCodec().encode([name, 1], terms, digest) for name in ("one", "\x00")]
    seen = []
    for each in (groups, plain_of(groups)):
        with suppress(TransactionAborted):
            async with each.db.begin_session():
                good, bad = (CursorForwardPagination(1, cursor) for cursor in forged)
                assert len(await each.search(None, None, good, orders=orders)) == 1
                seen.append(await told(each.search(None, None, bad, orders=orders)))
    assert seen[0] == seen[1]
    assert seen[0][0] is InvalidCursor


async def test_a_cursor_that_the_table_has_left(groups: GroupRepository) -> None:
    """What was sorted by is of another type by now, which cannot be compared with what the cursor has."""
    orders, seen = [GroupRow.name], []
    after = CursorForwardPagination(
        1, (await groups.search(None, None, CursorForwardPagination(1), orders=orders)).end_cursor
    )
    for each in (groups, plain_of(groups)):
        async with each.db.begin_session() as db_sess:
            await db_sess.execute(sa.text("ALTER TABLE groups ALTER name TYPE bytea USING name::bytea"))
            seen.append(await told(each.search(None, None, after, orders=orders)))
            await db_sess.rollback()
    assert seen[0] == seen[1]
    assert seen[0][0] is InvalidCursor


async def test_a_table_that_is_altered(groups: GroupRepository) -> None:
    """A transaction cannot be begun anew here, and says so once; the next one reads."""
    async with groups.db.begin_session():
        await groups.get(ONE)
    async with Database(groups.db.engine, native=False).begin_session() as db_sess:
        await db_sess.execute(sa.text("ALTER TABLE groups ALTER size TYPE bigint"))
    with pytest.raises(StalePlan):
        async with groups.db.begin_session():
            await groups.get(ONE)
    async with groups.db.begin_session():
        assert await taken(groups, lambda: groups.get(ONE)) == 1


async def test_a_lost_answer(with_faults: WithFaults) -> None:
    """The error is the call's own, the connection is gone, and the block says that nothing was committed."""
    async with with_faults(DomainRow, GroupRow, pool_size=1, max_overflow=0) as (db, proxy):
        groups, seen = await three_in(db), []
        for each in (groups, plain_of(groups)):
            with pytest.raises(DatabaseUnavailable) as caught:
                await _losing(each, proxy)
            seen.append(await told(_raised(caught.value)))
            async with each.db.begin_session():
                assert (await each.get(ONE)).name == "one"
        assert seen[0] == seen[1]


async def _losing(groups: GroupRepository, proxy: FaultProxy) -> None:
    async with groups.db.begin_session():
        await groups.update(ONE, renamed("new"))
        proxy.drop_answer("SELECT groups")
        await groups.get(ONE)


async def _raised(failure: BaseException) -> None:
    raise failure


@pytest.mark.parametrize("steps", range(10))
async def test_cancelled_at_each_step(groups: GroupRepository, steps: int) -> None:
    """Wherever it is, nothing is committed, no connection is lost, and none is used with an answer still to come."""
    pool: Any = groups.db.engine.sync_engine.pool

    async def work() -> None:
        async with groups.db.begin_session():
            await groups.update(ONE, renamed("new"))
            inside.set()
            await groups.get(ONE)
            await groups.search(A)
            await asyncio.sleep(3600)

    for _ in range(2):
        inside = asyncio.Event()
        task = asyncio.ensure_future(work())
        await inside.wait()
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
        assert pool.checkedout() == 0
        async with groups.db.begin_session():
            assert (await groups.get(ONE)).name == "one"


async def test_a_read_that_is_cancelled_and_not_missed(with_faults: WithFaults) -> None:
    """Its answer may yet come, so its connection is given up, and nothing of the block is committed."""
    async with with_faults(DomainRow, GroupRow, pool_size=1, max_overflow=0) as (db, proxy):
        groups = await three_in(db)
        with pytest.raises((DatabaseUnavailable, TransactionAborted)):
            async with db.begin_session() as db_sess:
                await groups.get(ONE)
                proxy.hold_answer("SELECT groups")
                proxy.seen.clear()
                task = asyncio.ensure_future(groups.get(ONE))
                while not proxy.seen:  # noqa: ASYNC110 - a proxy has no event for what it saw
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait((task,))
                assert all(each.closed or each.invalidated for each in connections_of(db_sess))
        async with db.begin_session():
            assert (await groups.get(ONE)).name == "one"


async def test_two_tasks_in_one_session(groups: GroupRepository) -> None:
    """The second one is refused, as ever."""
    async with groups.db.unit_of_work():
        done = await asyncio.gather(groups.get(ONE), groups.get(ONE), return_exceptions=True)
    assert [type(each) for each in done if isinstance(each, Exception)] == [ConcurrentUse]


async def test_a_statement_of_the_applications_own_that_is_on_its_way(groups: GroupRepository) -> None:
    """On the session's connection, in a task that rowsmith knows nothing of: a read waits for its turn."""
    for each in (groups, plain_of(groups)):
        async with each.db.begin_session() as db_sess:
            connection = await db_sess.connection()
            task = asyncio.ensure_future(connection.execute(sa.text("SELECT pg_sleep(0.05), 7")))
            while not (is_sending(db_sess) or task.done()):  # noqa: ASYNC110 - nobody tells when it is sent
                await asyncio.sleep(0)
            assert (await each.get(ONE)).name == "one"
            assert (await task).one()[1] == 7


async def test_a_read_leaves_the_transactions_id_known(with_faults: WithFaults) -> None:
    """It came with the write, so that COMMIT needs no question; but not where something unseen was sent meanwhile."""
    async with with_faults(DomainRow, GroupRow, pool_size=1, max_overflow=0) as (db, proxy):
        groups = await three_in(db)
        async with db.begin_session() as db_sess:
            connection = (await db_sess.connection()).sync_connection
            assert connection is not None
            await groups.update(ONE, renamed("new"))
            await groups.get(ONE)
            id_ = known_id(connection)
            assert id_ is not None
            assert await taken(groups, lambda: groups.get(ONE)) == 1
            assert known_id(connection) == id_
            proxy.seen.clear()
        assert [words.rstrip(";") for words in proxy.seen][:1] == ["COMMIT"]
        async with db.begin_session() as db_sess:
            connection = (await db_sess.connection()).sync_connection
            assert connection is not None
            await groups.update(ONE, renamed("one"))
            driver: Any = (await (await db_sess.connection()).get_raw_connection()).driver_connection
            await driver.fetchval("SELECT 1")
            await groups.get(ONE)
            assert known_id(connection) is None
