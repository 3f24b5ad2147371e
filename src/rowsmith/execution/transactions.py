"""Which transactions hold a failed statement, so that none of them is committed in silence.

After a failed statement PostgreSQL answers COMMIT with ROLLBACK, and neither asyncpg nor SQLAlchemy
says so. A listener on the engine therefore remembers the transaction, or the savepoint, in which each
error happened; whoever is about to commit asks here first. The same rule then holds on SQLite, which
would have committed half of the work.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext, Transaction

from rowsmith.errors import TransactionAborted

_failed: WeakSet[Transaction] = WeakSet()


def watch_failures(engine: Engine) -> None:
    """Remember from now on which transactions of this engine had a statement fail; idempotent."""
    if not event.contains(engine, "handle_error", _remember):
        event.listen(engine, "handle_error", _remember)
        event.listen(engine, "release_savepoint", _release)


def is_watched_by_others(engine: Engine) -> bool:
    """Say whether an application listens to the failures of this engine's statements, too."""
    return any(listener is not _remember for listener in engine.dialect.dispatch.handle_error)


def mark_failed(connection: Connection) -> None:
    """Remember that the connection's innermost transaction failed; for statements SQLAlchemy does not see."""
    innermost = connection.get_nested_transaction() or connection.get_transaction()
    if innermost is not None:
        _failed.add(innermost)


def has_failed(connection: Connection) -> bool:
    """Say whether a statement failed in the connection's innermost transaction."""
    innermost: Any = connection.get_nested_transaction() or connection.get_transaction()
    return innermost is not None and innermost in _failed


def came_from_database(failure: BaseException) -> bool:
    """Say whether an error that could come from anywhere, such as a socket's, was raised by a statement."""
    return isinstance(failure, (OSError, TimeoutError)) and hasattr(failure, _MARK)


_MARK: Final = "_rowsmith_from_database"


def _remember(context: ExceptionContext) -> None:
    setattr(context.original_exception, _MARK, True)
    if context.connection is not None:
        mark_failed(context.connection)


def _release(connection: Connection, name: str, _: None) -> None:
    """Undo a savepoint in which an error was swallowed: its RELEASE would fail, or on SQLite keep half of it."""
    if has_failed(connection):
        connection.dialect.do_rollback_to_savepoint(connection, name)
        raise TransactionAborted
