"""What each call of one row or one page costs, so that none gets heavier: calls of functions, and round trips."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from rowsmith import CursorForwardPagination, Database, OptionalState
from rowsmith.testing import FaultProxy, WithFaults, WithTables
from tenants import DomainRow, DomainScope, GroupCreate, GroupId, GroupPatch, GroupRepository, GroupRow

ONE, A = GroupId(1), DomainScope("a")
SMALL = [GroupRow.size < 9]
PAGE = CursorForwardPagination(first=1)
SIZED = GroupPatch(size=OptionalState.update(1))
MANY = [ONE, GroupId(2)] * 500

Call = Callable[[GroupRepository, Iterator[int]], Awaitable[Any]]
READS: dict[str, tuple[int, Call]] = {
    "get": (138, lambda of, _: of.get(ONE)),
    "get in a scope": (211, lambda of, _: of.get(ONE, A)),
    "find of none": (134, lambda of, _: of.find(GroupId(0))),
    "search": (262, lambda of, _: of.search(A, None, PAGE)),
    "count": (233, lambda of, _: of.count(A, SMALL)),
    "exists": (215, lambda of, _: of.exists(A)),
    "first": (225, lambda of, _: of.first(A)),
    "get_one": (304, lambda of, _: of.get_one(A, [GroupRow.name == "group 0"])),
    "batch_get of 1,000": (166, lambda of, _: of.batch_get(MANY)),
}
"""At most how many calls of functions each takes, in one round trip; half of a get's are asyncpg's and asyncio's."""

WRITES: dict[str, tuple[tuple[int, int], Call]] = {
    "create": ((422, 277), lambda of, n: of.create(GroupCreate("a", f"new {next(n)}"))),
    "create in a scope": ((510, 365), lambda of, n: of.create(GroupCreate("a", f"other {next(n)}"), scope=A)),
    "update": ((440, 295), lambda of, _: of.update(ONE, SIZED)),
    "update in a scope": ((515, 370), lambda of, _: of.update(ONE, SIZED, scope=A)),
    "delete": ((391, 246), lambda of, n: of.delete(GroupId(next(n)))),
    "restore": ((394, 249), lambda of, n: of.restore(GroupId(next(n)))),
    "purge": ((391, 246), lambda of, n: of.purge(GroupId(next(n)))),
}
"""The same of writes, in three round trips and in one."""


@pytest.fixture
async def groups(with_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with with_tables(DomainRow, GroupRow) as made:
        db = Database.from_url(made.engine.url, pool_size=2, max_overflow=0)
        yield await filled(db)
        await db.dispose()


async def filled(db: Database) -> GroupRepository:
    groups = GroupRepository(db, resilience=None)
    await groups.batch_create([GroupCreate("b" if n == 1 else "a", f"group {n}") for n in range(8)])
    return groups


IDS = range(3, 9)
"""Rows that are there; as many as :func:`calls_of` makes calls."""
WARM_UP = 3
LEFT = 25
"""How many calls more it may be where a process has had caches and listeners, which are asked about from then on."""


async def calls_of(work: Callable[[], Awaitable[Any]]) -> int:
    """Give how many functions of Python and C a call makes the interpreter call, once every cache is warm.

    The least of some, for what the event loop has to do besides is not the call's.
    """
    count = 0

    def note(frame: Any, happened: str, argument: object) -> None:
        nonlocal count
        count += happened in ("call", "c_call")

    async def alone() -> int:
        nonlocal count
        count = 0
        sys.setprofile(note)
        try:
            await work()
        finally:
            sys.setprofile(None)
        return count

    for _ in range(WARM_UP):
        await work()
    return min([await asyncio.create_task(alone()) for _ in range(len(IDS) - WARM_UP)])


async def cost(groups: GroupRepository, call: Call) -> int:
    """Give how many calls of functions one call takes."""
    ids = iter(IDS)
    return await calls_of(lambda: call(groups, ids))


async def test_calls_of_reads(groups: GroupRepository) -> None:
    """No read makes more calls than it did."""
    found = {name: await cost(groups, call) for name, (_, call) in READS.items()}
    assert {name: calls for name, calls in found.items() if calls > READS[name][0] + LEFT} == {}


@pytest.mark.parametrize("place, writes", [(0, "transaction"), (1, "statement")])
async def test_calls_of_writes(groups: GroupRepository, place: int, writes: Any) -> None:
    """No write makes more calls than it did, however it is sent."""
    with groups.db.writes_as(writes):
        found = {name: await cost(groups, call) for name, (_, call) in WRITES.items()}
    assert {name: calls for name, calls in found.items() if calls > WRITES[name][0][place] + LEFT} == {}


async def trips(proxy: FaultProxy, groups: GroupRepository, call: Call) -> int:
    """Give how many round trips a call takes, once its statement is prepared."""
    ids = iter(IDS)
    await call(groups, ids)
    proxy.seen.clear()
    await call(groups, ids)
    return len(proxy.seen)


async def test_round_trips(with_faults: WithFaults) -> None:
    """A read takes one, a write three."""
    async with with_faults(DomainRow, GroupRow, pool_size=1, max_overflow=0) as (db, proxy):
        groups = await filled(db)
        reads = {name: await trips(proxy, groups, call) for name, (_, call) in READS.items()}
        writes = {name: await trips(proxy, groups, call) for name, (_, call) in WRITES.items()}
    assert (set(reads.values()), set(writes.values())) == ({1}, {3})


async def test_round_trips_of_statements(with_faults: WithFaults) -> None:
    """A write that is its own transaction takes one."""
    async with with_faults(DomainRow, GroupRow, pool_size=1, max_overflow=0, writes="statement") as (db, proxy):
        groups = await filled(db)
        assert {await trips(proxy, groups, call) for _, call in WRITES.values()} == {1}
