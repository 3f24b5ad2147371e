"""Which transactions hold a failed statement, so that none of them is committed in silence.

After a failed statement PostgreSQL answers COMMIT with ROLLBACK, and neither asyncpg nor SQLAlchemy
says so. A listener on the engine therefore remembers the transaction, or the savepoint, in which each
error happened; whoever is about to commit asks here first. The same rule then holds on SQLite, which
would have committed half of the work. Where SQLite ends a transaction by an error (``RAISE(ROLLBACK)``, ``ON CONFLICT
ROLLBACK``, a full disk), nothing more is sent in it: each further statement would be kept by itself.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext, Transaction
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import SessionTransaction
from sqlalchemy.orm.session import SessionTransactionState, _SessionCloseState  # pyright: ignore[reportPrivateUsage]

from rowsmith.errors import TransactionAborted, TransactionError
from rowsmith.execution.endings import was_ended_by_statement
from rowsmith.execution.kinds import READ_ONLY_TRANSACTION
from rowsmith.execution.read_only import is_in_transaction_on_sqlite
from rowsmith.execution.refusals import is_only_unread, note_refused
from rowsmith.execution.transaction_id import is_another
from rowsmith.outcome import CommitOutcome, tell

_failed: WeakSet[Transaction] = WeakSet()
_refused: WeakSet[Transaction] = WeakSet()
_ended: WeakSet[Connection] = WeakSet()
_inside: WeakSet[Connection] = WeakSet()
"""Those to SQLite whose last statement began inside of a transaction."""
_undone: WeakSet[Transaction] = WeakSet()
"""Those that SQLite ended by an error."""

UNDONE: Final = (
    "the database has undone the whole transaction, not just what failed, as SQLite's RAISE(ROLLBACK) and ON CONFLICT "
    "ROLLBACK have it: have them ABORT, where what was written before is to be kept"
)


def watch_failures(engine: Engine) -> None:
    """Remember from now on which transactions of this engine had a statement fail; idempotent.

    ``event.contains`` goes by the engine's address, at which another one may have been, whose dialect is still there.
    """
    if _remember not in engine.dialect.dispatch.handle_error:
        event.listen(engine, "handle_error", _remember)
    if _release not in engine.dispatch.release_savepoint:
        event.listen(engine, "release_savepoint", _release)
    if engine.dialect.driver == "aiosqlite" and _note_inside not in engine.dispatch.before_cursor_execute:
        event.listen(engine, "before_cursor_execute", _note_inside)


def is_watched_by_others(engine: Engine) -> bool:
    """Say whether an application listens to the failures of this engine's statements, too."""
    return not all(map(is_watching, engine.dialect.dispatch.handle_error))


def is_watching(listener: object) -> bool:
    """Say whether it is what remembers failures here."""
    return listener is _remember


def mark_failed(connection: Connection) -> None:
    """Remember that the connection's innermost transaction failed; for statements SQLAlchemy does not see."""
    innermost = connection.get_nested_transaction() or connection.get_transaction()
    if innermost is not None:
        _failed.add(innermost)


def has_failed(connection: Connection) -> bool:
    """Say whether a statement failed in the connection's innermost transaction, or the connection was given up."""
    if connection.closed:
        return True
    innermost: Any = connection.get_nested_transaction() or connection.get_transaction()
    return innermost is not None and (innermost in _failed or is_undone(connection))


def is_undone(connection: Connection) -> bool:
    """Say whether the database has ended the connection's transaction, savepoints and all, by an error."""
    root: Any = None if connection.closed else connection.get_transaction()
    return root is not None and root in _undone


def connections_of(db_sess: AsyncSession) -> list[Connection]:
    """Give the connections that the session's transaction uses, whose savepoint may be on its way yet."""
    transaction, found = db_sess.sync_session._transaction, dict[Connection, None]()  # pyright: ignore[reportPrivateUsage]
    while transaction is not None:
        found.update((entry[0], None) for entry in transaction._connections.values())  # pyright: ignore[reportPrivateUsage]
        transaction = transaction.parent
    return list(found)


_OPEN_TO_ALL: Final = "rowsmith_open_to_all"
USED: Final = "rowsmith_used_by_application"
"""In a connection's ``info``: statements of the application's own may have been sent on it."""


def note_application(db_sess: AsyncSession) -> None:
    """Say that the application may send statements of its own in the session, whose traces are to be taken away."""
    db_sess.info[_OPEN_TO_ALL] = True
    for connection in connections_of(db_sess):
        note_used(connection)


def note_used(connection: Connection) -> None:
    """Say that the application may send statements of its own on a connection, until it is back in its pool."""
    if not (connection.closed or connection.invalidated):
        connection.info[USED] = True


def holds_objects(db_sess: AsyncSession) -> bool:
    """Say whether a session may hold objects of an application's."""
    return is_open_to_all(db_sess) and len(db_sess.identity_map) > 0


def is_open_to_all(db_sess: AsyncSession) -> bool:
    """Say whether the application may have sent statements of its own in the session."""
    return bool(db_sess.info.get(_OPEN_TO_ALL))


def drivers_of(db_sess: AsyncSession) -> list[Any]:
    """Give the asyncpg connections that the session's innermost transaction uses."""
    valid = (each for each in connections_of(db_sess) if not (each.closed or each.invalidated))
    pooled: list[Any] = [each.connection.dbapi_connection for each in valid if each.dialect.driver == "asyncpg"]
    return [each.driver_connection for each in pooled]  # not of the pool, which would take it for lent


def refuse_failed(db_sess: AsyncSession) -> None:
    """Have nothing committed of a session in which a statement failed.

    Raises:
        TransactionAborted: one did.
    """
    connections = connections_of(db_sess)
    if any(map(has_failed, connections)):
        raise TransactionAborted(UNDONE if any(map(is_undone, connections)) else None)


def was_ended_by_hand(db_sess: AsyncSession) -> bool:
    """Say whether a transaction was ended while its session took it for open: by a statement, or on its connection."""
    connections = connections_of(db_sess)
    if not db_sess.is_active:  # a flush failed, and SQLAlchemy undid what was open then
        return any(each in _ended for each in connections)
    if any(map(_is_ended_by_hand, connections)):
        return True
    root = db_sess.sync_session.get_transaction()
    return root is not None and is_over(root) and not any(each.closed for each in connections)  # which undoes it


def _is_ended_by_hand(connection: Connection) -> bool:
    if connection.closed or connection.invalidated or is_undone(connection):
        return False
    if was_ended_by_statement(connection):
        return True
    adapter: Any = connection.connection.dbapi_connection
    driver = adapter.driver_connection
    if connection.dialect.driver == "aiosqlite":
        return not (connection.in_transaction() and is_in_transaction_on_sqlite(driver))
    if connection.dialect.driver != "asyncpg" or driver.is_closed():
        return False
    if not connection.in_transaction() or (adapter._transaction is not None and not driver.is_in_transaction()):
        return True
    return is_another(connection)


def is_over(transaction: SessionTransaction) -> bool:
    """Say whether a session's transaction, or a savepoint, was ended: by the session, or on a connection.

    One that a failed flush has undone waits for its end.
    """
    if not transaction.is_active:
        return transaction._state is SessionTransactionState.CLOSED  # pyright: ignore[reportPrivateUsage]
    known = transaction._connections.values()  # pyright: ignore[reportPrivateUsage]
    return not all(_has_begun(entry[0], entry[1]) for entry in known)


def _has_begun(connection: Connection, transaction: Transaction) -> bool:
    """Say whether a connection is in a transaction, or a savepoint, of its own, or was lost in it."""
    found: Any = connection.get_transaction()
    if found is not transaction:
        found = connection.get_nested_transaction()
        while found is not None and found is not transaction:
            found = found._previous_nested
    return found is not None or connection.invalidated


ENDED_BY_HAND: Final = (
    "the transaction was ended by a statement inside its block, and what became of it is not known here: "
    "leave COMMIT and ROLLBACK to the block, or write session.commit() or session.rollback()"
)


def ended_under(db_sess: AsyncSession, failure: BaseException) -> TransactionError | None:
    """Give the error for a session that was ended under a call, of which SQLAlchemy says this and that."""
    if is_closed(db_sess):
        return TransactionError(SESSION_ENDED)
    is_of_session = isinstance(failure, InvalidRequestError)  # and not of the database, nor of the driver
    is_ended = is_of_session and any(each.closed or _is_ended_by_hand(each) for each in connections_of(db_sess))
    return TransactionError(ENDED_BY_HAND) if is_ended else None


SESSION_ENDED = "this session is closed: work inside the block that opened it, or in a session of your own"


def is_closed(db_sess: AsyncSession) -> bool:
    """Say that a session was closed for good, or that the connection it was made on is closed."""
    sync = db_sess.sync_session
    closed = sync._close_state is _SessionCloseState.CLOSED  # pyright: ignore[reportPrivateUsage]
    return closed or (isinstance(sync.bind, Connection) and sync.bind.closed)


def is_sending(db_sess: AsyncSession) -> bool:
    """Say whether a statement is on its way on one of the session's connections."""
    pooled: list[Any] = [connection._dbapi_connection for connection in connections_of(db_sess)]  # pyright: ignore[reportPrivateUsage]
    adapters = (each.dbapi_connection for each in pooled if each is not None)
    return any(adapter is not None and adapter._execute_mutex.locked() for adapter in adapters)


def refuse_commit(db_sess: AsyncSession) -> None:
    """Have COMMIT refused where a statement failed in the session: PostgreSQL would answer it with ROLLBACK."""
    for connection in filter(has_failed, connections_of(db_sess)):
        transaction = connection.get_nested_transaction() or connection.get_transaction()
        if transaction is not None:
            _refused.add(transaction)
        if _refuse not in connection.engine.dispatch.commit:
            event.listen(connection.engine, "commit", _refuse)


def give_up_all(db_sess: AsyncSession) -> None:
    """Have nothing committed of what a session is in, as what was to be undone of it cannot be."""
    for connection in connections_of(db_sess):
        if not (connection.closed or connection.invalidated):
            mark_failed(connection)
    refuse_commit(db_sess)


def is_refusing(listener: object) -> bool:
    """Say whether it is what refuses to commit here."""
    return listener is _refuse


def _refuse(connection: Connection) -> None:
    if connection.get_transaction() in _refused:
        failure: TransactionError = TransactionAborted()
        if _is_ended_by_hand(connection):
            failure = TransactionError(ENDED_BY_HAND)
            tell(failure, CommitOutcome.UNKNOWN)
        connection.dialect.do_rollback(connection.connection)  # SQLAlchemy takes the transaction for ended from here on
        raise failure


def came_from_database(failure: BaseException) -> bool:
    """Say whether an error that could come from anywhere, such as a socket's, was raised by a statement."""
    return isinstance(failure, (OSError, TimeoutError)) and hasattr(failure, _MARK)


_MARK: Final = "_rowsmith_from_database"


def was_demoted(failure: BaseException) -> bool:
    """Say whether a statement was refused by a server that takes no writes, whose connections were given up."""
    return hasattr(failure, _DEMOTED)


_DEMOTED: Final = "_rowsmith_demoted"


def _remember(context: ExceptionContext) -> None:
    setattr(context.original_exception, _MARK, True)
    if context.connection is None:
        return
    is_unsent = context.execution_context is None and context.statement is not None  # what was to be bound raised
    if not (is_unsent or is_only_unread(context)):  # it can have changed something, the transaction's state too
        mark_failed(context.connection)
    if not context.is_disconnect:  # of a cancelled task, too, whose connection is given up as it is
        _give_up_undone(context.connection)
    if _is_ended_by_hand(context.connection):
        _ended.add(context.connection)
    note_refused(context)
    failure: Any = context.original_exception
    if getattr(failure, "sqlstate", None) == READ_ONLY_TRANSACTION and _is_demoted(context.connection):
        setattr(failure.driver_exception, _DEMOTED, True)  # an error for a stale plan has none, and raises when asked
        context.is_disconnect = True  # so that every connection made until now is given up


def _note_inside(connection: Connection, *_: object) -> None:
    """Note whether a statement begins inside of a transaction, which it ends then if there is none any more."""
    note: Any = _inside.add if _is_in_transaction(connection) else _inside.discard
    note(connection)


def _is_in_transaction(connection: Connection) -> bool:
    pooled: Any = connection.connection
    return is_in_transaction_on_sqlite(pooled.driver_connection)


def _give_up_undone(connection: Connection) -> None:
    """Have SQLAlchemy send nothing more in a transaction of SQLite's that a statement which failed has ended."""
    root = None if connection.closed or connection.invalidated else connection.get_transaction()
    if root is not None and connection in _inside and not _is_in_transaction(connection):
        root.is_active = False
        _undone.add(root)


def note_demotion(connection: Connection, failure: BaseException) -> None:
    """Give every connection up that was made until now, where a server takes no writes; of statements unseen above."""
    if getattr(failure, "sqlstate", None) == READ_ONLY_TRANSACTION and _is_demoted(connection):
        setattr(failure, _DEMOTED, True)
        connection.engine.pool._invalidate(connection.connection, failure)  # pyright: ignore[reportPrivateUsage]


def _is_demoted(connection: Connection) -> bool:
    """Say whether the server takes no writes from anybody, as it reports unasked; a reader's refusal says nothing."""
    adapter: Any = connection.connection.dbapi_connection
    driver: Any = adapter.driver_connection
    if driver is None or driver.is_closed() or adapter.readonly:
        return False
    settings = driver.get_settings()
    return "on" in (getattr(settings, name, None) for name in ("in_hot_standby", "default_transaction_read_only"))


def _release(connection: Connection, name: str, _: None) -> None:
    """Undo a savepoint in which an error was swallowed: its RELEASE would fail, or on SQLite keep half of it."""
    if is_undone(connection):
        raise TransactionAborted(UNDONE)
    if has_failed(connection):
        connection.dialect.do_rollback_to_savepoint(connection, name)
        raise TransactionAborted
