"""The gate before the fast lanes: what a session, its engine, the types and the table ask of a statement.

Underneath SQLAlchemy nothing of what an application hung on it is seen or done. So the lanes there are taken only
where nobody asks for anything; otherwise SQLAlchemy itself sends the statement:

=================================================================  ======================================
asked for                                                          then
=================================================================  ======================================
engine events around statements, ``handle_error``, ``echo``,       the same statement, sent by SQLAlchemy
events that stand in for the driver (``do_execute`` ...), a
``schema_translate_map``, a session class with its own ``execute``
``do_orm_execute`` of the session                                  also: statements name the mapped class
types that wrap values in SQL (``bind_expression``), or whose      SQLAlchemy binds each value by itself
values are none of an array's members for asyncpg
row triggers, rules, row security, a view or foreign table         no COPY, whose answer is what was sent
=================================================================  ======================================

Events of mappers (``before_insert``) and of flushes belong to objects of a session. No operation makes any, so no
lane fires them, as SQLAlchemy's own INSERT, UPDATE and DELETE statements do not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy import Connection, Insert, Table
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from rowsmith.execution import Origin, is_watched_by_others, translated
from rowsmith.execution.driver import connection_of, has_driver, use_driver
from rowsmith.execution.elsewhere import ELSEWHERE
from rowsmith.execution.native import AROUND_STATEMENTS, INSTEAD_OF_THE_DRIVER
from rowsmith.execution.standing import TABLE, Standing, ask, ask_again, known
from rowsmith.execution.triggers import Quietness, ask_quietness, is_quiet_on_sqlite
from rowsmith.mapping import RowInfo
from rowsmith.operations.arrays.wire import fits_array
from rowsmith.operations.blocks.lanes import Lane, choose_lane

_SENDING: Final = ("execute", "stream", "connection")
"""The methods of a session through which statements go."""


@dataclass(frozen=True)
class Gate:
    """What a call may do, decided once.

    ``lane`` is for new rows; ``driver`` lets statements go to asyncpg past SQLAlchemy; ``arrays`` lets values travel
    as arrays; ``mapped`` has statements name the mapped class; ``translated`` says that tables are in other schemas
    than the metadata says; ``why`` is what closed the way to the driver, for the log.
    """

    dialect: Dialect
    lane: Lane
    driver: bool
    arrays: bool
    mapped: bool
    translated: bool
    why: str | None = None

    @property
    def inserts_arrays(self) -> bool:
        """Say whether an INSERT may carry arrays: not where it has to name the mapped class."""
        return self.arrays and not self.mapped


async def pass_gate(
    db_sess: AsyncSession,
    info: RowInfo[object],
    origin: Origin,
    written: Collection[str],
    back: Collection[str] | None = None,
) -> Gate:
    """Decide for one call.

    Args:
        db_sess: the session to write in.
        info: the row.
        origin: whose call it is, for errors.
        written: the attributes whose values Python has.
        back: the attributes that must come back of new rows; None where COPY is out of the question.

    Raises:
        RepositoryError: there is no connection to be had.
    """
    connection = await connection_of(db_sess, origin)
    dialect, why = connection.dialect, next(_askers(db_sess, connection), None)
    types = [info.columns[name].type for name in written]
    arrays = dialect.name == "postgresql" and all(fits_array(kind, dialect) for kind in types)
    mapped = bool(db_sess.sync_session.dispatch.do_orm_execute)
    driver = has_driver(dialect) and why is None
    lane = Lane.MANY if mapped or back is None else choose_lane(dialect, info, written, back)
    if lane is not Lane.MANY and not driver:
        lane = Lane.SENT if arrays else Lane.MANY
    if lane is Lane.COPY and not await use_driver(db_sess, origin, _PlainTable(info, dialect).ask):
        lane = Lane.UNNEST if arrays else Lane.MANY
    return Gate(dialect, lane, driver, arrays, mapped, bool(schemas_of(db_sess, connection)), why)


def _askers(db_sess: AsyncSession, connection: Connection) -> Iterator[str]:
    """Give what has to be seen or done around a statement and is not underneath SQLAlchemy."""
    dialect = connection.dialect
    yield from (name for name in AROUND_STATEMENTS if getattr(connection.dispatch, name))
    yield from (name for name in INSTEAD_OF_THE_DRIVER if getattr(dialect.dispatch, name))
    yield from asked_by_session(db_sess)
    if is_watched_by_others(connection.engine):
        yield "handle_error"
    if connection._echo:  # pyright: ignore[reportPrivateUsage]
        yield "echo"
    if schemas_of(db_sess, connection):
        yield "schema_translate_map"
    for name in INSTEAD_OF_THE_DRIVER:  # a dialect of the application's may do otherwise than SQLAlchemy's
        if getattr(type(dialect), name, None) != getattr(cast("Any", asyncpg.dialect), name, None):
            yield name
    if "_compiler_dispatcher" in vars(Insert):
        yield "compiles(Insert)"


def asked_by_session(db_sess: AsyncSession) -> Iterator[str]:
    """Give what a session itself does around statements."""
    if db_sess.sync_session.dispatch.do_orm_execute:
        yield "do_orm_execute"
    for kind, own in ((type(db_sess), AsyncSession), (type(db_sess.sync_session), Session)):
        yield from (
            f"{kind.__name__}.{name}" for name in _SENDING if getattr(kind, name, None) != getattr(own, name, None)
        )


def schemas_of(db_sess: AsyncSession, connection: Connection) -> Mapping[str | None, str | None]:
    """Give the schemas that tables are in instead of those that the metadata says; empty where they are in those."""
    options = {**connection.get_execution_options(), **db_sess.sync_session.execution_options}
    return cast("Mapping[str | None, str | None]", options.get("schema_translate_map") or {})


async def standing_of(db_sess: AsyncSession, table: Table, origin: Origin) -> Standing:
    """Say what a mapped table is where a session has it: it is asked the first time.

    Raises:
        RepositoryError: there is no connection to be had, or it was lost.
    """
    connection = await connection_of(db_sess, origin)
    dialect = connection.dialect
    if not has_driver(dialect):
        return TABLE
    schema = schemas_of(db_sess, connection).get(table.schema, table.schema)
    if schema is None and ELSEWHERE in connection.info:
        return await use_driver(db_sess, origin, lambda driver: ask_again(driver, dialect, table, schema)) or TABLE
    found = known(dialect, table, schema)
    if found is not None:
        return found
    return await use_driver(db_sess, origin, lambda driver: ask(driver, dialect, table, schema))


async def is_quiet(
    db_sess: AsyncSession, table: Table, origin: Origin, *, several: bool, removes: bool = False
) -> bool:
    """Say whether no trigger changes rows of a table once a statement has given one, or ``several``.

    With ``removes``: that none puts rows back which a statement has removed.

    Raises:
        RepositoryError: as :func:`standing_of`.
    """
    connection = await connection_of(db_sess, origin)
    dialect, known = connection.dialect, connection.info
    schema = schemas_of(db_sess, connection).get(table.schema, table.schema)
    if dialect.driver == "aiosqlite":
        async with translated():
            driver = connection.connection.driver_connection
            return await is_quiet_on_sqlite(driver, dialect, table, schema, removes=removes)
    if not has_driver(dialect):
        return True
    if schema is None and ELSEWHERE in known:
        known = {}
    key = Quietness(table, schema, several, removes)
    if key not in known:
        await use_driver(db_sess, origin, lambda driver: ask_quietness(driver, dialect, table, schema, known))
    return bool(known[key])


_ALTERS_NONE = """
SELECT NOT row_security_active(c.oid) AND NOT EXISTS (
    SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type = '3' AND r.ev_enabled <> 'D'
) AND NOT EXISTS (
    SELECT FROM (SELECT c.oid UNION SELECT relid FROM pg_partition_tree(c.oid)) part (oid) JOIN pg_class p USING (oid)
    WHERE p.relkind NOT IN ('r', 'p') OR EXISTS (
        SELECT FROM pg_trigger t WHERE t.tgrelid = p.oid AND t.tgenabled <> 'D' AND NOT t.tgisinternal
        AND t.tgtype & 7 = 7
    )
) FROM pg_class c WHERE c.oid = $1::text::regclass
"""
# tgtype has bits (PostgreSQL's pg_trigger.h): 1 for each row, 2 before, 4 insert.


@dataclass(frozen=True)
class _PlainTable:
    """Asks PostgreSQL whether a table takes rows as they are, those of its partitions included."""

    info: RowInfo[Any]
    dialect: Dialect

    async def ask(self, driver: Any) -> bool:
        """Ask on asyncpg's connection."""
        return bool(await driver.fetchval(_ALTERS_NONE, self.dialect.identifier_preparer.format_table(self.info.table)))
