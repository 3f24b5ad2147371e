"""A verb that is cancelled at any of its suspension points leaves nothing behind and tells what became of it."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

from rowsmith import CommitOutcome, commit_outcome
from rowsmith.testing import WithTables
from support import checked_out
from tenants import OwnedBy, ThingRepository
from verbs import VERBS, World, world_in, world_of

POINTS = int(os.environ.get("ROWSMITH_CANCELS", "3"))
"""At how many suspension points each verb is cancelled on each backend; 0 for all of them."""


class Watched:
    """Awaits something, and has its task cancelled at one of its suspension points."""

    def __init__(self, work: Awaitable[Any], point: int | None) -> None:
        self.work, self.point, self.passed = work, point, 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps, failure = self.work.__await__(), None
        while True:
            try:
                waited_for = steps.send(None) if failure is None else steps.throw(failure)  # type: ignore[attr-defined]
            except StopIteration as stop:
                return stop.value
            if self.passed == self.point:
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_soon(task.cancel)
            self.passed, failure = self.passed + 1, None
            try:
                yield waited_for
            except BaseException as exc:  # noqa: BLE001 - handed on to what is awaited
                failure = exc


async def cancelled_at(call: Callable[[], Awaitable[Any]], point: int | None) -> tuple[int, BaseException | None]:
    """Call in a task of its own; give how many suspension points were passed, and what it ended with."""
    watched = Watched(call(), point)

    async def run() -> None:
        await watched

    try:
        await asyncio.create_task(run())
    except BaseException as exc:  # noqa: BLE001 - looked at by the test
        return watched.passed, exc
    return watched.passed, None


async def held_to_its_word(world: World, name: str, point: int) -> None:
    """Cancel a verb at a point, and hold what it says of itself against what is stored."""
    verb, db = VERBS[name], world.things.db
    await world.refill()
    before, id = await world.stored(), 500 if verb.makes else 4 if "restore" in name else 1
    _, failure = await cancelled_at(lambda: verb.call(world, id, OwnedBy("a")), point)
    after = await world.stored()
    for _ in range(500):
        if not checked_out(db):
            break
        await asyncio.sleep(0.01)
    assert checked_out(db) == 0, point
    if failure is not None:
        outcome = commit_outcome(failure)
        assert isinstance(failure, asyncio.CancelledError), point
        assert outcome is not CommitOutcome.UNKNOWN, point
        if name != "purge_where":  # of several transactions it is about the last, which only looks for more
            assert (outcome is CommitOutcome.COMMITTED) == (after != before), point


@pytest.mark.parametrize("name", sorted(VERBS))
async def test_a_verb_cancelled_anywhere(name: str, any_tables: WithTables) -> None:
    """No connection is left out, the error is the cancellation, and its outcome is what the table says."""
    async with world_in(any_tables, "things") as made:
        world = world_of(ThingRepository(made.things.db, resilience=None))
        id = 500 if VERBS[name].makes else 4 if "restore" in name else 1
        points, failure = await cancelled_at(lambda: VERBS[name].call(world, id, OwnedBy("a")), None)
        assert failure is None
        chosen = range(points) if POINTS == 0 else random.Random(name).sample(range(points), min(POINTS, points))
        for point in chosen:
            await held_to_its_word(world, name, point)
