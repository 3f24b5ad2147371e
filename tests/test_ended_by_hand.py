"""Transactions and savepoints that code in a block ends by other means: the block says so, and keeps nothing after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith import (
    CommitOutcome,
    ConcurrentUse,
    Database,
    OptionalState,
    TransactionAborted,
    TransactionError,
    commit_outcome,
)
from rowsmith.testing import WithTables
from support import checked_out
from tenants import GroupCreate, GroupId, GroupPatch, GroupRepository, GroupRow, groups_in

BEFORE, AFTER = GroupCreate("a", "before"), GroupCreate("a", "after")


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


async def names(groups: GroupRepository) -> set[str]:
    """Give the names of the groups that were written here and are stored."""
    async with groups.db.engine.connect() as connection:
        found = await connection.execute(sa.select(GroupRow.name).where(GroupRow.name.in_(["before", "after"])))
        return {*found.scalars()}


End = Callable[[AsyncSession], Awaitable[Any]]


def by_session(name: str) -> End:
    return lambda session: getattr(session, name)()


def by_savepoint(name: str) -> End:
    return lambda session: getattr(session.get_nested_transaction(), name)()


def by_connection(name: str) -> End:
    async def end(session: AsyncSession) -> None:
        await getattr(await session.connection(), name)()

    return end


def by_savepoint_of_connection(name: str) -> End:
    async def end(session: AsyncSession) -> None:
        await getattr((await session.connection()).get_nested_transaction(), name)()

    return end


def by_statements(*statements: str) -> End:
    async def end(session: AsyncSession) -> None:
        for statement in statements:
            await session.execute(sa.text(statement))

    return end


OF_SAVEPOINTS: dict[str, End] = {
    "savepoint's rollback": by_savepoint("rollback"),
    "savepoint's commit": by_savepoint("commit"),
    "connection's savepoint's rollback": by_savepoint_of_connection("rollback"),
    "connection's savepoint's commit": by_savepoint_of_connection("commit"),
}
"""Of what ends a savepoint alone nothing is kept at all, as the transaction around it is given up."""
ENDINGS: dict[str, End] = {
    "rollback": by_session("rollback"),
    "commit": by_session("commit"),
    "close": by_session("close"),
    "reset": by_session("reset"),
    "invalidate": by_session("invalidate"),
    "connection's rollback": by_connection("rollback"),
    "connection's commit": by_connection("commit"),
    "ROLLBACK, BEGIN": by_statements("ROLLBACK", "BEGIN"),
    "COMMIT, BEGIN": by_statements("COMMIT", "BEGIN"),
    **OF_SAVEPOINTS,
}
COMMITTING = {"commit", "connection's commit", "COMMIT, BEGIN"}
BLOCKS: dict[str, Callable[[Database], Any]] = {
    "session": Database.begin_session,
    "unit": Database.unit_of_work,
}


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_block_in_a_borrowed_session(groups: GroupRepository, ending: str, block: str) -> None:
    """Whether it ends or fails, its owner commits nothing that it wrote after that, and no error of SQLAlchemy's."""
    for error in (None, KeyError, asyncio.CancelledError):
        async with AsyncSession(groups.db.engine) as session:
            mine = GroupRepository(Database.from_session(session))
            with pytest.raises(error or TransactionError, match=None if error else "ends by itself|not known") as left:
                async with BLOCKS[block](mine.db):
                    await mine.create(BEFORE)
                    await ENDINGS[ending](session)
                    await mine.create(AFTER)
                    if error is not None:
                        raise error
            with suppress(TransactionError, InvalidRequestError):
                await session.commit()
        is_told = ending in OF_SAVEPOINTS and error is None
        assert commit_outcome(left.value) is (CommitOutcome.NOT_COMMITTED if is_told else CommitOutcome.UNKNOWN)
        assert await names(groups) == ({"before"} if ending in COMMITTING else set())
        assert checked_out(groups.db) == 0
        await groups.purge_where([GroupRow.name == "before"])


@pytest.mark.parametrize("ending", OF_SAVEPOINTS)
async def test_the_owner_of_a_savepoint_that_was_ended(groups: GroupRepository, ending: str) -> None:
    """Is told at COMMIT, as what was written after it cannot be undone by itself, and goes on after a rollback."""
    async with AsyncSession(groups.db.engine) as session:
        mine = GroupRepository(Database.from_session(session))
        with pytest.raises(TransactionError, match="a nested block, which is a savepoint"):
            async with mine.db.unit_of_work():
                await OF_SAVEPOINTS[ending](session)
                await mine.create(AFTER)
        with pytest.raises(TransactionAborted):
            await session.commit()
        await session.rollback()
        await mine.create(BEFORE)
        await session.commit()
    assert await names(groups) == {"before"}


@pytest.mark.parametrize("is_caught", [True, False], ids=["caught", "left"])
@pytest.mark.parametrize("ending", sorted(ENDINGS.keys() - {"commit", "rollback"}))
async def test_a_unit_inside_of_another(groups: GroupRepository, ending: str, is_caught: bool) -> None:
    """Both are told, and nothing that was written after it is kept, whether the inner one's error is caught or not."""
    with pytest.raises(TransactionError) as left:
        async with groups.db.unit_of_work():
            try:
                async with groups.db.unit_of_work() as unit:
                    await groups.create(BEFORE)
                    await ENDINGS[ending](unit.session)
                    await groups.create(AFTER)
                    raise KeyError
            except (KeyError, TransactionError):
                if not is_caught:
                    raise TransactionError from None
    assert await names(groups) == ({"before"} if ending in COMMITTING else set())
    assert commit_outcome(left.value) is not CommitOutcome.COMMITTED
    assert checked_out(groups.db) == 0


CALLS: dict[str, Callable[[GroupRepository], Awaitable[Any]]] = {
    "create": lambda of: of.create(AFTER),
    "update": lambda of: of.update(GroupId(1), GroupPatch(size=OptionalState.update(1))),
    "delete": lambda of: of.delete(GroupId(1)),
    "batch_create": lambda of: of.batch_create([AFTER]),
    "batch_delete": lambda of: of.batch_delete([GroupId(1)]),
    "partial_create": lambda of: of.batch_create_partial([AFTER]),
    "upsert": lambda of: of.upsert(GroupCreate("a", "one")),
    "purge_where": lambda of: of.purge_where([GroupRow.id > 0], chunk_size=None),
    "get": lambda of: of.get(GroupId(1)),
    "search": lambda of: of.search(),
    "count": lambda of: of.count(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("block", [*BLOCKS, "nested unit"])
async def test_a_call_in_a_session_that_is_closed(groups: GroupRepository, block: str, call: str) -> None:
    """It says so, and nothing of a database that refused a statement, by either lane."""
    for of in (groups, GroupRepository(Database(groups.db.engine, native=False))):
        for close in (by_session("close"), by_session("invalidate"), by_connection("close")):
            with pytest.raises(TransactionError, match=r"this session is closed|not known here"):
                async with BLOCKS[block.removeprefix("nested ")](of.db) as opened:
                    session: AsyncSession = getattr(opened, "session", opened)
                    await of.create(BEFORE)
                    if block != "nested unit":
                        await close(session)
                        await CALLS[call](of)
                    async with of.db.unit_of_work():
                        await close(session)
                        await CALLS[call](of)
            assert await names(groups) == set()
            assert checked_out(groups.db) == 0


async def test_a_block_after_the_end_of_its_transaction(groups: GroupRepository) -> None:
    """A savepoint cannot begin then, which is no fault of the database's."""
    for end in (by_statements("COMMIT"), by_connection("commit")):
        with pytest.raises(TransactionError, match="not known here") as ended:
            async with groups.db.begin_session() as session:
                await end(session)
                async with groups.db.unit_of_work():
                    await groups.create(AFTER)
        assert commit_outcome(ended.value) is CommitOutcome.UNKNOWN
        assert checked_out(groups.db) == 0
        await groups.purge_where([GroupRow.name == "after"])


async def test_another_task_that_is_inside_is_told_first(groups: GroupRepository) -> None:
    """What was ended by hand hides nothing of a session that two tasks use at once."""
    async with AsyncSession(groups.db.engine) as session:
        mine, inside, leave = GroupRepository(Database.from_session(session)), asyncio.Event(), asyncio.Event()

        async def at_work() -> None:
            async with mine.db.begin_session():
                inside.set()
                await leave.wait()

        tasks = list[asyncio.Task[None]]()
        with pytest.raises(ConcurrentUse):
            async with mine.db.unit_of_work():
                await session.rollback()
                tasks.append(asyncio.ensure_future(at_work()))
                await inside.wait()
        leave.set()
        with pytest.raises(ConcurrentUse):
            await tasks[0]
    assert checked_out(groups.db) == 0


CHAINS = ["ROLLBACK AND CHAIN", "ABORT AND CHAIN", "COMMIT AND CHAIN", "END AND CHAIN", "/* a */ commit work and chain"]


async def by_driver(session: AsyncSession, statement: str) -> None:
    raw = await (await session.connection()).get_raw_connection()
    driver: Any = raw.driver_connection
    await driver.execute(statement)


async def by_text(session: AsyncSession, statement: str) -> None:
    await session.execute(sa.text(statement))


async def by_ddl(session: AsyncSession, statement: str) -> None:
    ddl: Any = sa.DDL
    await session.execute(ddl(statement))


async def by_exec_driver_sql(session: AsyncSession, statement: str) -> None:
    await (await session.connection()).exec_driver_sql(statement)


@pytest.mark.parametrize("is_borrowed", [False, True], ids=["own", "borrowed"])
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("send", [by_text, by_ddl, by_exec_driver_sql, by_driver])
async def test_a_transaction_that_another_one_follows(
    with_tables: WithTables, send: Any, native: bool, is_borrowed: bool
) -> None:
    """PostgreSQL and its driver say that they are in a transaction still; the block tells that it is not the same."""
    async with groups_in(with_tables) as made:
        db = Database(made.db.engine, native=native)
        for statement in CHAINS:
            for block in BLOCKS.values():
                for error in (None, KeyError):
                    async with AsyncSession(db.engine) as session:
                        of = GroupRepository(Database.from_session(session) if is_borrowed else db)
                        with pytest.raises(error or TransactionError) as left:
                            async with block(of.db) as opened:
                                await of.create(BEFORE)
                                await send(getattr(opened, "session", opened), statement)
                                await of.create(AFTER)
                                if error is not None:
                                    raise error
                        with suppress(TransactionError):
                            await session.commit()
                    assert commit_outcome(left.value) is CommitOutcome.UNKNOWN
                    is_kept = "commit" in statement.lower() or "END" in statement
                    assert await names(made) == ({"before"} if is_kept else set()), statement
                    assert checked_out(db) == 0
                    await made.purge_where([GroupRow.name == "before"])


@pytest.mark.parametrize("end", ["ROLLBACK", "COMMIT"])
@pytest.mark.parametrize("statements", ["one", "two"])
async def test_a_transaction_that_the_driver_ends_and_begins(
    with_tables: WithTables, end: str, statements: str
) -> None:
    """The id of what was written before is not the one of COMMIT, or of what is written after."""
    async with groups_in(with_tables) as groups:
        for is_after in (False, True):
            with pytest.raises(TransactionError, match="not known here") as left:
                async with groups.db.begin_session() as session:
                    await groups.create(BEFORE)
                    for each in [f"{end}; BEGIN"] if statements == "one" else [end, "BEGIN"]:
                        await by_driver(session, each)
                    if is_after:
                        await groups.create(AFTER)
            assert commit_outcome(left.value) is CommitOutcome.UNKNOWN
            assert await names(groups) == ({"before"} if end == "COMMIT" else set())
            await groups.purge_where([GroupRow.name == "before"])


async def test_what_ends_no_transaction(any_tables: WithTables) -> None:
    """Savepoints, words in values and comments, and what the driver's own connection is used for otherwise."""
    async with groups_in(any_tables) as groups:
        async with groups.db.unit_of_work() as unit:
            session = unit.session
            await groups.create(BEFORE)
            for statement in (
                "SAVEPOINT a",
                "ROLLBACK /* to */ TO a",
                "ROLLBACK TRANSACTION TO SAVEPOINT a",
                "RELEASE a",
            ):
                await by_text(session, statement)
            assert await session.scalar(sa.text("SELECT 'commit'  -- rollback; commit")) == "commit"
            await by_text(session, "UPDATE groups SET name = 'ROLLBACK' WHERE name = 'none'")
            await by_driver(session, "UPDATE groups SET name = 'COMMIT; BEGIN' WHERE name = 'none'")
            async with session.begin_nested(), groups.db.unit_of_work():
                await groups.create(AFTER)
        assert await names(groups) == {"before", "after"}


async def test_an_error_that_is_swallowed_after_the_end(any_tables: WithTables) -> None:
    """Nobody is told that nothing was committed: what came before the end may be."""
    async with groups_in(any_tables) as groups:
        with pytest.raises(TransactionError, match="not known here") as ended:
            async with groups.db.begin_session() as session:
                await groups.create(BEFORE)
                for statement in ("COMMIT", "BEGIN"):
                    await by_text(session, statement)
                with suppress(Exception):
                    await by_text(session, "SELECT nothing FROM nowhere")
        assert commit_outcome(ended.value) is CommitOutcome.UNKNOWN
        assert await names(groups) == {"before"}
