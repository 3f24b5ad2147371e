"""The blocks that begin and end transactions and savepoints, in sessions of :mod:`rowsmith.homes`: none others do.

A block has a session of its own, or joins the one that the running code is inside of. Entering and leaving are the
same for all of them: who is inside is counted, errors are translated, and where another task is still inside when
the block is left, the connection is thrown away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, ClassVar, Generic, TypeVar, cast

from sqlalchemy.exc import SQLAlchemyError, UnboundExecutionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, AsyncSessionTransaction
from sqlalchemy.orm import Session, SessionTransaction

from rowsmith.deadline import Within
from rowsmith.errors import (
    ConcurrentUse,
    DatabaseFault,
    DatabaseUnavailable,
    ReadOnlyViolation,
    StalePlan,
    TransactionError,
)
from rowsmith.execution import (
    DATABASE_ERRORS,
    ENDED_BY_HAND,
    NESTED,
    connections_of,
    failed_in,
    flush,
    give_up_all,
    is_over,
    is_sending,
    let_out,
    nest,
    note_application,
    refuse_commit,
    refuse_failed,
    scrub,
    tell_ended_by_hand,
    tell_unknown,
    was_ended_by_hand,
)
from rowsmith.execution.kinds import is_without_savepoint
from rowsmith.execution.read_only import read_only_savepoint
from rowsmith.execution.sqlite import interrupted
from rowsmith.execution.translate import driver_error
from rowsmith.homes import LEFT, BorrowedHome, Home, OpenSession, OwnHome, Taken, to_the_end
from rowsmith.operations.savepoints import savepoint
from rowsmith.outcome import CommitOutcome, commit_outcome, tell, tell_of_all
from rowsmith.touched import hold_noted
from rowsmith.unit_of_work import UnitOfWork, run_after_commit

T_co = TypeVar("T_co", covariant=True)


class SessionBlock(AbstractAsyncContextManager[T_co], Generic[T_co]):
    """A block of code with a session: one of its own, which ``take`` opens, or the one that it joins."""

    is_read_only: ClassVar[bool] = False

    around: OpenSession | None
    inside: OpenSession
    session: AsyncSession
    _savepoint: AbstractAsyncContextManager[None] | None = None
    _taken: Taken
    _user: asyncio.Task[Any] | None
    _within: Within | None = None
    _is_committed: bool = False
    _is_entered: bool = False
    _is_around_another: bool = False

    def __init__(self, home: Home, take: Callable[[], Awaitable[Taken]], *, is_open_to_all: bool = True) -> None:
        self.home, self._take, self._is_open_to_all = home, take, is_open_to_all

    async def __aenter__(self) -> T_co:
        if self._is_entered:
            raise TransactionError(
                "a block is entered once: call begin_session(), begin_readonly_session() or unit_of_work() for each"
            )
        self._is_entered = True
        self.around = around = self.home.around()
        if around is None:
            self._within = await enter_deadline(self.home)
            try:
                await self._begin()
            except BaseException as exc:
                await leave_deadline(self._within, exc)
                raise
        else:
            self.session, self._user = around.db_sess, around.enter()
            try:
                if around.is_borrowed and cast("BorrowedHome", self.home).engine.dialect.name == "sqlite":
                    await _begin_on_sqlite(self.session)
                await self._join(around)
            except BaseException as exc:  # noqa: BLE001 - whatever it is, nobody stays inside
                around.leave(self._user)
                _raise_told(_of_block(exc, self.session), None, around)
        return cast("T_co", self._open())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        ended = error
        self._is_around_another = self.inside.pop(is_kept=not self.is_read_only)
        if self._savepoint is not None:
            nest(self.session, -1)
        elif self.around is None and error is not None and not self.is_read_only:
            tell_ended_by_hand(self.session, error)
        try:
            await self._finish(error)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the session is released first
            ended = error if exc is error else _of_block(exc, self.session)
        try:
            await self._release()
        except BaseException as exc:  # noqa: BLE001 - as above
            if error is None or not (self._within is not None and self._within.is_over):
                ended = exc  # else the time ran out on the way out, which takes nothing from the error
        ended = await self._conclude(ended)
        if self.around is None:
            await leave_deadline(self._within, ended)
        if ended is not None:
            _raise_told(ended, error, self.around or self.inside, is_own=self.around is None)

    async def _conclude(self, ended: BaseException | None) -> BaseException | None:
        """Have what ended the block say what became of the transaction, and do the work that waited for its commit."""
        if ended is not None and self.around is None:
            tell(ended, CommitOutcome.COMMITTED if self._is_committed else CommitOutcome.NOT_COMMITTED)
            if commit_outcome(ended) is not CommitOutcome.NOT_COMMITTED:  # ended by a statement: what is noted is open
                await hold_noted(self.session.info)
        if ended is None or (self.around is None and self._is_committed):
            try:
                await self._after()
            except BaseException as exc:  # noqa: BLE001 - whatever it is, it comes after what ended the block
                if ended is None:
                    tell_of_all(exc, CommitOutcome.COMMITTED)
                    return exc
                ended.add_note(str(exc))
        return ended

    def _open(self) -> Any:
        """Make it the innermost block, and give what the code inside is given."""
        read_only = self.is_read_only or (self.around is not None and self.around.is_read_only)
        self.inside = OpenSession(self.home, self.session, self.around, is_read_only=read_only)
        self.inside.push()
        if self._is_open_to_all:
            note_application(self.session)
        return self.session

    async def _begin(self) -> None:
        """Open a session of its own."""
        self._taken = await self._take()
        self.session = self._taken[0]

    async def _join(self, around: OpenSession) -> None:
        """Do what comes before the first statement in a session that is open already."""

    async def _end(self) -> None:
        """Do what comes after the last statement in a session of its own, if all went well."""

    async def _enter_savepoint(self, savepoint: AbstractAsyncContextManager[None]) -> None:
        await savepoint.__aenter__()
        self._savepoint = savepoint
        nest(self.session, 1)

    async def _finish(self, error: BaseException | None) -> None:
        root, is_over = self.inside.root, self.around is None or self._savepoint is not None
        is_used = self.inside.is_shared() or (self.around is None and is_sending(self.session))
        if is_used or (is_over and self._is_around_another):
            self.inside.lose()
            await to_the_end(_throw_away(self.session))
        if root.is_lost:
            lost = error or ConcurrentUse(LEFT)
            if self._savepoint is not None:
                with suppress(Exception):  # there is no connection to undo it on
                    await self._savepoint.__aexit__(type(lost), lost, None)
            if error is None:
                raise lost
        elif self._savepoint is not None:
            await self._savepoint.__aexit__(type(error) if error else None, error, None)
        elif self.around is None and error is None:
            try:
                await self._end()
            except BaseException as exc:
                self._is_committed = commit_outcome(exc) is CommitOutcome.COMMITTED
                raise
            self._is_committed = not self.is_read_only

    async def _release(self) -> None:
        if self.around is None:
            await cast("OwnHome", self.home).end(self._taken)
        else:
            self.around.leave(self._user)

    async def _after(self) -> None:
        """Do the work that waited for the commit, or have it wait for the one around."""
        work = self.inside.work
        if self.around is not None:
            self.around.work += work
            if work:
                self.inside.root.awaited = connections_of(self.session)
        elif work:
            await run_after_commit(work)


def _raise_told(
    ended: BaseException, error: BaseException | None, inside: OpenSession | None, *, is_own: bool = False
) -> None:
    """Raise what leaves a block, unless it is what was raised in the block, which goes on by itself.

    An error of a session that was lost says so, whatever the driver made of it.
    """
    failure = let_out(ended)
    if isinstance(failure, StalePlan):
        failure.is_undone = is_own
    if inside is not None and inside.root.is_lost and isinstance(failure, Exception):
        of_the_session = isinstance(failure, _OF_A_LOST_SESSION) or inside.is_lost_to_others()
        failure = ConcurrentUse(LEFT) if of_the_session else failure
    if failure is error:
        return
    if failure is ended:
        raise failure
    raise failure from None


def _of_block(failure: BaseException, session: AsyncSession) -> BaseException:
    """Give the error for what a block's own use of SQLAlchemy raised, in a session that is open yet."""
    if not isinstance(failure, SQLAlchemyError):
        return failure
    told = failed_in(session, failure)
    scrub(failure)
    told.__suppress_context__ = True
    return told


_OF_A_LOST_SESSION = (TransactionError, DatabaseFault, DatabaseUnavailable)


def _ended_by_hand(session: AsyncSession, where: str) -> TransactionError:
    """Give the error for a session that was not to be ended, which says what became of its transaction."""
    failure = TransactionError(f"commit() or rollback() was called {where} a unit of work, which ends by itself")
    tell_ended_by_hand(session, failure)
    return failure


class WritingBlock(SessionBlock[AsyncSession]):
    """Commits at the end; in somebody else's session it is a savepoint, in any other it joins."""

    async def _join(self, around: OpenSession) -> None:
        if around.is_read_only:
            raise ReadOnlyViolation
        if around.is_borrowed:
            await self._enter_savepoint(_savepoint(around))

    async def _end(self) -> None:
        if any(connection.closed for connection in self.inside.awaited):
            raise _ended_by_hand(self.session, "around")
        await self.session.commit()


class ReadOnly(SessionBlock[AsyncSession]):
    """Has the database itself refuse writes."""

    is_read_only = True

    def __init__(self, home: Home, take: Callable[[], Awaitable[Taken]], *, is_snapshot: bool = False) -> None:
        super().__init__(home, take)
        self._is_snapshot = is_snapshot

    async def _join(self, around: OpenSession) -> None:
        if self._is_snapshot:
            level = await (await self.session.connection()).get_isolation_level()
            if level not in {"REPEATABLE READ", "SERIALIZABLE"}:  # all of SQLite's are
                raise TransactionError(
                    "a transaction is a snapshot from its beginning: open begin_readonly_session(snapshot=True) "
                    "outside of the block around it"
                )
        if not around.is_read_only:
            await self._enter_savepoint(_read_only_savepoint(around))

    async def _end(self) -> None:
        _refuse_pending(self.session)


STREAM_ENDED = "the block that this stream was opened in has ended: read it to its end inside, or open it outside"


class ReadingBlock(AbstractAsyncContextManager[AsyncSession]):
    """For the reads of one call: nothing joins it, for its session may stay open between the turns of a stream.

    It joins the block around it itself, unless it is told not to (``joins``).
    """

    _taken: Taken
    _user: asyncio.Task[Any] | None
    _within: Within | None = None

    def __init__(
        self,
        home: Home,
        engine: AsyncEngine,
        *,
        is_open_to_all: bool = True,
        has_deadline: bool = True,
        joins: bool = True,
    ) -> None:
        self.home, self._engine = home, engine
        self._is_open_to_all, self._has_deadline, self._joins = is_open_to_all, has_deadline, joins

    async def __aenter__(self) -> AsyncSession:
        around = self.home.around()
        self._around = around = around if self._joins else None
        if around is not None:
            self._user = around.enter()
            return around.db_sess
        self._within = await enter_deadline(self.home) if self._has_deadline else None
        try:
            self._taken = await cast("OwnHome", self.home).begin(self._engine, read_only=self._is_open_to_all)
        except BaseException as exc:
            await leave_deadline(self._within, exc)
            raise
        if self._is_open_to_all:
            note_application(self._taken[0])
        return self._taken[0]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        ended, around = error, self._around
        try:
            if around is None:
                await cast("OwnHome", self.home).end(self._taken)
            else:
                around.leave(self._user)
                if around.root.is_lost and error is None:
                    raise ConcurrentUse(LEFT)
                if around.is_borrowed and error is not None:
                    refuse_commit(around.db_sess)
        except BaseException as exc:  # noqa: BLE001 - whatever it is
            ended = exc
        if around is None:
            await leave_deadline(self._within, ended)
        if ended is not None:
            _raise_told(ended, error, around, is_own=around is None)

    def check(self) -> None:
        """Refuse to go on where the block that the stream was opened in has ended, and its connection is another's.

        Raises:
            TransactionError: it has.
        """
        if self._around is not None and not self._around.is_open:
            raise TransactionError(STREAM_ENDED)


class Unit(SessionBlock[UnitOfWork]):
    """A unit of work; inside of any other block it is a savepoint."""

    def _open(self) -> Any:
        read_only = self.around is not None and self.around.is_read_only
        self.inside = unit = UnitOfWork(self.home, self.session, self.around, is_read_only=read_only)
        unit.push()
        return unit

    async def _begin(self) -> None:
        await super()._begin()
        self._connections = connections_of(self.session)

    async def _join(self, around: OpenSession) -> None:
        await self._enter_savepoint(_savepoint(around, only_reads=around.is_read_only))

    async def _end(self) -> None:
        if any(connection.closed for connection in self._connections):
            raise _ended_by_hand(self.session, "in")
        await self.session.commit()


async def enter_deadline(home: Home) -> Within | None:
    """Enter the deadline that a home gives its blocks, if it gives any."""
    seconds = home.deadline if isinstance(home, OwnHome) else None
    if seconds is None:
        return None
    within = Within(seconds)
    await within.__aenter__()
    return within


async def leave_deadline(within: Within | None, ended: BaseException | None) -> None:
    """Leave it again; what was cancelled because of it becomes ``DeadlineExceeded``."""
    if ended is not None:
        tell(ended, CommitOutcome.NOT_COMMITTED)
    if within is not None:
        await within.__aexit__(type(ended) if ended else None, ended, None)


async def _throw_away(session: AsyncSession) -> None:
    """Close the session's connections under whoever is using them; to commit it is an error from then on."""
    connections = connections_of(session)

    def invalidate(_: Session) -> None:
        for connection in connections:
            connection.invalidate()

    async with AsyncExitStack() as stack:
        for connection in connections:
            await stack.enter_async_context(interrupted(connection))
        with suppress(*DATABASE_ERRORS):
            await session.run_sync(invalidate)


@asynccontextmanager
async def _savepoint(around: OpenSession, *, only_reads: bool = False) -> AsyncGenerator[None]:
    """Have a block be a savepoint, which ends with it; where it ended before, nothing that came after it is kept.

    Raises:
        TransactionError: it did.
    """
    session, ended = around.db_sess, None
    was_ended = was_ended_by_hand(session)
    try:
        async with savepoint(session, stays=True, only_reads=only_reads) as nested:
            try:
                yield
            finally:
                ended = _ended_inside(around, cast("SessionTransaction", nested.sync_transaction), was_ended)
            if ended is None:
                await flush(session)
                refuse_failed(session)
                ended = await _released(nested)
            if ended is not None:
                raise ended
    except BaseException as exc:
        if ended is not None and commit_outcome(ended) is CommitOutcome.UNKNOWN:
            tell_unknown(exc)
        if ended is not None and not only_reads:
            give_up_all(session)
        raise


async def _released(nested: AsyncSessionTransaction) -> TransactionError | None:
    """Release a savepoint; gives the error for one that is not there, as of a transaction that was begun after it."""
    try:
        await nested.commit()
    except DATABASE_ERRORS as exc:
        if not is_without_savepoint(driver_error(exc)):
            raise
        return tell_unknown(TransactionError(ENDED_BY_HAND))
    return None


def _ended_inside(around: OpenSession, nested: SessionTransaction, was_ended: bool) -> TransactionError | None:
    """Give the error for a savepoint that was ended by something else than its block, if it was.

    ``was_ended``: the transaction around it was, before it began.
    """
    if not was_ended and was_ended_by_hand(around.db_sess):
        return tell_unknown(TransactionError(ENDED_BY_HAND))
    if not is_over(nested):
        return None
    root = nested
    while root.parent is not None:
        root = root.parent
    failure = TransactionError(NESTED)
    return tell_unknown(failure) if around.root.is_borrowed and is_over(root) else failure


@asynccontextmanager
async def _read_only_savepoint(around: OpenSession) -> AsyncGenerator[None]:
    """Refuse writes inside an open transaction."""
    session = around.db_sess
    await flush(session)
    async with _savepoint(around, only_reads=True):
        kept = read_only_savepoint(session.sync_session)
        await session.run_sync(lambda _: kept.__enter__())
        try:
            yield
            _refuse_pending(session)
        finally:
            await session.run_sync(lambda _: kept.__exit__(None, None, None))


async def _begin_on_sqlite(session: AsyncSession) -> None:
    """Send the BEGIN that Python's driver leaves out: else the first savepoint's release would be a COMMIT."""
    try:
        connection = await session.connection()
    except UnboundExecutionError:  # of several databases, none is the one
        return
    driver: Any = (await connection.get_raw_connection()).driver_connection
    if not driver.in_transaction:
        await connection.exec_driver_sql("BEGIN IMMEDIATE")


def _refuse_pending(session: AsyncSession) -> None:
    changed = [row for row in session.dirty if session.is_modified(row)]
    if session.new or session.deleted or changed:
        raise ReadOnlyViolation("ORM objects were changed in a read-only session: make the change in begin_session()")
