"""What everything that is kept in Redis or Valkey goes by: the client, keys as text, lengths of time."""

from __future__ import annotations

import datetime as dt
import hashlib
import inspect
from typing import Any, Final
from urllib.parse import quote

from rowsmith.errors import MappingError, kind_of

_LONGEST: Final = 100


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


def text_of_id(id: Any) -> str:
    """Give an id as text, each as its own; a long one by its digest."""
    if id.__class__ is int:
        return f"i{id}"
    parts: Any = id
    text = ",".join(map(text_of_id, parts)) if isinstance(id, tuple) else _text_of_part(id)
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
