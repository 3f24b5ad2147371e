"""Repositories in a session that somebody else owns: nothing is committed or closed, and the owner sees the truth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, sessionmaker

from rowsmith import (
    ConcurrentUse,
    Creator,
    Database,
    DBSource,
    InvalidValue,
    MappingError,
    OptionalState,
    Querier,
    ReadOnlyViolation,
    Repository,
    TransactionAborted,
    TransactionError,
)
from rowsmith.operations import WherePurger
from rowsmith.testing import WithTables
from tenants import GroupCreate, GroupId, GroupNameTaken, GroupPatch, GroupRepository, GroupRow, groups_in

NEW = GroupCreate("a", "new")


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


def borrowing(session: AsyncSession) -> GroupRepository:
    return GroupRepository(Database.from_session(session))


async def test_the_owner_commits(groups: GroupRepository) -> None:
    """What was written is seen in the session, and by others once its owner has committed it."""
    async with AsyncSession(groups.db.engine) as session:
        mine = borrowing(session)
        await mine.create(NEW)
        assert await mine.count() == 4
        assert session.in_transaction()
        assert [group.name async for group in mine.stream()] == ["one", "two", "one", "new"]
        await mine.db.dispose()
        await session.rollback()
        assert await mine.count() == 3
        await mine.create(NEW)
        async with mine.db.begin_session() as same, mine.db.unit_of_work() as unit:
            assert same is unit.session is session
            session.add(GroupRow(domain_name="a", name="added"))
        await session.commit()
    assert await groups.count() == 5


class GroupRows(Repository[GroupRow]): ...


@pytest.mark.parametrize("is_ours", [True, False], ids=["ours", "somebody else's"])
async def test_rows_after_a_rollback_by_hand(groups: GroupRepository, is_ours: bool) -> None:
    """They are expired, as SQLAlchemy has it for all objects of a session, and whole once they are read again."""
    async with groups.db.begin_session() if is_ours else AsyncSession(groups.db.engine) as session:
        rows = GroupRows(groups.db if is_ours else Database.from_session(session))
        row, other = await rows.get_one(None, [GroupRow.name == "two"]), await rows.first(orders=[GroupRow.id])
        assert other is not None
        id, size = row.id, row.size
        await rows.update_where([GroupRow.id == id], GroupPatch(size=OptionalState.update(77)))
        assert row.size == 77
        await session.rollback()
        assert {"name", "size"} <= sa.inspect(row).expired_attributes & sa.inspect(other).expired_attributes
        assert await rows.get(id) is row
        assert row.size == size
        await session.refresh(other)
        assert other.name == "one"


async def test_an_error_undoes_its_own_call_and_no_more(groups: GroupRepository) -> None:
    """The owner may catch it and go on, as may a unit of work in the session; a block is undone as one."""
    async with AsyncSession(groups.db.engine) as session, session.begin():
        mine = borrowing(session)
        await mine.create(NEW)
        with pytest.raises(GroupNameTaken):
            await mine.create(NEW)
        for block in (mine.db.begin_session, mine.db.unit_of_work):
            with pytest.raises(GroupNameTaken):
                async with block():
                    await mine.create(GroupCreate("a", "undone"))
                    await mine.create(NEW)
            with pytest.raises(TransactionAborted):
                async with block():
                    await mine.create(GroupCreate("a", "undone"))
                    with pytest.raises(GroupNameTaken):
                        await mine.create(NEW)
        await mine.create(GroupCreate("a", "after"))
    assert await groups.count() == 5


async def test_a_read_that_the_database_refuses_is_no_silent_rollback(with_tables: WithTables) -> None:
    """PostgreSQL has undone everything by then, and the owner's commit says so; a rollback mends it."""

    async def fail(db_sess: AsyncSession) -> None:
        await db_sess.execute(sa.text("SELECT 1 / 0"))

    async with groups_in(with_tables) as groups:
        async with groups.db.engine.connect() as connection, connection.begin() as outer:
            fixture = AsyncSession(connection, join_transaction_mode="create_savepoint")
            for session in (AsyncSession(groups.db.engine), fixture):
                async with session:
                    mine = borrowing(session)
                    await mine.create(NEW)
                    with pytest.raises(InvalidValue):
                        await mine.db_source.read(fail)
                    with pytest.raises(TransactionAborted):
                        await session.commit()
                    await session.rollback()
                    assert await mine.count() == 3
            await outer.rollback()
        assert await groups.count() == 3


async def test_a_test_fixture_that_rolls_back(with_tables: WithTables) -> None:
    """The session's commits are savepoints of a connection's transaction, which is undone at the end."""
    async with groups_in(with_tables) as groups:
        async with groups.db.engine.connect() as connection, connection.begin() as outer:
            async with AsyncSession(connection, join_transaction_mode="create_savepoint") as session:
                mine = borrowing(session)
                await mine.create(NEW)
                await session.commit()
                with pytest.raises(GroupNameTaken):
                    await mine.create(NEW)
                await session.commit()
                assert await mine.count() == 4
            await outer.rollback()
        assert await groups.count() == 3


async def test_what_a_borrowed_session_refuses(groups: GroupRepository) -> None:
    """Chunks that commit, work that waits for a commit, writes in a read-only block."""
    async with AsyncSession(groups.db.engine) as session:
        mine = borrowing(session)
        with pytest.raises(TransactionError, match="chunk_size=None"):
            await mine.purge_where([GroupRow.id > 0])
        async with mine.db.unit_of_work() as unit:
            with pytest.raises(TransactionError, match="somebody else's"):
                unit.after_commit(lambda: None)
        async with mine.db.begin_readonly_session():
            assert await mine.count() == 3
            with pytest.raises(ReadOnlyViolation):
                await mine.create(NEW)
        await mine.create(NEW)
        await session.commit()
    assert await groups.count() == 4


async def test_two_tasks_in_a_borrowed_session(groups: GroupRepository) -> None:
    """One session has one user at a time, whichever Database leads to it."""
    async with AsyncSession(groups.db.engine) as session:
        mine, again = borrowing(session), borrowing(session)
        results = await asyncio.gather(
            mine.get(GroupId(1)), mine.get(GroupId(1)), again.get(GroupId(1)), return_exceptions=True
        )
        assert [type(result) for result in results[1:]] == [ConcurrentUse, ConcurrentUse]
        assert await mine.get(GroupId(1)) == results[0]


async def test_sessions_that_cannot_be_borrowed(groups: GroupRepository) -> None:
    """Told at once, with what to write."""
    engine, from_session = groups.db.engine, cast_any(Database.from_session)
    closed = AsyncSession(engine, close_resets_only=False)
    await closed.close()
    async with engine.connect() as connection:
        bound = AsyncSession(connection)
        with pytest.raises(MappingError, match=r"AsyncSession\(connection\)"):
            from_session(connection)
    for session in (closed, bound):
        with pytest.raises(MappingError, match="is closed"):
            from_session(session)
    for wrong, advice in [
        (engine, r"write Database\(engine\)"),
        (Session(engine.sync_engine), "rowsmith is asynchronous"),
        (sessionmaker(engine.sync_engine), "rowsmith is asynchronous"),
        (async_sessionmaker(engine), r"from_session\(maker\(\)\)"),
        (async_scoped_session(async_sessionmaker(engine), lambda: 1), r"from_session\(maker\(\)\)"),
        (None, r"Database\(engine\)"),
        (groups.db, r"Database\(engine\)"),
    ]:
        with pytest.raises(MappingError, match=advice):
            from_session(wrong)
    with pytest.raises(MappingError, match="no engine"):
        from_session(AsyncSession())


async def test_a_borrowed_session_that_is_closed_for_good(groups: GroupRepository) -> None:
    """Its repositories refuse to work, with an error of a type."""
    session = AsyncSession(groups.db.engine, close_resets_only=False)
    mine = borrowing(session)
    assert await mine.count() == 3
    await session.close()
    for call in (mine.count, lambda: mine.create(NEW)):
        with pytest.raises(TransactionError, match="closed"):
            await call()


def cast_any(given: Any) -> Any:
    return given


async def test_what_is_no_database(groups: GroupRepository) -> None:
    """A repository or source over something else says at once what to write, and so does a verb without a session."""
    engine = groups.db.engine
    make, source, database = cast_any(GroupRepository), cast_any(DBSource), cast_any(Database)
    async with AsyncSession(engine) as session, engine.connect() as connection:
        assert isinstance(connection, AsyncConnection)
        wrong = (session, engine, engine.sync_engine, async_sessionmaker(engine), connection, "sqlite://", 1)
        for given in wrong:
            with pytest.raises(MappingError, match=r"Database\(engine\).*Database\.from_session\(session\)"):
                make(given)
            with pytest.raises(MappingError, match=r"Database\(engine\).*Database\.from_session\(session\)"):
                source(given, GroupRow)
        with pytest.raises(MappingError, match=r"Database\(engine\).*Database\.from_session\(session\)"):
            make(None)
        with pytest.raises(MappingError, match=r"write Database\.from_session\(session\)"):
            database(session)
        with pytest.raises(MappingError, match="create_async_engine"):
            database(engine.sync_engine)
        for given in (groups.db, engine, connection, None):
            with pytest.raises(MappingError, match="takes an AsyncSession first"):
                await cast_any(Querier(GroupRow)).query(given, 1)
            with pytest.raises(MappingError, match="takes an AsyncSession first"):
                await cast_any(Creator(GroupRow)).create(given, NEW)
            with pytest.raises(MappingError, match=r"write db\.begin_session"):
                await cast_any(WherePurger(GroupRow)).purge(given, [GroupRow.id == 1])


def test_an_engine_that_is_not_asynchronous_yet() -> None:
    """An engine is taken before anything connects."""
    assert Database(create_async_engine("postgresql+asyncpg://nobody@nowhere/none")).engine is not None
