"""The unit of work: several repository calls in one transaction, and work that waits for its commit."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias

from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.errors import AfterCommitFailed, ConcurrentUse, TransactionError
from rowsmith.execution import scrub, translated

AfterCommit: TypeAlias = Callable[[], Awaitable[Any] | None]
"""Work without arguments, a coroutine function or a plain one."""


class UnitOfWork:
    """One transaction that every repository call inside the block joins; made by ``Database.unit_of_work()``.

    ``session`` is its AsyncSession, for statements of one's own. One task at a time may use it.
    """

    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self.is_open = True
        self._work: list[AfterCommit] = []
        self._user: asyncio.Task[Any] | None = None
        self._child: UnitOfWork | None = None

    def after_commit(self, work: AfterCommit) -> None:
        """Have work done once the outermost transaction is really committed, and never otherwise.

        It runs in the order of registration, outside of the transaction. If some of it fails, the rest
        still runs, and then ``AfterCommitFailed`` is raised: the data is committed all the same.

        Raises:
            TransactionError: the unit has ended, so nothing of it is going to be committed any more.
        """
        if not self.is_open:
            raise TransactionError("this unit of work has ended: register work inside its block")
        self._work.append(work)

    @contextmanager
    def use(self) -> Iterator[AsyncSession]:
        """Give the session to one caller at a time; the same task may come again inside.

        Raises:
            ConcurrentUse: another task is using it, or a nested unit of work is open inside it.
        """
        task = asyncio.current_task()
        if self._child is not None or self._user not in (None, task):
            raise ConcurrentUse
        before, self._user = self._user, task
        try:
            yield self.session
        finally:
            self._user = before

    @asynccontextmanager
    async def joined(self) -> AsyncGenerator[AsyncSession]:
        """Give the session to a call that joins this unit: as :meth:`use`, and errors that leave are translated."""
        with self.use():
            async with translated():
                yield self.session

    @contextmanager
    def nested(self) -> Iterator[UnitOfWork]:
        """Give a unit of work inside this one, which rests until the inner one ends."""
        with self.use():
            child = UnitOfWork(self.session)
        self._child = child
        try:
            yield child
        finally:
            self._child, child.is_open = None, False

    def adopt(self, child: UnitOfWork) -> None:
        """Take over the waiting work of a nested unit that ended well."""
        self._work.extend(child._work)

    async def run_after_commit(self) -> None:
        """Do the waiting work; called once the transaction is committed.

        Raises:
            AfterCommitFailed: some of it failed; the first failure is its cause.
        """
        failures: list[Exception] = []
        for work in self._work:
            try:
                result = work()
                if inspect.isawaitable(result):
                    await result
            except Exception as exc:  # noqa: BLE001 - one failing callback must not cost the others
                scrub(exc)
                failures.append(exc)
        if failures:
            raise AfterCommitFailed(f"{AfterCommitFailed.default_message} ({len(failures)} of it)") from failures[0]
