"""What everything that is kept in Redis or Valkey goes by: the client, keys as text, lengths of time."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar
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

    It runs in a task of its own: redis-py, and ``asyncio.wait_for`` of Python 3.11 beneath it, lose a cancellation that
    comes as they go from one wait to the next, and would wait for an answer for ever.

    Raises:
        TimeoutError: it was not; it may have been done.
    """
    asking = asyncio.ensure_future(command(*given))
    try:
        done, _ = await asyncio.wait({asking}, timeout=seconds)
    except asyncio.CancelledError:
        _give_up(asking)
        raise
    if not done:
        _give_up(asking)
        raise TimeoutError
    return asking.result()


def _give_up(asking: asyncio.Future[Any]) -> None:
    """Cancel a command until that is heard; what it ends with is nobody's any more."""
    if asking.done():
        if not asking.cancelled():
            asking.exception()
        return
    asking.cancel()
    asyncio.get_running_loop().call_later(INSIST, _give_up, asking)


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
