"""Which transactions hold a failed statement, so that none of them is committed in silence.

After a failed statement PostgreSQL answers COMMIT with ROLLBACK, and neither asyncpg nor SQLAlchemy
says so. A listener on the engine therefore remembers the transaction, or the savepoint, in which each
error happened; whoever is about to commit asks here first. The same rule then holds on SQLite, which
would have committed half of the work.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext, Transaction

_failed: WeakSet[Transaction] = WeakSet()


def watch_failures(engine: Engine) -> None:
    """Remember from now on which transactions of this engine had a statement fail; idempotent."""
    if not event.contains(engine, "handle_error", _remember):
        event.listen(engine, "handle_error", _remember)


def mark_failed(connection: Connection) -> None:
    """Remember that the connection's innermost transaction failed; for statements SQLAlchemy does not see."""
    innermost = connection.get_nested_transaction() or connection.get_transaction()
    if innermost is not None:
        _failed.add(innermost)


def has_failed(connection: Connection) -> bool:
    """Say whether a statement failed in the connection's innermost transaction."""
    innermost: Any = connection.get_nested_transaction() or connection.get_transaction()
    return innermost is not None and innermost in _failed


def _remember(context: ExceptionContext) -> None:
    if context.connection is not None:
        mark_failed(context.connection)
