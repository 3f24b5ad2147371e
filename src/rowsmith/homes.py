"""Where sessions come from, and which one the running code is inside of.

They come of an engine of one's own (:class:`OwnHome`), which begins and ends them, or there is one already that
somebody else owns (:class:`BorrowedHome`), and stays. Each block that opens a session, or joins one, is an
:class:`OpenSession`. A context variable holds the innermost block; tasks started inside begin with a copy of it, and so
are inside too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar, Token
from typing import Any, TypeAlias

from sqlalchemy import Connection, Engine, NullPool, Pool, event
from sqlalchemy.exc import IllegalStateChangeError, UnboundExecutionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.util import greenlet_spawn

from rowsmith.deadline import remaining
from rowsmith.errors import (
    ConcurrentUse,
    DatabaseUnavailable,
    MappingError,
    TransactionError,
)
from rowsmith.execution import (
    DATABASE_ERRORS,
    SESSION_ENDED,
    BlockSession,
    connections_of,
    drivers_of,
    is_closed,
    let_out,
    translate,
    watch_failures,
)
from rowsmith.execution.commits import count_commits
from rowsmith.execution.elsewhere import forget_learned
from rowsmith.execution.endings import looked_at, watch_ends
from rowsmith.execution.isolation import check_isolation
from rowsmith.execution.read_only import keep_read_only
from rowsmith.execution.returning import read_returning_whole
from rowsmith.execution.transaction_id import want_id
from rowsmith.execution.transactions import note_used
from rowsmith.flushed import note_flushes
from rowsmith.pool_watch import watch

LEFT = (
    "the block of this session was left while another task, or a block inside of it, was at work, so the connection "
    "was thrown away and nothing of it is committed: await every task before the block ends, give each task a block of "
    "its own, and leave the innermost block first"
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

    def pop(self, *, is_kept: bool) -> bool:
        """End the block; says whether the running code is in another one inside of it, and so stays in that.

        Where nothing ``is_kept`` of the block, as it only reads, nothing is lost either, and the code goes on outside.
        """
        found = inner = innermost(self.home)
        while found is not None and found is not self:
            found = found._outer
        is_around_another = is_kept and found is self and inner is not self
        self.is_open = False
        if self._token is not None and not is_around_another:
            with suppress(ValueError):  # left in another context than entered, as a fixture's teardown may be
                _innermost.reset(self._token)
        return is_around_another

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


Taken: TypeAlias = tuple[AsyncSession, asyncio.Task[Any] | None, dict[asyncio.Task[Any] | None, list[AsyncSession]]]
"""A session with a connection, and where it is noted that its task has it."""


class OwnHome:
    """Where sessions of one's own come from: an engine, and what each of them is told in its ``info``.

    ``deadline`` is how many seconds a block with a session of its own may last; None for ever.
    """

    def __init__(self, engine: AsyncEngine, info: Mapping[str, object], deadline: float | None = None) -> None:
        self.engine, self.info, self.deadline = engine, info, deadline
        self._look_at(engine.sync_engine.pool)

    def around(self) -> OpenSession | None:
        """Give the innermost block that the running code is inside of.

        Raises:
            TransactionError: the connections belong to another event loop.
        """
        pool = self.engine.sync_engine.pool
        if pool is not self._pool:  # a disposed engine makes itself another
            self._look_at(pool)
        loop = asyncio.get_running_loop()
        if loop is not self._watch.loop:
            self._watch.move(pool, loop)
        return innermost(self)

    def is_occupied(self) -> bool:
        """Say whether the running code is inside of a block, or its task has a connection already, as of a stream.

        Raises:
            TransactionError: as :meth:`around`.
        """
        if self.around() is not None:
            return True
        held = self._watch.held
        return bool(held) and asyncio.current_task() in held

    async def begin(self, engine: AsyncEngine, *, read_only: bool = False) -> Taken:
        """Open a session, take a connection for it and begin its transaction.

        Raises:
            PoolExhausted, DatabaseUnavailable: there is no connection.
        """
        session = BlockSession(engine, expire_on_commit=False, close_resets_only=False, info=dict(self.info))
        if read_only:
            keep_read_only(session.sync_session)
        task, held = asyncio.current_task(), self._watch.held
        try:
            if task in held:
                await self._watch.spare(self._pool, task)
                with self._watch.waiting(self._pool, task):
                    await session.connection()
            else:
                await session.connection()
            if not read_only:
                for connection in connections_of(session):
                    want_id(connection)
            await hand_over_deadline(session)
            held.setdefault(task, []).append(session)  # last: it stays there until the session is ended
        except TimeoutError:
            failure: BaseException = DatabaseUnavailable()
        except BaseException as exc:  # noqa: BLE001 - whatever it is, nothing stays behind
            failure = translate(exc) if isinstance(exc, DATABASE_ERRORS) else let_out(exc)
        else:
            return session, task, held
        await close_session(session)
        raise failure

    async def end(self, taken: Taken) -> None:
        """Give a session's connection back, whatever became of it."""
        session, task, held = taken
        try:
            await close_session(session)
        except IllegalStateChangeError:  # another task is taking a connection for it at this moment
            await to_the_end(_close_soon(session))
        finally:
            held[task].remove(session)
            if not held[task]:
                del held[task]

    async def dispose(self) -> None:
        """Close every pooled connection, or drop those that nobody can close.

        Raises:
            TransactionError: they belong to another event loop, which is running.
        """
        loop = self._watch.loop
        is_gone = loop is not None and loop.is_closed()
        if not is_gone:
            self.around()
        await self.engine.dispose(close=not is_gone or isinstance(self._pool, NullPool))

    def _look_at(self, pool: Pool) -> None:
        self._pool, self._watch = pool, watch(pool)


class BorrowedHome:
    """A session that somebody else owns, commits and closes.

    Raises:
        MappingError: it is closed, or has no engine.
    """

    def __init__(self, session: AsyncSession) -> None:
        self.engine, sync = _engine_of(session), session.sync_session
        self.root: OpenSession = session.info.setdefault(_ROOT, OpenSession(self, session))
        self.root.is_borrowed = True
        self._loop: asyncio.AbstractEventLoop | None = None
        for connection in connections_of(session):
            is_there = not (connection.closed or connection.invalidated)
            if is_there and connection.dialect not in looked_at:  # nobody has seen what was sent on it until now
                forget_learned(connection.info)
            _watch(connection)
        if _watch_connection not in sync.dispatch.after_begin:
            event.listen(sync, "after_begin", _watch_connection)
        note_flushes(sync)

    def around(self) -> OpenSession:
        """Give the innermost block that the running code is inside of; the session itself is the outermost.

        Raises:
            TransactionError: the session is closed, or used in another event loop than before.
        """
        if is_closed(self.root.db_sess):
            raise TransactionError(SESSION_ENDED)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None:
                raise TransactionError(
                    f"this session belongs to the event loop {self._loop!r}, and this call is made in {loop!r}: "
                    "make a session, and Database.from_session(session), in each loop"
                )
            self._loop = loop
        return innermost(self) or self.root

    def is_occupied(self) -> bool:
        """Say that the running code is inside of the session."""
        return True

    async def dispose(self) -> None:
        """Do nothing: the session and its connection are somebody else's."""


def _engine_of(session: AsyncSession) -> Engine:
    """Give the engine behind a session, or the first of several."""
    if is_closed(session):
        raise MappingError("this session is closed: write Database.from_session(session) while its owner has it open")
    try:
        bind = session.get_bind()
    except UnboundExecutionError:
        several = list((session.binds or {}).values())
        if not several:
            raise MappingError("this session has no engine: write AsyncSession(engine)") from None
        bind = several[0].sync_engine if isinstance(several[0], AsyncEngine) else several[0].engine.sync_engine
    check_isolation(bind)
    if bind.engine.dialect.is_async:
        return bind.engine
    raise MappingError("this session has a synchronous driver: make its engine with create_async_engine(url)")


_ROOT = "rowsmith_root"

Home: TypeAlias = OwnHome | BorrowedHome


async def hand_over_deadline(session: AsyncSession) -> None:
    """Have the server end statements that would outlast the deadline, if there is one: nobody waits for them."""
    left = remaining()
    if left is not None and session.get_bind().dialect.driver == "asyncpg":
        milliseconds = max(1, round(left * 1000))
        await (await session.connection()).exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")


LEAVING = 5.0
"""For how many seconds a rollback may take where there is no deadline, before its connection is given up."""


async def close_session(session: AsyncSession) -> None:
    """Close a session; where its rollback is not answered in time, or the task is cancelled, give its connection up."""
    drivers, closing, left = drivers_of(session), asyncio.ensure_future(_close(session)), remaining()
    cancelled: asyncio.CancelledError | None = None
    try:
        await asyncio.wait((closing,), timeout=LEAVING if left is None else left)
    except asyncio.CancelledError as exc:
        cancelled = exc
    if not closing.done():
        for driver in drivers:
            driver.terminate()
    while not closing.done():
        try:
            await asyncio.wait((closing,))
        except asyncio.CancelledError as exc:
            cancelled = cancelled or exc
    if closing.exception() is not None and not any(driver.is_closed() for driver in drivers):
        closing.result()
    if cancelled is not None:
        raise cancelled


async def _close(session: AsyncSession) -> None:
    """Close a session; where its rollback fails, the server undoes its work as its connections are closed."""
    connections = connections_of(session)
    try:
        await session.close()
    except IllegalStateChangeError:  # nothing was tried
        raise
    except DATABASE_ERRORS:
        await greenlet_spawn(_give_up, connections)


def _give_up(connections: Sequence[Connection]) -> None:
    """Close connections of which nobody knows what they are in, and give their places in the pool back."""
    for connection in connections:
        if not connection.closed:
            connection.invalidate()
            connection.close()


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Have work done that must not be left half done, also where the task is cancelled meanwhile."""
    task, cancelled = asyncio.ensure_future(work), None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        raise cancelled
    task.result()


async def _close_soon(session: AsyncSession) -> None:
    for _ in range(200):
        await asyncio.sleep(0.01)
        with suppress(IllegalStateChangeError):
            await session.close()
            return


def _watch_connection(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    _watch(connection)


def _watch(connection: Connection) -> None:
    """See what becomes of what is sent on a connection, by its owner, too, who may leave anything in it."""
    watch_failures(connection.engine)
    read_returning_whole(connection.engine)
    count_commits(connection.engine)
    watch_ends(connection.engine)
    note_used(connection)
