"""Readers, writers, rollbacks, crashes, evictions at random: nobody gets a row older than what was acknowledged."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from redis.asyncio import Redis

from redis_server import Server, redis_server
from rowsmith import Database, OptionalState, Unscoped
from rowsmith.cache import MemoryCacheSource, RedisCacheSource
from rowsmith.testing import WithTables
from tenants import OwnedBy, ThingData, ThingPatch, ThingRepository
from verbs import things_in

STEPS = int(os.environ.get("ROWSMITH_INTERLEAVINGS", "80"))
"""How many reads, writes and accidents there are on each cache."""

T = TypeVar("T")

A, B = OwnedBy("a"), OwnedBy("b")
DIRTY = 2**30
IDS = {1: A, 2: A, 3: B}
ALL = Unscoped("rows of both tenants are kept")


SOON, NEVER = 0.05, 600.0
"""Seconds: for how long rows are held once a writer is gone; and while it is in its COMMIT, however long that takes."""


class Delayed:
    """Has what is put there come late, and at times the end of a COMMIT never be heard of."""

    crashes = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.crashing = dict[object, Any]()

    async def last(self, held: object, ids: Any, seconds: float) -> bool:
        """Have rows be held for some time from now on; False where they are no longer held."""
        raise NotImplementedError

    async def set_many(self, *args: Any, **kwargs: Any) -> None:
        for _ in range(random.randrange(30)):
            await asyncio.sleep(0)
        if random.random() < 0.05:
            await asyncio.sleep(0.005)
        await super().set_many(*args, **kwargs)  # type: ignore[misc]

    async def hold(self, ids: Any) -> object:
        held: object = await super().hold(ids)  # type: ignore[misc]
        if random.random() < self.crashes:
            try:
                if await whole(self.last(held, ids, NEVER)):
                    self.crashing[held] = ids
            except asyncio.CancelledError:  # nobody is given it, nor lets go of it
                await self.last(held, ids, SOON)
                raise
        return held

    async def release(self, held: object, ids: Any) -> None:
        if held not in self.crashing:
            await super().release(held, ids)  # type: ignore[misc]
            return
        del self.crashing[held]
        await whole(self.last(held, ids, SOON))

    async def end(self) -> None:
        """End what a writer holds who was cancelled as he was given it, and lets go of nothing: time does that."""
        for held, ids in self.crashing.items():
            await self.last(held, ids, SOON)
        self.crashing.clear()


async def whole(work: Coroutine[Any, Any, T]) -> T:
    """Do all of something that the caller may be cancelled in."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


class InMemory(Delayed, MemoryCacheSource[int, ThingData]):
    async def evict(self) -> None:
        """Drop entries."""
        await self.invalidate(random.choice([None, [1], [2]]))

    async def last(self, held: object, ids: Any, seconds: float) -> bool:
        for id in rows_of(ids):
            self._held.setdefault(id, {})[held] = self._clock() + seconds
        return True


class InRedis(Delayed, RedisCacheSource[int, ThingData]):
    async def evict(self) -> None:
        """Drop keys as a server does that is short of memory; but for marks, whose time is short."""
        key = await self._client.randomkey()
        value = None if key is None else await self._client.get(key)
        if value is not None and not value.startswith(b"!"):
            await self._client.delete(key)

    async def last(self, held: object, ids: Any, seconds: float) -> bool:
        return bool(await self._client.eval(LAST, len(rows_of(ids)), *map(self._state, rows_of(ids)), held, seconds))


LAST = """
local time, for_ = redis.call('TIME'), math.floor(ARGV[2] * 1000)
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ending, marks = string.format('%.0f', now + for_), {}
for i = 1, #KEYS do
  local count
  marks[i], count = string.gsub(redis.call('GET', KEYS[i]) or '', ARGV[1] .. '[.]%d+', ARGV[1] .. '.' .. ending)
  if count == 0 then return 0 end
end
for i = 1, #KEYS do
  local last = now + 1
  for each in string.gmatch(marks[i], '[.](%d+)') do last = math.max(last, tonumber(each)) end
  redis.call('SET', KEYS[i], marks[i], 'PX', last - now)
end
return 1
"""


def rows_of(ids: Any) -> list[Any]:
    """Give the ids that are held; None stands for all."""
    return [None] if ids is None else list(ids)


class Broken(InMemory):
    """Hears of no change."""

    async def hold(self, ids: Any) -> object: ...
    async def release(self, held: object, ids: Any) -> None: ...
    async def invalidate(self, ids: Any = None) -> None: ...


class World:
    """Some processes over the same rows, and what was acknowledged of these."""

    def __init__(self, processes: list[ThingRepository]) -> None:
        self.processes = processes
        self.locks = {id: asyncio.Lock() for id in IDS}
        self.known, self.next = Counter[int](), 1
        self.done = Counter[str]()

    async def run(self, steps: int, workers: int = 8) -> None:
        """Take steps, several at a time."""

        async def work() -> None:
            for _ in range(steps // workers):
                step = random.choices([self.read, self.write, self.undo, self.cancel, self.evict], [70, 15, 5, 5, 5])[0]
                await step(random.choice(self.processes), random.choice(list(IDS)))
                self.done[step.__name__] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work())

    async def read(self, things: ThingRepository, id: int) -> None:
        """By each way, of a tenant's own rows and of all."""
        known = self.known[id]
        way, scope = random.randrange(3), random.choice([IDS[id], ALL])
        if way == 0:
            found: Any = await things.get(id, scope)
        elif way == 1:
            found = await things.find(id, scope)
        else:
            found = (await things.batch_get([id], scope=scope))[0]
        assert known <= found.uses < DIRTY, "stale"

    async def write(self, things: ThingRepository, id: int) -> None:
        """Alone or by condition, in a transaction or a unit of work."""
        async with self.locks[id]:
            value, self.next = self.next, self.next + 1
            patch = ThingPatch(uses=OptionalState.update(value))
            if random.random() < 0.3:
                await things.update_where([], patch, scope=OnlyOne(id), all_rows=True)
            elif random.random() < 0.5:
                async with things.db.unit_of_work():
                    await things.batch_update([id], patch, scope=IDS[id])
            else:
                await things.update(id, patch, scope=IDS[id])
            self.known[id] = value

    async def undo(self, things: ThingRepository, id: int) -> None:
        """Write, read what was written, and take it back."""
        async with self.locks[id]:
            with pytest.raises(ZeroDivisionError):
                async with things.db.unit_of_work():
                    await things.update(id, ThingPatch(uses=OptionalState.update(DIRTY)), scope=IDS[id])
                    assert (await things.get(id, IDS[id])).uses == DIRTY
                    raise ZeroDivisionError

    async def cancel(self, things: ThingRepository, id: int) -> None:
        """End a write or a read somewhere: whether it was committed is not known."""
        step = asyncio.create_task(random.choice([self.write, self.read])(things, id))
        for _ in range(random.randrange(60)):
            await asyncio.sleep(0)
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)

    async def evict(self, things: ThingRepository, _: int) -> None:
        """Drop something of what is kept."""
        cache: Any = things.cache_source
        await cache.evict()


class OnlyOne(OwnedBy):
    """One row, as a condition and not as a key."""

    def __init__(self, id: int) -> None:
        super().__init__(IDS[id].tenant)
        object.__setattr__(self, "id", id)

    def to_conditions(self) -> Any:
        from tenants import ThingRow

        return [*super().to_conditions(), ThingRow.id == self.id]  # type: ignore[attr-defined]


async def interleave(made: WithTables, caches: list[Any], steps: int = STEPS) -> World:
    """Have processes with these caches take steps."""
    async with things_in(made) as plain:
        databases = [Database(plain.db.engine) for _ in caches]
        world = World([ThingRepository(db, cache_source=cache) for db, cache in zip(databases, caches, strict=True)])
        await world.run(steps)
        for id, scope in IDS.items():
            assert (await plain.get(id, scope)).uses >= world.known[id]
        for cache in caches:
            await cache.end()
        for things, cache in zip(world.processes, caches, strict=True):
            await serves(things, cache)
    return world


async def serves(things: ThingRepository, cache: Any, tries: int = 2_000) -> None:
    """Read until a row comes from the cache: what a crash holds is let go in time, and then it is kept again."""
    cache.crashes, hits = 0.0, cache.counts.hits
    while cache.counts.hits == hits and tries:
        id = tries // 5 % len(IDS) + 1
        await things.find(id, IDS[id])
        await asyncio.sleep(SOON / 4)
        tries -= 1
    assert tries, "what is read is never kept"


@pytest.mark.parametrize("crashes", [0.0, 0.1], ids=["", "crashes"])
async def test_memory_is_never_stale(with_tables: WithTables, crashes: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a writer is never heard of again after its COMMIT."""
    monkeypatch.setattr("rowsmith.cache.memory.HOLD", SOON if crashes else 10.0)
    cache = InMemory(ThingData, max_entries=2)
    cache.crashes = crashes
    world = await interleave(with_tables, [cache])
    assert world.done["read"] > 0 < world.done["write"]


@pytest.mark.parametrize("crashes", [0.0, 0.1], ids=["", "crashes"])
async def test_redis_is_never_stale(
    with_tables: WithTables, client: Redis, crashes: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two processes, of which either may write."""
    monkeypatch.setattr("rowsmith.cache.redis.HOLD", SOON if crashes else 10.0)
    caches = [InRedis(client, ThingData, prefix="things", timeout=30.0) for _ in range(2)]
    for cache in caches:
        cache.crashes = crashes
    await interleave(with_tables, caches)
    assert [cache.counts.owed for cache in caches] == [0, 0]


class Halted:
    """Has a writer that holds rows get no further until it may go on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_held, self.goes_on = asyncio.Event(), asyncio.Event()

    async def hold(self, ids: Any) -> object:
        held: object = await super().hold(ids)  # type: ignore[misc]
        self.is_held.set()
        await self.goes_on.wait()
        return held


class HaltedInMemory(Halted, MemoryCacheSource[int, ThingData]): ...


class HaltedInRedis(Halted, RedisCacheSource[int, ThingData]): ...


@pytest.mark.parametrize("is_put_after", [False, True], ids=["put before COMMIT", "put after it"])
@pytest.mark.parametrize("place", ["memory", "redis"])
async def test_a_commit_that_takes_longer_than_rows_are_held(
    with_tables: WithTables, client: Redis, place: str, is_put_after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaves nothing old behind, although a reader may read and put the row as it was before that is committed."""
    monkeypatch.setattr(f"rowsmith.cache.{place}.HOLD", 0.001)
    # Its own prefix: a cache of another test, which the collector has not taken yet, holds its rows, too.
    in_redis = HaltedInRedis(client, ThingData, prefix=f"things {is_put_after}", timeout=30.0)
    cache: Any = HaltedInMemory(ThingData) if place == "memory" else in_redis
    async with things_in(with_tables) as plain:
        things = ThingRepository(plain.db, cache_source=cache)
        writing = asyncio.create_task(things.update(1, ThingPatch(uses=OptionalState.update(7)), scope=A))
        await cache.is_held.wait()
        while not (leases := await cache.lease([1])):  # noqa: ASYNC110 - only the clock ends it
            await asyncio.sleep(0)
        old = await plain.get(1, A)
        if not is_put_after:
            await cache.set_many({1: old}, leases)
            assert await cache.get_many([1]) == {1: old}
        cache.goes_on.set()
        assert (await writing).uses == 7 != old.uses
        if is_put_after:
            await cache.set_many({1: old}, leases)
        assert await cache.get_many([1]) == {}


async def test_a_cache_that_hears_of_no_change_is_found(with_tables: WithTables) -> None:
    """The steps are able to fail."""
    with pytest.raises(ExceptionGroup) as caught:
        await interleave(with_tables, [Broken(ThingData)], 4000)
    assert caught.group_contains(AssertionError, match="stale")


ROUNDS = int(os.environ.get("ROWSMITH_CACHE_ACCIDENTS", "1"))
"""How many times the server hangs and dies under load."""


async def test_a_server_that_hangs_and_dies_keeps_nobody_waiting(with_tables: WithTables) -> None:
    """No call fails, none is given an old row, and each accident costs it no more than the cache's own time."""
    with redis_server() as server:
        async with server.client() as client, things_in(with_tables) as plain:
            cache = InRedis(client, ThingData, prefix="things", timeout=0.1)
            world = World([ThingRepository(plain.db, cache_source=cache)])
            world.evict = world.read  # type: ignore[method-assign]
            for _ in range(ROUNDS):
                for accident in (server.stop, server.go_on, server.kill, server.start):
                    await beside(world.run(40, 4), accident)
    assert cache.counts.failures > 0


async def beside(load: Any, accident: Callable[[], None]) -> None:
    """Have an accident while there is load, which ends all the same."""
    task = asyncio.create_task(load)
    await asyncio.sleep(0.02)
    await asyncio.to_thread(accident)
    await task


def test_a_server_is_one_of_the_tests_own(server: Server) -> None:
    """It listens on no port that another could have."""
    assert server.socket.exists()
