"""Answers that are waited for whatever becomes of the task: of COMMIT, and of statements that commit by themselves.

A session's COMMIT is a task of its own, which goes on where its caller is cancelled. What is sent on a driver's
connection needs none: its caller waits for a future that lets nobody cancel it, and asyncio hands the cancellation over
once that is done. Beside COMMIT itself, a task takes long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Final

from rowsmith.deadline import remaining

GRACE: Final = 1.0
"""For how many seconds the answer to COMMIT is awaited by a call that is cancelled and has no deadline."""


@dataclass
class Answer:
    """What came of sending COMMIT: no failure is success."""

    value: Any = None
    failure: Exception | None = None
    cancelled: asyncio.CancelledError | None = None


async def answered(commit: Coroutine[Any, Any, Any], drivers: Sequence[object]) -> Answer:
    """Send COMMIT and wait for its answer, for some time also where the task is cancelled, however often."""
    loop = asyncio.get_running_loop()
    sent, answer = loop.create_task(commit), Answer()
    try:
        await _wait_for(sent, loop)
    except asyncio.CancelledError as exc:
        answer.cancelled = exc
        ending = _later(drivers)
        while not sent.done():
            with suppress(asyncio.CancelledError):
                await _wait_for(sent, loop)
        ending.cancel()
    try:
        answer.value = sent.result()
    except asyncio.CancelledError:  # by a loop that ends, which cancels every task
        answer.failure = ConnectionAbortedError()
    except Exception as exc:  # noqa: BLE001 - told by the caller
        answer.failure = exc
    return answer


async def _wait_for(sent: asyncio.Task[object], loop: asyncio.AbstractEventLoop) -> None:
    """Wait for a task, which goes on where the wait is cancelled: ``asyncio.wait`` in a fifth of the calls."""
    waiter = loop.create_future()
    sent.add_done_callback(lambda _: None if waiter.done() else waiter.set_result(None))
    await waiter


def _later(drivers: Sequence[object]) -> asyncio.TimerHandle:
    """Have connections ended once the time is over, and with them who waits for an answer on them."""
    left = remaining()
    return asyncio.get_running_loop().call_later(GRACE if left is None else left, _end, drivers)


def _end(drivers: Sequence[Any]) -> None:
    for driver in drivers:
        driver.terminate()


async def answered_by(
    drivers: Sequence[object], sent: Awaitable[object], stop: Callable[[], None] | None = None
) -> Answer:
    """Wait as :func:`answered` does, for what is sent on a driver's connection.

    Args:
        drivers: the connections of asyncpg that are ended once the time is over.
        sent: what sends it, by a driver that cancels nothing itself.
        stop: called where the task is cancelled: what is waited for may be more than COMMIT, and need not be done.
    """
    waiting, answer = _Unbroken(drivers, sent, stop), Answer()
    try:
        answer.value = await waiting
    except Exception as exc:  # noqa: BLE001 - told by the caller
        answer.failure = exc
    answer.cancelled = waiting.cancelled
    waiting.leave()
    return answer


class _Unbroken:
    """Waits in the task that is running, and keeps a cancellation until there is an answer: ``cancelled``."""

    __slots__ = ("_context", "_drivers", "_ending", "_is_over", "_is_wanted", "_loop", "_sent", "_stop", "cancelled")

    def __init__(self, drivers: Sequence[object], sent: Awaitable[object], stop: Callable[[], None] | None) -> None:
        self._drivers, self._sent, self._stop = drivers, sent, stop
        self._loop, self._context = asyncio.get_running_loop(), copy_context()  # with its deadline
        self._is_wanted = self._is_over = False
        self._ending: asyncio.TimerHandle | None = None
        self.cancelled: asyncio.CancelledError | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        steps: Any = self._sent.__await__()
        try:
            future = next(steps)
            while True:
                try:
                    yield _Uncancelled(future, self.want)
                except asyncio.CancelledError as exc:
                    self.cancelled = self.cancelled or exc
                except Exception:  # noqa: BLE001, S110 - the future's, which it raises in the coroutine that awaits it
                    pass
                future = next(steps)
        except StopIteration as end:
            return end.value

    def want(self) -> None:
        """Be told that the task is to be cancelled: from here on the answer has little time."""
        if not self._is_wanted:
            self._is_wanted = True
            self._loop.call_soon(self._hurry, context=self._context)

    def leave(self) -> None:
        """End the wait."""
        self._is_over = True
        if self._ending is not None:
            self._ending.cancel()

    def _hurry(self) -> None:
        if not self._is_over:
            self._ending = _later(self._drivers)
            if self._stop is not None:
                self._stop()


class _Uncancelled:
    """A future as a task sees it that waits for it: it cannot be cancelled, but tells of whoever tries."""

    __slots__ = ("_asyncio_future_blocking", "_want", "add_done_callback", "get_loop")

    def __init__(self, future: asyncio.Future[object], want: Callable[[], None]) -> None:
        self._asyncio_future_blocking = True
        self.get_loop, self.add_done_callback = future.get_loop, future.add_done_callback
        self._want = want

    def cancel(self, msg: object = None) -> bool:
        """Say that it goes on; the task is then cancelled once it is done."""
        self._want()
        return False
