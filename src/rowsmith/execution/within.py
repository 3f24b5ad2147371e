"""The native lane in a session that is open: a call of one statement on its own connection, in its transaction.

What SQLAlchemy does before and after a statement is done here as well: what the session holds unflushed is written,
BEGIN is sent, a failure is remembered, a connection of which nobody knows what is on the wire is thrown away. The
transaction is whatever the session's is: nothing has to be known of its isolation, nor of what keeps it from writing.

A write is taken where the session holds no objects, which would have to be kept in step with it. What has been sent
stays sent: its answer is given whatever it is, and an error says what it would say by SQLAlchemy's way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import greenlet_spawn

from rowsmith.execution.blame import remember
from rowsmith.execution.direct import fetch
from rowsmith.execution.driver import connection_of
from rowsmith.execution.elsewhere import ELSEWHERE
from rowsmith.execution.execute import flush
from rowsmith.execution.kinds import is_stale
from rowsmith.execution.native import (
    AROUND_STATEMENTS,
    UNTOLD,
    AskedRead,
    NativeLane,
    Sent,
    read_records,
    speaks_plainly,
)
from rowsmith.execution.refusals import argument_of, is_of_codec, note
from rowsmith.execution.transaction_id import is_wanted, note_read, note_written, sent_on
from rowsmith.execution.transactions import mark_failed, note_demotion
from rowsmith.execution.translate import lost, translate
from rowsmith.execution.undone import note_write


async def read_within(lane: NativeLane, db_sess: AsyncSession, asked: AskedRead) -> Any:
    """Send what is asked for in a session of the lane's engine, and give its answer.

    :data:`UNTOLD` where SQLAlchemy has to be asked itself: nothing was sent then but what it would have sent before.

    Raises:
        RepositoryError: what the database or driver said, translated, no cause attached; or what the answer means.
    """
    records = await _given(lane, db_sess, asked, writes=False)
    if records is None:
        return UNTOLD
    lane.taken += 1
    return asked.answer(read_records(asked.plan, records, asked.origin) if asked.plan.has_processors else records)


async def write_within(lane: NativeLane, db_sess: AsyncSession, asked: Sent) -> Sequence[Any] | None:
    """Send a write as :func:`read_within` does a read, and give its records; None where SQLAlchemy has to be asked.

    Raises:
        RepositoryError: as there.
    """
    remember(db_sess, asked.origin())
    records = await _given(lane, db_sess, asked, writes=True)
    if records is None:
        return None
    if records:
        note_write(db_sess)
    bare = [record[:-1] for record in records]
    return read_records(asked.plan, bare, asked.origin) if asked.plan.has_processors else bare


async def _given(lane: NativeLane, db_sess: AsyncSession, asked: Sent, *, writes: bool) -> Sequence[Any] | None:
    """Send what is asked for, once what the session holds unflushed is written; None where nothing was sent."""
    session = db_sess.sync_session
    if not session._is_clean():  # pyright: ignore[reportPrivateUsage] - there is no public name
        await flush(db_sess, asked.origin())
    connection, why = None, None if db_sess.is_active else "transaction"  # which a failed flush has undone
    if why is None and writes and len(session.identity_map):
        why = "objects"  # which would have to be kept in step
    if why is None:
        innermost: Any = session._transaction  # pyright: ignore[reportPrivateUsage]
        known = () if innermost is None else innermost._connections.values()
        # Where it has none, SQLAlchemy has to take one, or a savepoint, first.
        connection = next((entry[0] for entry in known), None) or await connection_of(db_sess, asked.origin())
        why = _why_not(lane, session, connection)
    records: Sequence[Any] = ()
    if why is None:
        why, records = await _fetched(lane, connection, asked, writes=writes)
    if why is not None:
        lane.refuse(why)
        return None
    return records


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


async def _fetched(lane: NativeLane, connection: Any, asked: Sent, *, writes: bool) -> tuple[str | None, Sequence[Any]]:
    """Give the records; or say why SQLAlchemy is asked, where nothing was sent.

    Raises:
        RepositoryError: what the database or driver said, of a transaction that has failed by that.
    """
    try:
        return await _sent(lane, connection, asked, writes=writes)
    except Exception as exc:  # noqa: BLE001 - a codec may raise anything
        failure = exc
    except BaseException:
        await _give_up(connection)  # nobody knows what is still on the wire
        raise
    lane.note(asked.plan, failure)
    raise asked.meant(await _failure_of(connection, failure, asked, writes=writes))


async def _sent(lane: NativeLane, connection: Any, asked: Sent, *, writes: bool) -> tuple[str | None, Sequence[Any]]:
    """Send the statement, after BEGIN if that was not sent; or say what stands against it on this connection."""
    pooled = connection._dbapi_connection
    adapter, info, plan = pooled.dbapi_connection, pooled.info, asked.plan
    if not speaks_plainly(adapter, adapter.driver_connection) or (writes and not is_wanted(info)):
        return "connection", ()
    if ELSEWHERE in info:
        return "search_path", ()
    async with adapter._execute_mutex:
        if adapter._transaction is None:
            await adapter._start_transaction()
        before = sent_on(adapter)
        is_known = plan.is_ready and (plan.written is None or (plan.presumes in info and info[plan.presumes]))
        why = None if is_known else await lane.unlearned(plan, adapter.driver_connection, info, plan.sql)
        records = () if why is not None else await fetch(adapter._connection, plan.sql, asked.values)
        note_read(info, adapter, before)
        if writes and records:
            note_written(info, adapter, records[0][-1])
        return why, records


async def _failure_of(connection: Any, failure: Exception, asked: Sent, *, writes: bool) -> Exception:
    """Give the error for what was said to a statement; a connection that may be of no more use is thrown away."""
    driver = connection._dbapi_connection.dbapi_connection.driver_connection
    argument, cause = argument_of(failure), failure.__cause__
    if isinstance(failure, connection.dialect.loaded_dbapi.Error) and isinstance(cause, Exception):
        failure = cause  # of BEGIN, which SQLAlchemy's adapter has sent
    # What cannot be read is told once the answer is whole: nothing of it is on the wire any more.
    is_codecs = is_of_codec(failure)
    is_known = argument is not None or getattr(failure, "sqlstate", None) is not None or is_codecs
    if driver.is_closed() or not is_known:
        await _give_up(connection)
        return lost(failure, asked.origin())
    if writes or not is_codecs:
        mark_failed(connection)
    note_demotion(connection, failure)
    if (refusal := asked.plan.refused(failure, asked.values)) is not None:
        note(failure, refusal)
    if is_stale(failure):
        connection.dialect._invalidate_schema_cache()
        await driver.reload_schema_state()
    return translate(failure, asked.origin() if writes else asked.origin().reading())


async def _give_up(connection: Any) -> None:
    """Throw a connection away, and have nothing of its transaction committed."""
    mark_failed(connection)
    if not (connection.closed or connection.invalidated):
        await greenlet_spawn(connection.invalidate)
