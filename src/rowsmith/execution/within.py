"""The native lane in a session that is open: a read of one statement on its own connection, in its transaction.

What SQLAlchemy does before and after a statement is done here as well: what the session holds unflushed is written,
BEGIN is sent, a failure is remembered, a connection of which nobody knows what is on the wire is thrown away. The
transaction is whatever the session's is: nothing has to be known of its isolation, nor of what keeps it from writing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import greenlet_spawn

from rowsmith.execution.driver import connection_of
from rowsmith.execution.execute import flush
from rowsmith.execution.kinds import is_stale
from rowsmith.execution.native import AROUND_STATEMENTS, UNTOLD, NativeLane, Read, as_read, speaks_plainly
from rowsmith.execution.refusals import argument_of, note
from rowsmith.execution.sending import fetch
from rowsmith.execution.transaction_id import note_read, sent_on
from rowsmith.execution.transactions import mark_failed
from rowsmith.execution.translate import lost, translate


async def read_within(lane: NativeLane, db_sess: AsyncSession, asked: Read) -> Any:
    """Send what is asked for in a session of the lane's engine, and give its answer.

    :data:`UNTOLD` where SQLAlchemy has to be asked itself: nothing was sent then but what it would have sent before.

    Raises:
        RepositoryError: what the database or driver said, translated, no cause attached; or what the answer means.
    """
    if not db_sess.sync_session._is_clean():  # pyright: ignore[reportPrivateUsage] - there is no public name
        await flush(db_sess, asked.origin())
    connection, why = None, None if db_sess.is_active else "transaction"  # which a failed flush has undone
    if why is None:
        connection = _at_hand(db_sess) or await connection_of(db_sess, asked.origin())
        why = _why_not(lane, db_sess.sync_session, connection)
    records: Sequence[Any] = ()
    if why is None:
        why, records = await _fetched(lane, connection, asked)
    if why is not None:
        lane.refuse(why)
        return UNTOLD
    lane.taken += 1
    return asked.answer(as_read(asked.plan, records, asked.origin) if asked.plan.has_processors else records)


def _at_hand(db_sess: AsyncSession) -> Connection | None:
    """Give the connection of the innermost transaction; None where SQLAlchemy has to take it, or a savepoint, first."""
    transaction: Any = db_sess.sync_session._transaction  # pyright: ignore[reportPrivateUsage]
    known = () if transaction is None else transaction._connections.values()
    return next((entry[0] for entry in known), None)


def _why_not(lane: NativeLane, session: Session, connection: Any) -> str | None:
    """Say what is asked of this session's statements, beside what :meth:`NativeLane.why_not` says of all."""
    if connection.invalidated or connection.engine.pool is not lane.engine.pool:
        return "connection"
    innermost = connection._nested_transaction or connection._transaction
    if innermost is None or not innermost.is_active:
        return "transaction"
    if session.dispatch.do_orm_execute:
        return "do_orm_execute"
    heard = next((name for name in AROUND_STATEMENTS if getattr(connection.dispatch, name)), None)
    if heard is not None:
        return heard
    options = {**connection.get_execution_options(), **session.execution_options}
    if options.get(_TRANSLATED):
        return _TRANSLATED
    return "echo" if connection._echo else None


_TRANSLATED: Final = "schema_translate_map"


async def _fetched(lane: NativeLane, connection: Any, asked: Read) -> tuple[str | None, Sequence[Any]]:
    """Give the records; or say why SQLAlchemy is asked, where nothing was sent.

    Raises:
        RepositoryError: what the database or driver said, of a transaction that has failed by that.
    """
    try:
        return await _sent(lane, connection, asked)
    except Exception as exc:  # noqa: BLE001 - a codec may raise anything
        failure = exc
    except BaseException:
        await _give_up(connection)  # nobody knows what is still on the wire
        raise
    raise asked.meant(await _told(connection, failure, asked))


async def _sent(lane: NativeLane, connection: Any, asked: Read) -> tuple[str | None, Sequence[Any]]:
    """Send the statement, after BEGIN if that was not sent; or say what stands against it on this connection."""
    pooled = connection._dbapi_connection
    adapter, plan = pooled.dbapi_connection, asked.plan
    if not speaks_plainly(adapter, adapter.driver_connection):
        return "connection", ()
    async with adapter._execute_mutex:
        if adapter._transaction is None:
            await adapter._start_transaction()
        before = sent_on(adapter)
        why = None if plan.is_ready else await lane.unlearned(plan, adapter.driver_connection, plan.sql)
        records = () if why is not None else await fetch(adapter._connection, plan.sql, asked.values)
        note_read(pooled.info, adapter, before)
        return why, records


async def _told(connection: Any, failure: Exception, asked: Read) -> Exception:
    """Give the error for what was said to a statement; a connection that may be of no more use is thrown away."""
    driver = connection._dbapi_connection.dbapi_connection.driver_connection
    argument, cause = argument_of(failure), failure.__cause__
    if isinstance(failure, connection.dialect.loaded_dbapi.Error) and isinstance(cause, Exception):
        failure = cause  # of BEGIN, which SQLAlchemy's adapter has sent
    is_known = argument is not None or getattr(failure, "sqlstate", None) is not None
    if driver.is_closed() or not is_known:
        await _give_up(connection)
        return lost(failure, asked.origin())
    mark_failed(connection)
    if argument is not None:
        note(failure, asked.plan.refused(argument[0]))
    if is_stale(failure):
        connection.dialect._invalidate_schema_cache()
        await driver.reload_schema_state()
    return translate(failure, asked.origin())


async def _give_up(connection: Any) -> None:
    """Throw a connection away, and have nothing of its transaction committed."""
    mark_failed(connection)
    if not (connection.closed or connection.invalidated):
        await greenlet_spawn(connection.invalidate)
