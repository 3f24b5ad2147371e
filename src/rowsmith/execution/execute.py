"""Sending a statement: every read and every write of rowsmith passes through here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Executable, Result
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.execution.origin import UNKNOWN, Origin
from rowsmith.execution.translate import DATABASE_ERRORS, DRIVER_ERRORS, scrub, translate

_FRESH = {"populate_existing": True}


async def execute(
    db_sess: AsyncSession, statement: Executable, origin: Origin = UNKNOWN, options: Mapping[str, Any] | None = None
) -> Result[Any]:
    """Send a statement in the session's transaction and give its buffered result.

    Args:
        db_sess: any AsyncSession.
        statement: a SQLAlchemy statement; ORM objects it returns are refreshed, never stale.
        origin: whose call it is, for the error.
        options: further execution options.

    Raises:
        RepositoryError: what the database or driver said, translated; no cause attached.
    """
    try:
        return await db_sess.execute(statement, execution_options={**_FRESH, **(options or {})})
    except DATABASE_ERRORS as exc:
        failure = translate(exc, origin)
    raise failure


async def execute_writing(db_sess: AsyncSession, statement: Executable, origin: Origin) -> Result[Any]:
    """Send an UPDATE or DELETE, and keep objects that the session already holds in step with it.

    A session that holds none is spared the work: SQLAlchemy would fetch the keys of all rows touched.
    """
    synchronize = "fetch" if len(db_sess.identity_map) else False
    return await execute(db_sess, statement, origin, {"synchronize_session": synchronize})


@asynccontextmanager
async def translated(origin: Origin = UNKNOWN) -> AsyncIterator[None]:
    """Translate what leaves the block; for statements that an application sends itself.

    Only errors that can come from nowhere but the database: a file that is not found, or a time-out of
    the application's own, passes through as it is.

    Raises:
        RepositoryError: instead of a driver's or SQLAlchemy's error, whose values are taken out of it.
    """
    try:
        yield
    except DRIVER_ERRORS as exc:
        failure = translate(exc, origin)
        scrub(exc)
        raise failure from None
