"""A verb that is cancelled at any of its suspension points leaves nothing behind and tells what became of it."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sqlite3
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import aiosqlite
import anyio
import pytest
import sqlalchemy as sa

from rowsmith import CommitOutcome, Database, commit_outcome
from rowsmith.testing import WithTables, tables
from support import checked_out
from tenants import OwnedBy, ThingRepository, ThingRow
from verbs import VERBS, World, world_in, world_of

POINTS = int(os.environ.get("ROWSMITH_CANCELS", "3"))
"""At how many suspension points each verb is cancelled on each backend; 0 for all of them, in each way."""
AT_RANDOM = int(os.environ.get("ROWSMITH_RANDOM_CANCELS", "20"))
"""How many verbs are cancelled in some way, somewhere, on each backend."""


class Watched:
    """Awaits something, and has it cancelled at one of its suspension points, by whatever :attr:`cancel` is set to."""

    def __init__(self, work: Awaitable[Any], point: int | None) -> None:
        self.work, self.point, self.passed = work, point, 0
        self.failure: BaseException | None = None
        self.cancel: Callable[[], object]

    async def run(self) -> None:
        """Await it, and keep what it ended with."""
        try:
            await self
        except BaseException as exc:
            self.failure = exc
            raise

    def __await__(self) -> Generator[Any, Any, Any]:
        steps, failure = self.work.__await__(), None
        while True:
            try:
                waited_for = steps.send(None) if failure is None else steps.throw(failure)  # type: ignore[attr-defined]
            except StopIteration as stop:
                return stop.value
            if self.passed == self.point:
                asyncio.get_running_loop().call_soon(self.cancel)
            self.passed, failure = self.passed + 1, None
            try:
                yield waited_for
            except BaseException as exc:  # noqa: BLE001 - handed on to what is awaited
                failure = exc


async def by_its_task(work: Watched) -> None:
    """Cancel the task."""
    task = asyncio.create_task(work.run())
    work.cancel = task.cancel
    await task


async def by_a_timeout(work: Watched) -> None:
    """Let asyncio's time for it be over; the caller has the TimeoutError that is made of it."""
    try:
        async with asyncio.timeout(None) as limit:
            work.cancel = lambda: limit.reschedule(0)
            await work.run()
    except TimeoutError as exc:
        work.failure = exc
        raise


async def by_a_scope(work: Watched) -> None:
    """Cancel anyio's scope around it, which cancels again with each turn of the loop."""
    with anyio.CancelScope() as scope:
        work.cancel = scope.cancel
        await work.run()


async def by_a_sibling(work: Watched) -> None:
    """Have another task of its group fail."""
    ended = asyncio.Event()

    async def failing() -> None:
        await ended.wait()
        raise LookupError

    async with asyncio.TaskGroup() as group:
        sibling = group.create_task(failing())
        work.cancel = ended.set
        await group.create_task(work.run())
        sibling.cancel()


async def by_the_loop(work: Watched) -> None:
    """Cancel every task that there is but who looks on, as a loop does that shuts down."""
    others = asyncio.all_tasks()

    def shut_down() -> None:
        for task in asyncio.all_tasks() - others:
            task.cancel()

    work.cancel = shut_down
    await asyncio.create_task(work.run())


WAYS = [by_its_task, by_a_timeout, by_a_scope, by_a_sibling, by_the_loop]
Way = Callable[[Watched], Awaitable[None]]


async def cancelled_at(point: int | None, way: Way, call: Awaitable[Any]) -> Watched:
    """Call in a task of its own, cancelled in some way at a point; give what was seen of it."""
    watched = Watched(call, point)
    await asyncio.gather(asyncio.ensure_future(way(watched)), return_exceptions=True)
    return watched


def id_for(name: str) -> int:
    """Give the row that a verb has to do with."""
    return 500 if VERBS[name].makes else 4 if "restore" in name else 1


async def held_to_its_word(world: World, name: str, way: Way, point: int) -> Watched:
    """Cancel a verb at a point, and hold what it says of itself against what is stored."""
    db, what = world.things.db, f"{name}, {way.__name__}, {point}"
    await world.refill()
    before = await world.stored()
    done = await cancelled_at(point, way, VERBS[name].call(world, id_for(name), OwnedBy("a")))
    after = await world.stored()
    for _ in range(500):
        if not checked_out(db):
            break
        await asyncio.sleep(0.01)
    assert checked_out(db) == 0, what
    if done.failure is not None:
        outcome = commit_outcome(done.failure)
        assert isinstance(done.failure, TimeoutError if way is by_a_timeout else asyncio.CancelledError), what
        assert outcome is (CommitOutcome.COMMITTED if after != before else CommitOutcome.NOT_COMMITTED), what
    return done


@pytest.mark.parametrize("name", sorted(VERBS))
async def test_a_verb_cancelled_anywhere(name: str, any_tables: WithTables) -> None:
    """No connection is left out, the error is the cancellation, and its outcome is what the table says."""
    async with world_in(any_tables, "things") as made:
        world = world_of(ThingRepository(made.things.db, resilience=None))
        whole = await cancelled_at(None, by_its_task, VERBS[name].call(world, id_for(name), OwnedBy("a")))
        assert whole.failure is None
        everywhere, chance = [(way, point) for point in range(whole.passed) for way in WAYS], random.Random(name)
        for way, point in everywhere if POINTS == 0 else chance.sample(everywhere, min(POINTS, len(everywhere))):
            await held_to_its_word(world, name, way, point)


@pytest.mark.parametrize("after, rows", [(0, 3), (9, 0)])
@pytest.mark.parametrize("way", [by_its_task, by_a_timeout, by_the_loop])
async def test_a_purge_cancelled_anywhere(any_tables: WithTables, way: Way, after: int, rows: int) -> None:
    """Its outcome is that of all its chunks, and the cancellation says how many rows are gone with them."""
    async with world_in(any_tables, "things") as world:
        things, before, seen, point = world.things, await world.stored(), set[int](), 0
        while True:
            call = things.purge_where([ThingRow.id > after], scope=OwnedBy("a"), chunk_size=1, pause=0)
            done = await cancelled_at(point, way, call)
            gone = len(before) - len(await world.stored())
            if done.passed <= point:
                break
            if (failure := done.failure) is not None:
                outcome = CommitOutcome.COMMITTED if gone else CommitOutcome.NOT_COMMITTED
                cancellation: Any = failure.__cause__ if way is by_a_timeout else failure
                report = cancellation.report
                assert (commit_outcome(failure), report.rows, report.chunks) == (outcome, gone, gone), point
                assert not report.complete
                seen.add(gone)
            await world.reset(before)
            point += 1
        assert (seen, gone) == ({*range(rows + 1)}, rows)


async def test_verbs_cancelled_at_random(any_tables: WithTables) -> None:
    """Whatever was cancelled before, with or without policies; and the server holds no lock or transaction for it."""
    async with world_in(any_tables, "things") as made:
        worlds = [made, world_of(ThingRepository(made.things.db, resilience=None))]
        others = await left_behind(made)
        points = dict.fromkeys(VERBS, 30)
        for _ in range(AT_RANDOM):
            name, way = random.choice(list(VERBS)), random.choice(WAYS)
            done = await held_to_its_word(random.choice(worlds), name, way, random.randrange(points[name]))
            if done.failure is None:
                points[name] = max(done.passed, 1)
        assert await left_behind(made) <= others  # of tests before this one


async def test_what_is_given_up_twice_is_closed(sqlite_database: Database) -> None:
    """By SQLite's driver, too, whose thread is told to stop while it is still to close the connection."""
    async with world_in(lambda *rows: tables(sqlite_database, *rows), "things") as made:
        tasks, pool = asyncio.all_tasks(), checked_in(made.things.db)
        open_before = len(open_files())
        for point in (3, 4, 5):
            await held_to_its_word(made, "search", by_a_scope, point)
        await asyncio.gather(*asyncio.all_tasks() - tasks)
        assert len(open_files()) - open_before == checked_in(made.things.db) - pool


async def test_a_driver_that_cannot_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is cancelled meets the cancellation by an aiosqlite before 0.22.1, too."""
    monkeypatch.delattr(aiosqlite.Connection, "__del__")
    monkeypatch.setattr(aiosqlite.Connection, "close", closed_as_of_old)
    monkeypatch.delattr(aiosqlite.Connection, "stop")
    db = Database.from_url(f"sqlite:///{tmp_path / 'old'}")
    async with tables(db, ThingRow):
        things = ThingRepository(db, resilience=None)
        done = await cancelled_at(4, by_its_task, things.count(OwnedBy("a")))
        assert isinstance(done.failure, asyncio.CancelledError)
        assert await things.count(OwnedBy("a")) == 0
    await db.dispose()


async def closed_as_of_old(driver: Any) -> None:
    stop = STOP.__get__(driver)
    await driver._execute(driver._connection.close)
    driver._connection = None
    await stop()


STOP: Any = vars(aiosqlite.Connection)["stop"]


def checked_in(db: Database) -> int:
    pool: Any = db.engine.pool
    return int(pool.checkedin())


def open_files() -> list[sqlite3.Connection]:
    """Give the connections of SQLite that hold a file."""
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, sqlite3.Connection) and is_open(each)]


def is_open(connection: sqlite3.Connection) -> bool:
    try:
        return connection.total_changes >= 0
    except sqlite3.ProgrammingError:
        return False


async def left_behind(world: World) -> set[Any]:
    """Give the transactions and locks that a server has for others than who asks."""
    if world.things.db.engine.dialect.name != "postgresql":
        return set()
    open_ = "SELECT pid, query FROM pg_stat_activity WHERE xact_start IS NOT NULL AND datname = current_database()"
    locked = (
        "SELECT pid, mode FROM pg_locks JOIN pg_database d ON d.oid = database AND datname = current_database()"
        " WHERE locktype <> 'virtualxid' AND pid <> pg_backend_pid()"
    )
    async with world.things.db.begin_readonly_session() as session:
        transactions = await session.execute(sa.text(f"{open_} AND pid <> pg_backend_pid()"))
        return {tuple(row) for rows in (transactions, await session.execute(sa.text(locked))) for row in rows}
