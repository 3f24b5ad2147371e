"""Constraints that are checked at COMMIT, checked before it: of a batch in which each item stands for itself.

COMMIT says of such a constraint only that some row breaks it. Most tables have none, and most batches break none, so
nobody asks beforehand: where COMMIT refuses a call's own transaction, the call is made once more in a session that
checks at once whatever is tried there. PostgreSQL does so when it is told to. SQLite cannot: it is asked for all rows
that refer to nothing, which are to be no more than before.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from rowsmith.execution.blame import blame
from rowsmith.execution.origin import Origin
from rowsmith.execution.translate import DATABASE_ERRORS, translate

T = TypeVar("T")

_BEFORE: Final = "rowsmith_before_checks"
_UNASKED: Final = object()


def check_early(db_sess: AsyncSession) -> None:
    """Have all blocks of :func:`checking` check in a session, in which nothing was written yet."""
    db_sess.info[_BEFORE] = _UNASKED


@asynccontextmanager
async def checking(db_sess: AsyncSession, origin: Origin) -> AsyncGenerator[None]:
    """Check what COMMIT would, once what the block writes is written; in a session that does not check early, nothing.

    The block is undone where it is broken, by a savepoint around it.

    Raises:
        RepositoryError: what COMMIT would say, as an error of the call whose fault it is.
    """
    if _BEFORE not in db_sess.info:
        yield
        return
    if db_sess.info[_BEFORE] is _UNASKED:
        db_sess.info[_BEFORE] = await _asked(db_sess, origin, _before)
    yield
    await _asked(db_sess, origin, partial(_check, db_sess.info[_BEFORE]))


async def _asked(db_sess: AsyncSession, origin: Origin, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    binds: Any = origin.binds
    try:
        return await work(await db_sess.connection(bind_arguments=binds))
    except DATABASE_ERRORS as exc:
        failure = translate(exc, blame(db_sess, exc))
    raise failure


async def _before(connection: AsyncConnection) -> Any:
    """Give the rows that refer to nothing on SQLite; on PostgreSQL what has checks wait for COMMIT again, if any do."""
    if connection.dialect.name == "sqlite":
        return await _dangling(connection)
    names = (await connection.exec_driver_sql(_NAMES)).scalar()
    return None if names is None else f"SET CONSTRAINTS {names} DEFERRED"


async def _check(before: Any, connection: AsyncConnection) -> None:
    if connection.dialect.name == "sqlite":
        if await _dangling(connection) - before:
            refusal = sqlite3.IntegrityError("FOREIGN KEY constraint failed")  # as COMMIT would say it
            refusal.sqlite_errorcode = sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
            raise refusal
        return
    await connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
    if before is not None:
        await connection.exec_driver_sql(before)


async def _dangling(connection: AsyncConnection) -> Counter[Any]:
    return Counter(map(tuple, await connection.exec_driver_sql("PRAGMA foreign_key_check")))


# Of constraints of partitions those above them tell. Who may not use a schema cannot name what is in it, and a name
# that tables have in common stands for all of them, which PostgreSQL refuses where one cannot wait.
_NAMES: Final = """
SELECT string_agg(DISTINCT format('%I.%I', n.nspname, c.conname), ', ')
FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace
WHERE c.condeferred AND c.conparentid = 0 AND has_schema_privilege(n.oid, 'USAGE') AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_constraint other
    WHERE other.connamespace = c.connamespace AND other.conname = c.conname AND NOT other.condeferrable
)
"""
