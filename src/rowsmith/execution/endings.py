"""Which transactions a statement of the application's own has ended, of which SQLAlchemy takes no notice.

The database says that it is in a transaction again where another one was begun at once (``COMMIT AND CHAIN``), so what
is sent is looked at, at SQLAlchemy's seam to the driver.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import Dialect, Transaction

from rowsmith.execution.elsewhere import give_back, note_path
from rowsmith.execution.read_only import ends_transaction

_ended: Final[WeakSet[Transaction]] = WeakSet()
looked_at: Final[WeakSet[Dialect]] = WeakSet()
"""Dialects at whose seam somebody does so: an engine and those that differ from it by options share one."""


def watch_ends(engine: Engine) -> None:
    """Look from now on at what is sent on an engine's connections, unless that is done already."""
    if engine.dialect not in looked_at:
        looked_at.add(engine.dialect)
        for method in ("do_execute", "do_executemany", "do_execute_no_params"):
            _look_at(engine.dialect, method)
        event.listen(engine, "checkin", give_back)


def _look_at(dialect: Dialect, method: str) -> None:
    send = getattr(dialect, method)

    def looking(cursor: object, statement: str, *given: Any) -> None:
        send(cursor, statement, *given)
        note_end(given[-1], statement)

    setattr(dialect, method, looking)


def note_end(context: Any, statement: str) -> None:
    """Remember the transaction that a statement has ended, if it is one of the application's own words.

    And the connection on which it has set where tables are looked for.
    """
    is_own = getattr(context, "is_text", False) or getattr(context, "isddl", False)
    if is_own or "set_config" in statement or getattr(context, "compiled", True) is None:
        note_path(context, statement)
    if is_own and ends_transaction(statement):
        transaction = context.root_connection.get_transaction()
        if transaction is not None:
            _ended.add(transaction)


def was_ended_by_statement(connection: Connection) -> bool:
    """Say whether the transaction in which a connection is, for SQLAlchemy, was ended by a statement."""
    return connection.get_transaction() in _ended
