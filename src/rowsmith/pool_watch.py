"""What is known of a pool: the event loop that its connections live in, and which tasks hold them."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast
from weakref import WeakKeyDictionary

from sqlalchemy import NullPool, Pool, QueuePool
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.errors import PoolExhausted, TransactionError

HELD_BY_ITSELF = (
    "every connection of the pool is held by tasks that wait for another one, so none can become free: read the stream "
    "to its end or leave the session before this call, make it inside unit_of_work() or begin_session(), where it "
    "joins, or give the pool more connections"
)


PATIENCE = 20
"""For how many hundredths of a second a task that holds every connection may still get one back."""


class PoolWatch:
    """One pool's loop and holders; several databases on one engine share it.

    ``held`` are the sessions that each task has a connection for.
    """

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.held: dict[asyncio.Task[Any] | None, list[AsyncSession]] = {}
        self._waiting: set[asyncio.Task[Any] | None] = set()

    def move(self, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        """Say that the pool is going to be used in this event loop, which is another than the last one.

        Raises:
            TransactionError: it keeps connections, and they belong to the other loop.
        """
        if self.loop is not None and not isinstance(pool, NullPool):
            raise TransactionError(
                f"the connections of this Database belong to the event loop {self.loop!r}, and this call is made in "
                f"{loop!r}: make a Database in each loop, await db.dispose() before the first loop ends, "
                "or make the engine with poolclass=NullPool"
            )
        self.loop = loop

    async def spare(self, pool: Pool, task: asyncio.Task[Any] | None) -> None:
        """Give what a task has just dropped, such as a stream left by ``break``, the time to come back."""
        for _ in range(PATIENCE):
            if not (_is_exhausted(pool) and task in self.held):
                return
            await asyncio.sleep(0.01)

    @contextmanager
    def waiting(self, pool: Pool, task: asyncio.Task[Any] | None) -> Generator[None]:
        """Have a task that holds connections wait for another one.

        Raises:
            PoolExhausted: it would wait for itself, or for others who wait for it.
        """
        self._waiting.add(task)
        try:
            if _is_exhausted(pool):
                sessions = (session for task in self._waiting for session in self.held.get(task, ()))
                held = sum(session.in_transaction() for session in sessions)  # committed by hand, it holds nothing
                if held >= cast("QueuePool", pool).checkedout():
                    raise PoolExhausted(HELD_BY_ITSELF)
            yield
        finally:
            self._waiting.discard(task)


def _is_exhausted(pool: Pool) -> bool:
    """Say whether whoever wants a connection must wait for one."""
    if not isinstance(pool, QueuePool):
        return False
    most: int = pool._max_overflow  # pyright: ignore[reportPrivateUsage]
    return most >= 0 and pool.checkedin() == 0 and pool.overflow() >= most


_watches: WeakKeyDictionary[Pool, PoolWatch] = WeakKeyDictionary()


def watch(pool: Pool) -> PoolWatch:
    """Give what is known of a pool."""
    return _watches.setdefault(pool, PoolWatch())
