"""Driver errors to domain errors: the only place that looks at SQLSTATEs and constraint names.

SQLSTATE (PostgreSQL's manual, appendix A) and the constraint's name decide, never the message's words.
SQLite has extended result codes instead, and names a constraint only by its columns, after the code has
decided the kind. Nothing of what the database, the driver or a column's type says goes on, for it quotes the row
(``Key (email)=(...)``), unless it is known to name only what stands in the schema: where PostgreSQL's own code
for constraints or for the analysis of a statement says it, as its source file tells, or where the mapping has the
same name. A trigger may RAISE with any SQLSTATE, message and constraint, all of them made of the row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, starmap
from traceback import walk_tb
from types import CodeType
from typing import Any, cast

import sqlalchemy
from asyncpg import exceptions as pg
from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    UniqueConstraint,
    engine,
    exc,
    orm,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.event import attr, legacy
from sqlalchemy.orm import exc as orm_exc

from rowsmith import errors
from rowsmith.errors import RepositoryError, made
from rowsmith.execution import endings, refusals, transaction_id
from rowsmith.execution.broken import Broken, broken_by
from rowsmith.execution.kinds import (
    OUT_OF_RANGE,
    RAISED,
    Kind,
    is_concurrent_use,
    is_overflow,
    is_refused_by_policy,
    is_stale,
    is_too_deep,
    is_too_long,
    is_without_transactions,
    kind_of_class,
    kind_of_sqlite,
    kind_of_sqlstate,
)
from rowsmith.execution.origin import UNKNOWN, Origin
from rowsmith.execution.refusals import Refusal, argument_of, is_malformed, label, names_of, refusal_of, unbound
from rowsmith.execution.standing import OUTDATED, forget
from rowsmith.execution.transactions import ENDED_BY_HAND, was_demoted
from rowsmith.mapping.constraints import (
    column_names,
    only_reference_from,
    only_reference_to,
    refers_to,
    unique_keys_of,
)
from rowsmith.outcome import CommitOutcome, tell

_DRIVER_ERRORS = (pg.PostgresError, pg.InterfaceError, pg.InternalClientError, sqlite3.Error)

_FROM_DATABASE = (exc.SQLAlchemyError, exc.EmulatedDBAPIException, *_DRIVER_ERRORS, OSError, TimeoutError)

DATABASE_ERRORS = (*_FROM_DATABASE, OverflowError, UnicodeError, BufferError)
"""What a statement of ours can fail with, sockets and values included; anything else is a bug and passes through."""

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
        A RepositoryError, or whatever the factory declared for the constraint in ``violations`` makes, or what
        a default or a listener of the application's raised, unchanged.
        It has no cause: raise it outside of the ``except`` block, so that the driver's error, which
        quotes values, is not attached to it.
    """
    if isinstance(failure, RepositoryError):
        return failure
    if (own := _own_error(failure)) is not None:
        return own
    driver = driver_error(failure)
    if origin.table is not None and getattr(driver, "sqlstate", None) in OUTDATED:
        forget(origin.table)
    broken = broken_by(driver, origin)
    kind = _direction(_kind_on_shard(broken) or _kind(failure, driver), broken, origin)
    # SQLAlchemy wraps what a column's type, or another part of making a statement, raised.
    is_of_type = isinstance(failure, exc.StatementError) and not isinstance(failure, exc.DBAPIError)
    refusal = refusal_of(failure) or (unbound(failure) if is_of_type else _UNKNOWN)
    if refusal.is_stored:
        return stored_value(refusal, origin)
    broken = _without_name(broken, kind, origin)
    # What was written is no filter's: there may be none at all.
    kinds = errors.InvalidValue if refusal.is_operand else (errors.InvalidValue, errors.InvalidFilter)
    is_refused = refusal.columns and issubclass(kind, kinds)
    if is_refused and origin.violations.keys().isdisjoint(_codes(driver)):
        return refused_value(refusal, origin, getattr(driver, "sqlstate", None))
    error = violation(kind, _message(kind, driver, broken, origin), broken, origin, _codes(driver))
    if isinstance(error, RepositoryError):
        _note(error, kind, driver)
    return error


def _note(error: RepositoryError, kind: Kind, driver: BaseException) -> None:
    """Have an error say what is known by the driver's, beside its kind."""
    error.facts = replace(error.facts, sqlstate=getattr(driver, "sqlstate", None))
    if isinstance(error, errors.ReadOnlyViolation):
        error.is_demoted = was_demoted(driver)
    if kind is errors.TransactionError:
        tell(error, CommitOutcome.UNKNOWN)


_UNKNOWN = Refusal()


def unavailable(origin: Origin) -> Exception:
    """Give the error for a statement whose connection was lost."""
    kind = errors.DatabaseUnavailable
    return violation(kind, errors.named(kind.default_message, origin.domain), Broken(), origin)


def lost(failure: BaseException, origin: Origin) -> Exception:
    """Give the error for what was raised on a connection that is closed, of which asyncpg says this and that."""
    bare = translate(failure, replace(origin, violations={}))
    is_of_driver = isinstance(bare, (errors.DatabaseFault, errors.ConcurrentUse))
    return unavailable(origin) if is_of_driver else translate(failure, origin)


def refused_value(refusal: Refusal, origin: Origin, sqlstate: str | None = None) -> errors.InvalidValue:
    """Give the error for a value that was not written; what ``violations`` make of its kind is said later."""
    words = f"{_listed(refusal, origin)} holds a value that its type does not take"
    facts = replace(origin.facts(), sqlstate=sqlstate, columns=names_of(refusal))
    index = None if origin.items is None else origin.items.index(refusal.row)
    if index is None or origin.items is None:
        return errors.InvalidValue(words, facts=facts)
    return errors.InvalidValue.at(index, words, origin.items.noun, facts=facts)


def stored_value(refusal: Refusal, origin: Origin) -> errors.InvalidValue:
    """Give the error for a value that stands in the database and cannot be read."""
    of = f" of {_listed(refusal, origin)}" if refusal.columns else ""
    facts = replace(origin.facts(), columns=names_of(refusal))
    error = errors.InvalidValue(f"a stored value{of} is none of its column's type", facts=facts)
    error.is_stored = True
    return error


def _listed(refusal: Refusal, origin: Origin) -> str:
    return " or ".join(dict.fromkeys(label(column, origin.mapper) for column in refusal.columns))


def violation(kind: Kind, message: str, broken: Broken, origin: Origin, codes: Sequence[str] = ()) -> Exception:
    """Give the error that a call's ``violations`` declare, by constraint, SQLSTATE or kind; else one of its kind.

    Args:
        kind: which of rowsmith's errors it is.
        message: says what happened, in no value's words.
        broken: the constraint that it is about, if any.
        origin: whose call it is.
        codes: the SQLSTATE, where there is one.
    """
    factory = origin.declared([*broken.names_for(origin.table), *codes, *kind.__mro__], kind)
    error = made(factory, errors.about(message, origin.domain))
    if isinstance(error, RepositoryError):
        error.is_declared = type(error) is not kind
        facts = origin.facts()
        error.facts = replace(facts, constraint=broken.name, table=broken.owner, columns=broken.columns)
    return error


def refused_by(kind: Kind, broken: Broken, origin: Origin, sqlstate: str | None) -> Exception:
    """Give the error for a constraint that is found to be broken here, in the words of one that the database found.

    ``sqlstate`` is what that would have said, of PostgreSQL.
    """
    words = _naming(errors.named(kind.default_message, origin.domain), broken)
    error = violation(kind, words, broken, origin, [] if sqlstate is None else [sqlstate])
    if isinstance(error, RepositoryError):
        error.facts = replace(error.facts, sqlstate=sqlstate)
    return error


def _codes(driver: BaseException) -> list[str]:
    """Give the SQLSTATE; SQLite has none, but that of a trigger's RAISE is known."""
    if getattr(driver, "sqlite_errorcode", None) == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
        return [RAISED]
    sqlstate: str | None = getattr(driver, "sqlstate", None)
    return [sqlstate] if sqlstate else []


def translate_any(failure: Exception, origin: Origin = UNKNOWN) -> Exception:
    """Give the error for what sending a statement raised, where SQLAlchemy may have begun to read its rows."""
    frames = (frame.f_code.co_filename for frame, _ in walk_tb(failure.__traceback__))
    return unreadable(failure, origin) if orm.loading.__file__ in frames else translate(failure, origin)


def unreadable(failure: Exception, origin: Origin = UNKNOWN, found: Refusal | None = None) -> Exception:
    """Give the error for what was raised while rows were being read: a column's type may raise anything.

    Raise it outside of the ``except`` block, as with :func:`translate`. ``found`` is what is known of the value.
    """
    if isinstance(failure, _FROM_DATABASE) or refusal_of(failure) is not None or _own_error(failure) is not None:
        return translate(failure, origin)
    return stored_value(found or refusals.unreadable(failure), origin)


def _own_error(failure: BaseException) -> Exception | None:
    """Give what a default or a listener of the application's raised; None where it was a type, driver or database."""
    error = failure.orig if isinstance(failure, exc.StatementError) else failure
    from_database = (exc.SQLAlchemyError, exc.EmulatedDBAPIException, *_DRIVER_ERRORS)
    if not isinstance(error, Exception) or isinstance(error, from_database):
        return None
    calls = pairwise(frame.f_code for frame, _ in walk_tb(error.__traceback__))
    return error if any(starmap(_hands_over, calls)) else None


def _hands_over(caller: CodeType, called: CodeType) -> bool:
    """Say whether SQLAlchemy calls a default or a listener here: types are called from elsewhere."""
    if caller.co_name == "_process_execute_defaults":
        return called.co_name not in {"get_insert_default", "get_update_default"}  # of SQL, which has types
    return caller.co_filename in _LISTENED_TO and not called.co_filename.startswith((_SQLALCHEMY, *_THROUGH, "<"))


_LISTENED_TO = frozenset(
    module.__file__ for module in (attr, legacy, engine.base, engine.events, orm.events, orm.session)
)
_SQLALCHEMY = sqlalchemy.__path__[0]
_THROUGH = (transaction_id.__file__, endings.__file__)  # by which statements go to the driver


def driver_error(failure: BaseException) -> BaseException:
    """Give the driver's own exception underneath SQLAlchemy's wrappers."""
    wrapped = failure.orig if isinstance(failure, exc.StatementError) else failure
    if isinstance(wrapped, exc.EmulatedDBAPIException):
        wrapped = wrapped.orig or wrapped.__cause__ or wrapped  # SQLAlchemy's error for a stale plan has a cause only
    return failure if wrapped is None else wrapped


def scrub(failure: BaseException) -> None:
    """Take the values out of every driver error that stays reachable from this one: as cause, context or member."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [failure]
    while waiting:
        error = waiting.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        waiting += [error.__cause__, error.__context__]
        if isinstance(error, BaseExceptionGroup):
            waiting += cast("BaseExceptionGroup[BaseException]", error).exceptions
        if isinstance(error, STATEMENT_ERRORS):
            _scrub_one(error)


def _scrub_one(failure: BaseException) -> None:
    for error in (failure, getattr(failure, "orig", None), driver_error(failure)):
        if error is None:
            continue
        error.args = (f"{type(error).__name__}: details withheld, they may quote a row",)
        for name in _TELLING:
            if hasattr(error, name):
                setattr(error, name, [] if isinstance(getattr(error, name), list) else None)
        error.__dict__.pop("__notes__", None)
        error.__cause__ = error.__context__ = None
    if isinstance(failure, exc.StatementError) and not isinstance(failure, exc.DBAPIError):
        failure.orig = None  # of any class, whose words may be made of anything


_TELLING = (
    *("message", "detail", "hint", "context", "where", "query", "internal_query", "statement", "params"),
    *("constraint_name", "table_name", "column_name", "schema_name", "data_type_name"),
)


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
    # SQLAlchemy wraps what its bind processors raise, whatever that is, in a StatementError.
    is_closed = isinstance(failure, exc.DBAPIError) and failure.connection_invalidated
    if is_concurrent_use(driver) and not is_closed:  # asyncpg says so of a connection that the server has closed too
        return errors.ConcurrentUse
    unknown = errors.InvalidValue if isinstance(failure, exc.StatementError) else errors.DatabaseFault
    if argument_of(driver) is not None:  # asyncpg says so by errors of its own, one of which means many things
        return _kind_by_code(failure, driver) or errors.InvalidValue
    return _kind_by_code(failure, driver) or kind_of_class(type(driver)) or unknown


def _kind_on_shard(broken: Broken) -> Kind | None:
    """Give the error of a constraint that a worker named, whose own SQLSTATE may be that of any error there."""
    if not broken.is_on_shard or broken.item is None:
        return None
    return next((kind for kinds, kind in _KINDS_OF_ITEMS if isinstance(broken.item, kinds)), None)


_KINDS_OF_ITEMS: Sequence[tuple[tuple[type[Any], ...], Kind]] = (
    ((PrimaryKeyConstraint, UniqueConstraint, Index), errors.EntityAlreadyExists),
    ((ForeignKeyConstraint,), errors.ReferenceNotFound),
    ((CheckConstraint,), errors.CheckViolation),
    ((ExcludeConstraint,), errors.ExclusionViolation),
)


def _kind_by_code(failure: BaseException, driver: BaseException) -> Kind | None:
    if sqlstate := getattr(driver, "sqlstate", None):
        told = (kind for tells, kind in _BESIDE_CODES if tells(driver))
        return next(told, None) or kind_of_sqlstate(sqlstate) or errors.DatabaseFault
    if isinstance(failure, exc.DBAPIError) and failure.connection_invalidated:
        return errors.DatabaseUnavailable
    code = getattr(driver, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER and str(driver) == _RESTRICTED:
        return errors.ReferenceNotFound
    if _said_of_length(driver):
        return errors.InvalidFilter
    if is_overflow(driver):
        return errors.InvalidValue
    return None if code is None else kind_of_sqlite(code) or errors.DatabaseFault


_SORTING = "get_sort_group_operators"
"""The function of PostgreSQL that looks for the order of a type, which some have none of."""


def _is_about_a_query(driver: BaseException) -> bool:
    return is_malformed(driver) or getattr(driver, "server_source_function", None) == _SORTING


_BESIDE_CODES: Sequence[tuple[Callable[[BaseException], bool], Kind]] = (
    (is_without_transactions, errors.UnfitPooler),
    (is_stale, errors.StalePlan),
    (is_refused_by_policy, errors.CheckViolation),
    (_is_about_a_query, errors.InvalidFilter),
)
"""What tells errors apart that have the SQLSTATEs of other faults, too."""

_RESTRICTED = "FOREIGN KEY constraint failed"
"""SQLite refuses by RESTRICT as a trigger would, and only its words tell it from a trigger of the application's."""


def _direction(kind: Kind, broken: Broken, origin: Origin) -> Kind:
    """A foreign key fails from either end; the server reports the referencing table in both cases."""
    if kind is not errors.ReferenceNotFound or origin.table is None:
        return kind
    is_elsewhere = origin.deletes or _stands_elsewhere(broken, origin) or _writes_no_reference(broken, origin)
    return errors.StillReferenced if is_elsewhere else kind


def _stands_elsewhere(broken: Broken, origin: Origin) -> bool:
    """Say whether a foreign key is another table's, and not merely of rows that a trigger of a new row made."""
    if broken.owner is None or broken.is_of(origin.table):
        return False
    if broken.item is None:  # of a table or partition that the mapping does not know, or not with this key
        return _writes_a_key(origin)
    return origin.writes is not None or refers_to(broken.item, origin.table)


def _writes_no_reference(broken: Broken, origin: Origin) -> bool:
    """Say that an UPDATE wrote no column of the key that failed, so that others must point at its row."""
    if origin.writes is None or origin.table is None:
        return False
    if broken.owner is not None and broken.item is None:
        return _writes_a_key(origin)
    own = [broken.item] if broken.is_of(origin.table) and broken.item is not None else []
    keys = own or origin.table.foreign_key_constraints
    return not any(column in origin.writes for key in keys for column in column_names(key))


def _writes_a_key(origin: Origin) -> bool:
    """Say whether an UPDATE can take away what others refer to, which is unique; a new row takes nothing away."""
    if origin.writes is None or origin.table is None:
        return False
    return any(not origin.writes.isdisjoint(column_names(key)) for key in unique_keys_of(origin.table))


def _without_name(broken: Broken, kind: Kind, origin: Origin) -> Broken:
    """Name a foreign key where SQLite says only that one failed, and by the mapping it can be but one."""
    if origin.table is None or broken.name is not None:
        return broken
    if kind is errors.ReferenceNotFound:
        key = only_reference_from(origin.table, origin.writes)
    else:
        key = only_reference_to(origin.table) if kind is errors.StillReferenced else None
    return broken if key is None else Broken.of(key)


def _message(kind: Kind, driver: BaseException, broken: Broken, origin: Origin) -> str:
    if kind is errors.TransactionError or is_without_transactions(driver):
        return ENDED_BY_HAND if kind is errors.TransactionError else _NO_TRANSACTIONS
    if kind is errors.DatabaseFault:
        return f"{kind.default_message}: {_fault(driver)}"
    if is_refused_by_policy(driver):  # which it and its table are named in
        return errors.named(
            f"a policy of the database refused the entity: {cast('Any', driver).message}", origin.domain
        )
    if (said := _said_of_rows(driver, origin)) is not None:
        return said
    if getattr(driver, "server_source_function", None) == _SORTING:
        return _INCOMPARABLE
    if said := _said_of_length(driver):
        return said
    words = errors.named(kind.default_message, origin.domain)
    if getattr(driver, "server_source_function", None) in _OF_PARTITIONS:  # with the SQLSTATE of a CHECK
        words = errors.named("no partition takes the entity: make one for it, or give it another value", origin.domain)
    return _naming(words, broken)


def _said_of_length(driver: BaseException) -> str | None:
    """Give the words for a statement that the database cannot read for its length or depth; None for any other."""
    return next((words for tells, words in _LENGTHS.items() if tells(driver)), None)


def _naming(words: str, broken: Broken) -> str:
    names = {"constraint": broken.name, "table": broken.owner, "columns": ", ".join(broken.columns)}
    known = ", ".join(f"{noun} {name}" for noun, name in names.items() if name)
    return f"{words} ({known})" if known else words


_OF_PARTITIONS = frozenset({"ExecFindPartition", "ExecPartitionCheckEmitError"})


def _said_of_rows(driver: BaseException, origin: Origin) -> str | None:
    """Say what is wrong with a value that nobody may have given: a statement that reads or removes rows writes none."""
    if is_overflow(driver):
        return _OVERFLOW
    sqlstate = str(getattr(driver, "sqlstate", None))
    if not sqlstate.startswith("22") or argument_of(driver) is not None:
        return None
    if origin.reads or origin.deletes:
        return _computed(driver, origin)
    return "a value, or what is computed of the row, does not fit its type" if sqlstate in OUT_OF_RANGE else None


def _computed(driver: Any, origin: Origin) -> str:
    is_figure = origin.operation == "aggregate"
    what = "what an aggregate computes of the rows" if is_figure else "what is computed of the rows"
    if driver.sqlstate in OUT_OF_RANGE:
        wider = "declare a wider one, as Decimal for an int" if is_figure else _WIDER
        return f"{what} does not fit its type: {wider}, or compute over fewer rows"
    if driver.sqlstate == _DIVISION_BY_ZERO:
        return f"{what} divides by zero: write func.nullif(divisor, 0) for the divisor, and None comes of it"
    return f"{what}, or asked of them, cannot be: SQLSTATE {driver.sqlstate}, {type(driver).__name__}"


_DIVISION_BY_ZERO = "22012"
_WIDER = "compute it in a wider one, as in cast(Row.column, Numeric) * 1000"

_INCOMPARABLE = (
    "what rows are sorted or grouped by is of a type of which PostgreSQL has no order and no equality: cast it to one "
    "that has them, as in cast(Row.column, Text)"
)

_OVERFLOW = (
    "what is computed of the rows is past SQLite's integers, which have 64 bits: compute it of floats, as in "
    "sum_(cast(Row.column, Float)), or over fewer rows"
)

_TOO_DEEP = (
    "SQLite cannot nest a statement so deep: ask of fewer related rows within each other, conditions, filters and the "
    "scope taken together, write column.in_([...]) for many OR, or ask in several calls; PostgreSQL has no such end"
)

_TOO_LONG = (
    "a statement takes 32,767 values at most: ask in several calls, or on PostgreSQL send a list as one value, as in "
    "Row.id == any_(literal([...], ARRAY(Integer)))"
)

_LENGTHS = {is_too_deep: _TOO_DEEP, is_too_long: _TOO_LONG}

_NO_TRANSACTIONS = (
    "the pooler between here and PostgreSQL gives each statement another connection, and so has no transactions: "
    "set pool_mode=transaction there, and write Database.from_url(..., pooler=True)"
)


def _fault(driver: BaseException) -> str:
    """Tell a fault apart for whoever mends it, in words that quote no value: codes, classes, names in the schema."""
    sqlstate, code = getattr(driver, "sqlstate", None), getattr(driver, "sqlite_errorname", None)
    if code is not None:
        return str(code)
    if sqlstate is None:
        return type(driver).__name__
    source, context = getattr(driver, "server_source_filename", None), getattr(driver, "context", None)
    # Said of the statement itself, whose text has names only, and of nothing inside it.
    names = f": {cast('Any', driver).message}" if source in _ANALYSIS_SOURCES and context is None else ""
    place = (sqlstate, getattr(driver, "server_source_function", None))
    advice = f"; {_ADVICE[place]}" if place in _ADVICE and context is None else ""
    return f"SQLSTATE {sqlstate}, {type(driver).__name__}{names}{advice}"


_ANALYSIS_SOURCES = frozenset(
    {
        *("aclchk.c", "execMain.c", "parse_func.c", "parse_oper.c", "parse_relation.c", "parse_target.c"),
        "rewriteHandler.c",
    }
)
"""The files of PostgreSQL 14 to 18 that report a name or a privilege that is not there, views, and row security."""

_READ_ONLY = "such a view is only read: write by a repository of the table beneath, or give it INSTEAD OF triggers"
_NEVER_WRITTEN = (
    "nobody writes rows of a materialized view or a sequence: write by a repository of the tables beneath, which the "
    "view shows once it is refreshed"
)
_FOREIGN = (
    "its foreign-data wrapper does not write such a foreign table: write where its rows are kept, or have the wrapper "
    "take it for updatable, as postgres_fdw does by its option of that name"
)
_UNLOCKABLE = "rows of such a view are read without a lock: lock those of the table beneath"
_BY_RULES = "rules take no such statement: use triggers in their place, INSTEAD OF ones on a view"
_WITHOUT_INDEX = (
    "an upsert needs a unique index over its key: make one, name another key by Conflict(columns=[...]), or, as for a "
    "view with INSTEAD OF triggers or a foreign table, call find, then create(spec) or update(id, patch); of a "
    "materialized view no row is written"
)
_ADVICE: Mapping[tuple[str, str | None], str] = {
    ("55000", "error_view_not_updatable"): _READ_ONLY,
    ("55000", "rewriteTargetView"): _READ_ONLY,  # before PostgreSQL 17
    ("55000", "RewriteQuery"): _READ_ONLY,  # the same, of a view with a rule that has a condition
    ("42809", "CheckValidRowMarkRel"): _UNLOCKABLE,
    ("0A000", "CheckSelectLocking"): _UNLOCKABLE,
    ("0A000", "make_outerjoininfo"): _UNLOCKABLE,
    ("0A000", "RewriteQuery"): _BY_RULES,
    ("42P10", "infer_arbiter_indexes"): _WITHOUT_INDEX,
    **{
        (sqlstate, f"CheckValidResultRel{suffix}"): advice
        # A wrapper that cannot write is 0A000, one that is told not to is 55000.
        for sqlstate, advice in (("42809", _NEVER_WRITTEN), ("0A000", _FOREIGN), ("55000", _FOREIGN))
        for suffix in ("", "New")  # as later releases of PostgreSQL 14 to 17 have it
    },
}
"""What to do about a fault, by its SQLSTATE and the function of PostgreSQL 14 to 18 that reports it."""
