"""Which error each failure of a driver is: tables of SQLSTATEs, SQLite's result codes and exception classes.

A code or class that is not listed here has no translation (:func:`kind_of_class` and the others give None), so
that a test can tell a decision from an oversight. Sources: PostgreSQL's manual, appendix A; SQLite's "Result and
Error Codes".
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from typing import Final, TypeAlias, cast

from asyncpg import exceptions as pg
from asyncpg.exceptions import _base as pg_client
from sqlalchemy import exc
from sqlalchemy.orm import exc as orm_exc

from rowsmith import errors

Kind: TypeAlias = type[errors.RepositoryError]

CARDINALITY_VIOLATION: Final = "21000"
"""The SQLSTATE of ON CONFLICT DO UPDATE that meets a row which the same statement has written; of others, too."""

UNIQUE_VIOLATION: Final = "23505"
"""That of a unique key that is taken."""

TRIGGERED_DATA_CHANGE: Final = "27000"
"""That of a row which a trigger changed before the statement came to it: one for another row of the batch, mostly."""

READ_ONLY_TRANSACTION: Final = "25006"
"""That of a write in a transaction, or on a server, that takes none."""

INSUFFICIENT_PRIVILEGE: Final = "42501"
"""That of a privilege that is missing, and of a row that a policy refuses."""

UNDEFINED_TABLE: Final = "42P01"
"""That of a table that is not there."""

LOCK_NOT_AVAILABLE: Final = "55P03"
"""That of a lock that was not to be had at once, or in time."""

RAISED: Final = "P0001"
"""That of RAISE EXCEPTION, where it names no other."""

UNFIT_PARAMETERS: Final = frozenset(
    {"22000", "22003", "22007", "22008", "22009", "22P02", "22P03", "42804", "42846", "42883"}
)
"""Those of a parameter that is no value of its type, or of a type that cannot be compared."""

FOREIGN_KEY_VIOLATION: Final = "23503"

OUT_OF_RANGE: Final = frozenset({"22003", "22008"})
"""Those of a number, or a time, that its type does not hold; what is computed of rows may be one, too."""

_SQLSTATES: Mapping[str, Kind] = {
    "08007": errors.CommitOutcomeUnknown,
    "23001": errors.StillReferenced,
    "23502": errors.NotNullViolation,
    FOREIGN_KEY_VIOLATION: errors.ReferenceNotFound,
    UNIQUE_VIOLATION: errors.EntityAlreadyExists,
    "23514": errors.CheckViolation,
    "23P01": errors.ExclusionViolation,
    READ_ONLY_TRANSACTION: errors.ReadOnlyViolation,
    "25P01": errors.TransactionError,
    "25P02": errors.TransactionAborted,
    "25P03": errors.DatabaseUnavailable,
    "25P04": errors.DatabaseUnavailable,
    "26000": errors.UnfitPooler,
    "40002": errors.ConstraintViolation,
    "40003": errors.CommitOutcomeUnknown,
    "40P01": errors.DeadlockDetected,
    "42P05": errors.UnfitPooler,
    "53300": errors.DatabaseUnavailable,
    LOCK_NOT_AVAILABLE: errors.LockNotAvailable,
    "57014": errors.DeadlineExceeded,
}

_SQLSTATE_CLASSES: Mapping[str, Kind] = {
    "08": errors.DatabaseUnavailable,
    "22": errors.InvalidValue,
    "23": errors.ConstraintViolation,
    "40": errors.SerializationFailure,
    "44": errors.CheckViolation,
    "57": errors.DatabaseUnavailable,
}

_FAULT_CLASSES = frozenset(
    [
        "01",
        "02",
        "03",
        "09",
        "0A",
        "0B",
        "0F",
        "0L",
        "0P",
        "0Z",
        "10",
        "20",
        "21",
        "24",
        "25",
        "26",
        "27",
        "28",
        "2B",
        "2D",
        "2F",
        "34",
        "38",
        "39",
        "3B",
        "3D",
        "3F",
        "42",
        "53",
        "54",
        "55",
        "58",
        "72",
        "F0",
        "HV",
        "P0",
        "XX",
    ]
)
"""The SQLSTATE classes that say the statement, its privileges, or the server's resources are at fault."""

_SQLITE_CODES: Mapping[int, Kind] = {
    sqlite3.SQLITE_ABORT_ROLLBACK: errors.TransactionAborted,
    sqlite3.SQLITE_AUTH: errors.ReadOnlyViolation,  # by the authorizer of a read-only session
    sqlite3.SQLITE_BUSY: errors.LockNotAvailable,
    sqlite3.SQLITE_BUSY_SNAPSHOT: errors.SerializationFailure,
    sqlite3.SQLITE_CANTOPEN: errors.DatabaseUnavailable,
    sqlite3.SQLITE_CONSTRAINT: errors.ConstraintViolation,
    sqlite3.SQLITE_CONSTRAINT_CHECK: errors.CheckViolation,
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: errors.ReferenceNotFound,
    sqlite3.SQLITE_CONSTRAINT_NOTNULL: errors.NotNullViolation,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: errors.EntityAlreadyExists,
    sqlite3.SQLITE_CONSTRAINT_ROWID: errors.EntityAlreadyExists,
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: errors.EntityAlreadyExists,
    sqlite3.SQLITE_INTERRUPT: errors.DeadlineExceeded,
    sqlite3.SQLITE_LOCKED: errors.LockNotAvailable,
    sqlite3.SQLITE_MISMATCH: errors.InvalidValue,
    sqlite3.SQLITE_NOTADB: errors.DatabaseUnavailable,
    sqlite3.SQLITE_PROTOCOL: errors.LockNotAvailable,
    sqlite3.SQLITE_READONLY: errors.ReadOnlyViolation,
    sqlite3.SQLITE_TOOBIG: errors.InvalidValue,
}

_SQLITE_FAULTS = frozenset(
    {
        sqlite3.SQLITE_ABORT,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_EMPTY,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERNAL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_MISUSE,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTFOUND,
        sqlite3.SQLITE_NOTICE,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_RANGE,
        sqlite3.SQLITE_SCHEMA,
        sqlite3.SQLITE_WARNING,
    }
)

# Where there is no code, the class decides; the nearest base that stands here does.
_CLASSES: Mapping[type[BaseException], Kind] = {
    exc.SQLAlchemyError: errors.DatabaseFault,
    exc.TimeoutError: errors.PoolExhausted,
    exc.DisconnectionError: errors.DatabaseUnavailable,
    exc.PendingRollbackError: errors.TransactionAborted,
    exc.IllegalStateChangeError: errors.ConcurrentUse,
    orm_exc.StaleDataError: errors.StaleVersion,
    pg.InvalidCachedStatementError: errors.StalePlan,
    pg.PostgresError: errors.DatabaseFault,
    pg.FatalPostgresError: errors.DatabaseFault,
    pg.UnknownPostgresError: errors.DatabaseFault,
    pg.ClientConfigurationError: errors.DatabaseFault,
    pg.InterfaceError: errors.DatabaseFault,
    pg.InterfaceWarning: errors.DatabaseFault,
    pg.InternalClientError: errors.DatabaseFault,
    pg.TargetServerAttributeNotMatched: errors.DatabaseUnavailable,  # of several hosts, none takes writes
    pg.OutdatedSchemaCacheError: errors.StalePlan,
    pg.ProtocolError: errors.DatabaseUnavailable,
    pg.UnsupportedClientFeatureError: errors.DatabaseFault,
    pg.UnsupportedServerFeatureError: errors.DatabaseFault,
    pg_client.DataError: errors.InvalidValue,  # the driver could not write the value in PostgreSQL's format
    sqlite3.Error: errors.DatabaseFault,
    sqlite3.ProgrammingError: errors.InvalidValue,  # without a code: the module itself refused a parameter
    sqlite3.InterfaceError: errors.InvalidValue,
    TimeoutError: errors.DeadlineExceeded,
    OSError: errors.DatabaseUnavailable,
    ArithmeticError: errors.InvalidValue,
    BufferError: errors.InvalidValue,
    LookupError: errors.InvalidValue,  # an enum without this member
    TypeError: errors.InvalidValue,
    ValueError: errors.InvalidValue,
}


def kind_of_sqlstate(sqlstate: str) -> Kind | None:
    """Give the error of a SQLSTATE; None where neither it nor its class is listed, as with an application's own."""
    fault = errors.DatabaseFault if sqlstate[:2] in _FAULT_CLASSES else None
    return _SQLSTATES.get(sqlstate) or _SQLSTATE_CLASSES.get(sqlstate[:2]) or fault


def is_sqlstate(key: str) -> bool:
    """Say whether this is a SQLSTATE, and no constraint's name."""
    return _SQLSTATE.match(key) is not None


def is_of_application(sqlstate: str | None) -> bool:
    """Say whether a SQLSTATE is RAISE's own, or in no class of PostgreSQL's: a trigger of the application's has it."""
    return sqlstate is not None and (sqlstate == RAISED or kind_of_sqlstate(sqlstate) is None)


def kind_of_key(key: object) -> Kind:
    """Give the kind of error that a key of ``violations`` stands for; RAISE refuses a row as a constraint does.

    With whichever SQLSTATE of statements: whoever declares one for a table says that its triggers raise it.
    """
    if not isinstance(key, str):
        return cast("Kind", key)
    if not is_sqlstate(key) or is_of_application(key) or key[:2] in _OF_STATEMENTS:
        return errors.ConstraintViolation
    return kind_of_sqlstate(key) or errors.DatabaseFault


_OF_STATEMENTS = frozenset({"09", "20", "21", "27", "2F", "38", "39", "42", "P0"})
"""The classes of SQLSTATEs that say what a statement or a function may not do, and nothing of the server."""

_SQLSTATE = re.compile(r"[0-9A-Z]{5}\Z")


def kind_of_sqlite(code: int) -> Kind | None:
    """Give the error of one of SQLite's result codes, extended or not; None where it is not listed."""
    fault = errors.DatabaseFault if code & 0xFF in _SQLITE_FAULTS else None
    return _SQLITE_CODES.get(code) or _SQLITE_CODES.get(code & 0xFF) or fault


def is_too_deep(failure: BaseException) -> bool:
    """Say whether SQLite refused a statement for how deep it is nested: it has one code for all that it cannot read."""
    is_refused = getattr(failure, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return is_refused and str(failure).startswith(("parser stack overflow", "Expression tree is too large"))


def is_too_long(failure: BaseException) -> bool:
    """Say whether a statement has more values than PostgreSQL's protocol, or SQLite, takes in one."""
    is_sqlites = getattr(failure, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    if not (is_sqlites or isinstance(failure, pg.InterfaceError)):
        return False
    return str(failure).startswith(("the number of query arguments cannot exceed", "too many SQL variables"))


def is_overflow(failure: BaseException) -> bool:
    """Say whether what SQLite computes of integers is past those of 64 bits."""
    is_refused = getattr(failure, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return is_refused and str(failure) == "integer overflow"


def kind_of_class(failure: type[BaseException]) -> Kind | None:
    """Give the error of an exception class without a code; None where it and its bases are not listed."""
    return next((kind for base in failure.__mro__ if (kind := _CLASSES.get(base)) is not None), None)


def is_concurrent_use(failure: BaseException) -> bool:
    """Say whether the driver refused a statement because another one is on its way: it has no class of its own."""
    return type(failure) in (pg.InterfaceError, pg.InternalClientError) and "another operation" in str(failure)


def is_without_transactions(failure: BaseException) -> bool:
    """Say whether a pooler refused a transaction: PgBouncer has one SQLSTATE for all that it says itself."""
    said = failure.__cause__
    return isinstance(said, pg.ProtocolViolationError) and _STATEMENT_POOLING in str(said)


_STATEMENT_POOLING = "transaction blocks not allowed in statement pooling mode"


def is_without_savepoint(failure: BaseException) -> bool:
    """Say whether a savepoint could not be ended because it is not there; SQLite has one code for much else."""
    code = getattr(failure, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_ERROR or getattr(failure, "sqlstate", None) == _NO_SAVEPOINT


def is_stale(failure: BaseException) -> bool:
    """Say whether a statement that was prepared before fits the schema no longer."""
    if isinstance(failure, (pg.InvalidCachedStatementError, pg.OutdatedSchemaCacheError)):
        return True
    source = getattr(failure, "server_source_function", None)
    return isinstance(failure, pg.InternalServerError) and source == _TAKING_PARAMETERS


def is_refused_by_policy(failure: BaseException) -> bool:
    """Say whether row security refused a row that was to be written, by the SQLSTATE that a missing privilege has, too.

    PostgreSQL says so where it holds rows against the CHECK OPTION of a view.
    """
    source = getattr(failure, "server_source_function", None)
    return isinstance(failure, pg.InsufficientPrivilegeError) and source == _CHECKING_ROWS


_CHECKING_ROWS = "ExecWithCheckOptions"
"""The function of PostgreSQL that holds rows against the WITH CHECK of policies and of views."""

_NO_SAVEPOINT = "3B001"

_TAKING_PARAMETERS = "getTypeBinaryInputInfo"
"""The function of PostgreSQL that looks up the type of a parameter, which may have been dropped and made anew."""
