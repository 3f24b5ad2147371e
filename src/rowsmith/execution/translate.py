"""Driver errors to domain errors: the only place that looks at SQLSTATEs and constraint names.

SQLSTATE (PostgreSQL's manual, appendix A) and the constraint's name decide, never the message's words.
SQLite has extended result codes instead, and names a constraint only by its columns, after the code has
decided the kind. Nothing of the driver's text goes on, for it quotes the row (``Key (email)=(...)``),
except for SQLSTATE class 42, whose messages name only columns, tables and functions.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from asyncpg import exceptions as pg
from sqlalchemy import Table, UniqueConstraint, exc
from sqlalchemy.orm import exc as orm_exc

from rowsmith import errors
from rowsmith.errors import ErrorFacts, RepositoryError
from rowsmith.execution.origin import UNKNOWN, Origin

DRIVER_ERRORS = (
    exc.SQLAlchemyError,
    pg.PostgresError,
    pg.InterfaceError,
    pg.InternalClientError,
    sqlite3.Error,
)
"""What can come from nowhere but a database."""

DATABASE_ERRORS = (
    *DRIVER_ERRORS,
    OSError,
    TimeoutError,
    OverflowError,
    UnicodeError,
)
"""What a statement of ours can fail with, sockets and values included; anything else is a bug, and passes through untouched."""

_SQLSTATES: Mapping[str, type[RepositoryError]] = {
    "08007": errors.CommitOutcomeUnknown,
    "23001": errors.StillReferenced,
    "23502": errors.NotNullViolation,
    "23503": errors.ReferenceNotFound,
    "23505": errors.EntityAlreadyExists,
    "23514": errors.CheckViolation,
    "23P01": errors.ExclusionViolation,
    "25006": errors.ReadOnlyViolation,
    "25P02": errors.TransactionAborted,
    "25P03": errors.DatabaseUnavailable,
    "25P04": errors.DatabaseUnavailable,
    "40002": errors.ConstraintViolation,
    "40003": errors.CommitOutcomeUnknown,
    "40P01": errors.DeadlockDetected,
    "53300": errors.DatabaseUnavailable,
    "55P03": errors.LockNotAvailable,
    "57014": errors.DeadlineExceeded,
}

_SQLSTATE_CLASSES: Mapping[str, type[RepositoryError]] = {
    "08": errors.DatabaseUnavailable,
    "22": errors.InvalidValue,
    "23": errors.ConstraintViolation,
    "40": errors.SerializationFailure,
    "44": errors.CheckViolation,
    "57": errors.DatabaseUnavailable,
}

_SQLITE_CODES: Mapping[int, type[RepositoryError]] = {
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: errors.EntityAlreadyExists,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: errors.EntityAlreadyExists,
    sqlite3.SQLITE_CONSTRAINT_ROWID: errors.EntityAlreadyExists,
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: errors.ReferenceNotFound,
    sqlite3.SQLITE_CONSTRAINT_CHECK: errors.CheckViolation,
    sqlite3.SQLITE_CONSTRAINT_NOTNULL: errors.NotNullViolation,
    sqlite3.SQLITE_CONSTRAINT: errors.ConstraintViolation,
    sqlite3.SQLITE_BUSY: errors.LockNotAvailable,
    sqlite3.SQLITE_LOCKED: errors.LockNotAvailable,
    sqlite3.SQLITE_READONLY: errors.ReadOnlyViolation,
    sqlite3.SQLITE_MISMATCH: errors.InvalidValue,
    sqlite3.SQLITE_TOOBIG: errors.InvalidValue,
    sqlite3.SQLITE_INTERRUPT: errors.DeadlineExceeded,
    sqlite3.SQLITE_CANTOPEN: errors.DatabaseUnavailable,
    sqlite3.SQLITE_NOTADB: errors.DatabaseUnavailable,
}

# Without a SQLSTATE only the class is left to decide; the first that fits does.
_CLASSES: tuple[tuple[type[BaseException], type[RepositoryError]], ...] = (
    (exc.TimeoutError, errors.PoolExhausted),
    (exc.PendingRollbackError, errors.TransactionAborted),
    (exc.IllegalStateChangeError, errors.ConcurrentUse),
    (orm_exc.StaleDataError, errors.StaleVersion),
    (pg.InternalClientError, errors.ConcurrentUse),
    (TimeoutError, errors.DatabaseUnavailable),
    (OSError, errors.DatabaseUnavailable),
    (OverflowError, errors.InvalidValue),
    (UnicodeError, errors.InvalidValue),
)


def translate(failure: BaseException, origin: Origin = UNKNOWN) -> Exception:
    """Give the error a caller meets for one of :data:`DATABASE_ERRORS`.

    Args:
        failure: what SQLAlchemy or the driver raised; a RepositoryError is given back as it is.
        origin: whose statement it was.

    Returns:
        A RepositoryError, or whatever the factory declared for the constraint in ``violations`` makes.
        It has no cause: raise it outside of the ``except`` block, so that the driver's error, which
        quotes values, is not attached to it.
    """
    if isinstance(failure, RepositoryError):
        return failure
    driver = driver_error(failure)
    facts = _facts(driver, origin)
    kind = _direction(_kind(failure, driver), facts, origin)
    factory = origin.violations.get(facts.constraint or "", kind)
    return _located(factory(_message(kind, driver, facts)), facts)


def driver_error(failure: BaseException) -> BaseException:
    """Give the driver's own exception underneath SQLAlchemy's wrappers."""
    if isinstance(failure, exc.DBAPIError):
        return failure.driver_exception or failure.orig or failure
    if isinstance(failure, exc.StatementError) and failure.orig is not None:
        return failure.orig
    return failure


def scrub(failure: BaseException) -> None:
    """Take the values out of a driver error that stays reachable as somebody's context."""
    for error in (failure, getattr(failure, "orig", None), driver_error(failure)):
        if error is None:
            continue
        error.args = (f"{type(error).__name__}: details withheld, they may quote a row",)
        for name in ("detail", "params", "hint", "where", "query", "message"):
            if hasattr(error, name):
                setattr(error, name, None)
        error.__cause__ = error.__context__ = None


def is_disconnect(failure: BaseException) -> bool:
    """Say whether the connection was lost with this error, so that nobody knows what the server did."""
    invalidated = isinstance(failure, exc.DBAPIError) and failure.connection_invalidated
    return invalidated or issubclass(_kind(failure, driver_error(failure)), errors.DatabaseUnavailable)


def _kind(failure: BaseException, driver: BaseException) -> type[RepositoryError]:
    if sqlstate := getattr(driver, "sqlstate", None):
        return _SQLSTATES.get(sqlstate) or _SQLSTATE_CLASSES.get(sqlstate[:2]) or errors.DatabaseFault
    if isinstance(failure, exc.DBAPIError) and failure.connection_invalidated:
        return errors.DatabaseUnavailable
    if isinstance(driver, sqlite3.Error):
        return _sqlite_kind(driver)
    for error in (driver, failure):
        for known, kind in _CLASSES:
            if isinstance(error, known):
                return kind
    # SQLAlchemy wraps what its bind processors raise (LookupError of an Enum, TypeError) in a StatementError.
    plain = isinstance(failure, exc.StatementError) and not isinstance(driver, (exc.SQLAlchemyError, pg.InterfaceError))
    return errors.InvalidValue if plain else errors.DatabaseFault


def _sqlite_kind(driver: sqlite3.Error) -> type[RepositoryError]:
    code = getattr(driver, "sqlite_errorcode", None)
    if code is None:
        # The module itself refused a parameter (an unsupported type, a wrong count): no SQLite code then.
        return errors.InvalidValue if isinstance(driver, sqlite3.ProgrammingError) else errors.DatabaseFault
    return _SQLITE_CODES.get(code) or _SQLITE_CODES.get(code & 0xFF) or errors.DatabaseFault


def _direction(kind: type[RepositoryError], facts: ErrorFacts, origin: Origin) -> type[RepositoryError]:
    """A foreign key fails from either end; the server reports the referencing table in both cases."""
    if kind is not errors.ReferenceNotFound or origin.table is None:
        return kind
    from_elsewhere = facts.table is not None and facts.table != origin.table.name
    return errors.StillReferenced if origin.deletes or from_elsewhere else kind


def _facts(driver: Any, origin: Origin) -> ErrorFacts:
    facts = ErrorFacts(domain=origin.domain, operation=origin.operation, sqlstate=getattr(driver, "sqlstate", None))
    if isinstance(driver, sqlite3.Error):
        return _sqlite_facts(driver, facts, origin)
    column = getattr(driver, "column_name", None)
    constraint = getattr(driver, "constraint_name", None)
    return replace(
        facts,
        constraint=constraint,
        table=getattr(driver, "table_name", None),
        columns=(column,) if column else _columns(origin.table, constraint),
    )


def _columns(table: Table | None, constraint: str | None) -> tuple[str, ...]:
    if table is None or constraint is None:
        return ()
    named = [*table.constraints, *table.indexes]
    found = next((item for item in named if item.name == constraint), None)
    return tuple(column.name for column in getattr(found, "columns", ()))


_SQLITE_COLUMNS = re.compile(r"constraint failed: (?P<columns>\w+\.\w+(?:, \w+\.\w+)*)$")
_SQLITE_NAME = re.compile(r"constraint failed: (?:index ')?(?P<name>\w+)'?$")


def _sqlite_facts(driver: sqlite3.Error, facts: ErrorFacts, origin: Origin) -> ErrorFacts:
    text = str(driver)
    if match := _SQLITE_COLUMNS.search(text):
        pairs = [pair.split(".") for pair in match["columns"].split(", ")]
        columns = tuple(column for _, column in pairs)
        return replace(facts, table=pairs[0][0], columns=columns, constraint=_unique_name(origin.table, columns))
    if match := _SQLITE_NAME.search(text):
        return replace(facts, constraint=match["name"], columns=_columns(origin.table, match["name"]))
    return facts


def _unique_name(table: Table | None, columns: tuple[str, ...]) -> str | None:
    if table is None:
        return None
    unique = [item for item in table.constraints if isinstance(item, UniqueConstraint)]
    indexes = [index for index in table.indexes if index.unique]
    named = (item.name for item in [*unique, *indexes] if tuple(column.name for column in item.columns) == columns)
    return next((str(name) for name in named if name), None)


def _message(kind: type[RepositoryError], driver: Any, facts: ErrorFacts) -> str:
    if kind is errors.DatabaseFault:
        return f"{kind.default_message}: {_fault(driver)}"
    names = {"constraint": facts.constraint, "table": facts.table, "columns": ", ".join(facts.columns)}
    known = ", ".join(f"{noun} {name}" for noun, name in names.items() if name)
    return f"{kind.default_message} ({known})" if known else kind.default_message


def _fault(driver: Any) -> str:
    """Tell a fault apart for whoever mends it: SQLSTATE class 42 and SQLAlchemy's own errors name no values."""
    sqlstate = getattr(driver, "sqlstate", None)
    if sqlstate is not None and not sqlstate.startswith("42"):
        return f"SQLSTATE {sqlstate}, {type(driver).__name__}"
    if isinstance(driver, (exc.StatementError, sqlite3.Error)):
        return getattr(driver, "sqlite_errorname", None) or type(driver).__name__
    return f"{type(driver).__name__}: {str(driver).splitlines()[0] if str(driver) else ''}"


def _located(error: Exception, facts: ErrorFacts) -> Exception:
    if isinstance(error, RepositoryError):
        error.facts = facts
    return error
