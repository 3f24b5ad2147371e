"""A server that is watched: asked now and then how far its data is, on a connection of its own."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from asyncpg import PostgresError
from sqlalchemy import NullPool, Pool
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from rowsmith.execution.position import BARE_SIGHT, NOWHERE, SIGHT, is_hidden, sight_of

logger = logging.getLogger("rowsmith.replicas")

RETRY: Final = 0.5
"""Seconds between questions to a server that is away."""
PATIENCE: Final = 2.0
"""For how many seconds an answer is awaited before a server is taken for away."""


class Watched:
    """What is known of one server.

    Args:
        name: what it is called in the log.
        engine: how it is reached. Its pool is left alone: whoever waits for a connection of it would not be told.
        is_standby: it is to follow a primary; False for the primary, which is to follow nobody.

        retry: seconds between questions while it is away.
        is_away: it is taken for away to begin with, which nobody is told of.

    Attributes:
        is_up: it answered the last question as it should; nobody reads from one that did not.
        position: where it was then.
        since: how many seconds before that what it had replayed last was committed.
        asked: when it was asked that, on the clock of ``time.monotonic``.
    """

    def __init__(
        self, name: str, engine: AsyncEngine, *, is_standby: bool, retry: float = RETRY, is_away: bool = False
    ) -> None:
        self.is_up, self.position, self.since = not is_away, NOWHERE, float("inf")
        self.asked, self.retry = time.monotonic() if is_away else float("-inf"), retry
        self._name, self._engine, self._is_standby = name, engine, is_standby
        self._own: Pool | None = None
        self._driver: Any = None
        self._question = SIGHT

    def age(self, now: float) -> float:
        """Say for how many seconds nothing new is known; for ever where the server may be another by now.

        One that crashed begins with less than it had. It ends its connections then, and that is noticed at once.
        """
        return float("inf") if self._driver is not None and self._driver.is_closed() else now - self.asked

    async def ask(self, system: str | None = None) -> None:
        """Ask where it is; done within :data:`PATIENCE`, whatever the server does.

        Args:
            system: the identifier of the group of servers that it has to be of, where that is known.
        """
        asked = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                why = await self._ask(system)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the server cannot be used
            why = type(exc).__name__
        self.asked = asked
        if why is not None:
            self.fall(why)
            return
        if not self.is_up:
            logger.info("%s is back", self._name)
        self.is_up = True

    def fall(self, why: str) -> None:
        """Take it for away, until it answers again."""
        if self.is_up:
            logger.warning("%s is passed over: %s", self._name, why)
        self.is_up = False

    async def dispose(self) -> None:
        """Close its connection."""
        own, self._own, self._driver = self._own, None, None
        self.asked = float("-inf")
        if own is not None:
            await greenlet_spawn(own.dispose)

    async def _ask(self, system: str | None) -> str | None:
        """Note where it is; or say what is wrong with it."""
        own = self._own = self._own or self._engine.pool.recreate()
        pooled = await greenlet_spawn(own.connect)
        try:
            sight = sight_of(await self._answer(_driver_of(pooled)))
            if sight.is_standby is not self._is_standby:
                evict: Any = self._engine.pool._invalidate  # pyright: ignore[reportPrivateUsage]
                await greenlet_spawn(evict, pooled)
        except BaseException:
            await greenlet_spawn(pooled.invalidate)  # nobody knows what is still on the wire
            raise
        driver = _driver_of(pooled) if pooled.is_valid else None
        await greenlet_spawn(pooled.close)
        if sight.is_standby is not self._is_standby:
            return "it takes no writes" if sight.is_standby else "it follows no other server"
        if system is not None and sight.position.system != system:
            return "it follows another server than this Database's"
        self.position, self.since = sight.position, sight.since
        self._driver = None if isinstance(own, NullPool) else driver
        return None

    async def _answer(self, driver: Any) -> Any:
        """Ask the question, or one that anybody may ask where the server does not answer it."""
        try:
            return await driver.fetchrow(self._question)
        except PostgresError as exc:
            if self._question == BARE_SIGHT or not is_hidden(getattr(exc, "sqlstate", None)):
                raise
        answer = await driver.fetchrow(BARE_SIGHT)
        self._question = BARE_SIGHT
        return answer


def _driver_of(pooled: Any) -> Any:
    """Give a pooled connection's own driver connection, asked of nobody who would note that somebody has it now."""
    return pooled.dbapi_connection.driver_connection
