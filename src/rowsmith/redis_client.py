"""What everything that is kept in Redis or Valkey goes by: the client, keys as text, lengths of time."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import inspect
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


async def answer(seconds: float, command: Callable[..., Awaitable[T]], *given: Any) -> T:
    """Have a command answered in time, or by then not waited for any longer.

    redis-py, and ``asyncio.wait_for`` of Python 3.11 beneath it, lose a cancellation that comes as they go from one
    wait to the next, and would wait for an answer for ever: it is repeated until it is heard, and what it was asked for
    is remembered here. A task of its own for each command would take as long as half of one.

    Raises:
        TimeoutError: it was not; it may have been done.
    """
    limit = _Limit(seconds)
    try:
        told = await command(*given)
    except BaseException as exc:
        limit.end(is_heard=isinstance(exc, asyncio.CancelledError))
        raise
    limit.end()
    return told


class _Limit:
    """Cancels the running task once its time is over, and again until it hears of that, or of anybody else's."""

    __slots__ = ("_before", "_is_over", "_loop", "_own", "_task", "_timer", "_until")

    def __init__(self, seconds: float) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._task = cast("asyncio.Task[Any]", asyncio.current_task(loop))
        self._before, self._own = self._task.cancelling(), 0
        self._is_over = False
        self._until = loop.time() + seconds
        self._timer = loop.call_later(min(seconds, INSIST), self._look)

    def end(self, *, is_heard: bool = False) -> None:
        """Take its own cancellations back, and raise what the task meets besides; ``is_heard``: it knows of others.

        Raises:
            CancelledError: somebody else cancelled it.
            TimeoutError: its time is over.
        """
        self._timer.cancel()
        for _ in range(self._own):
            self._task.uncancel()
        if self._task.cancelling() > self._before:
            if not is_heard:
                raise asyncio.CancelledError
        elif self._is_over:
            raise TimeoutError

    def _look(self) -> None:
        left = self._until - self._loop.time()
        self._is_over = self._is_over or left <= 0
        if self._is_over or self._task.cancelling() > self._before:
            self._own += 1
            self._task.cancel()
            left = INSIST
        self._timer = self._loop.call_later(min(left, INSIST), self._look)


def text_of_id(id: Any) -> str:
    """Give an id as text, each as its own; a long one by its digest."""
    if id.__class__ is int:
        return f"i{id}"
    parts: Any = id
    text = f"({','.join(map(text_of_id, parts))})" if isinstance(id, tuple) else _text_of_part(id)
    return text if len(text) <= _LONGEST else f"h{digest(text)}"


def _text_of_part(part: Any) -> str:
    """Give a part of an id as text that tells its class, too."""
    kind = type(part).__name__
    if isinstance(part, dt.datetime) and part.tzinfo is not None:
        part = part.astimezone(dt.UTC)
    return kind[0] + kind[-1] + quote(str(part) if not isinstance(part, bytes) else part.hex(), errors="surrogatepass")


def digest(text: str) -> str:
    """Give a short text that stands for a long one."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def milliseconds(seconds: float) -> int:
    """Give seconds as Redis counts them, at least one."""
    return max(1, round(seconds * 1000))
