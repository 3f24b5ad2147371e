"""Writes of one statement on the native lane: BEGIN, the statement, COMMIT, on a connection of SQLAlchemy's pool.

What becomes of the transaction is told as :class:`rowsmith.execution.committing.BlockSession` tells it; its id comes
back with the statement's own answer. Whatever is not plainly a success, or an error that means the same however it came
about, is undone and done again SQLAlchemy's way, which says what it means.

A Database with ``writes="statement"`` sends the statement alone, in one round trip: it is its own transaction, and what
would be undone is an error of the statement itself (:func:`alone`). An answer means that it is committed, an error of
the server's that it is not; where neither comes, nobody knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from asyncpg import InterfaceError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from rowsmith.errors import CommitOutcomeUnknown, DatabaseUnavailable, RepositoryError
from rowsmith.execution.answers import Answer, answered_by
from rowsmith.execution.committing import Transaction, resolved
from rowsmith.execution.direct import Taken, command, fetch, proxied, put_back, take_at_once
from rowsmith.execution.kinds import is_of_application, is_stale
from rowsmith.execution.native import NativeLane, Sent, connected, read_records
from rowsmith.execution.origin import Origin
from rowsmith.execution.pool import SERVER
from rowsmith.execution.refusals import argument_of
from rowsmith.execution.translate import translate, unavailable
from rowsmith.outcome import CommitOutcome, tell

_ALONE: Final = """
WITH written ({names}) AS ({sql})
SELECT {names}, held.written
FROM (
    SELECT count(*) AS written, 1 / CASE {cases} ELSE 0 END AS whole
    FROM written
) held LEFT JOIN written ON true
WHERE held.whole = 1
"""
# Statements on rows that are not there fire triggers, too, of the table or of those that hold its rows.
_ONE_ROW: Final = """
        WHEN count(*) = 1 THEN {holds}
        WHEN count(*) = 0 THEN EXISTS (
            SELECT FROM pg_catalog.pg_class c WHERE c.oid = {table}::pg_catalog.regclass
            AND c.relkind = 'r' AND NOT c.relhassubclass AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal))::int
"""
_EACH_ROW: Final = """
        WHEN count(*) = cardinality(${number}) AND count(DISTINCT {key}) = count(*) THEN {holds}
"""


def alone(sql: str, width: int, holds: Sequence[str], table: str) -> str:
    """Give a statement that undoes itself where it did not do what was asked: it divides by nothing then.

    What it gives ends with how many rows were written. That is one; or none, where nothing else can have been done:
    any other number, and a row that a trigger took elsewhere, is an error, so that nothing of it is kept.

    Args:
        sql: an INSERT, UPDATE or DELETE with RETURNING.
        width: how many columns it gives.
        holds: what has to be true of the row written, each with ``{}`` where the column stands; of the last columns.
        table: what is written to, as it stands in SQL.
    """
    quoted = "'" + table.replace("'", "''") + "'"
    return _undoing_itself(sql, width, holds, partial(_ONE_ROW.format, table=quoted))


def alone_for_each(sql: str, width: int, holds: Sequence[str], number: int, key: int) -> str:
    """Give the same of a statement for rows with some keys: for each of them one row is written.

    Args:
        sql, width, holds: as for :func:`alone`.
        number: that of the parameter which has the keys, an array.
        key: the place of the key among the columns that it gives.
    """
    return _undoing_itself(sql, width, holds, partial(_EACH_ROW.format, number=number, key=_column(key)))


def _undoing_itself(sql: str, width: int, holds: Sequence[str], cases: Callable[..., str]) -> str:
    names = [_column(place) for place in range(width)]
    held = [f"bool_and({each.format(name)})" for each, name in zip(holds, names[width - len(holds) :], strict=True)]
    said = f"coalesce(({' AND '.join(held) or 'true'})::int, 0)"
    return _ALONE.format(names=", ".join(names), sql=sql, cases=cases(holds=said))


def _column(place: int) -> str:
    return f"c{place}"


_PLAIN_CLASSES: Final = ("23", "40", "53", "55", "57")
"""Of SQLSTATE, besides a trigger's own: constraints, conflicts, resources, locks that were waited for, and statements
that were ended."""

Made = tuple[Any]
"""What is given for a write, which may be None."""


class Write(Sent, Protocol):
    """A write that is asked for, see :class:`rowsmith.operations.writes.AskedWrite`."""

    def made(self, records: Sequence[Sequence[Any]]) -> Made | None:
        """Make the answer of what was given; None where that is not what was asked for."""
        ...

    def data(self, records: Sequence[Sequence[Any]]) -> Made:
        """Make the answer of what is known to be as it was asked for."""
        ...

    def doubt(self, records: Sequence[Sequence[Any]]) -> tuple[str, Sequence[Any]] | None:
        """Give the query, and its values, that finds nothing if what was given is all the same as it was asked for.

        None where it is not, or nobody could say.
        """
        ...


async def write(lane: NativeLane, asked: Write) -> Made | None:
    """Do a write and commit it; gives None, with nothing done, where SQLAlchemy has to be asked.

    Args:
        lane: whose connections are written on.
        asked: the write.

    Raises:
        RepositoryError: what the database or driver said, translated; no cause attached.
        CommitOutcomeUnknown: the connection was lost while the answer was due that says whether it is committed.
        asyncio.CancelledError: it carries what became of the transaction.
    """
    plan = asked.plan
    taken = take_at_once(lane.engine.pool) or await greenlet_spawn(connected, lane.engine)
    is_alone = lane.is_alone()
    if lane.is_new(plan, taken) and not await _is_suited(lane, taken, asked, plan.alone if is_alone else plan.sql):
        return None
    made = await (_alone if is_alone else _between)(lane, taken, asked)
    lane.taken += made is not None
    return made


async def _is_suited(lane: NativeLane, taken: Taken, asked: Write, sql: str) -> bool:
    """Look at what is new; where something stands against it, the connection is given back."""
    refused = None
    try:
        why = await lane.unsuited(asked.plan, taken, sql)
    except Exception as exc:  # noqa: BLE001 - a codec may raise anything
        refused, why = exc, None
    except BaseException:
        await greenlet_spawn(proxied(taken).invalidate)
        raise
    if refused is not None:
        await _refused(lane, taken, refused, asked)
        return False
    if why is not None:
        await _give_back(taken)
        lane.refuse(why)
    return why is None


async def _between(lane: NativeLane, taken: Taken, asked: Write) -> Made | None:
    """Write between BEGIN and COMMIT."""
    made, id_, refused = None, None, None
    try:
        made, id_ = await _sent(taken.dbapi_connection._connection, asked)
    except Exception as exc:  # noqa: BLE001 - as above
        refused = exc
    except BaseException:
        await greenlet_spawn(proxied(taken).invalidate)  # nobody knows what is still on the wire, and COMMIT is not
        raise
    if refused is not None:
        await _refused(lane, taken, refused, asked)
        return None
    failure = None
    if made is not None:
        taken, failure = await _commit(lane, taken, id_, asked.origin)
    try:
        await _give_back(taken)
    except BaseException as exc:
        tell(exc, CommitOutcome.COMMITTED if made is not None and failure is None else CommitOutcome.NOT_COMMITTED)
        raise
    if failure is not None:
        raise failure
    if made is None:
        lane.refuse("answer")
    return made


async def _sent(driver: Any, asked: Write) -> tuple[Made | None, str | None]:
    """Begin, send the statement, and make the answer; what is no answer is rolled back."""
    plan = asked.plan
    await command(driver, "BEGIN;")
    records = await fetch(driver, plan.sql, asked.values)
    bare = [record[:-1] for record in records]
    rows = read_records(plan, bare, asked.origin) if plan.has_processors else bare
    made = asked.made(rows)
    if made is None and (doubt := asked.doubt(rows)) is not None and not await fetch(driver, *doubt):
        made = asked.data(rows)
    if made is None:
        await command(driver, "ROLLBACK;")
        return None, None
    return made, records[0][-1]


async def _alone(lane: NativeLane, taken: Taken, asked: Write) -> Made | None:
    """Write by a statement that is its own transaction."""
    driver = taken.dbapi_connection._connection
    sent = fetch(driver, asked.plan.alone, asked.values)
    # Where the task is cancelled, the server is asked to end the statement: its answer then says whether it did.
    answer = await answered_by(
        (driver,), sent, lambda: driver._cancel_current_command(asyncio.get_running_loop().create_future())
    )
    outcome = _outcome_alone(answer)
    failure = answer.cancelled or answer.failure
    if outcome is not CommitOutcome.NOT_COMMITTED:
        lane.note_commit()
    elif isinstance(failure, Exception):
        await _refused(lane, taken, failure, asked)
        return None
    try:
        if failure is not None:
            taken = proxied(taken)
            await greenlet_spawn(taken.invalidate)  # the server may be told yet to stop what is sent on it next
        await _give_back(taken)
        if failure is not None:
            if isinstance(failure, TimeoutError):  # the driver's own command_timeout
                raise translate(failure, asked.origin())
            is_untold = isinstance(failure, Exception)  # the answer did not come, or could not be read
            raise CommitOutcomeUnknown(facts=asked.origin().facts()) if is_untold else failure
        return _made_alone(lane, asked, answer.value)
    except BaseException as exc:
        tell(exc, outcome)
        raise


def _outcome_alone(answer: Answer) -> CommitOutcome:
    """Say what an answer means: an error of the server's is one instead of COMMIT, unless it ends the connection too.

    It may have ended that once all was committed. Of asyncpg's own errors, those of misuse are raised before anything
    is sent, and so are those of a value that cannot be written.
    """
    failure: Any = answer.failure
    if failure is None:
        return CommitOutcome.COMMITTED
    is_told = getattr(failure, "severity_en", None) == "ERROR"
    is_unsent = isinstance(failure, InterfaceError) or argument_of(failure) is not None
    return CommitOutcome.NOT_COMMITTED if is_told or is_unsent else CommitOutcome.UNKNOWN


async def _refused(lane: NativeLane, taken: Taken, failure: Exception, asked: Write) -> None:
    """Raise what the caller meets where nothing was written, or have SQLAlchemy asked."""
    pooled = proxied(taken)
    lane.note(asked.plan, failure)
    error, why = await _undone(pooled, failure, asked.origin)
    await _give_back(pooled)
    if error is not None:
        raise error
    lane.refuse(why or "error")


def _made_alone(lane: NativeLane, asked: Write, records: Sequence[Any]) -> Made | None:
    bare = [record[:-1] for record in records if record[-1]]
    if not bare:  # the row is not there, or not for this caller
        lane.refuse("answer")
        return None
    return asked.data(read_records(asked.plan, bare, asked.origin) if asked.plan.has_processors else bare)


async def _give_back(taken: Taken) -> None:
    if not put_back(taken):
        await greenlet_spawn(proxied(taken).close)


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
        return (translate(failure, origin()) if is_late else unavailable(origin())), None
    if is_stale(failure):
        await driver.reload_schema_state()
        return None, "stale plan"
    state: str | None = getattr(failure, "sqlstate", None)
    is_plain = state is not None and (state[:2] in _PLAIN_CLASSES or is_of_application(state))
    return (translate(failure, origin()), None) if is_plain else (None, "error")


async def _commit(
    lane: NativeLane, taken: Taken, id_: str | None, origin: Callable[[], Origin]
) -> tuple[Taken, BaseException | None]:
    """Send COMMIT; gives the connection, as it is to be given back, and what the caller meets instead of an answer."""
    driver = taken.dbapi_connection._connection
    answer = await answered_by((driver,), command(driver, "COMMIT;"))
    if answer.failure is None and answer.cancelled is None:
        lane.note_commit()
        return taken, None
    taken = taken if answer.failure is None else proxied(taken)
    return taken, await _instead_of_answer(lane, taken, id_, answer, origin)


async def _instead_of_answer(
    lane: NativeLane, taken: Taken, id_: str | None, answer: Answer, origin: Callable[[], Origin]
) -> BaseException | None:
    """Give what the caller meets instead of an answer to COMMIT, which carries what became of the transaction."""
    outcome = CommitOutcome.COMMITTED
    if answer.failure is not None:
        driver, outcome = taken.dbapi_connection._connection, CommitOutcome.NOT_COMMITTED
        if driver.is_closed() or getattr(answer.failure, "sqlstate", None) is None:
            known = taken.info.get(SERVER, (None, None))
            await greenlet_spawn(taken.invalidate)
            try:
                transaction = Transaction(id_, known[0], known[1], AsyncEngine(lane.engine))
                outcome = CommitOutcome.UNKNOWN if id_ is None else await resolved(transaction)
            except asyncio.CancelledError as exc:
                lane.note_commit()
                tell(exc, CommitOutcome.UNKNOWN)
                return exc
    if outcome is not CommitOutcome.NOT_COMMITTED:
        lane.note_commit()
    if answer.cancelled is not None:
        tell(answer.cancelled, outcome)
        return answer.cancelled
    if outcome is CommitOutcome.UNKNOWN:
        return CommitOutcomeUnknown()
    if answer.failure is None or outcome is CommitOutcome.COMMITTED:
        return None
    is_gone = taken.dbapi_connection is None or taken.dbapi_connection._connection.is_closed()
    return DatabaseUnavailable() if is_gone else translate(answer.failure, origin())
