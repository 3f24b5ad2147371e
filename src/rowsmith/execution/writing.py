"""Writes of one statement on the native lane: BEGIN, the statement, COMMIT, on a connection of SQLAlchemy's pool.

What becomes of the transaction is told as :class:`rowsmith.execution.committing.BlockSession` tells it; its id comes
back with the statement's own answer. Whatever is not plainly a success, or an error that means the same however it came
about, is undone and done again SQLAlchemy's way, which says what it means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from rowsmith.attempts import note_commit
from rowsmith.errors import CommitOutcomeUnknown, DatabaseUnavailable, RepositoryError
from rowsmith.execution.committing import Transaction, answered, resolved
from rowsmith.execution.kinds import is_of_application, is_stale
from rowsmith.execution.native import NativeLane, Planned, as_read, connected, forget, returns_at_once
from rowsmith.execution.origin import Origin
from rowsmith.execution.pool import SERVER
from rowsmith.execution.translate import translate
from rowsmith.outcome import CommitOutcome, tell

ID_OF_TRANSACTION: Final = ", pg_current_xact_id_if_assigned()::text"
"""What stands at the end of RETURNING, so that it can be asked what became of a COMMIT without an answer."""

_PLAIN_CLASSES: Final = ("23", "40", "53", "55", "57")
"""Of SQLSTATE, besides a trigger's own: constraints, conflicts, resources, locks that were waited for, and statements
that were ended."""

Made = tuple[Any]
"""What is given for a write, which may be None."""


async def write(
    lane: NativeLane,
    plan: Planned,
    values: Sequence[Any],
    origin: Callable[[], Origin],
    make: Callable[[Sequence[Sequence[Any]]], Made | None],
) -> Made | None:
    """Do a write and commit it; gives None, with nothing done, where SQLAlchemy has to be asked.

    Args:
        lane: whose connections are written on.
        plan: the statement, with :data:`ID_OF_TRANSACTION` at its end.
        values: for its parameters, as the driver takes them.
        origin: says whose call it is, for errors.
        make: is given the records without that id, before COMMIT, and gives the answer; None where it is for
            SQLAlchemy to say.

    Raises:
        RepositoryError: what the database or driver said, translated; no cause attached.
        CommitOutcomeUnknown: the connection was lost while the answer to COMMIT was due.
        asyncio.CancelledError: it carries what became of the transaction.
    """
    pooled = await greenlet_spawn(connected, lane.engine, origin)
    failure: BaseException | None = None
    made, why, id_ = None, None, None
    try:
        why = await lane.unsuited(plan, pooled) if lane.is_new(plan, pooled) else None
        if why is None:
            made, id_ = await _sent(pooled.dbapi_connection._connection, plan, values, origin, make)
            why = "answer" if made is None else None
    except Exception as exc:  # noqa: BLE001 - a codec may raise anything
        failure, why = await _undone(pooled, exc, origin)
    except BaseException:
        await greenlet_spawn(pooled.invalidate)  # nobody knows what is still on the wire, and COMMIT is not
        raise
    if made is not None:
        failure = await _committed(lane, pooled, id_, origin)
    try:
        await _give_back(pooled)
    except BaseException as exc:
        tell(exc, CommitOutcome.COMMITTED if made is not None and failure is None else CommitOutcome.NOT_COMMITTED)
        raise
    if failure is not None:
        raise failure
    if why is not None:
        lane.refuse(why)
        return None
    lane.taken += 1
    return made


async def _sent(
    driver: Any, plan: Planned, values: Sequence[Any], origin: Callable[[], Origin], make: Callable[[Any], Made | None]
) -> tuple[Made | None, str | None]:
    """Begin, send the statement, and make the answer; what is no answer is rolled back."""
    await driver.execute("BEGIN;")
    records = await driver.fetch(plan.sql, *values)
    bare = [record[:-1] for record in records]
    made = make(as_read(plan, bare, origin) if plan.has_processors else bare)
    if made is None:
        await driver.execute("ROLLBACK;")
        return None, None
    return made, records[0][-1]


async def _give_back(pooled: Any) -> None:
    if returns_at_once(pooled):
        pooled.close()
    elif pooled.dbapi_connection is not None:
        await greenlet_spawn(pooled.close)


async def _undone(pooled: Any, failure: Exception, origin: Callable[[], Origin]) -> tuple[Exception | None, str | None]:
    """Roll back; give the error that the caller meets, or say why SQLAlchemy is asked."""
    driver = pooled.dbapi_connection._connection
    is_lost = driver.is_closed() or isinstance(failure, OSError)
    try:
        if not is_lost and driver.is_in_transaction():
            await driver.execute("ROLLBACK;")
    except Exception:  # noqa: BLE001 - what is wrong with the connection is not the caller's concern
        is_lost = is_lost or driver.is_closed()
        await greenlet_spawn(pooled.invalidate)
    except BaseException:
        await greenlet_spawn(pooled.invalidate)
        raise
    if isinstance(failure, RepositoryError):  # of what was to be made of the record
        return failure, None
    if is_lost:
        if pooled.dbapi_connection is not None:
            await greenlet_spawn(pooled.invalidate)
        is_late = isinstance(failure, TimeoutError)  # the driver's own command_timeout: the server was there
        return translate(failure, origin()) if is_late else DatabaseUnavailable(facts=origin().facts()), None
    if is_stale(failure):
        await forget(driver, failure)
        return None, "stale plan"
    state = getattr(failure, "sqlstate", None) or ""
    is_plain = state[:2] in _PLAIN_CLASSES or is_of_application(state)
    return (translate(failure, origin()), None) if is_plain else (None, "error")


async def _committed(
    lane: NativeLane, pooled: Any, id_: str | None, origin: Callable[[], Origin]
) -> BaseException | None:
    """Send COMMIT; gives what the caller meets instead of an answer, which carries what became of the transaction."""
    driver, known = pooled.dbapi_connection._connection, pooled._connection_record.info.get(SERVER, (None, None))
    transaction = Transaction(id_, known[0], known[1], AsyncEngine(lane.engine))
    answer = await answered(driver.execute("COMMIT;"), [driver])
    outcome = CommitOutcome.COMMITTED
    if answer.failure is not None:
        outcome = CommitOutcome.NOT_COMMITTED
        if driver.is_closed() or getattr(answer.failure, "sqlstate", None) is None:
            await greenlet_spawn(pooled.invalidate)
            try:
                outcome = CommitOutcome.UNKNOWN if id_ is None else await resolved(transaction)
            except asyncio.CancelledError as exc:
                note_commit()
                tell(exc, CommitOutcome.UNKNOWN)
                return exc
    if outcome is not CommitOutcome.NOT_COMMITTED:
        note_commit()
    if answer.cancelled is not None:
        tell(answer.cancelled, outcome)
        return answer.cancelled
    if outcome is CommitOutcome.UNKNOWN:
        return CommitOutcomeUnknown()
    if answer.failure is None or outcome is CommitOutcome.COMMITTED:
        return None
    return DatabaseUnavailable() if driver.is_closed() else translate(answer.failure, origin())
