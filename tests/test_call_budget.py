"""What each call of one row or one page costs, so that none gets heavier: calls of functions, and round trips."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
from redis.asyncio import Redis

from benchmarks.calls import count
from pages import ROOT
from rowsmith import Conflict, CursorForwardPagination, Database, OptionalState, touched
from rowsmith.cache import MemoryCacheSource, RedisCacheSource
from rowsmith.testing import FaultProxy, WithFaults, WithTables
from tenants import DomainRow, DomainScope, GroupCreate, GroupData, GroupId, GroupPatch, GroupRepository, GroupRow

pytestmark = pytest.mark.of_the_native_lane

ONE, A = GroupId(1), DomainScope("a")
SMALL = [GroupRow.size < 9]
PAGE = CursorForwardPagination(first=1)
SIZED = GroupPatch(size=OptionalState.update(1))
MANY = [ONE, GroupId(2)] * 500

IDS = range(3, 9)
"""Rows that are there; as many as :func:`cost` makes calls."""
WARM_UP = 3
FIVE = [GroupId(n) for n in (3, 4, 5, 6, 7)]

Call = Callable[[GroupRepository, Iterator[int]], Awaitable[Any]]
READS: dict[str, tuple[int, Call]] = {
    "get": (125, lambda of, _: of.get(ONE)),
    "get in a scope": (137, lambda of, _: of.get(ONE, A)),
    "find of none": (121, lambda of, _: of.find(GroupId(0))),
    "search": (205, lambda of, _: of.search(A, None, PAGE)),
    "count": (176, lambda of, _: of.count(A, SMALL)),
    "exists": (158, lambda of, _: of.exists(A)),
    "exists by id": (124, lambda of, _: of.exists(id=ONE)),
    "exists by id in a scope": (136, lambda of, _: of.exists(A, id=ONE)),
    "first": (168, lambda of, _: of.first(A)),
    "get_one": (243, lambda of, _: of.get_one(A, [GroupRow.name == "group 0"])),
    "batch_get of 1,000": (153, lambda of, _: of.batch_get(MANY)),
}
"""At most how many calls of functions each takes on any Python, in one round trip.

Half of those of a get are asyncpg's and asyncio's.
"""

WRITES: dict[str, tuple[tuple[int, int], Call]] = {
    "create": ((342, 205), lambda of, n: of.create(GroupCreate("a", f"new {next(n)}"))),
    "create in a scope": ((386, 249), lambda of, n: of.create(GroupCreate("a", f"other {next(n)}"), scope=A)),
    "update": ((364, 227), lambda of, _: of.update(ONE, SIZED)),
    "update in a scope": ((395, 258), lambda of, _: of.update(ONE, SIZED, scope=A)),
    "batch_update": ((389, 252), lambda of, _: of.batch_update(FIVE, SIZED)),
    "batch_update in a scope": ((421, 283), lambda of, _: of.batch_update(FIVE, SIZED, scope=A)),
    "batch_delete": ((333, 196), lambda of, n: of.batch_delete([GroupId(next(n))])),
    "batch_restore": ((334, 197), lambda of, n: of.batch_restore([GroupId(next(n))])),
    "delete": ((310, 173), lambda of, n: of.delete(GroupId(next(n)))),
    "restore": ((313, 176), lambda of, n: of.restore(GroupId(next(n)))),
    "purge": ((310, 173), lambda of, n: of.purge(GroupId(next(n)))),
    # Of those that create made.
    "batch_purge": ((333, 196), lambda of, n: of.batch_purge([GroupId(next(n) + len(IDS))])),
    "upsert": ((352, 215), lambda of, n: of.upsert(GroupCreate("a", f"put {next(n)}"))),
    "upsert of one that is there": ((351, 214), lambda of, _: of.upsert(GroupCreate("a", "group 0"))),
    "upsert in a scope": ((395, 258), lambda of, _: of.upsert(GroupCreate("a", "group 0"), scope=A)),
}
"""The same of writes, in three round trips and in one."""


@pytest.fixture
async def groups(with_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with with_tables(DomainRow, GroupRow) as made:
        db = Database.from_url(made.engine.url, pool_size=2, max_overflow=0)
        yield await filled(db)
        await db.dispose()


class Groups(GroupRepository):
    conflict = Conflict(constraint="uq_groups_live")


async def filled(db: Database) -> GroupRepository:
    groups = Groups(db, resilience=None)
    await groups.batch_create([GroupCreate("b" if n == 1 else "a", f"group {n}") for n in range(8)])
    return groups


@pytest.fixture(autouse=True)
def nothing_is_kept() -> Iterator[None]:
    """Have no cache be there, about which writes would have to ask."""
    with mock.patch.dict(touched.KEEPERS, clear=True):
        yield


async def cost(groups: GroupRepository, call: Call) -> int:
    """Give how many calls of functions one call takes."""
    ids = iter(IDS)
    for _ in range(WARM_UP):
        await call(groups, ids)
    return min([(await count(lambda: call(groups, ids), warm_up=0)).calls for _ in range(len(IDS) - WARM_UP)])


POLICIES = 28
"""What measures and retries add to a call that succeeds at once; a span, where nobody listens, is among them."""


async def test_calls_of_policies(groups: GroupRepository) -> None:
    """Those that a repository has by default add no more calls than they did."""
    default, (_, call) = GroupRepository(groups.db), READS["get"]
    assert await cost(default, call) - await cost(groups, call) <= POLICIES


async def test_calls_of_reads(groups: GroupRepository) -> None:
    """No read makes more calls than it did."""
    found = {name: await cost(groups, call) for name, (_, call) in READS.items()}
    assert {name: calls for name, calls in found.items() if calls > READS[name][0]} == {}


IN_SESSIONS = {"get": 233, "get in a scope": 262, "search": 330, "count": 300, "first": 290}
"""The same of reads in a unit of work, whose connection and transaction they have."""


async def test_calls_of_reads_in_sessions(groups: GroupRepository) -> None:
    """No read makes more calls than it did."""
    async with groups.db.unit_of_work():
        found = {name: await cost(groups, READS[name][1]) for name in IN_SESSIONS}
    assert {name: calls for name, calls in found.items() if calls > IN_SESSIONS[name]} == {}


WRITES_IN_SESSIONS = {
    "create": 306,
    "create in a scope": 343,
    "update": 318,
    "update in a scope": 344,
    "batch_update": 371,
    "batch_update in a scope": 400,
    "batch_delete": 316,
    "batch_restore": 317,
    "delete": 275,
    "restore": 278,
    "purge": 273,
    "batch_purge": 314,
    "upsert": 334,
    "upsert of one that is there": 333,
    "upsert in a scope": 370,
}
"""The same of writes in a unit of work, of one round trip each."""


async def test_calls_of_writes_in_sessions(groups: GroupRepository) -> None:
    """No write makes more calls than it did."""
    async with groups.db.unit_of_work():
        found = {name: await cost(groups, call) for name, (_, call) in WRITES.items()}
    assert {name: calls for name, calls in found.items() if calls > WRITES_IN_SESSIONS[name]} == {}


FROM_MEMORY = {"get": 34, "get in a scope": 50}
"""The same of reads that a cache in the process's memory answers."""


async def test_calls_of_reads_from_memory(groups: GroupRepository) -> None:
    """No read makes more calls than it did."""
    cached = GroupRepository(groups.db, cache_source=MemoryCacheSource(GroupData), resilience=None)
    found = {name: await cost(cached, READS[name][1]) for name in FROM_MEMORY}
    assert {name: calls for name, calls in found.items() if calls > FROM_MEMORY[name]} == {}


FROM_REDIS = {"get": 45, "get in a scope": 62}
"""Of reads that Redis answers, those of our own: how many its client and the event loop make is theirs to say."""


async def test_calls_of_reads_from_redis(groups: GroupRepository, client: Redis) -> None:
    """No read makes more calls than it did."""
    source = RedisCacheSource[GroupId, GroupData](client, GroupData, prefix="group", timeout=30.0)
    cached, found = GroupRepository(groups.db, cache_source=source, resilience=None), dict[str, int]()
    for name in FROM_REDIS:
        call = READS[name][1]
        found[name] = min([(await count(lambda call=call: call(cached, iter(IDS)))).own for _ in range(6)])  # type: ignore[misc]
    assert source.counts.misses == len(FROM_REDIS)
    assert {name: calls for name, calls in found.items() if calls > FROM_REDIS[name]} == {}


@pytest.mark.parametrize("place, writes", [(0, "transaction"), (1, "statement")])
async def test_calls_of_writes(groups: GroupRepository, place: int, writes: Any) -> None:
    """No write makes more calls than it did, however it is sent."""
    with groups.db.writes_as(writes):
        found = {name: await cost(groups, call) for name, (_, call) in WRITES.items()}
    assert {name: calls for name, calls in found.items() if calls > WRITES[name][0][place]} == {}


WAYS: dict[tuple[str, bool], tuple[int, int]] = {
    ("get", True): (11, 30),
    ("get", False): (33, 119),
    ("update", True): (16, 51),
    ("update", False): (44, 164),
    ("batch_update", True): (16, 52),
    ("batch_update", False): (53, 205),
}
"""At most how many files and functions of ours a reader passes on the way to a statement, by the native lane or not."""

ON_THEIR_WAY: dict[str, tuple[str, Call]] = {
    "get": ("SELECT", lambda of, _: of.get(GroupId(3), A)),
    "update": ("UPDATE", lambda of, _: of.update(GroupId(3), SIZED, scope=A)),
    "batch_update": ("WITH", lambda of, _: of.batch_update(FIVE, SIZED, scope=A)),
}
"""How the statement of a call begins, and the call."""


@pytest.mark.parametrize("name, native", WAYS)
async def test_the_way_to_the_statement(groups: GroupRepository, name: str, native: bool) -> None:
    """From the verb to its statement it is no longer than it was."""
    of = Groups(Database(groups.db.engine, native=native), resilience=None)
    begins, call = ON_THEIR_WAY[name]
    way = await count(lambda: call(of, iter(IDS)), until=begins)
    most_files, most_functions = WAYS[name, native]
    assert way.is_over
    assert len(way.files) <= most_files
    assert len(way.functions) <= most_functions


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


def test_the_changelog_says_what_is_held() -> None:
    """Of reads from Redis, which README does not count."""
    words = r"A `get` that Redis answers makes (\d+) calls of functions of rowsmith's own, (\d+) in a scope"
    (told,) = re.findall(words, (ROOT / "CHANGELOG.md").read_text())
    assert [*map(int, told)] == [*FROM_REDIS.values()]


TOLD = {
    r"`get` is some (\d+) calls of functions": READS["get"][0],
    r"\((\d+) under a scope\)": READS["get in a scope"][0],
    r"a `get` is some (\d+) calls there": IN_SESSIONS["get"],
    r"and some (\d+) calls instead": WRITES["create"][0][0],
    r"expected: some (\d+) calls instead": WRITES["batch_update"][0][0],
    r"a `create` is some (\d+) calls there": WRITES_IN_SESSIONS["create"],
    r"an `update` under a scope (\d+) instead": WRITES_IN_SESSIONS["update in a scope"],
    r"a `batch_update` (\d+) instead": WRITES_IN_SESSIONS["batch_update"],
}


@pytest.mark.parametrize("words", TOLD)
def test_readme_says_what_is_held(words: str) -> None:
    """Its figures are the budgets, but for what rounding hides."""
    (told,) = re.findall(words, " ".join((ROOT / "README.md").read_text().split()))
    held = TOLD[words]
    assert abs(int(told) - held) <= held * 0.03


MADE_FOR_IT = 130
"""What a repository that is made for one call adds to it, at most."""


async def test_repositories_that_are_made_for_each_call(groups: GroupRepository) -> None:
    """What others of their class have worked out they need not; nor with two databases, or with other data."""
    other, new = Database.from_url(groups.db.engine.url), itertools.count(100)
    for name in ("get", "search", "update", "batch_update", "upsert"):
        call = READS[name][1] if name in READS else WRITES[name][1]
        kept = await cost(groups, call)

        async def made(_: GroupRepository, ids: Iterator[int], call: Call = call) -> None:
            await call(Groups(groups.db, resilience=None), ids)

        async def of_two(_: GroupRepository, ids: Iterator[int], call: Call = call) -> None:
            for db in (groups.db, other):
                await call(Groups(db, resilience=None), new)

        assert (name, await cost(groups, made) <= kept + MADE_FOR_IT) == (name, True)
        assert (name, await cost(groups, of_two) <= 2 * (kept + MADE_FOR_IT)) == (name, True)
    await other.dispose()

    async def into(_: GroupRepository, ids: Iterator[int]) -> None:
        await Groups(groups.db, resilience=None).get(ONE, into=Named)

    assert await cost(groups, into) <= READS["get"][0] + 3 * MADE_FOR_IT


@dataclass(frozen=True)
class Named:
    name: str


@pytest.mark.parametrize("waits", [0, 1, 5])
async def test_that_a_coroutine_goes_on_is_no_call(monkeypatch: pytest.MonkeyPatch, waits: int) -> None:
    """Of our own; how often it has to wait is the event loop's matter, and the machine's."""
    monkeypatch.setattr("benchmarks.calls.OURS", __file__)

    async def inner() -> None:
        for _ in range(waits):
            await asyncio.sleep(0)

    async def outer() -> None:
        await inner()

    counted = await count(outer)
    assert (counted.own, len(counted.functions)) == (2, 2)
