"""Locks in Redis, with a time after which they end, and a number that tells a later holder from an earlier one.

No lock that ends by itself keeps two holders apart for certain: the first may be held up (by a collector of garbage, by
the network) until its time is over, and go on without knowing. What it writes has to be refused where it is written.
So each holder has a number, its ``fence``, that is higher than those of all holders before it: keep it beside what is
written, and write only where the number there is not higher.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncGenerator, Hashable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

from rowsmith.deadline import check_seconds
from rowsmith.errors import LockLost, LockNotAvailable, RepositoryError
from rowsmith.redis_client import milliseconds
from rowsmith.stateful.source import StatefulSource, check_place, read

PAUSE: Final = 0.05
"""For about how many seconds one waits before a lock is asked for again."""

KNOWN: Final = 24 * 60 * 60 * 1000
"""For how many milliseconds a number is remembered; afterwards the clock alone makes the next one higher."""

# Whose token it is already has asked twice, as redis-py does where an answer was lost. Numbers begin with the time, so
# that they go on rising where Redis has lost all that it kept.
_ACQUIRE: Final = """
local held = redis.call('GET', KEYS[1])
if held == ARGV[1] then return redis.call('GET', KEYS[2]) end
if held then return false end
local now = redis.call('TIME')
local fence = now[1] * 1000000 + now[2]
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
if fence <= last then fence = last + 1 end
local told = string.format('%.0f', fence)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], told, 'PX', ARGV[3])
return told
"""

_EXTEND: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[2], '', 'PX', ARGV[2])
end
return redis.call('EXISTS', KEYS[2])
"""


class TokenLock:
    """Locks by key, one holder each.

    ::

        async with source.recording.held(group_id) as held:
            await peaks.update_where([PeakRow.fence <= held.fence], PeakPatch(..., fence=held.fence), scope=scope)

    Args:
        source: where they are kept.
        name: tells them apart from the source's other state.
        ttl: seconds after which a lock ends whose holder is gone.
        wait: seconds for which one waits for another holder; None: not at all.

    Raises:
        MappingError: ``source`` is no StatefulSource, or ``name`` no text.
        InvalidValue: a time is no number of seconds.
    """

    def __init__(self, source: StatefulSource, name: str, *, ttl: float, wait: float | None = None) -> None:
        check_place(source, name, self)
        self._source, self._name = source, name
        self._ttl, self._wait = check_seconds(ttl, "ttl"), 0.0 if wait is None else check_seconds(wait, "wait")
        self._acquire, self._extend, self._release = map(source.script, (_ACQUIRE, _EXTEND, _RELEASE))

    @asynccontextmanager
    async def held(self, key: Hashable) -> AsyncGenerator[Held]:
        """Hold the lock of a key inside a block. Who holds it already is another to it.

        Raises:
            InvalidValue: the key is none; see :meth:`StatefulSource.key`.
            LockNotAvailable: another holds it, for as long as is waited.
            LockLost: when the block is left without another error: it ended before.
            StateUnavailable: Redis did not answer; the lock, if it was taken, ends with its time.
        """
        token = secrets.token_hex(16)
        try:
            held = await self._source.run("acquire", partial(self._acquired, key, token))
        except asyncio.CancelledError:  # it may have been taken already
            with suppress(RepositoryError):
                await self._released(self._source.key(self._name, key), token)
            raise
        try:
            yield held
        except BaseException:
            with suppress(RepositoryError):  # it is in the log; the block's own error says more
                await self._source.run("release", partial(self._released, held.key, held.token))
            raise
        await self._source.run("release", partial(self._released, held.key, held.token))

    async def extend(self, held: Held, ttl: float | None = None) -> None:
        """Do what :meth:`Held.extend` does."""
        await self._source.run("extend", partial(self._extended, held, ttl))

    async def _extended(self, held: Held, ttl: float | None) -> None:
        until = milliseconds(self._ttl if ttl is None else check_seconds(ttl, "ttl"))
        await self._tell(self._extend, [held.key], [held.token, until])

    async def _acquired(self, key: Hashable, token: str) -> Held:
        kept = self._source.key(self._name, key)
        loop = asyncio.get_running_loop()
        until, given = loop.time() + self._wait, [token, milliseconds(self._ttl), KNOWN]
        while True:
            told: Any = await self._source.ask(self._acquire, [kept, f"{kept}:fence"], given)
            if told is not None:
                return Held(self, kept, token, read(told, int, "number of a holder"))
            left = until - loop.time()
            if left <= 0:
                raise LockNotAvailable("another one holds the lock: try again later, or give it a longer wait")
            await asyncio.sleep(min(left, PAUSE * random.uniform(0.5, 1.5)))  # noqa: S311 - no secret

    async def _released(self, kept: str, token: str) -> None:
        await self._tell(self._release, [kept, f"{kept}:{token}"], [token, self._source.answered])

    async def _tell(self, script: Any, keys: list[str], given: list[Any]) -> None:
        """Do something with a lock that is held.

        Raises:
            LockLost: it is not.
        """
        if not await self._source.ask(script, keys, given):
            raise LockLost


class Held:
    """A lock that is held; ``fence`` is higher than that of every holder before, ``token`` is this holder's own."""

    def __init__(self, lock: TokenLock, key: str, token: str, fence: int) -> None:
        self._lock, self.key, self.token, self.fence = lock, key, token, fence

    async def extend(self, ttl: float | None = None) -> None:
        """Have the lock end that many seconds from now; without a number, as many as it began with.

        Raises:
            LockLost: it ended before.
            StateUnavailable: Redis did not answer; it may have done it.
        """
        await self._lock.extend(self, ttl)
