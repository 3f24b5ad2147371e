"""Commands to Redis: they are answered in time, or not waited for, whatever becomes of a cancellation."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from rowsmith.redis_client import Answers


class Deaf:
    """A command that loses the first cancellations, as redis-py may."""

    def __init__(self, lost: int) -> None:
        self.lost, self.begun, self.ended = lost, asyncio.Event(), asyncio.Event()

    async def __call__(self) -> None:
        self.begun.set()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.lost -= 1
                if self.lost < 0:
                    self.ended.set()
                    raise


@pytest.mark.parametrize("lost", [0, 1, 3])
async def test_a_command_that_does_not_end_is_not_waited_for(lost: int) -> None:
    """It is cancelled until it hears of it."""
    command = Deaf(lost)
    with pytest.raises(TimeoutError):
        await Answers(0.001).of(command)
    await command.ended.wait()


async def test_one_look_is_for_all_that_are_on_their_way() -> None:
    """Each has its own time, whatever becomes of the others, in each event loop that commands are given in."""
    soon, late = Answers(0.01), Answers(600.0)

    async def quick(told: int) -> int:
        await asyncio.sleep(0.001)
        return told

    waiting = [asyncio.create_task(soon.of(Deaf(lost))) for lost in (0, 2, 0)]
    assert await asyncio.gather(*(late.of(quick, told) for told in range(20))) == list(range(20))
    assert await asyncio.to_thread(asyncio.run, late.of(quick, 1)) == await late.of(quick, 1) == 1
    for each in waiting:
        with pytest.raises(TimeoutError):
            await each
    with pytest.raises(TimeoutError):
        await soon.of(Deaf(1))


async def test_who_asks_is_cancelled_at_once() -> None:
    """The command is, too, as soon as it hears of it."""
    command = Deaf(1)
    asking = asyncio.create_task(Answers(600.0).of(command))
    await command.begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await command.ended.wait()


@pytest.mark.parametrize("late", [ZeroDivisionError(), None])
async def test_what_a_command_ends_with_afterwards_is_nobodys(late: Any, caplog: pytest.LogCaptureFixture) -> None:
    """No error that nobody waits for is told of by the event loop."""
    ended = asyncio.Event()

    async def command() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set()
            if late:
                raise late from None

    with pytest.raises(TimeoutError):
        await Answers(0.001).of(command)
    await ended.wait()
    await asyncio.sleep(0.1)
    assert caplog.records == []


async def test_an_answer_and_an_error_are_given_as_they_are() -> None:
    """In time, nothing is changed."""

    async def command(given: int) -> float:
        return 1 / given

    assert await Answers(600.0).of(command, 2) == 0.5
    with pytest.raises(ZeroDivisionError):
        await Answers(600.0).of(command, 0)


async def test_a_cancellation_that_a_command_swallows_is_heard_all_the_same() -> None:
    """Of who asks, by ``cancel()`` or by a time-out of his own; and of its own nothing is left behind."""

    async def command() -> int:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return 1

    asking = asyncio.create_task(Answers(600.0).of(command))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001) as limit:
            await Answers(600.0).of(command)
    assert limit.expired()
    with pytest.raises(TimeoutError):
        await Answers(0.001).of(command)
    task: Any = asyncio.current_task()
    assert task.cancelling() == 0
