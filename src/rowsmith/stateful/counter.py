"""Counters in Redis: each request counts once, however often redis-py sends it."""

from __future__ import annotations

import secrets
from collections.abc import Hashable
from functools import partial
from typing import Any, Final, cast

from rowsmith.deadline import check_seconds
from rowsmith.errors import InvalidValue, kind_of
from rowsmith.redis_client import milliseconds
from rowsmith.stateful.source import StatefulSource, check_place, read

_LARGEST: Final = 2**63 - 1

# redis-py sends a command again whose answer was lost, and INCRBY would count twice. Where Redis refuses to count, it
# gives what is kept, in a list.
_ADD: Final = """
local told = redis.call('GET', KEYS[2])
if told then return told end
if type(redis.pcall('INCRBY', KEYS[1], ARGV[1])) ~= 'number' then
  told = redis.pcall('GET', KEYS[1])
  return {type(told) == 'string' and told or ''}
end
if ARGV[2] ~= '' and redis.call('PTTL', KEYS[1]) == -1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
told = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[2], told, 'PX', ARGV[3])
return told
"""


class Counter:
    """Whole numbers by key, of 64 bits; what was never counted is 0.

    Args:
        source: where they are kept.
        name: tells them apart from the source's other state.
        ttl: seconds from the first count to when the number is 0 again; None: for ever.

    Raises:
        MappingError: ``source`` is no StatefulSource, or ``name`` no text.
        InvalidValue: ``ttl`` is no number of seconds.
    """

    def __init__(self, source: StatefulSource, name: str, *, ttl: float | None = None) -> None:
        check_place(source, name, self)
        self._source, self._name = source, name
        self._ttl = "" if ttl is None else milliseconds(check_seconds(ttl, "ttl"))
        self._add = source.script(_ADD)

    async def add(self, key: Hashable, by: int = 1) -> int:
        """Count, and give what the number is then.

        Raises:
            InvalidValue: ``by`` is no whole number of 64 bits, or the number would be none, and is as it was; with
                ``is_stored``, something else is kept under the key.
            StateUnavailable: Redis did not answer; it may have counted.
        """
        request = secrets.token_hex(8)  # the same one, however often a policy has it made
        return await self._source.run("add", partial(self._counted, key, by, request))

    async def value(self, key: Hashable) -> int:
        """Give the number.

        Raises:
            InvalidValue: with ``is_stored``, something else is kept under the key.
            StateUnavailable: Redis did not answer.
        """
        return await self._source.run(
            "value", lambda: self._ask(self._source.client.get, self._source.key(self._name, key))
        )

    async def reset(self, key: Hashable) -> None:
        """Have the number be 0 again.

        Raises:
            StateUnavailable: Redis did not answer; it may have done it.
        """
        await self._source.run(
            "reset", lambda: self._source.ask(self._source.client.delete, self._source.key(self._name, key))
        )

    async def _counted(self, key: Hashable, by: int, request: str) -> int:
        if isinstance(by, bool) or not isinstance(cast("Any", by), int):
            raise InvalidValue(f"a counter counts by a whole number, not {kind_of(by)}: write add(key, 1)")
        if abs(by) > _LARGEST:
            raise InvalidValue("a counter counts by a number of 64 bits")
        kept = self._source.key(self._name, key)
        return await self._ask(self._add, [kept, f"{kept}:{request}"], [by, self._ttl, self._source.answered])

    async def _ask(self, command: Any, *given: Any) -> int:
        told = await self._source.ask(command, *given)
        if isinstance(told, list):
            read(cast("Any", told)[0], _number, "number")
            raise InvalidValue(
                "a counter's number has 64 bits, and would have more: write reset(key), or count by less"
            )
        return 0 if told is None else read(told, _number, "number")


def _number(text: str) -> int:
    """Read a number as Redis does, which takes no other way of writing it.

    Raises:
        ValueError: it is none of 64 bits.
    """
    number = int(text)
    if str(number) != text or not -_LARGEST - 1 <= number <= _LARGEST:
        raise ValueError
    return number
