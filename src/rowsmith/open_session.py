"""Open sessions: which one the running code is inside of, and who else is.

Each block that opens a session, or joins one, is an :class:`OpenSession`. A context variable holds the innermost
block; tasks started inside begin with a copy of it, and so are inside too.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import ContextVar, Token
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.errors import ConcurrentUse

LEFT = (
    "the block of this session was left while another task was inside, so the connection was thrown away and nothing "
    "of it is committed: await every task before the block ends, and give each task a block of its own"
)


class OpenSession:
    """A block of code in which calls to one database join one session.

    Attributes:
        db_sess: the session.
        home: the database that it belongs to.
        root: the outermost block of this session, which has its transaction.
        is_open: the block has not ended.
        is_read_only: calls that write are refused.
        is_borrowed: of a root: the session is somebody else's, who commits and closes it.
        is_lost: of a root: a task was inside when the block was left, so nobody knows what is on the wire.
        lost_by: of a root: the task that left the block.
        work: what waits for the commit; see :class:`rowsmith.unit_of_work.UnitOfWork`.
        awaited: of a root: the connections whose commit it waits for.
    """

    def __init__(
        self, home: object, session: AsyncSession, around: OpenSession | None = None, *, is_read_only: bool = False
    ) -> None:
        self.home, self.db_sess = home, session
        self.root: OpenSession = self if around is None else around.root
        self.is_open, self.is_read_only = True, is_read_only
        self.is_lost = self.is_borrowed = False
        self.lost_by: asyncio.Task[Any] | None = None
        self.work: list[Any] = []
        self.awaited: list[Connection] = []
        self._user: asyncio.Task[Any] | None = None
        self._depth = 0
        self._outer: OpenSession | None = None
        self._token: Token[OpenSession | None] | None = None

    def enter(self) -> asyncio.Task[Any] | None:
        """Let a call or a block use the session, and give the task that does: one at a time, as often as it likes.

        Raises:
            ConcurrentUse: another task is using it, or the session is lost.
        """
        if self.root.is_lost:
            raise ConcurrentUse(LEFT)
        task = asyncio.current_task()
        if self._user is not task:
            if self.is_shared():
                raise ConcurrentUse
            self._user, self._depth = task, 0
        self._depth += 1
        return task

    def leave(self, user: asyncio.Task[Any] | None) -> None:
        """End what :meth:`enter` began."""
        if self._user is user:
            self._depth -= 1
            self._user = user if self._depth else None

    def lose(self) -> None:
        """Have nobody use the session any more."""
        self.root.is_lost, self.root.lost_by = True, asyncio.current_task()

    def is_lost_to_others(self) -> bool:
        """Say whether the session was lost under the running task, which did not leave the block."""
        return self.root.is_lost and self.root.lost_by is not asyncio.current_task()

    def is_shared(self) -> bool:
        """Say whether another task than the running one is inside."""
        user = self._user
        return user is not None and user is not asyncio.current_task() and not user.done()

    def push(self) -> None:
        """Make this the innermost block."""
        outer = _innermost.get()
        while outer is not None and not outer._counts:  # those that ended must not pile up in tasks that start tasks
            outer = outer._outer
        self._outer, self._token = outer, _innermost.set(self)

    def pop(self) -> None:
        """End the block."""
        self.is_open = False
        if self._token is not None:
            with suppress(ValueError):  # left in another context than entered, as a fixture's teardown may be
                _innermost.reset(self._token)

    @property
    def _counts(self) -> bool:
        """Whether code in this context is inside: a task that outlives the block is not, unless it was using it."""
        return self.is_open or (self.root.is_lost and self._user is asyncio.current_task())


_innermost: ContextVar[OpenSession | None] = ContextVar("rowsmith_innermost", default=None)


def innermost(home: object) -> OpenSession | None:
    """Give the innermost block of a database that the running code is inside of."""
    found = _innermost.get()
    while found is not None and not (found.home is home and found._counts):  # pyright: ignore[reportPrivateUsage]
        found = found._outer  # pyright: ignore[reportPrivateUsage]
    return found


def is_inside() -> bool:
    """Say whether the running code is inside a block, of any database, that it or its caller began."""
    found = _innermost.get()
    while found is not None and not found._counts:  # pyright: ignore[reportPrivateUsage]
        found = found._outer  # pyright: ignore[reportPrivateUsage]
    return found is not None
