"""A transaction's id, which its first statement that gives rows back brings along: nobody has to ask before COMMIT.

It is asked for at SQLAlchemy's seam to the driver, at the end of RETURNING, and taken away before SQLAlchemy sees it.
Whatever else is sent may end the transaction and begin another, so that what was known is forgotten then. What does not
pass here (a cursor of SQLAlchemy's pool, the driver's connection) is seen by asyncpg's count of what it has sent. What
is not known is asked for as ever.

A server that spreads its tables over others (Citus) takes no such function in RETURNING, and is spared it.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from sqlalchemy import CompoundSelect, Connection, Engine, Select
from sqlalchemy.sql.elements import ReleaseSavepointClause, RollbackToSavepointClause, SavepointClause

from rowsmith.execution.endings import looked_at, note_end

ID: Final = "pg_current_xact_id_if_assigned()::text"
"""NULL does not mean that nothing was written: what other servers wrote for this one has no id here."""
IS_SPREAD: Final = "EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus')"
SPREAD: Final = "rowsmith_spread"
"""Where a connection's ``info`` says what that gives."""

_NAME: Final = "rowsmith_transaction_id"
ID_OF_TRANSACTION: Final = f", {ID} AS {_NAME}"
"""What stands at the end of RETURNING, so that it can be asked what became of a COMMIT without an answer."""
_KNOWN: Final = "rowsmith_transaction_id"
_SEEN: Final = "rowsmith_statements_seen"
_FIRST: Final = "rowsmith_first_transaction_id"
_NOTHING: Final = (None, None)
_ANOTHER: Final = ""
"""What stands in the place of a transaction's first id once another was seen in it."""
_MANY: Final = 1000
"""From this many values on a round trip is cheaper than an id with each row."""


def bring_ids(engine: Engine) -> None:
    """Have the connections of an engine on asyncpg do so, where :func:`want_id` asks for it."""
    dialect: Any = engine.dialect
    looked_at.add(dialect)
    execute, execute_many, execute_bare = dialect.do_execute, dialect.do_executemany, dialect.do_execute_no_params

    def bringing(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        info = _noted(cursor, context)
        if info is None or not _is_wanted(info, cursor, statement, parameters, context):
            execute(cursor, statement, parameters, context)
        else:
            try:
                execute(cursor, statement + ID_OF_TRANSACTION, parameters, context)
            finally:  # who asks why it failed looks at its columns
                id_ = _taken_from(cursor)
            info[_KNOWN] = known = (cursor._adapt_connection._transaction, id_)
            if id_ is not None and info[_FIRST] != known:  # else no row was given
                _compare(info, *known)
        _seen(cursor, info)
        if context is not None and not context.is_crud:
            note_end(context, statement)

    def many(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        info = _noted(cursor, context)
        execute_many(cursor, statement, parameters, context)
        _seen(cursor, info)
        if context is not None and not context.is_crud:
            note_end(context, statement)

    def bare(cursor: Any, statement: str, context: Any = None) -> None:
        info = _noted(cursor, context)
        execute_bare(cursor, statement, context)
        _seen(cursor, info)
        note_end(context, statement)

    dialect.do_execute, dialect.do_executemany, dialect.do_execute_no_params = bringing, many, bare


def want_id(connection: Connection) -> None:
    """Have the id brought along of the transactions on a connection, until it is given back."""
    info = connection.info
    if not info.get(SPREAD, True):
        info[_KNOWN] = info[_FIRST] = _NOTHING


def want_no_id(info: dict[Any, Any]) -> None:
    """Forget of a connection that is given back that an id was wanted."""
    info.pop(_KNOWN, None)
    info.pop(_FIRST, None)


def known_id(connection: Connection) -> str | None:
    """Give the id of a connection's transaction; None where it was not brought, or may be another one's."""
    adapter: Any = connection.connection.dbapi_connection
    transaction, id_ = connection.info.get(_KNOWN, _NOTHING)
    is_same = transaction is adapter._transaction and sent_on(adapter) == connection.info.get(_SEEN)
    return id_ if is_same else None


def sent_on(adapter: Any) -> int:
    """Say how many statements were sent on a connection, by whomever."""
    count: int = adapter._connection._protocol.queries_count
    return count


def note_read(info: dict[Any, Any], adapter: Any, before: int) -> None:
    """Have what is known stay known where nothing was sent but reads since that many statements were."""
    if info.get(_SEEN) == before:
        info[_SEEN] = sent_on(adapter)


def is_wanted(info: dict[Any, Any]) -> bool:
    """Say whether the id of a connection's transaction is to be brought along."""
    return _KNOWN in info


def note_written(info: dict[Any, Any], adapter: Any, id_: str | None) -> None:
    """Note the id that a statement has brought which did not pass SQLAlchemy."""
    known = info[_KNOWN] = (adapter._transaction, id_)
    info[_SEEN] = sent_on(adapter)
    if info[_FIRST] != known:
        _compare(info, *known)


def _compare(info: dict[Any, Any], transaction: Any, id_: str | None) -> None:
    """Note a transaction's first id, or that another one is in its place."""
    if info[_FIRST][0] is transaction:
        info[_FIRST] = (transaction, _ANOTHER)
    elif id_ is not None:
        info[_FIRST] = (transaction, id_)


def note_asked(connection: Connection, id_: str | None) -> None:
    """Note the id that was asked for of a transaction; of one on other servers there is none to be compared."""
    if _FIRST in connection.info:
        adapter: Any = connection.connection.dbapi_connection
        known = (adapter._transaction, id_)
        if connection.info[_FIRST] != known:
            _compare(connection.info, *known)


def is_another(connection: Connection) -> bool:
    """Say whether a transaction was ended and another begun by the driver's own connection, as its id tells."""
    adapter: Any = connection.connection.dbapi_connection
    transaction, first = connection.info.get(_FIRST, _NOTHING)
    return first == _ANOTHER and transaction is adapter._transaction


_ENDS_NOTHING: Final = (Select, CompoundSelect, SavepointClause, RollbackToSavepointClause, ReleaseSavepointClause)


def _noted(cursor: Any, context: Any) -> dict[Any, Any] | None:
    """Forget what a statement may change, or another that was sent unseen; gives where is noted what is known.

    None where no id is wanted.
    """
    if context is None:
        return None
    record = context.root_connection.connection._connection_record
    if record is None or _KNOWN not in record.info:  # SQLAlchemy's own questions to a new connection have no record
        return None
    info: dict[Any, Any] = record.info
    ends_nothing = context.is_crud or (context.compiled and isinstance(context.compiled.statement, _ENDS_NOTHING))
    if not ends_nothing or info.get(_SEEN) != sent_on(cursor._adapt_connection):
        info[_KNOWN] = _NOTHING
    return info


def _seen(cursor: Any, info: dict[Any, Any] | None) -> None:
    """Note that all that was sent until now has passed here, or what was known is forgotten."""
    if info is not None:
        info[_SEEN] = sent_on(cursor._adapt_connection)


def _is_wanted(info: dict[Any, Any], cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Say whether a statement is one that an id can be asked of, and none is known."""
    if not context.is_crud or cursor.server_side or not context.compiled.effective_returning:
        return False
    transaction, id_ = info[_KNOWN]
    is_known = id_ is not None and transaction is cursor._adapt_connection._transaction
    lists = (given for given in parameters if given.__class__ is list)
    is_of_many = any(len(given) > _MANY for given in (parameters, *lists))
    return not is_known and not is_of_many and _ends_in_returning(statement, context.compiled.string)


def _ends_in_returning(statement: str, compiled: str) -> bool:
    """Say whether a statement ends as it was compiled: what comes before it, and what a listener made of it, do not."""
    _, returning, columns = compiled.rpartition(" RETURNING ")
    return bool(returning) and statement.endswith(returning + columns)


def _taken_from(cursor: Any) -> str | None:
    """Take the id out of what a cursor has."""
    columns, rows = cursor._description, cursor._rows
    if not columns or columns[-1][0] != _NAME:  # it went into a comment at the statement's end
        return None
    columns.pop()
    found: str | None = rows[0][-1] if rows else None
    cursor._rows = deque([row[:-1] for row in rows])
    return found
