"""Locks in Redis: one holder, who knows when it was lost, and whose number is refused where a later one has written."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import BigInteger
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from redis_server import lose_next_answer
from rowsmith import InvalidValue, LockLost, LockNotAvailable, OptionalState, Patch, Repository, Spec
from rowsmith.stateful import StatefulSource, TokenLock
from rowsmith.testing import WithTables


def lock_of(client: Redis, **options: Any) -> TokenLock:
    """Give a lock that does not end while a busy machine is at it."""
    return TokenLock(StatefulSource(client, prefix="jobs", timeout=30.0), "running", **{"ttl": 600.0, **options})


async def lose(client: Redis) -> None:
    """Have the lock end, as it does when its time is over."""
    async for key in client.scan_iter("*}"):
        await client.delete(key)


async def test_one_holds_it_at_a_time(client: Redis) -> None:
    """Another is refused at once, also the holder itself; other keys are other locks; afterwards it is free."""
    lock = lock_of(client)
    async with lock.held(1), lock.held(2):
        for other in (lock, lock_of(client)):
            with pytest.raises(LockNotAvailable):
                async with other.held(1):
                    pytest.fail("two hold it")
    async with lock.held(1):
        pass


async def test_who_waits_gets_it_next(client: Redis) -> None:
    """For as long as is waited."""
    lock, order = lock_of(client, wait=600.0), list[str]()

    async def second() -> None:
        async with lock.held(1):
            order.append("second")

    async with lock.held(1):
        waiting = asyncio.create_task(second())
        for _ in range(5):
            await asyncio.sleep(0.01)
        order.append("first")
    await waiting
    assert order == ["first", "second"]


async def test_the_number_rises_from_holder_to_holder(client: Redis) -> None:
    """Also from one that was lost, and where Redis lost all that it kept."""
    lock, numbers = lock_of(client), list[int]()
    for _ in range(3):
        async with lock.held(1) as held:
            numbers.append(held.fence)
    with pytest.raises(LockLost):
        async with lock.held(1) as held:
            numbers.append(held.fence)
            await client.flushall()
    async with lock.held(1) as held:
        numbers.append(held.fence)
    assert numbers == sorted(set(numbers))


async def test_the_number_rises_where_the_clock_does_not(client: Redis) -> None:
    """A clock that was put back makes no number twice."""
    lock = lock_of(client)
    async with lock.held(1):
        (fence,) = [key async for key in client.scan_iter("*:fence")]
        await client.set(fence, 2**52)
    async with lock.held(1) as held:
        assert held.fence == 2**52 + 1


async def test_a_lock_that_is_lost_is_told_of(client: Redis) -> None:
    """When it is extended, and when its block is left; whoever has it by then keeps it."""
    lock = lock_of(client)
    with pytest.raises(LockLost):
        async with lock.held(1) as held:
            await lose(client)
            with pytest.raises(LockLost):
                await held.extend()
            async with lock.held(1) as later:
                with pytest.raises(LockLost):
                    await held.extend()
                await later.extend()
                assert later.token != held.token


async def test_the_error_of_the_block_says_more(client: Redis) -> None:
    """It leaves the block also where the lock was lost; and the lock ends with it."""
    lock = lock_of(client)
    with pytest.raises(ZeroDivisionError):
        async with lock.held(1):
            await lose(client)
            raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        async with lock.held(1):
            raise ZeroDivisionError
    async with lock.held(1):
        pass


async def test_it_ends_with_its_time(client: Redis) -> None:
    """Which is as long as it was given, and begins anew when it is extended."""
    lock = lock_of(client, ttl=600.0)
    async with lock.held(1) as held:
        assert 0 < await client.pttl(held.key) <= 600_000
        await held.extend(3600.0)
        assert 600_000 < await client.pttl(held.key) <= 3_600_000
        await held.extend()
        assert await client.pttl(held.key) <= 600_000
        with pytest.raises(InvalidValue, match="ttl"):
            await held.extend(0)


async def test_who_is_cancelled_as_they_get_it_gives_it_back(client: Redis) -> None:
    """Nobody waits for its time to be over: it may have been taken already."""
    lock, taken = lock_of(client), asyncio.Event()
    acquire = lock._acquire

    async def late(*given: Any) -> None:
        await acquire(*given)
        taken.set()
        await asyncio.Event().wait()

    async def hold() -> None:
        async with lock.held(1):
            pytest.fail("it is cancelled")

    lock._acquire = late
    holding = asyncio.create_task(hold())
    await taken.wait()
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    async with lock_of(client).held(1):
        pass


@pytest.mark.parametrize("step", ["acquire", "release"])
async def test_an_answer_that_is_lost_loses_no_lock(client: Redis, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """redis-py asks again, and whose lock it is gets it once more; who gave it back has done so."""
    lock = lock_of(client)
    async with lock.held(1):
        pass
    if step == "acquire":
        lose_next_answer(monkeypatch)
    async with lock.held(1):
        if step == "release":
            lose_next_answer(monkeypatch)
    async with lock.held(1):
        pass


class Jobs(DeclarativeBase):
    pass


class JobRow(Jobs):
    __tablename__ = "jobs"
    id: Mapped[int] = mapped_column(primary_key=True)
    result: Mapped[str]
    fence: Mapped[int] = mapped_column(BigInteger)


@dataclass(frozen=True)
class Job(Spec[JobRow]):
    id: int
    result: str
    fence: int


@dataclass(frozen=True)
class JobPatch(Patch[JobRow]):
    result: OptionalState[str] = OptionalState.nop()
    fence: OptionalState[int] = OptionalState.nop()


class JobRepository(Repository[JobRow, Job, int]):
    async def finish(self, id: int, result: str, fence: int) -> int:
        """Write a result, unless somebody with a higher number has."""
        patch = JobPatch(OptionalState.update(result), OptionalState.update(fence))
        return await self.update_where([JobRow.id == id, JobRow.fence <= fence], patch)


async def test_who_was_held_up_too_long_writes_nothing(client: Redis, any_tables: WithTables) -> None:
    """The database refuses its number, on both databases; it cannot know itself that its time is over."""
    lock = lock_of(client)
    async with any_tables(JobRow) as db:
        jobs = JobRepository(db)
        await jobs.create(Job(1, "none", 0))
        with pytest.raises(LockLost):
            async with lock.held(1) as late:
                await lose(client)  # here the process stands still for some time
                async with lock.held(1) as next_one:
                    for result in ("first", "next"):  # a holder may write as often as it likes
                        assert await jobs.finish(1, result, next_one.fence) == 1
                assert await jobs.finish(1, "late", late.fence) == 0
        assert (await jobs.get(1)).result == "next"
