"""The way to asyncpg underneath a session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import async_sessionmaker

from rowsmith import CheckViolation, Database, DatabaseFault, DatabaseUnavailable, TransactionAborted
from rowsmith.execution import Origin
from rowsmith.execution.driver import has_driver, use_driver

ORIGIN = Origin("thing", "try")


def test_only_asyncpg_is_a_driver_to_go_to() -> None:
    """Other dialects have no way underneath."""
    assert has_driver(sa.make_url("postgresql+asyncpg://").get_dialect()())
    assert not has_driver(sa.make_url("sqlite+aiosqlite://").get_dialect()())


async def test_work_is_done_in_the_sessions_transaction(database: Database) -> None:
    """BEGIN is sent first, through SQLAlchemy; the session's rollback takes the work back, its commit keeps it."""
    make = async_sessionmaker(database.engine)

    async def work(driver: Any) -> bool:
        assert driver.is_in_transaction()
        await driver.execute("CREATE TABLE driver_probe (n int CHECK (n > 0))")
        return True

    there = sa.text("SELECT to_regclass('driver_probe') IS NOT NULL")
    async with make() as db_sess:
        assert await use_driver(db_sess, ORIGIN, work)
        assert await db_sess.scalar(there)
        await db_sess.rollback()
        assert not await db_sess.scalar(there)


async def test_a_swallowed_error_ends_the_transaction(database: Database) -> None:
    """The error is translated, without a trace of the driver's; leaving the block says that nothing is kept."""

    async def work(driver: Any) -> None:
        await driver.execute("CREATE TEMP TABLE driver_probe (n int CONSTRAINT positive CHECK (n > 0)) ON COMMIT DROP")
        await driver.execute("INSERT INTO driver_probe VALUES (-12345)")

    with pytest.raises(TransactionAborted):
        async with database.begin_session() as db_sess:
            with pytest.raises(CheckViolation) as caught:
                await use_driver(db_sess, ORIGIN, work)
            assert (caught.value.__cause__, caught.value.__context__) == (None, None)
            assert "12345" not in repr(caught.value)
            assert caught.value.error_code == "thing_try_check-violated"


async def test_a_savepoint_takes_the_failure(database: Database) -> None:
    """Inside ``begin_nested`` the error is the savepoint's, and the session goes on."""

    async def work(driver: Any) -> None:
        await driver.execute("nonsense")

    async with database.begin_session() as db_sess:
        with pytest.raises(DatabaseFault):
            async with db_sess.begin_nested():
                await use_driver(db_sess, ORIGIN, work)
        assert await db_sess.scalar(sa.text("SELECT 1")) == 1


async def test_a_lost_connection_is_thrown_away(database: Database) -> None:
    """The typed error comes, and the next session has a connection that works."""

    async def work(driver: Any) -> None:
        await driver.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    async def again(driver: Any) -> None:
        await driver.execute("SELECT 1")

    for attempt in (work, again):
        with pytest.raises(DatabaseUnavailable):
            async with database.begin_session() as db_sess:
                await use_driver(db_sess, ORIGIN, work)
                await use_driver(db_sess, ORIGIN, attempt)
    async with database.begin_session() as db_sess:
        assert await db_sess.scalar(sa.text("SELECT 1")) == 1


async def test_a_connection_cancelled_in_the_middle_is_not_used_again(database: Database) -> None:
    """Nobody knows what is still on the wire."""

    async def work(driver: Any) -> None:
        await driver.execute("SELECT pg_sleep(10)")

    async with async_sessionmaker(database.engine)() as db_sess:
        before = await db_sess.scalar(sa.text("SELECT pg_backend_pid()"))
        task = asyncio.ensure_future(use_driver(db_sess, ORIGIN, work))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await db_sess.rollback()
        assert await db_sess.scalar(sa.text("SELECT pg_backend_pid()")) != before
