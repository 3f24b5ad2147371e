"""Sessions that calls join: in a block, and in several tasks at once."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith import (
    CommitOutcome,
    ConcurrentUse,
    Database,
    EntityNotFound,
    OptionalState,
    ReadOnlyViolation,
    RepositoryError,
    TransactionAborted,
    TransactionError,
    commit_outcome,
)
from rowsmith.execution.transactions import is_sending
from rowsmith.testing import WithTables, tables
from tenants import DomainRow, GroupCreate, GroupId, GroupNameTaken, GroupPatch, GroupRepository, GroupRow, groups_in

T = TypeVar("T")
NEW = GroupCreate("a", "new")
NAMES = sa.select(GroupRow.name).order_by(GroupRow.id)


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


def renamed(name: str) -> GroupPatch:
    return GroupPatch(name=OptionalState.update(name))


async def test_a_call_joins_the_session_around_it(groups: GroupRepository) -> None:
    """What it writes is undone with the block, seen inside, and waits for no lock of the block's own."""
    db = groups.db
    with pytest.raises(ValueError, match="stop"):
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.update(GroupRow).where(GroupRow.id == 1).values(size=7))
            await groups.update(GroupId(1), renamed("changed"))
            assert (await groups.get(GroupId(1))).size == 7
            assert "changed" in list(await db_sess.scalars(NAMES))
            raise ValueError("stop")
    assert (await groups.get(GroupId(1))).name == "one"
    async with db.begin_session():
        await groups.create(NEW)
    assert await groups.count() == 4


async def test_everything_that_opens_a_session_joins(groups: GroupRepository) -> None:
    """Sessions in sessions, units in sessions and sessions in units have one session, and nested units savepoints."""
    db = groups.db
    async with db.begin_session() as outer, db.begin_session() as inner, db.unit_of_work() as unit:
        assert outer is inner is unit.session
        async with db.begin_readonly_session() as reading, db.reading() as again:
            assert reading is again is outer
        await groups.create(NEW)
        with pytest.raises(GroupNameTaken):
            async with db.unit_of_work():
                await groups.create(GroupCreate("a", "undone"))
                await groups.create(NEW)
        assert [item.name async for item in groups.stream()] == ["one", "two", "one", "new"]
    assert await groups.count() == 4


@pytest.mark.parametrize("outer", ["begin_session", "unit_of_work"])
async def test_a_session_in_a_block_is_no_savepoint(groups: GroupRepository, outer: str) -> None:
    """It joins: what fails in it is not undone alone, and the block around commits nothing."""
    with pytest.raises(TransactionAborted):
        async with getattr(groups.db, outer)():
            await groups.create(NEW)
            with pytest.raises(GroupNameTaken):
                async with groups.db.begin_session():
                    await groups.create(NEW)
    assert await groups.count() == 3


async def test_a_verb_that_calls_a_repository_is_one_transaction(groups: GroupRepository) -> None:
    """A team's own verb calls others, and they are undone with it."""

    async def create_two(db_sess: AsyncSession) -> None:
        await groups.create(NEW)
        await groups.create(NEW)

    with pytest.raises(GroupNameTaken):
        await groups.db_source.write(create_two)
    assert await groups.count() == 3


async def test_a_swallowed_error_in_a_joined_call_is_no_silent_rollback(groups: GroupRepository) -> None:
    """It is the session's error, as in a unit of work."""
    with pytest.raises(TransactionAborted):
        async with groups.db.begin_session():
            await groups.create(NEW)
            with pytest.raises(GroupNameTaken):
                await groups.create(NEW)
    assert await groups.count() == 3


async def test_work_after_the_commit_of_the_session_around_a_unit(groups: GroupRepository) -> None:
    """A unit in a session waits for the session's commit, and is dropped with it."""
    db, done = groups.db, list[str]()
    async with db.begin_session():
        async with db.unit_of_work() as unit:
            unit.after_commit(lambda: done.append("ran"))
        assert done == []
    assert done == ["ran"]
    with pytest.raises(ValueError, match="stop"):
        async with db.begin_session():
            async with db.unit_of_work() as unit:
                unit.after_commit(lambda: done.append("never"))
            raise ValueError("stop")
    with pytest.raises(TransactionError, match="ends by itself"):
        async with db.begin_session() as db_sess:
            async with db.unit_of_work() as unit:
                unit.after_commit(lambda: done.append("never"))
            await db_sess.rollback()
    assert done == ["ran"]


async def test_a_readonly_session_has_calls_read_in_it_and_refuses_writes(groups: GroupRepository) -> None:
    """Reads see its snapshot and send nothing of their own; writes, sessions to write and purges are refused."""
    db = groups.db

    async def begin() -> None:
        async with db.begin_session():
            pass

    writes: list[Callable[[], Awaitable[Any]]] = [
        lambda: groups.create(NEW),
        lambda: groups.update(GroupId(1), renamed("x")),
        lambda: groups.batch_create([NEW]),
        lambda: groups.purge(GroupId(1)),
        begin,
    ]
    for around in (db.begin_readonly_session, db.begin_session, db.unit_of_work):
        async with around(), db.begin_readonly_session() as reading:
            for write in writes:
                with pytest.raises(ReadOnlyViolation):
                    await write()
            async with db.unit_of_work() as unit, db.begin_readonly_session() as again:
                assert reading is again is unit.session
                with pytest.raises(ReadOnlyViolation):
                    await groups.create(NEW)
            assert await groups.count() == 3  # the refusals sent nothing, so the transaction is whole
    assert await groups.count() == 3


async def test_another_database_has_sessions_of_its_own(groups: GroupRepository, tmp_path: Path) -> None:
    """Blocks of two databases may stand in each other in any order, and join their own."""
    other = Database.from_url(f"sqlite+aiosqlite:///{tmp_path / 'other.sqlite'}")
    async with groups_in(lambda *rows: tables(other, *rows)) as others:
        with pytest.raises(ValueError, match="stop"):
            async with groups.db.begin_session() as left, other.begin_session() as right:
                async with groups.db.begin_session() as db_sess, other.unit_of_work() as unit:
                    assert (db_sess, unit.session) == (left, right)
                await groups.create(NEW)
                raise ValueError("stop")
        async with groups.db.begin_readonly_session():
            await others.create(NEW)
    assert await groups.count() == 3
    await other.dispose()


class Pool:
    """Groups in a database with few connections, all of which must come back without the collector's help.

    ``is_left`` is set but while a block is open that is to be left before the task inside of it goes on, ``is_inside``
    from when that task is as far as it is to be.
    """

    def __init__(self, groups: GroupRepository) -> None:
        self.groups, self.db = groups, groups.db
        self.is_left, self.is_inside = asyncio.Event(), asyncio.Event()
        self.is_left.set()

    async def start(self, child: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Give a task that is inside, or is over."""
        self.is_inside.clear()
        task = asyncio.create_task(child)
        task.add_done_callback(lambda _: self.is_inside.set())
        await self.is_inside.wait()
        return task

    async def stay(self) -> None:
        """Be inside until the block is left."""
        self.is_inside.set()
        await self.is_left.wait()

    async def slow(self, db_sess: AsyncSession) -> None:
        """A verb that is inside for good: one statement after the other."""
        await db_sess.connection()
        self.is_inside.set()
        while True:
            await db_sess.execute(sa.select(GroupRow))
            await asyncio.sleep(0)

    async def one_slow_statement(self, db_sess: AsyncSession) -> None:
        """Another, which is on the wire when whoever waits for that hears of it."""
        connection = await db_sess.connection()
        self.is_inside.set()
        is_postgresql = connection.dialect.name == "postgresql"
        await db_sess.execute(sa.text("SELECT pg_sleep(600)" if is_postgresql else LONG))

    @property
    def is_whole(self) -> bool:
        pool: Any = self.db.engine.pool
        return bool(pool.checkedout() == 0)


@pytest.fixture(params=[1, 2, 5])
async def pool(request: pytest.FixtureRequest, any_database: Database) -> AsyncIterator[Pool]:
    """A pool of 1, 2 and 5, with the collector off."""
    async with groups_in(lambda *rows: tables(any_database, *rows)):
        options = {"pool_size": request.param, "max_overflow": 0, "pool_timeout": 60}
        db = Database.from_url(any_database.engine.url, **options)
        with warnings.catch_warnings(action="ignore"):  # of what other tests left
            gc.collect()
        gc.disable()
        try:
            yield Pool(GroupRepository(db))
        finally:
            gc.enable()
            await db.dispose()


Around = Callable[[Database], Any]
AROUNDS: list[Around] = [Database.unit_of_work, Database.begin_session, Database.begin_readonly_session]


LONG = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


async def reads(pool: Pool) -> None:
    await pool.groups.db_source.read(pool.slow)


async def waits(pool: Pool) -> None:
    await pool.groups.db_source.read(pool.one_slow_statement)


async def joins(pool: Pool) -> None:
    async with pool.db.begin_readonly_session():
        await pool.stay()
        await pool.groups.count()


async def nests(pool: Pool) -> None:
    async with pool.db.unit_of_work():
        await pool.groups.count()
        await pool.stay()
        await pool.groups.count()


async def streams(pool: Pool) -> None:
    async for _ in pool.groups.stream():
        await pool.stay()


CHILDREN = [reads, waits, joins, nests, streams]


async def leave_while_a_task_is_inside(
    pool: Pool, around: Around, child: Callable[[Pool], Coroutine[Any, Any, None]]
) -> None:
    """It raises, commits nothing and gives its connection up; the task is told, and so is its next use."""
    pool.is_left.clear()
    with pytest.raises(ConcurrentUse):
        async with around(pool.db) as opened:
            if around is not Database.begin_readonly_session:
                await pool.groups.create(NEW)
            task = await pool.start(child(pool))  # type: ignore[arg-type]
    assert pool.is_whole
    pool.is_left.set()
    with pytest.raises(ConcurrentUse):
        await task
    assert pool.is_whole
    session = opened if isinstance(opened, AsyncSession) else opened.session
    with pytest.raises((RepositoryError, sa.exc.InvalidRequestError)):
        await session.execute(sa.select(1))
    with pytest.raises(RepositoryError):
        await pool.groups.db_source.querier.query(session, 1)
    assert await pool.groups.count() == 3
    assert pool.is_whole


async def leave_while_a_statement_is_on_the_wire(pool: Pool, around: Around) -> None:
    """The session itself, used by a task that nobody awaits, is noticed as well."""
    with pytest.raises(ConcurrentUse):
        async with around(pool.db) as opened:
            session = opened if isinstance(opened, AsyncSession) else opened.session
            task = await pool.start(pool.one_slow_statement(session))
            while not is_sending(session):  # noqa: ASYNC110 - SQLite's cursor is made first, in a thread
                await asyncio.sleep(0)
    assert pool.is_whole
    with pytest.raises(sa.exc.SQLAlchemyError):
        await task
    assert pool.is_whole
    assert await pool.groups.count() == 3


async def leave_while_a_savepoint_is_on_its_way(pool: Pool) -> None:
    """At any turn of the loop: the session knows nothing yet of the savepoint that is to be."""
    for child in (joins, nests):
        for turns in range(1, 6):
            pool.is_left.clear()
            with pytest.raises(ConcurrentUse):
                async with pool.db.unit_of_work():
                    await pool.groups.create(NEW)
                    task = asyncio.create_task(child(pool))
                    for _ in range(turns):
                        await asyncio.sleep(0)
            assert pool.is_whole
            pool.is_left.set()
            with pytest.raises(ConcurrentUse):
                await task
            assert pool.is_whole
    assert await pool.groups.count() == 3


async def a_gather_of_calls(pool: Pool) -> None:
    """The second is refused, the block is left while the first still works, and nothing is reported as written."""
    for around in (pool.db.unit_of_work, pool.db.begin_session):
        with pytest.raises(ConcurrentUse):
            async with around():
                first = asyncio.ensure_future(pool.groups.create(NEW))
                await asyncio.gather(first, pool.groups.get(GroupId(1)))
        assert pool.is_whole
        with pytest.raises(ConcurrentUse):
            await first
        assert pool.is_whole
        assert await pool.groups.count() == 3


async def a_gather_of_nested_units(pool: Pool) -> None:
    """Two savepoints at once have no order; the whole unit is given up."""
    with pytest.raises(ConcurrentUse):
        async with pool.db.unit_of_work():
            await pool.groups.create(NEW)
            both = [asyncio.create_task(nests(pool)) for _ in range(2)]
            await asyncio.gather(*both)
    assert pool.is_whole
    await asyncio.wait(both)
    assert pool.is_whole
    assert await pool.groups.count() == 3


async def a_nested_block_that_is_left_in_use(pool: Pool) -> None:
    """Nobody knows what is on the wire, so the unit around it is lost too, though its block goes on."""
    with pytest.raises(ConcurrentUse):
        async with pool.db.unit_of_work():
            await pool.groups.create(NEW)
            with pytest.raises(ConcurrentUse):
                async with pool.db.begin_session():
                    task = await pool.start(waits(pool))
            with pytest.raises(ConcurrentUse):
                await pool.groups.count()
    with pytest.raises(ConcurrentUse):
        await task
    assert pool.is_whole
    assert await pool.groups.count() == 3


async def a_joined_block_in_a_task_does_not_end_well(pool: Pool) -> None:
    """A child that sent all it had to is told at the end of its block that nothing of it is there."""
    made, left = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with pool.db.begin_session():
            await pool.groups.create(NEW)
            made.set()
            await left.wait()

    with pytest.raises(ConcurrentUse):
        async with pool.db.unit_of_work():
            task = asyncio.create_task(work())
            await made.wait()
    left.set()
    with pytest.raises(ConcurrentUse):
        await task
    assert pool.is_whole
    assert await pool.groups.count() == 3


async def a_cancellation_stays_one(pool: Pool) -> None:
    """Cancelled while a task is inside, or cancelled inside while the block is left: CancelledError leaves."""

    async def leave() -> None:
        async with pool.db.unit_of_work():
            tasks.append(await pool.start(waits(pool)))
            is_inside.set()
            await asyncio.Event().wait()

    tasks, is_inside = list[asyncio.Task[None]](), asyncio.Event()
    parent = asyncio.create_task(leave())
    await is_inside.wait()
    parent.cancel()
    with pytest.raises(asyncio.CancelledError):
        await parent
    assert pool.is_whole
    with pytest.raises(ConcurrentUse):
        await tasks[0]
    with suppress(ConcurrentUse):
        async with pool.db.unit_of_work():
            child = await pool.start(waits(pool))
            child.cancel()
    with pytest.raises(asyncio.CancelledError):
        await child
    assert pool.is_whole
    assert await pool.groups.count() == 3


async def an_error_of_the_applications_own_stays_one(pool: Pool) -> None:
    """The block is undone by it anyway, so it is what leaves; the task inside is told what happened to it."""
    with pytest.raises(EntityNotFound):
        async with pool.db.unit_of_work():
            task = await pool.start(waits(pool))
            raise EntityNotFound
    with pytest.raises(ConcurrentUse):
        await task
    assert pool.is_whole


async def a_task_may_work_in_a_block_while_its_parent_waits(pool: Pool) -> None:
    """One after the other is no rivalry, in a session, a joined one and a nested unit."""
    async with pool.db.begin_session(), pool.db.begin_session():
        await asyncio.wait_for(pool.groups.create(NEW), 60)
        async with pool.db.unit_of_work():
            assert await asyncio.create_task(pool.groups.count()) == 4
        await asyncio.create_task(nests(pool))
    assert await pool.groups.count() == 4
    assert pool.is_whole


CASES = [
    leave_while_a_savepoint_is_on_its_way,
    a_gather_of_calls,
    a_gather_of_nested_units,
    a_nested_block_that_is_left_in_use,
    a_joined_block_in_a_task_does_not_end_well,
    a_cancellation_stays_one,
    an_error_of_the_applications_own_stays_one,
    a_task_may_work_in_a_block_while_its_parent_waits,
]


async def test_nothing_is_left_out_of_the_pool(pool: Pool) -> None:
    """However tasks and blocks end, every connection is back without the collector, and what is told is true."""
    for around in AROUNDS:
        for child in CHILDREN:
            await leave_while_a_task_is_inside(pool, around, child)
        await leave_while_a_statement_is_on_the_wire(pool, around)
    for case in CASES:
        await case(pool)


async def test_a_stream_ends_with_its_block(groups: GroupRepository) -> None:
    """Read on after it, it says so, and touches no connection that is somebody else's by then."""
    async with groups.db.unit_of_work():
        await groups.batch_create([GroupCreate("a", f"many {number}") for number in range(1_500)])
        stream = groups.stream()
        await anext(stream)
    with pytest.raises(TransactionError, match="inside"):
        async for _ in stream:
            pass
    assert await groups.count() >= 1_500


async def test_a_call_after_a_stream_that_was_left(tmp_path: Path, database: Database) -> None:
    """The connection of a stream left by break comes back for the next call, in a pool of one and without a pool."""
    for options in ({"pool_size": 1, "max_overflow": 0}, {"poolclass": sa.NullPool}):
        async with tables(database, DomainRow, GroupRow):
            db = Database.from_url(database.engine.url, **options)
            groups = GroupRepository(db)
            await groups.batch_create([GroupCreate("a", f"many {number}") for number in range(30)])
            for number in range(10):
                async for _ in groups.stream():
                    break
                await groups.create(GroupCreate("a", f"new {number}"))
            assert await groups.count() == 40
            await db.dispose()


@pytest.mark.parametrize("ending", ["commit", "rollback"])
async def test_a_nested_block_ends_by_itself(groups: GroupRepository, ending: str) -> None:
    """Its session's commit() and rollback() are refused before anything is sent: they would end the whole."""
    before = await groups.count()
    with pytest.raises(TransactionError, match="nested"):
        async with groups.db.unit_of_work(), groups.db.unit_of_work() as inner:
            await groups.create(GroupCreate("a", "nested"))
            await getattr(inner.session, ending)()
    assert await groups.count() == before


@pytest.mark.parametrize("name", ["begin_session", "begin_readonly_session"])
async def test_a_rollback_that_fails_keeps_no_connection(with_tables: WithTables, name: str) -> None:
    """Its connection is closed under the transaction, its place is the next one's, and no error is hidden."""
    async with with_tables(DomainRow) as made:
        db = Database.from_url(made.engine.url, pool_size=1, max_overflow=0)
        with pytest.raises(KeyError):
            async with getattr(db, name)() as session:
                await session.execute(sa.select(DomainRow))
                raw: Any = await (await session.connection()).get_raw_connection()
                with suppress(ReadOnlyViolation):
                    await raw.dbapi_connection._transaction.rollback()  # a second one is refused by asyncpg
                raise KeyError
        assert db.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        await db.dispose()


async def test_what_was_committed_by_hand_is_told(groups: GroupRepository) -> None:
    """After commit() and nothing more it is committed, whatever is raised; as a statement nobody knows."""
    with pytest.raises(KeyError) as by_hand:
        async with groups.db.begin_session() as session:
            await groups.create(GroupCreate("a", "by hand"))
            await session.commit()
            raise KeyError
    assert commit_outcome(by_hand.value) is CommitOutcome.COMMITTED
    if groups.db.engine.dialect.name == "postgresql":
        with pytest.raises(KeyError) as as_text:
            async with groups.db.begin_session() as session:
                await session.execute(sa.text("COMMIT"))
                raise KeyError
        assert commit_outcome(as_text.value) is CommitOutcome.UNKNOWN


Block = Callable[[Database], Any]
BLOCKS: dict[str, Block] = {
    "a session": Database.begin_session,
    "a unit": Database.unit_of_work,
    "a session that reads": Database.begin_readonly_session,
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("when", ["while it is open", "after it", "by another task"])
async def test_a_block_is_entered_once(any_tables: WithTables, block: Block, when: str) -> None:
    """Again it is refused, and what it was first entered for ends as it would have."""
    async with groups_in(any_tables) as groups:
        once, refused = block(groups.db), list[BaseException]()

        async def again() -> None:
            with pytest.raises(TransactionError, match="a block is entered once: call begin_session") as caught:
                async with once:
                    await groups.create(GroupCreate("a", "lost"))
            refused.append(caught.value)

        async with once:
            if once.is_read_only:
                await groups.count()
            else:
                await groups.create(NEW)
            if when != "after it":
                await (again() if when == "while it is open" else asyncio.create_task(again()))
        if when == "after it":
            await again()
        assert len(refused) == 1
        assert await groups.count() == 3 + (not once.is_read_only)
        assert groups.db.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("outer", [Database.begin_session, Database.unit_of_work])
@pytest.mark.parametrize("depth", [1, 2])
async def test_a_block_is_not_left_before_one_inside_of_it(any_tables: WithTables, outer: Block, depth: int) -> None:
    """Nothing is kept of either then, both say so, and the connection is back."""
    async with groups_in(any_tables) as groups:

        async def in_block(block: Any, name: str) -> AsyncIterator[None]:
            async with block:
                await groups.create(GroupCreate("a", name))
                yield
                await groups.create(GroupCreate("a", name + ", later"))

        blocks = [in_block(outer(groups.db), "outer")]
        blocks += [in_block(groups.db.unit_of_work(), f"inner {place}") for place in range(depth)]
        for entered in blocks:
            await anext(entered)
        with pytest.raises(ConcurrentUse, match="leave the innermost block first"):
            await anext(blocks[0])
        for inner in reversed(blocks[1:]):
            with pytest.raises(ConcurrentUse, match="leave the innermost block first"):
                await anext(inner)
        assert await groups.count() == 3
        await groups.create(NEW)
        assert await groups.count() == 4
        assert groups.db.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_a_unit_is_not_left_before_one_inside_of_it(groups: GroupRepository) -> None:
    """A savepoint that is, is undone with all of its transaction."""
    with pytest.raises(ConcurrentUse, match="leave the innermost block first"):
        async with groups.db.unit_of_work():
            await groups.create(NEW)
            middle, inner = groups.db.unit_of_work(), groups.db.unit_of_work()
            await middle.__aenter__()
            await inner.__aenter__()
            await middle.__aexit__(None, None, None)
    with pytest.raises(ConcurrentUse, match="leave the innermost block first"):
        await inner.__aexit__(None, None, None)
    assert await groups.count() == 3


async def test_blocks_that_read_may_end_in_any_order(any_tables: WithTables) -> None:
    """Nothing is lost with them, and the code goes on outside."""
    async with groups_in(any_tables) as groups:

        async def names_in_block() -> AsyncIterator[int]:
            async with groups.db.begin_readonly_session():
                yield await groups.count()

        first, second = names_in_block(), names_in_block()
        assert (await anext(first), await anext(second)) == (3, 3)
        assert await anext(first, None) is None
        assert await groups.count() == 3
        await groups.create(NEW)
        assert await anext(second, None) is None
        assert groups.db.engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]
