"""The truth about every COMMIT: lost requests, lost answers, cancelled tasks, deadlines, and what is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext, suppress
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from rowsmith import (
    CommitOutcome,
    CommitOutcomeUnknown,
    Database,
    DatabaseUnavailable,
    DeadlineExceeded,
    ReferenceNotFound,
    RepositoryError,
    TransactionAborted,
    TransactionError,
    UnitOfWork,
    commit_outcome,
)
from rowsmith.pool_watch import watch
from rowsmith.testing import FaultProxy, WithFaults, WithTables
from tenants import DomainRow

Pair = tuple[Database, FaultProxy]


@pytest.fixture
async def pair(with_faults: WithFaults) -> AsyncIterator[Pair]:
    async with with_faults(DomainRow, pool_size=2, max_overflow=0) as (db, proxy):
        await insert(db, "first")
        proxy.seen.clear()
        yield db, proxy


async def add(session: AsyncSession, name: str) -> None:
    await session.execute(sa.insert(DomainRow).values(name=name))


async def insert(db: Database, name: str) -> None:
    async with db.begin_session() as session:
        await add(session, name)


async def insert_in_unit(db: Database, name: str) -> None:
    async with db.unit_of_work() as unit:
        await add(unit.session, name)


async def insert_by_hand(db: Database, name: str) -> None:
    async with db.begin_session() as session:
        await add(session, name)
        await session.commit()


WAYS = pytest.mark.parametrize("write", [insert, insert_in_unit, insert_by_hand])


async def names(db: Database) -> list[str]:
    async with db.begin_readonly_session() as session:
        return list((await session.execute(sa.select(DomainRow.name).order_by(DomainRow.name))).scalars())


def commits(proxy: FaultProxy) -> int:
    return sum("COMMIT" in statement for statement in proxy.seen)


@WAYS
async def test_a_commit_whose_answer_was_lost_is_found_committed(
    pair: Pair, write: Callable[[Database, str], Awaitable[None]]
) -> None:
    """The block ends well: the server was asked what became of it, and nothing was sent twice."""
    db, proxy = pair
    proxy.drop_answer("COMMIT")
    await write(db, "b")
    assert commits(proxy) == 1
    assert await names(db) == ["b", "first"]


@WAYS
async def test_a_commit_that_never_arrived_is_found_undone(
    pair: Pair, write: Callable[[Database, str], Awaitable[None]]
) -> None:
    """The server says that the transaction was aborted, so that the call may be made again."""
    db, proxy = pair
    proxy.drop_request("COMMIT")
    with pytest.raises(DatabaseUnavailable) as caught:
        await write(db, "b")
    assert commit_outcome(caught.value) is CommitOutcome.NOT_COMMITTED
    assert await names(db) == ["first"]


async def test_what_cannot_be_found_out_is_unknown(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the server away for as long as it is asked, the caller is told that nobody knows."""
    monkeypatch.setattr("rowsmith.execution.committing.RESOLVING", 0.2)
    db, proxy = pair
    proxy.drop_answer("COMMIT")
    async with db.begin_session():  # there before, and there afterwards
        pass
    await proxy.refuse()
    with pytest.raises(CommitOutcomeUnknown) as caught:
        await insert(db, "b")
    assert commit_outcome(caught.value) is CommitOutcome.UNKNOWN
    await proxy.accept()
    assert await names(db) == ["b", "first"]


async def test_another_server_is_not_believed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction's id means nothing to a server that is not the one that gave it."""
    db, proxy = pair
    proxy.drop_answer("COMMIT")
    told = iter(["1/00000001", "1/00000002"])
    monkeypatch.setattr("rowsmith.execution.committing.server_of", lambda _: (next(told), None))
    with pytest.raises(CommitOutcomeUnknown):
        await insert(db, "b")


async def test_a_server_that_tells_no_id_has_not_written_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that spreads its tables over others gives none to what they write: nobody can be asked, and nobody knows."""
    monkeypatch.setattr("rowsmith.execution.committing.ID", "NULL::text")
    db, proxy = pair
    proxy.drop_answer("COMMIT")
    with pytest.raises(CommitOutcomeUnknown) as caught:
        await insert(db, "b")
    assert commit_outcome(caught.value) is CommitOutcome.UNKNOWN


async def test_a_block_that_only_read_has_lost_nothing(pair: Pair) -> None:
    """A unit of work whose session nobody took, with nothing but reads inside, is no outcome at stake."""
    db, proxy = pair
    proxy.drop_answer("COMMIT")
    with pytest.raises(DatabaseUnavailable):
        async with db.unit_of_work() as unit:
            await unit.db_sess.execute(sa.select(DomainRow.name))
    with pytest.raises(CommitOutcomeUnknown):
        proxy.drop_answer("COMMIT")
        async with db.begin_session() as session:  # which may have called anything
            await session.execute(sa.select(DomainRow.name))


async def test_a_rollback_by_the_drivers_own_connection_is_seen(database: Database, with_tables: WithTables) -> None:
    """A statement that failed underneath is no commit, and neither is a block ended by SQL of one's own."""
    async with with_tables(DomainRow) as db:
        with pytest.raises(TransactionAborted):
            async with db.begin_session() as session:
                await add(session, "a")
                raw = await (await session.connection()).get_raw_connection()
                driver: Any = raw.driver_connection
                with suppress(Exception):
                    await driver.execute("SELECT 1 / 0")


async def end_by_a_statement(session: AsyncSession, ending: str) -> None:
    await session.execute(sa.text(ending))


async def end_on_the_connection(session: AsyncSession, ending: str) -> None:
    await getattr(await session.connection(), ending)()


@pytest.mark.parametrize("end", [end_by_a_statement, end_on_the_connection])
async def test_a_transaction_ended_by_hand_has_no_known_outcome(any_tables: WithTables, end: Any) -> None:
    """Neither the end of its block nor an error that leaves it says that it was committed, or was not."""
    async with any_tables(DomainRow) as db:
        for ending in ("rollback", "commit"):
            with pytest.raises(TransactionError, match="not known here") as ended:
                async with db.begin_session() as session:
                    await add(session, ending)
                    await end(session, ending)
            with pytest.raises(KeyError) as left:
                async with db.begin_session() as session:
                    await end(session, ending)
                    raise KeyError
            outcomes = {commit_outcome(error.value) for error in (ended, left)}
            assert outcomes == {CommitOutcome.UNKNOWN}
        assert await names(db) == ["commit"]


async def test_a_unit_of_work_that_was_ended_by_hand_says_what_became_of_it(any_tables: WithTables) -> None:
    """It is refused at its end, and what its session had committed by then is said to be."""
    async with any_tables(DomainRow) as db:
        for ending, outcome in (
            ("rollback", CommitOutcome.NOT_COMMITTED),
            ("commit", CommitOutcome.COMMITTED),
        ):
            with pytest.raises(TransactionError, match="which ends by itself") as ended:
                async with db.unit_of_work() as unit:
                    await add(unit.db_sess, outcome.value)
                    await getattr(unit.db_sess, ending)()
            assert commit_outcome(ended.value) is outcome
        assert await names(db) == [CommitOutcome.COMMITTED.value]


DEFERRED = (
    "CREATE TEMPORARY TABLE late (id INT PRIMARY KEY, up INT REFERENCES late (id) DEFERRABLE INITIALLY DEFERRED)",
    "INSERT INTO late VALUES (1, 2)",
)


async def test_a_refused_commit_is_known_not_to_be(any_tables: WithTables) -> None:
    """Whatever leaves the block after it: nothing of it is left open, though its session is."""
    async with any_tables(DomainRow) as db:
        with pytest.raises(KeyError) as left:
            async with db.begin_session() as session:
                for statement in DEFERRED:
                    await session.execute(sa.text(statement))
                with suppress(ReferenceNotFound):
                    await session.commit()
                raise KeyError
        assert commit_outcome(left.value) is CommitOutcome.NOT_COMMITTED


class Ways:
    """The ways in which a task ends another one's wait."""

    @staticmethod
    async def cancel(work: Callable[[], Awaitable[None]], at: Callable[[], bool]) -> BaseException | None:
        task = asyncio.ensure_future(work())
        while not (at() or task.done()):  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except BaseException as exc:  # noqa: BLE001
            return exc
        return None

    @staticmethod
    async def timeout(work: Callable[[], Awaitable[None]], at: Callable[[], bool]) -> BaseException | None:
        try:
            async with asyncio.timeout(None) as limit:
                watch = asyncio.ensure_future(until(at, lambda: limit.reschedule(0)))
                await work()
        except BaseException as exc:  # noqa: BLE001
            return exc
        finally:
            watch.cancel()
        return None

    @staticmethod
    async def anyio(work: Callable[[], Awaitable[None]], at: Callable[[], bool]) -> BaseException | None:
        caught: list[BaseException] = []
        with anyio.CancelScope() as scope:
            watch = asyncio.ensure_future(until(at, scope.cancel))
            try:
                await work()
            except BaseException as exc:
                caught.append(exc)
                raise
            finally:
                watch.cancel()
        return caught[0] if caught else None


async def until(at: Callable[[], bool], then: Callable[[], Any]) -> None:
    while not at():  # noqa: ASYNC110
        await asyncio.sleep(0)
    then()


@pytest.mark.parametrize("way", [Ways.cancel, Ways.timeout, Ways.anyio], ids=["cancel", "timeout", "anyio"])
async def test_a_call_cancelled_while_commit_is_under_way_tells_its_outcome(pair: Pair, way: Any) -> None:
    """It is committed, and whatever the cancellation became says so; what waits for the commit is done."""
    db, proxy = pair
    done: list[str] = []

    async def work() -> None:
        async with db.unit_of_work() as unit:
            await add(unit.session, "b")
            unit.after_commit(lambda: done.append("told"))

    proxy.delay("COMMIT", 0.2)
    failure = await way(work, lambda: commits(proxy) == 1)
    assert failure is not None
    assert commit_outcome(failure) is CommitOutcome.COMMITTED
    assert done == ["told"]
    assert await names(db) == ["b", "first"]


async def test_a_call_cancelled_before_commit_tells_that_nothing_is_kept(pair: Pair) -> None:
    """In the statement, and while waiting for a connection."""
    db, proxy = pair
    failure = await Ways.cancel(lambda: insert(db, "b"), lambda: any("INSERT" in each for each in proxy.seen))
    assert isinstance(failure, asyncio.CancelledError)
    assert commit_outcome(failure) is CommitOutcome.NOT_COMMITTED
    async with db.begin_session(), Database(db.engine).begin_session():
        waiting = asyncio.ensure_future(insert(Database(db.engine), "c"))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await waiting
    assert commit_outcome(caught.value) is CommitOutcome.NOT_COMMITTED
    assert await names(db) == ["first"]


async def test_an_answer_that_never_comes_is_not_awaited_for_ever(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled call waits for its grace, gives the connection up, and asks on another."""
    monkeypatch.setattr("rowsmith.execution.answers.GRACE", 0.1)
    db, proxy = pair
    proxy.hold_answer("COMMIT")
    failure = await Ways.cancel(lambda: insert(db, "b"), lambda: commits(proxy) == 1)
    assert isinstance(failure, asyncio.CancelledError)
    assert commit_outcome(failure) is CommitOutcome.COMMITTED
    assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_a_call_cancelled_while_the_outcome_is_asked_for_says_that_nobody_knows(pair: Pair) -> None:
    """The answer is lost and the server away: whoever gives up then has not learnt that nothing was kept."""
    db, proxy = pair
    proxy.drop_answer("COMMIT")
    task = asyncio.ensure_future(insert(db, "b"))
    await until(lambda: commits(proxy) == 1, lambda: None)
    await proxy.refuse()
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises((asyncio.CancelledError, RepositoryError)) as caught:
        await task
    assert commit_outcome(caught.value) is CommitOutcome.UNKNOWN
    await proxy.accept()
    assert await names(db) == ["b", "first"]


async def test_a_call_that_is_cancelled_again_and_again_waits_for_its_answer(pair: Pair) -> None:
    """The second cancellation ends the grace no earlier, and the outcome is told all the same."""
    db, proxy = pair
    proxy.delay("COMMIT", 0.3)
    task = asyncio.ensure_future(insert(db, "b"))
    await until(lambda: commits(proxy) == 1, lambda: None)
    while not task.done():
        task.cancel()
        await asyncio.sleep(0.02)
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert commit_outcome(caught.value) is CommitOutcome.COMMITTED


def bring_about(proxy: FaultProxy, where: str) -> None:
    """Do what is done before the work begins."""
    if where in ("connect", "begin"):
        proxy.freeze()
    if where == "commit":
        proxy.hold_answer("COMMIT")


@pytest.mark.parametrize("where", ["connect", "begin", "statement", "commit", "rollback", "pool"])
async def test_a_deadline_holds_wherever_it_is_reached(with_faults: WithFaults, where: str) -> None:
    """The network frozen on the way in, in a statement, in COMMIT and on the way out: told, and nothing is left."""
    async with with_faults(DomainRow, pool_size=1, max_overflow=0, pool_timeout=3600) as (plain, proxy):
        db = Database(plain.engine, deadline=0.5)
        if where != "connect":
            await insert(db, "first")

        held, ended = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with plain.begin_session():
                held.set()
                await ended.wait()

        async def work() -> None:
            async with db.begin_session() as session:
                await add(session, "b")
                if where != "commit":
                    proxy.freeze()
                if where == "rollback":
                    raise KeyError
                await add(session, "c")

        holder = asyncio.ensure_future(hold())
        if where == "pool":
            await held.wait()
        else:
            holder.cancel()
        bring_about(proxy, where)

        expected = KeyError if where == "rollback" else DeadlineExceeded
        with pytest.raises(expected) as caught:
            await asyncio.wait_for(work(), 60)
        outcome = CommitOutcome.UNKNOWN if where == "commit" else CommitOutcome.NOT_COMMITTED
        assert commit_outcome(caught.value) is outcome
        ended.set()
        with suppress(asyncio.CancelledError):
            await holder
        assert plain.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        assert not watch(plain.engine.sync_engine.pool).held
        proxy.thaw()
        await insert(db, "d")


async def test_the_server_ends_what_outlasts_the_deadline(with_tables: WithTables) -> None:
    """It is told how long is left, for this transaction alone."""
    async with with_tables(DomainRow) as plain:
        db = Database(plain.engine, deadline=30)
        limit = sa.text("SELECT current_setting('statement_timeout')")
        async with db.begin_session() as session:
            assert (await session.execute(limit)).scalar_one() not in ("0", "30s")
        async with plain.begin_session() as session:
            assert (await session.execute(limit)).scalar_one() == "0"


LEFT_BEHIND = [
    "SET work_mem = '77MB'",
    "SELECT set_config('work_mem', '77MB', false)",
    "SELECT set_config('app.tenant', 'a', false)",
    "SET ROLE pg_monitor",
    "SET SESSION AUTHORIZATION DEFAULT",
    "SET search_path = pg_catalog",
    "SET TIME ZONE 'Asia/Tokyo'",
    "SET statement_timeout = 777",
    "SET default_transaction_read_only = on",
    "SELECT pg_advisory_lock(4711)",
    "SELECT pg_advisory_lock_shared(4711)",
    "LISTEN left_behind",
    "CREATE TEMPORARY TABLE domains (name text)",
    "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1",
]

STATE = sa.text(
    """
    SELECT current_setting('work_mem'), coalesce(current_setting('app.tenant', true), ''), current_user::text,
      current_setting('search_path'), current_setting('timezone'), current_setting('statement_timeout'),
      current_setting('default_transaction_read_only'),
      (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
      (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_cursors WHERE is_holdable),
      (SELECT count(*) FROM pg_class WHERE relpersistence = 't'), pg_backend_pid()
    """
)


async def state(db: Database) -> tuple[Any, ...]:
    async with db.begin_session() as session:
        return tuple((await session.execute(STATE)).one())


@pytest.mark.parametrize("statement", LEFT_BEHIND)
@pytest.mark.parametrize("through", ["begin_session", "unit_of_work"])
async def test_nothing_of_a_session_survives_its_return(database: Database, statement: str, through: str) -> None:
    """The next who has the connection finds it as it was, whatever the application's own statements left."""
    db = Database.from_url(database.engine.url, pool_size=1, max_overflow=0)
    try:
        before = await state(db)
        async with getattr(db, through)() as block:
            session = block.session if isinstance(block, UnitOfWork) else block
            await session.execute(sa.text(statement))
        assert await state(db) == before
    finally:
        await db.dispose()


async def _before(engine: AsyncEngine, statement: sa.TextClause) -> None:
    async with AsyncSession(engine) as session:
        await session.execute(statement)
        Database.from_session(session)
        await session.commit()


async def _after(engine: AsyncEngine, statement: sa.TextClause) -> None:
    async with AsyncSession(engine) as session:
        Database.from_session(session)
        await session.execute(statement)
        await session.commit()


async def _in_the_next_transaction(engine: AsyncEngine, statement: sa.TextClause) -> None:
    async with AsyncSession(engine) as session:
        async with Database.from_session(session).begin_session():
            await session.execute(sa.text("SELECT 1"))
        await session.commit()
        await session.execute(statement)
        await session.commit()


async def _on_a_connection(engine: AsyncEngine, statement: sa.TextClause) -> None:
    async with engine.connect() as connection, AsyncSession(connection) as session:
        Database.from_session(session)
        await session.execute(statement)
        await session.commit()
        await connection.commit()


@pytest.mark.parametrize("statement", LEFT_BEHIND)
@pytest.mark.parametrize("lend", [_before, _after, _in_the_next_transaction, _on_a_connection])
async def test_nothing_of_a_borrowed_session_survives_its_return(
    database: Database, statement: str, lend: Callable[[AsyncEngine, sa.TextClause], Awaitable[None]]
) -> None:
    """Its owner's statements are his own, whenever he lent it, and the next who has its connection sees none of it."""
    db = Database.from_url(database.engine.url, pool_size=1, max_overflow=0)
    try:
        before = await state(db)
        await lend(db.engine, sa.text(statement))
        assert await state(db) == before
    finally:
        await db.dispose()


async def test_what_an_application_sets_for_each_connection_stays(database: Database) -> None:
    """Settings of a ``connect`` listener are no session's leavings."""
    db = Database.from_url(database.engine.url, pool_size=1, max_overflow=0)

    @sa.event.listens_for(db.engine.sync_engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("SET work_mem = '55MB'")
        cursor.execute("SET ROLE pg_monitor")
        connection.commit()
        cursor.close()

    try:
        before = await state(db)
        assert before[0] == "55MB"
        assert before[2] == "pg_monitor"
        async with db.begin_session() as session:
            await session.execute(sa.text("SET work_mem = '77MB'"))
            await session.execute(sa.text("RESET ROLE"))
        assert await state(db) == before
    finally:
        await db.dispose()


@WAYS
async def test_a_commit_whose_own_task_is_cancelled(
    pair: Pair, write: Callable[[Database, str], Awaitable[None]]
) -> None:
    """A loop that ends cancels every task, that of COMMIT among them: it is asked what became of it."""
    db, proxy = pair
    proxy.hold_answer("COMMIT")
    writing = asyncio.ensure_future(write(db, "b"))
    await until(lambda: commits(proxy) == 1, lambda: None)
    for task in asyncio.all_tasks():
        if task is writing or "AsyncSession.commit" in repr(task):
            task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await writing
    assert commit_outcome(caught.value) is CommitOutcome.COMMITTED
    assert await names(db) == ["b", "first"]


async def keep_at_it() -> None:
    await asyncio.sleep(60)


async def cancelled(work: Callable[[], Awaitable[None]], begun: asyncio.Event) -> BaseException:
    task = asyncio.ensure_future(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return caught.value


async def timed_out(work: Callable[[], Awaitable[None]], begun: asyncio.Event) -> BaseException:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(None) as timeout:
            task = asyncio.ensure_future(begun.wait())
            task.add_done_callback(lambda _: timeout.reschedule(0))
            await work()
    return caught.value


@pytest.mark.parametrize("end", [cancelled, timed_out])
@pytest.mark.parametrize("is_nested", [False, True], ids=["of the unit", "of a nested one"])
@pytest.mark.parametrize("is_at_work", [False, True], ids=["waiting", "in a unit of its own"])
async def test_what_is_cancelled_after_its_commit_was_committed(
    any_tables: WithTables, end: Any, is_nested: bool, is_at_work: bool
) -> None:
    """Work that waited for the commit is no part of it, whatever becomes of a transaction of its own."""
    begun = asyncio.Event()
    async with any_tables(DomainRow) as db:

        async def after() -> None:
            async with db.unit_of_work() if is_at_work else nullcontext() as unit:
                if unit is not None:
                    await add(unit.session, "lost")
                begun.set()
                await keep_at_it()

        async def work() -> None:
            async with db.unit_of_work() as unit, db.unit_of_work() if is_nested else nullcontext(unit) as inner:
                await add(inner.session, "kept")
                inner.after_commit(after)

        assert commit_outcome(await end(work, begun)) is CommitOutcome.COMMITTED
        assert await names(db) == ["kept"]


async def test_a_deadline_that_ends_what_comes_after_the_commit_tells_of_it(any_tables: WithTables) -> None:
    """The data is there."""
    async with any_tables(DomainRow) as db:
        hasty = Database(db.engine, deadline=3)
        with pytest.raises(DeadlineExceeded) as caught:
            async with hasty.unit_of_work() as unit:
                await add(unit.session, "kept")
                unit.after_commit(keep_at_it)
        assert commit_outcome(caught.value) is CommitOutcome.COMMITTED
        assert await names(db) == ["kept"]
