"""COMMIT, and what became of it where its answer is lost.

PostgreSQL knows of every recent transaction whether it was committed (``pg_xact_status``), so its id is known before
COMMIT is sent: brought by a statement that wrote (:mod:`rowsmith.execution.transaction_id`), or asked for. A server
that crashed may give an id a second time, where nothing of the first transaction was on its disk; then it is asked as
well how far the ids had come when it recovered. A transaction in which a statement failed does not say its id, so that
nothing of it is taken for committed, whoever sent that statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from rowsmith.attempts import note_commit
from rowsmith.deadline import remaining
from rowsmith.errors import CommitOutcomeUnknown, DatabaseUnavailable, TransactionError
from rowsmith.execution.answers import Answer, answered, answered_by
from rowsmith.execution.blame import blame, has_only_read
from rowsmith.execution.commits import asked_after, may_have_committed
from rowsmith.execution.execute import flush, translated
from rowsmith.execution.pool import IDENTITY, SERVER, has_word, server_of
from rowsmith.execution.pooler import is_pooled
from rowsmith.execution.transaction_id import ID, known_id, note_asked
from rowsmith.execution.transactions import (
    ENDED_BY_HAND,
    connections_of,
    drivers_of,
    is_open_to_all,
    note_application,
    refuse_failed,
    was_ended_by_hand,
)
from rowsmith.execution.translate import DATABASE_ERRORS, is_disconnect, translate
from rowsmith.flushed import NotingSession
from rowsmith.outcome import CommitOutcome, commit_outcome, tell
from rowsmith.touched import Holding, forget_noted, hold_noted, holding, release_all, tell_others, tells_any

RESOLVING: Final = 2.0
"""For how many seconds it is asked on other connections what became of a transaction."""


class BlockSession(AsyncSession):
    """The session of a block of rowsmith's: its ``commit()`` tells the truth, whoever calls it."""

    sync_session_class = NotingSession

    async def commit(self) -> None:
        """Commit, or say truthfully why nothing was.

        Raises:
            TransactionAborted: a statement failed and its error was swallowed, so that nothing is committed.
            DatabaseUnavailable: the connection was lost, and nothing is committed.
            CommitOutcomeUnknown: the answer was lost, and it could not be found out what became of it.
            RepositoryError: what the database said to COMMIT, translated.
            asyncio.CancelledError: the task was cancelled; it carries what became of the transaction.
        """
        if not self.in_transaction():
            return
        _refuse_nested(self)
        self._note_application()
        _refuse_ended(self)
        await flush(self)
        refuse_failed(self)
        holdings = [*await hold_noted(self.info)]
        try:
            with holding(self.info, holdings):
                await self._commit(holdings)
        except BaseException as exc:
            if commit_outcome(exc) is not CommitOutcome.UNKNOWN:
                await release_all(holdings)
            raise
        try:
            await release_all(holdings)
        except asyncio.CancelledError as exc:
            tell(exc, CommitOutcome.COMMITTED)
            raise

    async def _commit(self, holdings: Sequence[Holding]) -> None:
        if tells_any(holdings):
            async with translated():
                await self.run_sync(lambda session: tell_others(holdings, session))
        transaction = await _identified(self)
        answer = await self._answer()
        try:
            outcome = await _outcome(self, transaction, answer)
        except asyncio.CancelledError as exc:  # while it was asked what became of it
            tell_unknown(exc)
            raise
        if outcome is not CommitOutcome.NOT_COMMITTED:
            note_commit()
        self.info[_COMMITTED] = outcome is CommitOutcome.COMMITTED
        _raise_told(self, answer, outcome)

    async def _answer(self) -> Answer:
        """Send COMMIT; SQLite's goes on in a thread of its own, which nobody else could be asked about."""
        connections = connections_of(self)
        with asked_after(connections):
            if any(connection.dialect.name == "sqlite" for connection in connections):
                return await answered_by((), super().commit())
            return await answered(super().commit(), drivers_of(self))

    async def rollback(self) -> None:
        """Undo what was not committed.

        Raises:
            TransactionError: inside a nested block, which ends by itself.
        """
        _refuse_nested(self)
        self._note_application()
        if self.in_transaction():
            self.info.pop(_COMMITTED, None)
            forget_noted(self)
        await super().rollback()

    async def close(self) -> None:
        """Give the connection back; what was not committed is undone."""
        self._note_application()
        await super().close()

    def _note_application(self) -> None:
        if is_open_to_all(self):  # of a connection that was taken since, too
            note_application(self)


@dataclass(frozen=True)
class Transaction:
    """What is known of a transaction before COMMIT: its id, and where that means something.

    ``id`` is None where it has none yet, which a server that spreads its tables over others says of any.
    """

    id: str | None
    server: str | None
    life: str | None
    engine: AsyncEngine


async def _identified(session: AsyncSession) -> Transaction | None:
    """Ask for the id of the session's transaction; None where there is nothing to ask, or nothing was sent.

    Raises:
        TransactionAborted: a statement failed in it.
        TransactionError: it was ended by a statement of the application's own.
        DatabaseUnavailable: the connection is lost; COMMIT was not sent.
    """
    connections = connections_of(session)
    if len(connections) != 1 or connections[0].dialect.driver != "asyncpg":
        return None
    adapter: Any = connections[0].connection.dbapi_connection
    if adapter._transaction is None:
        return None
    driver = adapter.driver_connection
    try:
        id, server, life = await _id_of(connections[0], driver)
        _refuse_ended(session)
    except DATABASE_ERRORS as exc:
        failure = DatabaseUnavailable() if driver.is_closed() else translate(exc)
    else:
        return Transaction(id, server, life, AsyncEngine(connections[0].engine))
    raise failure


async def _id_of(connection: Connection, driver: Any) -> Sequence[Any]:
    """Give a transaction's id, and server and life of the server; behind a pooler those may have changed.

    Whether the connection is there still is asked for with it, where its socket does not tell.
    """
    server, life = server_of(connection)
    if is_pooled(driver) and server is not None:
        told: Sequence[Any] = await driver.fetchrow(f"SELECT {ID}, {IDENTITY}")
        note_asked(connection, told[0])
        return told
    id_ = None if has_word(connection) else known_id(connection)
    if id_ is None:
        id_ = await driver.fetchval(f"SELECT {ID}")
        note_asked(connection, id_)
    return id_, server, life


_NESTED: Final = "rowsmith_nested"
_COMMITTED: Final = "rowsmith_committed"


def nest(session: AsyncSession, levels: int) -> None:
    """Say that a block inside the session's own begins (1) or ends (-1), which is a savepoint."""
    session.info[_NESTED] = session.info.get(_NESTED, 0) + levels


NESTED: Final = (
    "commit() or rollback() was called in a nested block, which is a savepoint and ends by itself: "
    "leave it by an exception to undo it"
)


def _refuse_nested(session: AsyncSession) -> None:
    if session.info.get(_NESTED):
        raise TransactionError(NESTED)


def _refuse_ended(session: AsyncSession) -> None:
    if was_ended_by_hand(session):
        raise tell_unknown(TransactionError(ENDED_BY_HAND))


F = TypeVar("F", bound=BaseException)


def tell_unknown(failure: F) -> F:
    """Have an exception say that it is not known what became of a transaction, which may be committed."""
    note_commit()
    tell(failure, CommitOutcome.UNKNOWN)
    return failure


def tell_ended_by_hand(session: AsyncSession, failure: BaseException) -> None:
    """Have what ends a block say what became of a transaction that was ended inside of it.

    After ``commit()`` and nothing more it is committed; after COMMIT or ROLLBACK as a statement, or on the connection,
    nobody knows.
    """
    if session.info.get(_COMMITTED) and not session.in_transaction():
        tell(failure, CommitOutcome.COMMITTED)
    is_refused = session.info.get(_COMMITTED) is False  # its COMMIT was, of which nothing is left open
    if not is_refused and was_ended_by_hand(session):
        tell_unknown(failure)


async def _outcome(session: AsyncSession, transaction: Transaction | None, answer: Answer) -> CommitOutcome:
    if answer.failure is None:
        return CommitOutcome.COMMITTED
    if not (isinstance(answer.failure, DATABASE_ERRORS) and is_disconnect(answer.failure)):
        return CommitOutcome.NOT_COMMITTED
    with suppress(*DATABASE_ERRORS):
        await session.rollback()  # nothing is left to be rolled back: the connection's place in the pool is free then
    if transaction is None:
        return CommitOutcome.UNKNOWN
    if transaction.id is None:
        return CommitOutcome.NOT_COMMITTED if has_only_read(session) else CommitOutcome.UNKNOWN
    return await resolved(transaction)


async def resolved(transaction: Transaction) -> CommitOutcome:
    """Ask on other connections what became of a transaction, until it is known or the time is over."""
    try:
        loop, delay, left = asyncio.get_running_loop(), 0.02, remaining()
        until = loop.time() + (RESOLVING if left is None else min(left, RESOLVING))
        while loop.time() < until:
            try:
                async with asyncio.timeout_at(until):
                    found = await _ask(transaction)
            except (*DATABASE_ERRORS, TimeoutError):
                found = None
            if found is not None:
                return found
            await asyncio.sleep(min(delay, max(0.0, until - loop.time())))
            delay = min(2 * delay, 0.2)
        return CommitOutcome.UNKNOWN
    finally:
        may_have_committed(transaction.engine.dialect)


_STATUS: Final = {"committed": CommitOutcome.COMMITTED, "aborted": CommitOutcome.NOT_COMMITTED}


async def _ask(transaction: Transaction) -> CommitOutcome | None:
    """Give what a server says of a transaction; None while it is in progress."""
    async with transaction.engine.connect() as connection:
        if is_pooled((await connection.get_raw_connection()).driver_connection) and transaction.server is not None:
            _sync(connection).info[SERVER] = (await connection.execute(_WHO)).one()
        server, life = server_of(_sync(connection))
        if server != transaction.server:
            return CommitOutcome.UNKNOWN  # another server, to which the id means nothing or something else
        given = {"id": transaction.id}
        if life != transaction.life:
            return _after_crash(*(await connection.execute(_AFTER_CRASH, given)).one())
        status: str | None = (await connection.execute(_ALIVE, given)).scalar()
    return None if status == "in progress" else _STATUS.get(status or "", CommitOutcome.UNKNOWN)


_WHO: Final = text(f"SELECT {IDENTITY}")
_ALIVE: Final = text("SELECT pg_xact_status(CAST(CAST(:id AS text) AS xid8))")
# An id that is still to come is an error to pg_xact_status. The checkpoint that ends a recovery begins where it stands,
# as one at a shutdown does, and tells the next id there was; a later one may tell of ids that were given again.
_AFTER_CRASH: Final = text(
    """
    SELECT CASE WHEN id < pg_snapshot_xmax(pg_current_snapshot()) THEN pg_xact_status(id) END = 'committed',
           split_part(next_xid, ':', 1)::bigint * 4294967296 + split_part(next_xid, ':', 2)::bigint > id::text::bigint,
           redo_lsn = checkpoint_lsn
    FROM (SELECT CAST(CAST(:id AS text) AS xid8)) AS given (id), pg_control_checkpoint()
    """
)


def _after_crash(is_committed: bool | None, was_given: bool, is_first: bool) -> CommitOutcome:
    """Tell from a server that has crashed since what became of a transaction.

    Args:
        is_committed: what it says of the transaction's id, whosever that is by now; None where it has not come to it.
        was_given: the id had been given out by the time of the last checkpoint.
        is_first: that checkpoint is the one that ended the recovery.
    """
    if not (is_committed and was_given):
        return CommitOutcome.NOT_COMMITTED
    return CommitOutcome.COMMITTED if is_first else CommitOutcome.UNKNOWN


def _sync(connection: AsyncConnection) -> Connection:
    assert connection.sync_connection is not None  # noqa: S101 - it is open
    return connection.sync_connection


def _raise_told(session: AsyncSession, answer: Answer, outcome: CommitOutcome) -> None:
    if answer.cancelled is not None:
        tell(answer.cancelled, outcome)
        raise answer.cancelled
    if outcome is CommitOutcome.COMMITTED:
        return
    if outcome is CommitOutcome.UNKNOWN:
        raise CommitOutcomeUnknown from None
    failure = answer.failure
    if failure is None or not isinstance(failure, DATABASE_ERRORS):
        raise failure or CommitOutcomeUnknown()
    if is_disconnect(failure):
        raise DatabaseUnavailable from None
    raise translate(failure, blame(session, failure)) from None
