"""Connections taken from the pool at once: counted by it, told of by it, and lost by nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Pool, event
from sqlalchemy.util import greenlet_spawn

from rowsmith import Database
from rowsmith.execution.direct import proxied, put_back, take_at_once
from rowsmith.testing import WithTables, kill_backend
from tenants import DomainRow, GroupCreate, GroupId, GroupRepository, GroupRow

ONE = GroupId(1)


@pytest.fixture
async def groups(with_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with with_tables(DomainRow, GroupRow) as made:
        db = Database.from_url(made.engine.url, pool_size=1, max_overflow=1)
        made_groups = GroupRepository(db, resilience=None)
        await made_groups.create(GroupCreate("a", "one"))
        yield made_groups
        await db.dispose()


def pool_of(groups: GroupRepository) -> Any:
    return groups.db.engine.sync_engine.pool


async def test_the_pool_counts_it(groups: GroupRepository) -> None:
    """Taken it is checked out, given back it waits in the pool as before."""
    pool = pool_of(groups)
    taken = take_at_once(pool)
    assert (pool.checkedout(), pool.checkedin(), take_at_once(pool)) == (1, 0, None)
    assert put_back(taken)
    assert (pool.checkedout(), pool.checkedin(), take_at_once(pool)) == (0, 1, taken)
    assert put_back(taken)


async def test_who_waits_is_woken(groups: GroupRepository) -> None:
    """A session that waits has the connection as soon as it is put back."""
    pool = pool_of(groups)
    pool._max_overflow = 0
    taken = take_at_once(pool)
    waiting = asyncio.create_task(groups.count(None, [sa.func.abs(GroupRow.id) > 0]))
    while not pool._pool._queue._getters:  # noqa: ASYNC110 - the queue tells nobody
        await asyncio.sleep(0)
    assert put_back(taken)
    assert take_at_once(pool) is None
    assert await waiting == 1


async def test_who_waits_goes_before_who_comes(groups: GroupRepository) -> None:
    """A call after the other, each of which gives the connection back, leave it to a session that waits."""
    pool_of(groups)._max_overflow = 0
    waiting = asyncio.create_task(groups.count(None, [sa.func.abs(GroupRow.id) > 0]))
    for _ in range(100):
        await groups.get(ONE)
    assert waiting.done()
    assert await waiting == 1


async def test_one_too_many_is_closed(groups: GroupRepository) -> None:
    """What the pool keeps no place for is its own to close."""
    pool = pool_of(groups)
    taken = take_at_once(pool)
    async with groups.db.begin_session() as other:
        await other.execute(sa.select(1))
    assert not put_back(taken)
    await greenlet_spawn(proxied(taken).close)
    assert (pool.checkedout(), pool.overflow()) == (0, 0)


@pytest.mark.parametrize("name", ["checkout", "checkin", "reset"])
@pytest.mark.parametrize("of_all", [True, False], ids=["all pools", "this engine"])
async def test_who_listens_is_told(groups: GroupRepository, name: str, of_all: bool) -> None:
    """An application's listeners hear of each call once, whatever they listen to."""
    heard = list[str]()
    target: Any = Pool if of_all else groups.db.engine.sync_engine

    def listener(*_: Any) -> None:
        heard.append(name)

    event.listen(target, name, listener)
    try:
        for _ in range(3):
            await groups.get(ONE)
        await groups.purge(ONE)
    finally:
        event.remove(target, name, listener)
    assert heard == [name] * 4


def take_and_put(groups: GroupRepository) -> Any:
    taken = take_at_once(pool_of(groups))
    assert put_back(taken)
    return taken


SPOILS: dict[str, Callable[[GroupRepository], None]] = {
    "closed": lambda groups: take_and_put(groups).dbapi_connection._connection.terminate(),
    "invalidated softly": lambda groups: take_and_put(groups).invalidate(soft=True),
    "invalidated": lambda groups: take_and_put(groups).invalidate(),
    "older than all that is good": lambda groups: setattr(pool_of(groups), "_invalidate_time", 2.0**60),
    "to be recycled": lambda groups: setattr(pool_of(groups), "_recycle", 0),
    "pinged": lambda groups: setattr(pool_of(groups), "_pre_ping", True),
    "logged": lambda groups: setattr(pool_of(groups), "echo", True),
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=list(SPOILS))
async def test_what_is_not_plain_is_left_to_the_pool(
    groups: GroupRepository, spoil: Callable[[GroupRepository], None]
) -> None:
    """One that is dead, old or given up stays in its place for the pool to see to, and calls succeed."""
    pool = pool_of(groups)
    spoil(groups)
    assert take_at_once(pool) is None
    assert (pool.checkedout(), pool.checkedin()) == (0, 1)
    assert (await groups.get(ONE)).name == "one"
    assert (pool.checkedout(), pool.checkedin()) == (0, 1)


@pytest.mark.parametrize("use_lifo", [False, True])
async def test_the_last_one_put_back_is_the_first_taken(with_tables: WithTables, use_lifo: bool) -> None:
    """Its server process is warm and has the statements; one that is not alive is what the pool sees to next."""
    async with with_tables(DomainRow, GroupRow) as made:
        db = Database.from_url(made.engine.url, pool_size=3, max_overflow=0, pool_use_lifo=use_lifo)
        groups, pool = GroupRepository(db, resilience=None), db.engine.sync_engine.pool
        await asyncio.gather(*(groups.count() for _ in range(3)))
        first, second, third = (take_at_once(pool) for _ in range(3))
        for each in (second, third, first):
            assert put_back(each)
        assert [take_at_once(pool) for _ in range(3)] == [first, third, second]
        for each in (third, second, first):
            assert put_back(each)
        first.dbapi_connection.driver_connection.terminate()
        assert take_at_once(pool) is None
        assert await asyncio.gather(*(groups.count() for _ in range(3))) == [0, 0, 0]
        assert not any(each.dbapi_connection.driver_connection.is_closed() for each in (first, second, third))
        await db.dispose()


async def test_a_backend_that_was_killed(groups: GroupRepository, database: Database) -> None:
    """The server's last word is seen before the connection is used."""
    await kill_backend(database, take_and_put(groups).dbapi_connection._connection.get_server_pid())
    assert take_at_once(pool_of(groups)) is None
    assert (await groups.get(ONE)).name == "one"


@pytest.mark.of_the_native_lane
async def test_a_call_that_nobody_ends(groups: GroupRepository) -> None:
    """One that is thrown away half done gives its place back, and its connection up."""
    pool, before = pool_of(groups), take_and_put(groups).dbapi_connection._connection
    call = groups.get(ONE)
    call.send(None)
    assert pool.checkedout() == 1
    call.close()
    assert pool.checkedout() == 0
    assert (await groups.get(ONE)).name == "one"
    assert take_and_put(groups).dbapi_connection._connection is not before


async def test_disposed_while_it_is_used(groups: GroupRepository) -> None:
    """The call ends as it would, its connection returns to the old pool, and the next one has a new one."""
    task = asyncio.create_task(groups.get(ONE))
    await asyncio.sleep(0)
    old = pool_of(groups)
    assert old.checkedout() == 1
    await groups.db.dispose()
    assert (await task).name == "one"
    assert (pool_of(groups).checkedin(), old.checkedin()) == (0, 1)
    assert (await groups.get(ONE)).name == "one"
    await greenlet_spawn(old.dispose)
