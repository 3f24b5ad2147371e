"""Sending a statement: every read and every write of rowsmith passes through here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Executable, Result
from sqlalchemy.exc import CompileError
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.errors import InvalidFilter, MappingError
from rowsmith.execution.apart import apart
from rowsmith.execution.blame import remember
from rowsmith.execution.origin import UNKNOWN, Origin
from rowsmith.execution.transactions import came_from_database, ended_under
from rowsmith.execution.translate import STATEMENT_ERRORS, scrub, translate, translate_any, unreadable
from rowsmith.execution.undone import note_write
from rowsmith.mapping.constraints import replaces_or_ignores
from rowsmith.mapping.layout import MEETS_ITSELF

_FRESH = {"populate_existing": True}
_AS_IT_IS = {"populate_existing": False}


async def execute(
    db_sess: AsyncSession,
    statement: Executable,
    origin: Origin = UNKNOWN,
    options: Mapping[str, object] | None = None,
    parameters: Sequence[Mapping[str, object]] | Mapping[str, object] | None = None,
) -> Result[Any]:
    """Send a statement in the session's transaction and give its buffered result.

    Args:
        db_sess: any AsyncSession.
        statement: a SQLAlchemy statement; ORM objects it returns are refreshed, never stale.
        origin: whose call it is, for the error.
        options: further execution options.
        parameters: values for the statement's parameters; one mapping a row, where it is sent for many at once.

    Raises:
        RepositoryError: what the database or driver said, translated; no cause attached.
        InvalidValue: a stored value is none of its column's type (an enum's member that was renamed).
    """
    result = await send(db_sess, statement, origin, options, parameters)
    if not getattr(result, "returns_rows", True):
        if _writes(statement, origin) and getattr(result, "rowcount", -1) != 0:
            note_write(db_sess)
        return result
    try:
        frozen = result.freeze()  # every value is read here, where what its type raises can be told
    except Exception as exc:  # noqa: BLE001 - a column's type may raise anything, and quotes the value
        failure = unreadable(exc, origin)
    else:
        if frozen.data and _writes(statement, origin):
            note_write(db_sess)
        return frozen()
    if _writes(statement, origin):
        note_write(db_sess)
    raise failure


def _writes(statement: Executable, origin: Origin) -> bool:
    """Say whether a statement writes: it is in a SELECT where rows are purged."""
    return getattr(statement, "is_dml", False) or origin.deletes


async def send(
    db_sess: AsyncSession,
    statement: Executable,
    origin: Origin = UNKNOWN,
    options: Mapping[str, object] | None = None,
    parameters: Sequence[Mapping[str, object]] | Mapping[str, object] | None = None,
) -> Result[Any]:
    """Do the first half of :func:`execute`: the statement is sent, and no row is read yet."""
    if _writes(statement, origin):
        word = None if origin.deletes else replaces_or_ignores(getattr(statement, "table", None))
        if word is not None:
            _refuse_others_lost(db_sess, origin, word)
        remember(db_sess, origin)
        await flush(db_sess, origin)
    try:
        if not statement.get_execution_options().get(MEETS_ITSELF):
            return await _sent(db_sess, statement, origin, {**_FRESH, **(options or {})}, parameters)
        # A path that meets a row again would take from it what another one has loaded; so each adds to it, once what
        # the session has is refreshed: it may have been read under another scope. Those objects are kept until then,
        # as the session holds none itself.
        kept: Sequence[Any] = ()
        if len(db_sess.identity_map):
            kept = (await _sent(db_sess, statement, origin, {**_FRESH, **(options or {})}, parameters)).all()
        result = await _sent(db_sess, statement, origin, {**(options or {}), **_AS_IT_IS}, parameters)
        del kept
        return result
    except Exception as exc:  # noqa: BLE001 - as above
        failure = translate_any(exc, origin if _writes(statement, origin) else origin.reading())
        if _writes(statement, origin) and getattr(failure, "is_stored", False):  # found as SQLAlchemy read the answer
            note_write(db_sess)
        failure = _of_session(db_sess, exc, origin) or failure
    raise failure


def _refuse_others_lost(db_sess: AsyncSession, origin: Origin, word: str) -> None:
    """Refuse to write rows by which SQLite would remove others, or skip some, without a word.

    Raises:
        MappingError: the database is SQLite.
    """
    if db_sess.get_bind(**origin.binds).dialect.name == "sqlite":
        raise MappingError(
            f"a key of the table has ON CONFLICT {word}, by which SQLite removes other rows or skips new ones, without "
            "a word: leave sqlite_on_conflict out of the mapping, and call upsert(spec, conflict=Conflict(columns=["
            "...])), with update=False where a row that is there stays as it is"
        )


def failed_in(db_sess: AsyncSession, failure: Exception, origin: Origin = UNKNOWN) -> Exception:
    """Give the error for what was raised in a session, which may have been ended under the call."""
    return _of_session(db_sess, failure, origin) or translate_any(failure, origin)


def _of_session(db_sess: AsyncSession, failure: Exception, origin: Origin) -> Exception | None:
    ended = ended_under(db_sess, failure)
    if ended is not None:
        ended.facts = origin.facts()
    return ended


async def _sent(
    db_sess: AsyncSession, statement: Executable, origin: Origin, options: Mapping[str, object], parameters: Any
) -> Result[Any]:
    told: Any = {"execution_options": options, "bind_arguments": origin.binds}
    try:
        return await db_sess.execute(statement, parameters, **told)
    except CompileError as exc:
        if "unrelated CTEs" not in str(exc):  # which have one name, and that is the application's
            return await db_sess.execute(apart(statement), parameters, **told)
    raise InvalidFilter(
        "two queries in WITH have one name and are not the same: leave the name out of .cte(), or write nesting=True "
        "beside it"
    )


async def flush(db_sess: AsyncSession, origin: Origin = UNKNOWN) -> None:
    """Write what the session holds unflushed: SQLAlchemy does so itself only before statements on mapped classes.

    A session without ``autoflush`` is left as it is.

    Raises:
        RepositoryError: as :func:`execute`.
    """
    if not (db_sess.autoflush and (db_sess.new or db_sess.dirty or db_sess.deleted)):
        return None
    try:
        return await db_sess.flush()
    except Exception as exc:  # noqa: BLE001 - as above
        failure = failed_in(db_sess, exc, origin)
    raise failure


async def execute_writing(db_sess: AsyncSession, statement: Executable, origin: Origin) -> Result[Any]:
    """Send an UPDATE or DELETE, and keep objects that the session already holds in step with it.

    A session that holds none is spared the work: SQLAlchemy would fetch the keys of all rows touched.
    """
    synchronize = "fetch" if len(db_sess.identity_map) else False
    return await execute(db_sess, statement, origin, {"synchronize_session": synchronize})


@asynccontextmanager
async def translated(origin: Origin = UNKNOWN) -> AsyncGenerator[None]:
    """Translate what leaves the block; for statements that an application sends itself.

    Only what comes from the database: a file that is not found, a time-out of the application's own, or
    its misuse of SQLAlchemy (``NoResultFound``) passes through as it is. Values are taken out of every
    driver error that stays attached to what passes, as cause or context.

    Raises:
        RepositoryError: instead of a driver's or SQLAlchemy's error.
    """
    try:
        yield
    except BaseException as exc:
        failure = let_out(exc, origin)
        if failure is exc:
            raise
        raise failure from None


def let_out(failure: BaseException, origin: Origin = UNKNOWN) -> BaseException:
    """Give what :func:`translated` lets out for an error; without values, whatever it is."""
    from_database = isinstance(failure, STATEMENT_ERRORS) or came_from_database(failure)
    error = translate(failure, origin) if from_database else failure
    scrub(failure)
    return error
