"""The unit of work: several repository calls in one transaction, and work that waits for its commit."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, cast

from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.errors import AfterCommitFailed, InvalidValue, TransactionError, kind_of
from rowsmith.execution import note_application, scrub
from rowsmith.homes import OpenSession
from rowsmith.signatures import takes

AfterCommit: TypeAlias = Callable[[], Awaitable[Any] | None]
"""Work without arguments, a coroutine function or a plain one."""


class UnitOfWork(OpenSession):
    """One transaction that every repository call inside the block joins; made by ``Database.unit_of_work()``.

    One task at a time may use it.
    """

    @property
    def session(self) -> AsyncSession:
        """Its AsyncSession, for statements of one's own; what they leave in the connection is reset afterwards."""
        note_application(self.db_sess)
        return self.db_sess

    def after_commit(self, work: AfterCommit) -> None:
        """Have work done once the outermost transaction is really committed, and never otherwise.

        It runs in the order of registration, outside of the transaction. If some of it fails, the rest
        still runs, and then ``AfterCommitFailed`` is raised: the data is committed all the same.

        Raises:
            InvalidValue: it is no function without arguments.
            TransactionError: the unit has ended, so nothing of it is going to be committed any more; or the session
                is somebody else's (``Database.from_session``), whose commit is not seen here.
        """
        if not callable(cast("object", work)) or not takes(work):
            raise InvalidValue(
                f"work for after the commit is a function without arguments, not {kind_of(work)}: write "
                "unit.after_commit(lambda: tell(group.id))"
            )
        if not self.is_open:
            raise TransactionError("this unit of work has ended: register work inside its block")
        if self.root.is_borrowed:
            raise TransactionError(
                "this session is somebody else's, who commits it: do the work there, after session.commit()"
            )
        self.work.append(work)


async def run_after_commit(waiting: Sequence[AfterCommit]) -> None:
    """Do the waiting work; called once the transaction is committed.

    Raises:
        AfterCommitFailed: some of it failed; the first failure is its cause.
        asyncio.CancelledError: some of it was cancelled; a note says how much was not done.
    """
    failures: list[BaseException] = []
    cancelled: asyncio.CancelledError | None = None
    for work in waiting:
        try:
            result = work()
            if inspect.isawaitable(result):
                await result
        except asyncio.CancelledError as exc:  # the others are owed to a commit that cannot be taken back
            cancelled = cancelled or exc
            failures.append(exc)
        except Exception as exc:  # noqa: BLE001 - one failing callback must not cost the others
            scrub(exc)
            failures.append(exc)
    told = f"{AfterCommitFailed.default_message} ({len(failures)} of it)"
    if cancelled is not None:
        cancelled.add_note(told)
        raise cancelled
    if failures:
        raise AfterCommitFailed(told) from failures[0]
