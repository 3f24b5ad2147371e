"""Driver errors to our own: every class and code has a translation, and no value goes along."""

from __future__ import annotations

import inspect
import sqlite3
import traceback
from typing import Any

import pytest
import sqlalchemy as sa
from asyncpg import exceptions as pg
from asyncpg.exceptions import _base as pg_client
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import exc
from sqlalchemy.orm import exc as orm_exc

from rowsmith import errors
from rowsmith.execution.kinds import kind_of_class, kind_of_sqlite, kind_of_sqlstate
from rowsmith.execution.origin import Origin
from rowsmith.execution.translate import driver_error, is_disconnect, scrub, translate


def exceptions_in(*modules: Any) -> list[type[BaseException]]:
    classes = [kind for module in modules for kind in vars(module).values() if inspect.isclass(kind)]
    return [kind for kind in classes if issubclass(kind, BaseException)]


DRIVER = exceptions_in(pg, pg_client)
SQLITE_CODES = {
    name: code
    for name, code in vars(sqlite3).items()
    if name.startswith("SQLITE_") and isinstance(code, int) and code & 0xFF in range(1, 29)
}
RESULTS = [
    "ABORT",
    "AUTH",
    "BUSY",
    "CANTOPEN",
    "CONSTRAINT",
    "CORRUPT",
    "EMPTY",
    "ERROR",
    "FORMAT",
    "FULL",
    "INTERNAL",
    "INTERRUPT",
    "IOERR",
    "LOCKED",
    "MISMATCH",
    "MISUSE",
    "NOLFS",
    "NOMEM",
    "NOTADB",
    "NOTFOUND",
    "NOTICE",
    "PERM",
    "PROTOCOL",
    "RANGE",
    "READONLY",
    "SCHEMA",
    "TOOBIG",
    "WARNING",
]


def test_every_driver_exception_has_a_translation() -> None:
    """Each class that asyncpg defines is listed, by its SQLSTATE or by itself: none falls through."""
    assert len(DRIVER) > 250
    for kind in DRIVER:
        sqlstate = getattr(kind, "sqlstate", None)
        known = kind_of_class(kind) if sqlstate is None else kind_of_sqlstate(sqlstate)
        assert known is not None, f"{kind.__name__} ({sqlstate}) has no translation"


def test_classes_without_a_sqlstate_are_listed_themselves() -> None:
    """A new client-side class of asyncpg must be decided on, not inherit its base's answer by accident."""
    from rowsmith.execution.kinds import _CLASSES

    own = [kind for kind in DRIVER if getattr(kind, "sqlstate", None) is None]
    assert [kind.__name__ for kind in own if kind not in _CLASSES] == []


def test_every_sqlite_code_has_a_translation() -> None:
    """Each result code of SQLite, extended ones included, is listed."""
    codes = {name: code for name, code in SQLITE_CODES.items() if name.removeprefix("SQLITE_").split("_")[0] in RESULTS}
    assert len(codes) > 80
    assert [name for name, code in codes.items() if kind_of_sqlite(code) is None] == []


def test_every_sqlalchemy_error_has_a_translation() -> None:
    """Whatever SQLAlchemy raises for a statement of ours becomes one of our errors."""
    for kind in exceptions_in(exc, orm_exc):
        if issubclass(kind, exc.SQLAlchemyError):
            assert kind_of_class(kind) is not None


@given(st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=5, max_size=5))
def test_an_applications_own_sqlstate(sqlstate: str) -> None:
    """A function's RAISE may carry any code; it still gives one of our errors, with the code in its facts."""
    failure = pg.PostgresError("secret")
    failure.sqlstate = sqlstate
    error = translate(failure)
    assert isinstance(error, errors.RepositoryError)
    assert error.facts.sqlstate == sqlstate
    assert "secret" not in str(error) or sqlstate.startswith("42")


EXPECTED = {
    "08006": errors.DatabaseUnavailable,
    "08007": errors.CommitOutcomeUnknown,
    "22001": errors.InvalidValue,
    "23000": errors.ConstraintViolation,
    "23001": errors.StillReferenced,
    "23502": errors.NotNullViolation,
    "23503": errors.ReferenceNotFound,
    "23505": errors.EntityAlreadyExists,
    "23514": errors.CheckViolation,
    "23P01": errors.ExclusionViolation,
    "25006": errors.ReadOnlyViolation,
    "25P02": errors.TransactionAborted,
    "40001": errors.SerializationFailure,
    "40P01": errors.DeadlockDetected,
    "42501": errors.DatabaseFault,
    "53100": errors.DatabaseFault,
    "53300": errors.DatabaseUnavailable,
    "55P03": errors.LockNotAvailable,
    "57014": errors.DeadlineExceeded,
    "57P01": errors.DatabaseUnavailable,
    "XX000": errors.DatabaseFault,
}


def test_only_row_security_itself_refuses_a_row() -> None:
    """A privilege that is missing, and a RAISE with that SQLSTATE, are faults; the RAISE is not quoted."""
    said = {"ExecWithCheckOptions": errors.CheckViolation, "aclcheck_error": errors.DatabaseFault}
    for function, kind in {**said, "exec_stmt_raise": errors.DatabaseFault}.items():
        failure = pg.InsufficientPrivilegeError("secret")
        failure.message, failure.server_source_function = "secret", function
        error = translate(failure)
        assert (type(error), "secret" in str(error)) == (kind, kind is errors.CheckViolation)


@pytest.mark.parametrize("suffix", ["", "New"])
@pytest.mark.parametrize(
    "failure, advice",
    [
        (pg.WrongObjectTypeError, "write by a repository of the tables beneath"),
        (pg.FeatureNotSupportedError, "write where its rows are kept"),
        (pg.ObjectNotInPrerequisiteStateError, "write where its rows are kept"),
    ],
)
def test_what_is_no_table_says_where_to_write(failure: type[pg.PostgresError], advice: str, suffix: str) -> None:
    """A materialized view and a foreign table are given no triggers that would write them instead."""
    refused = failure("cannot change it")
    refused.server_source_filename = "execMain.c"
    refused.server_source_function = f"CheckValidResultRel{suffix}"
    error = translate(refused)
    assert type(error) is errors.DatabaseFault
    assert advice in str(error)
    assert "INSTEAD OF" not in str(error)


def test_sqlstates() -> None:
    """The codes that callers act on, one by one (PostgreSQL's manual, appendix A)."""
    for sqlstate, kind in EXPECTED.items():
        assert kind_of_sqlstate(sqlstate) is kind, sqlstate


SAID = [
    'duplicate key value violates unique constraint "uq_other"',
    "FEHLER: doppelter Schlüsselwert verletzt Unique-Constraint",
    "deadlock detected",
    "the database system is shutting down",
    "",
]


@pytest.mark.parametrize("said", SAID)
def test_the_text_of_a_message_decides_nothing(said: str) -> None:
    """Whatever it says, in whatever language, the SQLSTATE tells the kind and the constraint's name the error."""
    for sqlstate, kind in EXPECTED.items():
        failure = pg.PostgresError(said)
        failure.sqlstate = sqlstate
        assert type(translate(failure)) is kind
    failure = violation("uq_mine", "nodes", "23505", said)
    error = translate(failure, Origin(table=nodes, violations={"uq_mine": KeyError, "uq_other": LookupError}))
    assert type(error) is KeyError


def test_errors_without_a_code() -> None:
    """What has neither SQLSTATE nor result code is told by its class, wherever it is wrapped."""
    wrapped = exc.StatementError("secret", "SELECT", {}, LookupError("secret"))
    cases = {
        exc.TimeoutError(): errors.PoolExhausted,
        exc.PendingRollbackError(): errors.TransactionAborted,
        exc.IllegalStateChangeError(): errors.ConcurrentUse,
        orm_exc.StaleDataError(): errors.StaleVersion,
        pg_client.DataError("secret"): errors.InvalidValue,
        TimeoutError(): errors.DeadlineExceeded,
        ConnectionRefusedError(): errors.DatabaseUnavailable,
        OverflowError(): errors.InvalidValue,
        wrapped: errors.InvalidValue,
        exc.CompileError("secret"): errors.DatabaseFault,
        orm_exc.FlushError("secret"): errors.DatabaseFault,
        sqlite3.ProgrammingError("secret"): errors.InvalidValue,
        sqlite3.OperationalError("secret"): errors.DatabaseFault,
    }
    for failure, kind in cases.items():
        error = translate(failure)
        assert type(error) is kind, failure
        assert "secret" not in repr(error)


def test_our_own_errors_pass() -> None:
    """A RepositoryError is given back as it is."""
    error = errors.EntityNotFound()
    assert translate(error) is error


def violation(constraint: str, table: str, sqlstate: str = "23503", said: str = "secret") -> pg.PostgresError:
    failure = pg.PostgresError(said)
    failure.sqlstate, failure.constraint_name, failure.table_name = sqlstate, constraint, table  # type: ignore[attr-defined]
    return failure


metadata = sa.MetaData()
leaves = sa.Table("leaves", metadata, sa.Column("node_id", sa.ForeignKey("nodes.id", name="fk_parent")))
nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("parent_id", sa.ForeignKey("nodes.id", name="fk_parent")),
    sa.Column("name", sa.String, unique=True),
)


@pytest.mark.parametrize(
    "table, origin, kind",
    [
        ("nodes", Origin(table=nodes), errors.ReferenceNotFound),
        ("nodes", Origin(table=nodes, deletes=True), errors.StillReferenced),
        ("leaves", Origin(table=nodes), errors.StillReferenced),
        ("nodes", Origin(table=nodes, writes=frozenset({"parent_id"})), errors.ReferenceNotFound),
        ("nodes", Origin(table=nodes, writes=frozenset({"id"})), errors.StillReferenced),
        ("nodes", Origin(), errors.ReferenceNotFound),
    ],
)
def test_a_foreign_key_fails_from_either_end(table: str, origin: Origin, kind: type[errors.RepositoryError]) -> None:
    """The server names the referencing table in both cases; whose call it was tells the end."""
    error = translate(violation("fk_parent", table), origin)
    assert type(error) is kind


def test_a_violation_becomes_the_domains_own_error() -> None:
    """By constraint name; the factory may be any callable, and gets a message without values."""
    made: list[str] = []

    def factory(message: str) -> Exception:
        made.append(message)
        return ValueError(message)

    origin = Origin("node", "create", nodes, {"uq": factory})
    assert type(translate(violation("uq", "nodes", "23505"), origin)) is ValueError
    assert "secret" not in made[0]
    error = translate(violation("nodes_name_key", "nodes", "23505"), origin)
    assert isinstance(error, errors.EntityAlreadyExists)
    assert error.error_code == "node_create_already-exists"


def test_scrubbing_reaches_every_driver_error_in_a_chain() -> None:
    """An error that an application raised while handling a driver's keeps its own words only."""
    driver = pg.UniqueViolationError("secret")
    driver.detail = "Key (email)=(secret) already exists."  # type: ignore[attr-defined]
    wrapper = exc.IntegrityError("INSERT secret", {"email": "secret"}, driver)
    wrapper.__cause__ = driver
    mine = RuntimeError("mine")
    mine.__context__ = ValueError("also mine")
    mine.__context__.__cause__ = wrapper
    scrub(mine)
    printed = "".join(traceback.format_exception(mine))
    assert "secret" not in printed
    assert "also mine" in printed
    assert "secret" not in repr(vars(driver)) + repr(vars(wrapper)) + str(wrapper)


def test_scrubbing_survives_a_circle() -> None:
    """A chain may lead back to itself."""
    left, right = ValueError(), ValueError()
    left.__context__, right.__context__ = right, left
    scrub(left)


def test_a_lost_answer() -> None:
    """An invalidated connection, a time-out and class 08 leave the outcome open; a refusal does not."""
    lost = exc.DBAPIError("COMMIT", {}, sqlite3.OperationalError(), connection_invalidated=True)
    assert is_disconnect(lost)
    assert is_disconnect(TimeoutError())
    assert is_disconnect(violation("", "", "08006"))
    assert not is_disconnect(violation("", "", "23505"))
    assert driver_error(ValueError()).__class__ is ValueError


@pytest.mark.parametrize(
    "failure, kind",
    [
        (pg.InterfaceError("cannot perform operation: another operation is in progress"), errors.ConcurrentUse),
        (
            pg.InternalClientError("cannot switch to state 3; another operation is in progress"),
            errors.ConcurrentUse,
        ),
        (pg.InternalClientError("got result for unknown protocol state 3"), errors.DatabaseFault),
        (
            pg.InterfaceError("cannot use Connection.transaction() here"),
            errors.DatabaseFault,
        ),
    ],
)
def test_the_driver_says_that_another_operation_is_in_progress(failure: Exception, kind: type[Exception]) -> None:
    """It has no class for it; what else it calls by these classes is another thing, and a closed one does too."""
    assert type(translate(failure)) is kind
    closed = exc.DBAPIError("SELECT", {}, failure, connection_invalidated=True)
    assert type(translate(closed)) is errors.DatabaseUnavailable
