"""One Database and two event loops: an error that names them, before anything of the driver is touched."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, NullPool

from rowsmith import Database, TransactionError
from rowsmith.testing import tables
from tenants import GroupId, GroupRepository, GroupRow

# Connections of a loop that has ended can only be dropped, and say so when they are collected.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def elsewhere(work: Callable[[], Any]) -> Any:
    """Do some work in a thread, where an event loop of its own may run."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work).result()
    with warnings.catch_warnings(action="ignore"):
        gc.collect()
    return done


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL | str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'x.sqlite'}"
    found: URL = request.getfixturevalue("rowsmith_url")
    return found


async def look(db: Database) -> int:
    return await GroupRepository(db).count()


def test_a_second_run_is_refused_and_dispose_helps(url: URL | str) -> None:
    """Every way in says which loop the connections belong to, and what to do; then it works."""

    def work() -> None:
        db = Database.from_url(url)

        async def first() -> None:
            async with tables(db, GroupRow):
                assert await look(db) == 0
            async with db.begin_session():  # the tables' end has closed the connections
                pass

        async def second() -> None:
            for opened in (db.begin_session, db.begin_readonly_session, db.unit_of_work, db.reading):
                with pytest.raises(TransactionError, match=r"belong to the event loop <.*closed=True.*dispose"):
                    async with opened():
                        pass
            groups = GroupRepository(db)
            with pytest.raises(TransactionError, match="event loop") as caught:
                [group async for group in groups.stream()]
            assert caught.value.error_code == "group_stream_transaction-error"
            calls = [groups.get(GroupId(1)), groups.purge(GroupId(1)), groups.invalidate()]
            for operation, call in zip(("get", "purge", "invalidate"), calls, strict=True):
                with pytest.raises(TransactionError, match="event loop") as caught:
                    await call
                assert caught.value.facts.operation == operation
            await db.dispose()
            await first()
            await db.dispose()

        async def third() -> None:
            await first()
            await db.dispose()

        asyncio.run(first())
        asyncio.run(second())
        asyncio.run(third())

    elsewhere(work)


def test_a_threads_own_loop_is_refused_while_the_first_one_runs(url: URL | str) -> None:
    """Neither calls nor dispose may touch connections of a loop that is running."""

    def work() -> None:
        db = Database.from_url(url)

        async def in_another_thread() -> None:
            with pytest.raises(TransactionError, match="closed=False"):
                await look(db)
            with pytest.raises(TransactionError, match="closed=False"):
                await db.dispose()

        async def first() -> None:
            async with tables(db, GroupRow), db.unit_of_work():
                await asyncio.to_thread(asyncio.run, in_another_thread())
                assert await look(db) == 0
            await db.dispose()

        asyncio.run(first())

    elsewhere(work)


def test_connections_that_are_not_kept_belong_to_no_loop(url: URL | str) -> None:
    """With NullPool one Database serves one loop after another."""

    def work() -> None:
        db = Database.from_url(url, poolclass=NullPool)

        async def once() -> None:
            async with tables(db, GroupRow):
                assert await look(db) == 0

        asyncio.run(once())
        asyncio.run(once())
        with suppress(RuntimeError):
            asyncio.run(db.dispose())

    elsewhere(work)
