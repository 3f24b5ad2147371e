"""Driver errors to domain errors: the only place that looks at SQLSTATEs and constraint names.

SQLSTATE (PostgreSQL's manual, appendix A) and the constraint's name decide, never the message's words.
SQLite has extended result codes instead, and names a constraint only by its columns, after the code has
decided the kind. Nothing of the driver's text goes on, for it quotes the row (``Key (email)=(...)``),
except for SQLSTATE class 42, whose messages name only columns, tables and functions.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace
from typing import Any

from asyncpg import exceptions as pg
from sqlalchemy import exc
from sqlalchemy.orm import exc as orm_exc

from rowsmith import errors
from rowsmith.errors import ErrorFacts, RepositoryError
from rowsmith.execution.constraints import columns_of, key_with, name_of, only_reference_from, only_reference_to
from rowsmith.execution.kinds import Kind, kind_of_class, kind_of_sqlite, kind_of_sqlstate
from rowsmith.execution.origin import UNKNOWN, Origin

_DRIVER_ERRORS = (pg.PostgresError, pg.InterfaceError, pg.InternalClientError, sqlite3.Error)

DATABASE_ERRORS = (
    exc.SQLAlchemyError,
    *_DRIVER_ERRORS,
    OSError,
    TimeoutError,
    OverflowError,
    UnicodeError,
)
"""What a statement of ours can fail with, sockets and values included; anything else is a bug and passes through."""

UNREADABLE = (ArithmeticError, LookupError, TypeError, ValueError)
"""What a column's type raises for a stored value that it does not know."""

# What an application's own statement fails with, and not its misuse of SQLAlchemy, which it should see as it is.
STATEMENT_ERRORS = (
    exc.StatementError,
    exc.TimeoutError,
    exc.DisconnectionError,
    exc.PendingRollbackError,
    exc.IllegalStateChangeError,
    orm_exc.StaleDataError,
    orm_exc.FlushError,
    exc.EmulatedDBAPIException,
    *_DRIVER_ERRORS,
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
    facts = _with_foreign_key(facts, kind, origin)
    factory = origin.violations.get(facts.constraint or "", kind)
    return _located(factory(_message(kind, driver, facts)), facts)


def driver_error(failure: BaseException) -> BaseException:
    """Give the driver's own exception underneath SQLAlchemy's wrappers."""
    if isinstance(failure, exc.DBAPIError):
        wrapped: BaseException | None = failure.driver_exception
    else:
        wrapped = failure.orig if isinstance(failure, exc.StatementError) else None
    return failure if wrapped is None else wrapped


def constraint_of(failure: BaseException) -> tuple[str | None, str | None]:
    """Give the names of the constraint and its table that an error is about, where the driver tells."""
    driver = driver_error(failure)
    return getattr(driver, "constraint_name", None), getattr(driver, "table_name", None)


def scrub(failure: BaseException) -> None:
    """Take the values out of every driver error that stays reachable from this one as cause or context."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [failure]
    while waiting:
        error = waiting.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        waiting += [error.__cause__, error.__context__]
        if isinstance(error, STATEMENT_ERRORS):
            _scrub_one(error)


def _scrub_one(failure: BaseException) -> None:
    for error in (failure, getattr(failure, "orig", None), driver_error(failure)):
        if error is None:
            continue
        error.args = (f"{type(error).__name__}: details withheld, they may quote a row",)
        for name in ("detail", "hint", "internal_query", "message", "params", "query", "statement", "where"):
            if hasattr(error, name):
                setattr(error, name, [] if isinstance(getattr(error, name), list) else None)
        error.__cause__ = error.__context__ = None


def is_disconnect(failure: BaseException) -> bool:
    """Say whether the answer was lost with this error, so that nobody knows what the server did."""
    driver = driver_error(failure)
    invalidated = isinstance(failure, exc.DBAPIError) and failure.connection_invalidated
    return (
        invalidated
        or isinstance(driver, TimeoutError)
        or issubclass(_kind(failure, driver), errors.DatabaseUnavailable)
    )


def _kind(failure: BaseException, driver: BaseException) -> Kind:
    return _kind_by_code(failure, driver) or _kind_by_class(failure, driver)


def _kind_by_code(failure: BaseException, driver: BaseException) -> Kind | None:
    if sqlstate := getattr(driver, "sqlstate", None):
        return kind_of_sqlstate(sqlstate) or errors.DatabaseFault
    if isinstance(failure, exc.DBAPIError) and failure.connection_invalidated:
        return errors.DatabaseUnavailable
    code = getattr(driver, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER and str(driver) == _RESTRICTED:
        return errors.ReferenceNotFound
    return None if code is None else kind_of_sqlite(code) or errors.DatabaseFault


_RESTRICTED = "FOREIGN KEY constraint failed"
"""SQLite refuses by RESTRICT as a trigger would, and only its words tell it from a trigger of the application's."""


def _kind_by_class(failure: BaseException, driver: BaseException) -> Kind:
    # SQLAlchemy wraps what its bind processors raise, whatever that is, in a StatementError.
    wrapped = isinstance(failure, exc.StatementError)
    return kind_of_class(type(driver)) or (errors.InvalidValue if wrapped else errors.DatabaseFault)


def _direction(kind: Kind, facts: ErrorFacts, origin: Origin) -> Kind:
    """A foreign key fails from either end; the server reports the referencing table in both cases."""
    if kind is not errors.ReferenceNotFound or origin.table is None:
        return kind
    from_elsewhere = facts.table is not None and facts.table != origin.table.name
    return errors.StillReferenced if origin.deletes or from_elsewhere or _writes_no_reference(facts, origin) else kind


def _writes_no_reference(facts: ErrorFacts, origin: Origin) -> bool:
    """Say that an UPDATE wrote no column of the key that failed, so that others must point at its row."""
    if origin.writes is None or origin.table is None:
        return False
    keys = origin.table.foreign_key_constraints
    named = [key for key in keys if facts.constraint is not None and name_of(key) == facts.constraint]
    return not any(column.name in origin.writes for key in named or keys for column in key.columns)


def _facts(driver: Any, origin: Origin) -> ErrorFacts:
    facts = replace(origin.facts(), sqlstate=getattr(driver, "sqlstate", None))
    if isinstance(driver, sqlite3.Error):
        return _sqlite_facts(driver, facts, origin)
    column = getattr(driver, "column_name", None)
    constraint = getattr(driver, "constraint_name", None)
    return replace(
        facts,
        constraint=constraint,
        table=getattr(driver, "table_name", None),
        columns=(column,) if column else columns_of(origin.table, constraint),
    )


_SQLITE_COLUMNS = re.compile(r"constraint failed: (?P<columns>\w+\.\w+(?:, \w+\.\w+)*)$")
_SQLITE_NAME = re.compile(r"constraint failed: (?:index ')?(?P<name>\w+)'?$")


def _sqlite_facts(driver: sqlite3.Error, facts: ErrorFacts, origin: Origin) -> ErrorFacts:
    text = str(driver)
    if match := _SQLITE_COLUMNS.search(text):
        pairs = [pair.split(".") for pair in match["columns"].split(", ")]
        columns = tuple(column for _, column in pairs)
        taken = kind_of_sqlite(driver.sqlite_errorcode) is errors.EntityAlreadyExists
        constraint = key_with(origin.table, columns) if taken else None
        return replace(facts, table=pairs[0][0], columns=columns, constraint=constraint)
    if match := _SQLITE_NAME.search(text):
        return replace(facts, constraint=match["name"], columns=columns_of(origin.table, match["name"]))
    return facts


def _with_foreign_key(facts: ErrorFacts, kind: Kind, origin: Origin) -> ErrorFacts:
    """Name a foreign key where SQLite says only that one failed, and by the mapping it can be but one."""
    if origin.table is None or facts.constraint is not None:
        return facts
    if kind is errors.ReferenceNotFound:
        key = only_reference_from(origin.table, origin.writes)
    else:
        key = only_reference_to(origin.table) if kind is errors.StillReferenced else None
    if key is None:
        return facts
    return replace(facts, constraint=name_of(key), table=key.table.name, columns=tuple(key.column_keys))


def _message(kind: type[RepositoryError], driver: Any, facts: ErrorFacts) -> str:
    if kind is errors.DatabaseFault:
        return f"{kind.default_message}: {_fault(driver)}"
    names = {"constraint": facts.constraint, "table": facts.table, "columns": ", ".join(facts.columns)}
    known = ", ".join(f"{noun} {name}" for noun, name in names.items() if name)
    return f"{kind.default_message} ({known})" if known else kind.default_message


def _fault(driver: Any) -> str:
    """Tell a fault apart for whoever mends it, in words that quote no value: names, codes, SQLSTATE class 42."""
    sqlstate, code = getattr(driver, "sqlstate", None), getattr(driver, "sqlite_errorname", None)
    if sqlstate == "42601" or (sqlstate is not None and not sqlstate.startswith("42")):  # 42601 quotes the SQL
        return f"SQLSTATE {sqlstate}, {type(driver).__name__}"
    if code is not None:
        return str(code)
    telling = isinstance(driver, (pg.PostgresError, pg.InterfaceError))
    first_line = str(driver).partition("\n")[0]
    return f"{type(driver).__name__}: {first_line}" if telling else type(driver).__name__


def _located(error: Exception, facts: ErrorFacts) -> Exception:
    if isinstance(error, RepositoryError):
        error.facts = facts
    return error
