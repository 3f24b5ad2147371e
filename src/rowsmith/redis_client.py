"""What everything that is kept in Redis or Valkey goes by: the client, keys as text, lengths of time."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import inspect
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote

from rowsmith.errors import MappingError, kind_of

T = TypeVar("T")

_LONGEST: Final = 100

INSIST: Final = 0.05
"""For how many seconds a command that was cancelled may go on, before it is cancelled once more."""


def check_client(client: Any, name: str, rest: str) -> None:
    """Refuse what is no client of redis.asyncio.

    Args:
        client: what was given.
        name: the class that takes it.
        rest: what that takes besides, for the message.

    Raises:
        MappingError: it has no commands that are awaited.
    """
    if not inspect.iscoroutinefunction(getattr(client, "execute_command", None)):
        raise MappingError(
            f"{name}(...) takes a client of redis.asyncio, not {kind_of(client)}: "
            f"write {name}(redis.asyncio.Redis.from_url(url), {rest})"
        )


def check_prefix(prefix: object, name: str, example: str) -> None:
    """Refuse what keys cannot begin with.

    Args:
        prefix: what was given.
        name: the class that takes it.
        example: what to write, for the message.

    Raises:
        MappingError: it is empty, or no text that can be sent.
    """
    given = f"a text, not {kind_of(prefix)}"
    if isinstance(prefix, str):
        given = "empty" if not prefix else ""
        try:
            prefix.encode()
        except UnicodeEncodeError:
            given = "no text that can be sent"
    if given:
        raise MappingError(f"{name}: prefix is {given}: write prefix={example!r}")


class Answers:
    """Has commands answered in time, or by then not waited for any longer.

    redis-py, and ``asyncio.wait_for`` of Python 3.11 beneath it, lose a cancellation that comes as they go from one
    wait to the next, and would wait for an answer for ever: it is repeated until it is heard, and what it was asked for
    is remembered here. A task of its own for each command would take as long as half of one; a timer of its own, a
    tenth: one looks at all that are on their way.

    Args:
        seconds: within which each command has to be answered.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._watch: _Watch | None = None

    async def of(self, command: Callable[..., Awaitable[T]], *given: Any) -> T:
        """Give the answer of a command.

        Raises:
            TimeoutError: there was none; it may have been done.
        """
        with self.limit():
            return await command(*given)

    def limit(self, left: float | None = None) -> _Limit:
        """Give the running task so long: ``with answers.limit(): await command()``.

        Args:
            left: how many seconds the task has for all that it does, if that is known: a command gets half of them.
        """
        loop, watch = asyncio.get_running_loop(), self._watch
        if watch is None or watch.loop is not loop:
            watch = self._watch = _Watch(loop)
        now = loop.time()
        seconds = self._seconds if left is None else min(self._seconds, left / 2)
        limit = _Limit(watch.limits, asyncio.current_task(loop), now + seconds)
        watch.limits.add(limit)
        if limit.next < watch.next:
            watch.look_at(limit.next, now)
        return limit


class _Watch:
    """Looks at the commands that are on their way in an event loop, as long as there are any."""

    __slots__ = ("_timer", "limits", "loop", "next")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.limits = loop, set[_Limit]()
        self._timer: asyncio.TimerHandle | None = None
        self.next = math.inf

    def look_at(self, time: float, now: float) -> None:
        """Look at this time, or earlier: nobody says when a task is cancelled."""
        if self._timer is not None:
            self._timer.cancel()
        self.next = min(time, now + INSIST)
        self._timer = self.loop.call_at(self.next, self._look)

    def _look(self) -> None:
        self._timer, self.next = None, math.inf
        now = self.loop.time()
        for limit in self.limits:
            limit.look(now)
        if self.limits:
            self.look_at(min(limit.next for limit in self.limits), now)


class _Limit:
    """Cancels a task once its time is over, and again until it hears of that, or of anybody else's.

    Attributes:
        next: when it is to be looked at again.
    """

    __slots__ = ("_again", "_all", "_before", "_is_over", "_own", "_task", "next")

    def __init__(self, all_: set[_Limit], task: Any, until: float) -> None:
        self._all, self._task, self._before, self._own = all_, task, task.cancelling(), 0
        self._is_over, self._again, self.next = False, 0.0, until

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        """Take its own cancellations back, and raise what the task meets besides.

        Raises:
            CancelledError: somebody else cancelled it.
            TimeoutError: its time is over.
        """
        self._all.discard(self)
        for _ in range(self._own):
            self._task.uncancel()
        if self._task.cancelling() > self._before:
            if kind is None or not issubclass(kind, asyncio.CancelledError):
                raise asyncio.CancelledError
        elif self._is_over:
            raise TimeoutError

    def look(self, now: float) -> None:
        """Cancel the task where it is late, or goes on although it was cancelled."""
        if now >= self.next:
            self._is_over, self.next = True, now + INSIST
        if now >= self._again and (self._is_over or self._task.cancelling() > self._before):
            self._own, self._again = self._own + 1, now + INSIST
            self._task.cancel()


def text_of_id(id: Any) -> str:
    """Give an id as text, each as its own; a long one by its digest."""
    if id.__class__ is int:
        return f"i{id}"
    if isinstance(id, tuple):
        text = f"({','.join(map(text_of_id, cast('Any', id)))})"
    else:
        kind = type(id).__name__
        is_aware = isinstance(id, dt.datetime) and id.tzinfo is not None
        written = id.hex() if isinstance(id, bytes) else str(id.astimezone(dt.UTC) if is_aware else id)
        text = kind[0] + kind[-1] + quote(written, errors="surrogatepass")
    return text if len(text) <= _LONGEST else f"h{digest(text)}"


def digest(text: str) -> str:
    """Give a short text that stands for a long one."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


LONGEST: Final = 10**14
"""Milliseconds: three thousand years."""


def milliseconds(seconds: float) -> int:
    """Give seconds as Redis counts them, at least one, and no more than it can add to the time of day."""
    return max(1, round(min(seconds * 1000, LONGEST)))
