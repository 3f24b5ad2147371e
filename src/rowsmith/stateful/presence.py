"""Sets in Redis of who is present: a member that is not heard of again leaves by itself."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter

from rowsmith.deadline import check_seconds
from rowsmith.errors import InvalidValue, MappingError, kind_of
from rowsmith.redis_client import milliseconds
from rowsmith.stateful.source import StatefulSource, check_place, read

T = TypeVar("T", bound=Hashable)

# All by the clock of Redis: those of the processes differ.
_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

_ARRIVE: Final = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
"""

_PRESENT: Final = """
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')
"""

_COUNT: Final = """
return redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf')
"""


class Presence(Generic[T]):
    """Who is present, by key.

    Args:
        source: where that is kept.
        name: tells it apart from the source's other state.
        member: the type of members, which pydantic makes JSON of: ``UUID``, ``int``, ``str``, a ``NewType`` of one.
        ttl: seconds for which a member is present that is not heard of again.

    Raises:
        MappingError: ``source`` is no StatefulSource, ``name`` no text, or pydantic makes no JSON of ``member``.
        InvalidValue: ``ttl`` is no number of seconds.
    """

    def __init__(self, source: StatefulSource, name: str, member: Callable[..., T], *, ttl: float) -> None:
        check_place(source, name, self)
        self._source, self._name = source, name
        self._ttl = milliseconds(check_seconds(ttl, "ttl"))
        self._json = _adapter(member)
        self._arrive, self._present, self._count = (source.script(_NOW + text) for text in (_ARRIVE, _PRESENT, _COUNT))

    async def arrive(self, key: Hashable, member: T) -> None:
        """Say that a member is there, or still there; the member's time begins anew.

        Raises:
            InvalidValue: it is none of their type.
            StateUnavailable: Redis did not answer; it may have done it.
        """
        await self._source.run(
            "arrive", lambda: self._source.ask(self._arrive, [self._kept(key)], [self._text(member), self._ttl])
        )

    async def leave(self, key: Hashable, member: T) -> None:
        """Say that a member is there no longer; one that is not there need not leave.

        Raises:
            InvalidValue: it is none of their type.
            StateUnavailable: Redis did not answer; it may have done it.
        """
        await self._source.run(
            "leave", lambda: self._source.ask(self._source.client.zrem, self._kept(key), self._text(member))
        )

    async def present(self, key: Hashable) -> frozenset[T]:
        """Give all who are there.

        Raises:
            InvalidValue: with ``is_stored``, something else is kept under the key.
            StateUnavailable: Redis did not answer.
        """
        return await self._source.run("present", partial(self._members, key))

    async def count(self, key: Hashable) -> int:
        """Give how many are there.

        Raises:
            StateUnavailable: Redis did not answer.
        """
        told: int = await self._source.run("count", lambda: self._source.ask(self._count, [self._kept(key)]))
        return told

    async def _members(self, key: Hashable) -> frozenset[T]:
        told: Any = await self._source.ask(self._present, [self._kept(key)])
        return frozenset(read(member, self._json.validate_json, "member of this set") for member in told)

    def _kept(self, key: Hashable) -> str:
        return self._source.key(self._name, key)

    def _text(self, member: T) -> str:
        """Give a member as JSON, once it is known to be one."""
        try:
            return self._json.dump_json(self._json.validate_python(member, strict=True)).decode()
        except ValueError:
            failure = f"the member is none of this set: {kind_of(member)} was given"
        raise InvalidValue(failure)


def _adapter(member: Any) -> TypeAdapter[Any]:
    """Give what makes JSON of members.

    Raises:
        MappingError: pydantic cannot.
    """
    try:
        return TypeAdapter(member)
    except Exception as exc:  # noqa: BLE001 - pydantic has several
        told = str(exc).partition("\n")[0]
    raise MappingError(f"pydantic makes no JSON of members: {told}")
