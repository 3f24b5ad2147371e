"""The way to asyncpg underneath a session: for COPY and whole arrays, where SQLAlchemy's rows would be the cost.

The driver's connection is used inside the session's own transaction, so commit, rollback and savepoints stay
where they are. What a session does before a statement is done here as well: pending objects are flushed, BEGIN
is sent, a failure is remembered, a connection in an unknown state is thrown away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from sqlalchemy import Connection
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from rowsmith.errors import TransactionError
from rowsmith.execution.blame import remember
from rowsmith.execution.execute import failed_in, flush
from rowsmith.execution.origin import Origin
from rowsmith.execution.refusals import refusal_of
from rowsmith.execution.transactions import ENDED_BY_HAND, mark_failed, note_demotion
from rowsmith.execution.translate import DATABASE_ERRORS, lost
from rowsmith.execution.undone import note_write

T = TypeVar("T")


def has_driver(dialect: Dialect) -> bool:
    """Say whether sessions on this dialect talk through asyncpg."""
    return dialect.driver == "asyncpg"


async def connection_of(db_sess: AsyncSession, origin: Origin) -> Connection:
    """Give the connection that a call's statements go over.

    Raises:
        RepositoryError: there is none to be had.
    """
    binds: Any = origin.binds
    try:
        connection = await db_sess.connection(bind_arguments=binds)
    except DATABASE_ERRORS as exc:
        failure = failed_in(db_sess, exc, origin)
    else:
        sync = cast("Connection", connection.sync_connection)
        if not sync.closed:
            return sync
        failure = TransactionError(ENDED_BY_HAND, facts=origin.facts())
    raise failure


async def use_driver(db_sess: AsyncSession, origin: Origin, work: Callable[[Any], Awaitable[T]]) -> T:
    """Do some work on the session's own ``asyncpg.Connection``, in the session's transaction.

    Args:
        db_sess: a session on asyncpg.
        origin: whose call it is, for the error.
        work: is given the connection; it must leave the transaction open.

    Raises:
        RepositoryError: what the database or driver said, translated; no cause attached. The transaction
            counts as failed then, as after any failed statement.
    """
    connection: AsyncConnection | None = None
    remember(db_sess, origin)
    try:
        await flush(db_sess, origin)
        connection = await db_sess.connection(bind_arguments=cast("Any", origin.binds))
        adapter: Any = (await connection.get_raw_connection()).dbapi_connection
        async with adapter._execute_mutex:
            if adapter._transaction is None:  # SQLAlchemy leaves BEGIN to the first statement
                await adapter._start_transaction()
        return await work(adapter.driver_connection)
    except Exception as exc:
        if not isinstance(exc, DATABASE_ERRORS) and refusal_of(exc) is None:
            if getattr(exc, "is_stored", False):  # found as the answer was read
                note_write(db_sess)
            raise
        if connection is not None and connection.sync_connection is not None and not connection.invalidated:
            note_demotion(connection.sync_connection, exc)
        is_lost = await _note_failure(connection, lost=False)
        failure = lost(exc, origin) if is_lost else failed_in(db_sess, exc, origin)
    except BaseException:
        # Cancelled in the middle: nobody knows what is still on the wire, so the connection is not used again.
        await _note_failure(connection, lost=True)
        raise
    raise failure


async def give_up(db_sess: AsyncSession) -> None:
    """Have nothing of the innermost transaction committed: its statement did less than it was asked."""
    sync = (await db_sess.connection()).sync_connection
    if sync is not None:
        mark_failed(sync)


async def _note_failure(connection: AsyncConnection | None, *, lost: bool) -> bool:
    """Remember that the transaction failed, throw a useless connection away, and say whether it was one."""
    sync = None if connection is None else connection.sync_connection
    if connection is None or sync is None or sync.closed or sync.invalidated:
        return lost
    mark_failed(sync)
    adapter: Any = (await connection.get_raw_connection()).dbapi_connection
    useless = lost or adapter is None or adapter.driver_connection.is_closed()
    if useless:
        await connection.invalidate()
    return useless
