"""Every error that rowsmith raises.

The tree::

    RepositoryError
    ├── EntityNotFound            the row is absent, soft-deleted, or outside the scope: told apart by nobody
    ├── ConstraintViolation       a constraint of the database said no
    │   ├── EntityAlreadyExists       unique or primary key
    │   ├── ReferenceNotFound         foreign key, the referenced row is absent
    │   ├── StillReferenced           foreign key, other rows still point here
    │   ├── CheckViolation
    │   ├── NotNullViolation
    │   ├── ExclusionViolation
    │   └── RefusedByTrigger          a trigger let a row be neither written nor removed
    ├── SeveralFound              more than one row matches where one is meant
    ├── StaleVersion              somebody else wrote first
    ├── IdempotencyMismatch       an idempotency key was used for something else
    ├── ScopeError
    │   ├── EmptyScope                a scope that limits nothing
    │   ├── ScopeRequired             a call without the scope its repository demands
    │   └── ScopeMismatch             a write that would leave its scope
    ├── BadInput
    │   ├── InvalidValue              a value its column cannot hold
    │   ├── InvalidFilter
    │   ├── InvalidPagination
    │   └── InvalidCursor
    ├── TransactionError
    │   ├── ReadOnlyViolation         a write in a read-only session
    │   ├── TransactionAborted        a swallowed error: nothing was committed
    │   ├── CommitOutcomeUnknown      the answer to COMMIT was lost
    │   ├── AfterCommitFailed         committed, but work handed to ``after_commit`` failed
    │   ├── SerializationFailure
    │   ├── DeadlockDetected
    │   ├── LockNotAvailable
    │   ├── StalePlan                 a table was altered under the statements that a connection has prepared
    │   └── ConcurrentUse             one unit of work, two tasks
    ├── DeadlineExceeded
    ├── DatabaseUnavailable
    │   └── PoolExhausted
    ├── StateUnavailable          what is kept in Redis alone cannot be had: it did not answer
    ├── LockLost                  a lock in Redis ended before the work under it
    ├── DatabaseFault             the database refused the statement itself (SQL, privileges, resources)
    │   └── UnfitPooler               a pooler is in between whose way of pooling was not told, or cannot be worked with
    └── MissingExtra              an optional dependency is not installed (an ImportError too)
    MappingError                  a class is declared wrongly (a RepositoryError and a TypeError)

No message, representation or chained cause holds a value of a row: a duplicate e-mail address
must not travel into logs. What may be known of a failure without values (the constraint, its
table and columns, the SQLSTATE) stands in :class:`ErrorFacts`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, ClassVar, TypeAlias, cast


@dataclass(frozen=True)
class ErrorFacts:
    """What is known of a failure without naming any value of a row.

    ``domain`` and ``operation`` say whose call failed (``"group"``, ``"create"``); ``sqlstate`` is
    PostgreSQL's five-character code (appendix A of its manual), absent elsewhere; ``constraint``,
    ``table`` and ``columns`` are names in the schema.
    """

    domain: str | None = None
    operation: str | None = None
    sqlstate: str | None = None
    constraint: str | None = None
    table: str | None = None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class ErrorCode:
    """An error code in its parts; as a text, hyphens join the words of a part, and underscores the parts.

    ::

        str(ErrorCode("fair_share", "create", "already_exists")) == "fair-share_create_already-exists"
        ErrorCode.read("fair-share_create_already-exists").operation == "create"
    """

    domain: str
    operation: str
    detail: str

    def __post_init__(self) -> None:
        for name, part in (("domain", self.domain), ("operation", self.operation), ("detail", self.detail)):
            object.__setattr__(self, name, part.strip("_").replace("_", "-"))

    def __str__(self) -> str:
        return f"{self.domain}_{self.operation}_{self.detail}"

    @classmethod
    def read(cls, code: str) -> ErrorCode:
        """Give the parts of a code.

        Raises:
            InvalidValue: it has not three parts, as the class name has that a stranger's exception is counted under.
        """
        match code.split("_"):
            case [domain, operation, detail] if domain and operation and detail:
                return cls(domain, operation, detail)
            case _:
                raise InvalidValue("an error code has three parts: {domain}_{operation}_{detail}")


class RepositoryError(Exception):
    """The root of everything a caller can meet.

    ``facts`` says where it happened; ``error_code`` (see :class:`ErrorCode`) is ``{domain}_{operation}_{detail}``, for
    example ``group_create_already-exists``, stable enough to be a metric's label. ``report`` says what an
    operation of several transactions had committed before it failed (a ``PurgeReport``); None elsewhere. ``level`` is
    what failures of the kind are logged at, and a domain's own class may say otherwise.
    """

    detail: ClassVar[str] = "error"
    default_message: ClassVar[str] = "the operation failed"
    level: ClassVar[int] = logging.ERROR
    report: Any = None
    is_declared: bool = False
    """Whether a domain's ``violations`` have been asked for it already."""

    def __init__(self, message: str | None = None, *, facts: ErrorFacts | None = None) -> None:
        super().__init__(message or self.default_message)
        self.facts = facts or ErrorFacts()
        self.name_entity(self.facts.domain)

    @classmethod
    def is_worded(cls) -> bool:
        """Say whether an application's class has a ``default_message`` of its own, or has it from another such."""
        worded = next(kind for kind in cls.__mro__ if "default_message" in vars(kind))
        return worded.__module__ != __name__

    @property
    def error_code(self) -> str:
        """``{domain}_{operation}_{detail}``; ``repository`` and ``call`` stand in for what is unknown."""
        return str(ErrorCode(self.facts.domain or "repository", self.facts.operation or "call", self.detail))

    def locate(self, domain: str, operation: str) -> None:
        """Fill in whose call failed, where the raiser could not know it."""
        self.facts = replace(
            self.facts,
            domain=self.facts.domain or domain,
            operation=self.facts.operation or operation,
        )
        self.name_entity(domain)

    def name_entity(self, domain: str | None) -> None:
        """Say "the group" for "the entity", where the words are rowsmith's own."""
        if self.args == (self.default_message,) and not self.is_worded():
            self.args = (named(self.default_message, domain),)


def named(message: str, domain: str | None) -> str:
    """Give a message of rowsmith's with the entity's own name: "the fair share was not found"."""
    if domain is None:
        return message
    noun = domain.replace("_", " ").replace("-", " ")
    article = "an" if noun[:1] in "aeiou" else "a"
    return message.replace("an entity", f"{article} {noun}").replace("entity", noun)


def kind_of(thing: object) -> str:
    """Name what was given for a message, by its type and never by its value."""
    given: Any = getattr(thing, "__wrapped__", thing)
    return f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__


ErrorFactory: TypeAlias = Callable[[str], Exception]
"""Makes a domain's own error from a message without values; an exception class is one."""

Violations: TypeAlias = (
    Mapping[str, ErrorFactory]
    | Mapping["type[RepositoryError]", ErrorFactory]
    | Mapping["str | type[RepositoryError]", ErrorFactory]
)
"""A domain's own errors for what its database refuses: by constraint, by SQLSTATE, or by kind of error.

``{"uq_groups_name": GroupNameTaken, "P0001": NotAllowed, EntityAlreadyExists: GroupExists}``: a constraint goes before
a SQLSTATE, and that before a kind, of which the nearest counts. A constraint is named as its table has it, so that a
foreign key of another table that leads here may be meant too; ``"members.fk_members_group"`` names the table as well,
where it is not imported or several have the name. A kind is any that a write can end with, whether the database refuses
it or rowsmith does: ``StaleVersion``, ``ScopeMismatch``, ``RefusedByTrigger``, ``InvalidValue``.
"""


def made(factory: ErrorFactory, message: str) -> Exception:
    """Make an error; of a class that has a ``default_message`` of its own, with that one.

    Raises:
        MappingError: what is made is no error.
    """
    error = factory(*_words(factory, message))
    if not isinstance(cast("Any", error), Exception):
        raise MappingError(f"what makes a domain's own error gave {kind_of(error)}: give an error class")
    return error


def check_factory(factory: ErrorFactory, name: str) -> None:
    """Refuse what cannot make an error from a message, as far as that is seen before it is called.

    Raises:
        MappingError: it is no error class and no callable, or takes other arguments.
    """
    given: Any = factory
    is_other_class = isinstance(factory, type) and not issubclass(cast("type[Any]", factory), Exception)
    if not callable(given) or is_other_class:
        raise MappingError(f"{name} is {kind_of(given)}: give an error class or what makes an error of a message")
    try:
        signature(given).bind(*_words(factory, ""))
    except TypeError:
        raise MappingError(f"{name} is {kind_of(given)}, which cannot be called with a message alone") from None
    except ValueError:  # nothing is known of it, as of errors that are written in C
        return


def _words(factory: ErrorFactory, message: str) -> tuple[str, ...]:
    is_worded = isinstance(factory, type) and issubclass(factory, RepositoryError) and factory.is_worded()
    return () if is_worded else (message,)


class EntityNotFound(RepositoryError):
    """No such row for this caller: absent, soft-deleted or outside the scope.

    ``missing`` holds the keys that were asked for and not found, as given; the message only counts them.
    """

    detail = "not_found"
    default_message = "the entity was not found"
    level = logging.INFO
    missing: tuple[Any, ...] = ()


class ConstraintViolation(RepositoryError):
    """A constraint of the database refused the write; ``facts.constraint`` names it."""

    detail = "constraint_violated"
    default_message = "a constraint refused the entity"
    level = logging.INFO


class EntityAlreadyExists(ConstraintViolation):
    """A unique or primary key is taken (SQLSTATE 23505)."""

    detail = "already_exists"
    default_message = "an entity with this key already exists"


class ReferenceNotFound(ConstraintViolation):
    """A foreign key points at no row (SQLSTATE 23503, seen from the referencing row)."""

    detail = "reference_not_found"
    default_message = "the entity refers to another one that does not exist"


class StillReferenced(ConstraintViolation):
    """Other rows still point at this one (SQLSTATE 23503 or 23001, seen from the referenced row)."""

    detail = "still_referenced"
    default_message = "the entity is still referenced by others"


class CheckViolation(ConstraintViolation):
    """A CHECK constraint refused the row (SQLSTATE 23514)."""

    detail = "check_violated"
    default_message = "a check constraint refused the entity"


class NotNullViolation(ConstraintViolation):
    """A column that must have a value has none (SQLSTATE 23502)."""

    detail = "not_null_violated"
    default_message = "a required column of the entity has no value"


class ExclusionViolation(ConstraintViolation):
    """An exclusion constraint refused the row (SQLSTATE 23P01)."""

    detail = "exclusion_violated"
    default_message = "an exclusion constraint refused the entity"


class RefusedByTrigger(ConstraintViolation):
    """A trigger of the database skipped the row (``RETURN NULL``; ``RAISE(IGNORE)`` on SQLite), as a rule may, too.

    ``index`` is the row's place in the input of a batch, None where there is no batch or it cannot be told.
    """

    detail = "refused_by_trigger"
    default_message = "a trigger refused the row: the database has not done what it was asked"
    index: int | None = None

    @classmethod
    def at(cls, index: int | None, noun: str = "spec") -> RefusedByTrigger:
        """Make the error for an item of a batch."""
        error = cls()
        error.move(index, noun)
        return error

    def move(self, index: int | None, noun: str = "item") -> None:
        """Say which item of the input the row is."""
        where = "of one of the items" if index is None else f"of the {noun} at index {index}"
        self.index, self.args = index, (f"a trigger refused the row {where}",)


class SeveralFound(RepositoryError):
    """More than one row matches what only one is meant to."""

    detail = "several_found"
    default_message = (
        "more than one entity matches: narrow the filters, or write first(scope, filters, orders=[...]) to take one"
    )
    level = logging.WARNING


class StaleVersion(RepositoryError):
    """The row is there, but another version of it than ``expected_version``: read it again, then write.

    ``stale`` holds the keys of such rows where a batch met them; the message does not name them.
    """

    detail = "stale_version"
    default_message = "the entity was changed by somebody else: read it again, then write"
    level = logging.INFO
    stale: tuple[Any, ...] = ()


class IdempotencyMismatch(RepositoryError):
    """The idempotency key was used before with another body or for another verb; nothing was written now."""

    detail = "idempotency_mismatch"
    default_message = "this idempotency key was used before with another body: give every new write a key of its own"
    level = logging.INFO


class ScopeError(RepositoryError):
    """A scope was used wrongly."""

    detail = "scope_error"
    level = logging.WARNING


class EmptyScope(ScopeError):
    """A scope without conditions would mean all rows; say ``Unscoped(reason=...)`` if that is meant."""

    detail = "empty_scope"
    default_message = "the scope has no conditions: write Unscoped(reason='...') if all rows are meant"


class ScopeRequired(ScopeError):
    """The repository declares ``scope_required = True`` and the call gave none."""

    detail = "scope_required"
    default_message = "this repository needs a scope: pass scope=..., or Unscoped(reason='...')"


class ScopeMismatch(ScopeError):
    """The write would put a row outside the scope it was made in."""

    detail = "scope_mismatch"
    default_message = "the entity would leave its scope"


class BadInput(RepositoryError):
    """What the caller gave cannot be used; the message says what to give instead."""

    detail = "bad_input"
    level = logging.INFO


class InvalidValue(BadInput):
    """A value that its column cannot hold (also SQLSTATE class 22).

    ``is_stored`` says that it stands in the database already, and that its column's type cannot read it; ``index`` is
    the place in the input of a batch of the item that has the value, where that was found out by sending it.
    """

    detail = "invalid_value"
    default_message = "a value does not fit its column"
    is_stored: bool = False
    index: int | None = None
    _words: str = default_message
    _noun: str = "item"

    @classmethod
    def at(cls, index: int, words: str, noun: str = "spec", *, facts: ErrorFacts | None = None) -> InvalidValue:
        """Make the error for an item of a batch; ``words`` say what is wrong with it."""
        error = cls(words, facts=facts)
        error._words, error._noun = words, noun
        error.index = index
        error.move(index)
        return error

    def move(self, index: int) -> None:
        """Say which item of the input it is, where the words name one by its place in a part of it."""
        if self.index is not None:
            self.index, self.args = index, (f"the {self._noun} at index {index}: {self._words}",)


class InvalidFilter(BadInput):
    """A filter or condition without a meaning."""

    detail = "invalid_filter"
    default_message = "the filter has no meaning"


class InvalidPagination(BadInput):
    """A page that cannot be: a size below one, above the cap, or two modes at once."""

    detail = "invalid_pagination"
    default_message = "the pagination cannot be used"


class InvalidCursor(BadInput):
    """A cursor that is cut, changed, or was made for another order, filter or scope."""

    detail = "invalid_cursor"
    default_message = "the cursor cannot be used here: start again without one"


class TransactionError(RepositoryError):
    """The transaction, not the statement, is what failed."""

    detail = "transaction_error"
    level = logging.WARNING


class ReadOnlyViolation(TransactionError):
    """A write in a read-only session (SQLSTATE 25006, or unflushed changes at its end).

    ``is_demoted`` says that it is the server that takes no writes: the connections to it were given up.
    """

    detail = "read_only"
    default_message = "this session is read-only: open begin_session() to write"
    is_demoted: bool = False


class TransactionAborted(TransactionError):
    """A statement failed, the block swallowed the error, and so nothing of it was committed."""

    detail = "transaction_aborted"
    default_message = (
        "a statement in this block failed and its error was swallowed, so nothing was committed: "
        "let the error leave the block, or put the risky part into a nested unit_of_work()"
    )
    level = logging.ERROR


class CommitOutcomeUnknown(TransactionError):
    """The answer to COMMIT was lost: the work may be there or not. Look before you try again."""

    detail = "commit_outcome_unknown"
    default_message = "the answer to COMMIT was lost: the work may be there or not"
    level = logging.ERROR


class AfterCommitFailed(TransactionError):
    """The transaction is committed; work handed to ``after_commit`` failed afterwards."""

    detail = "after_commit_failed"
    default_message = "the transaction is committed, but work registered with after_commit failed"
    level = logging.ERROR


class SerializationFailure(TransactionError):
    """Concurrent transactions could not be ordered (SQLSTATE 40001): run the whole transaction again."""

    detail = "serialization_failure"
    default_message = "concurrent transactions could not be ordered: run the whole transaction again"


class DeadlockDetected(TransactionError):
    """The database broke a deadlock at our cost (SQLSTATE 40P01): run the whole transaction again."""

    detail = "deadlock_detected"
    default_message = "the database broke a deadlock here: run the whole transaction again"


class LockNotAvailable(TransactionError):
    """A lock was not to be had in the time allowed (SQLSTATE 55P03, or SQLite's busy)."""

    detail = "lock_not_available"
    default_message = "a lock was not available"


class StalePlan(TransactionError):
    """A table was altered under a statement that this connection had prepared: run the whole transaction again.

    A call that is a transaction of its own has done so once by itself. ``is_undone`` says that the whole transaction
    was rolled back; not so in a unit of work, whose block goes on.
    """

    detail = "stale_plan"
    default_message = (
        "a table was altered since this connection prepared its statements: run the whole transaction again"
    )
    is_undone: bool = False


class ConcurrentUse(TransactionError):
    """One unit of work or session was used by two tasks at once; give each task its own."""

    detail = "concurrent_use"
    default_message = "one unit of work is used by two tasks at once: give each task its own"


class DeadlineExceeded(RepositoryError):
    """The statement ran out of time or was cancelled by the server (SQLSTATE 57014)."""

    detail = "deadline_exceeded"
    default_message = "the operation ran out of time"
    level = logging.WARNING


class DatabaseUnavailable(RepositoryError):
    """No connection, or it was lost (SQLSTATE classes 08, 57P, 53300 and socket errors)."""

    detail = "database_unavailable"
    default_message = "the database cannot be reached"


class PoolExhausted(DatabaseUnavailable):
    """Every connection of the pool was in use for as long as the pool waits."""

    detail = "pool_exhausted"
    default_message = "no connection became free in time: is a session open around this call?"


class StateUnavailable(RepositoryError):
    """Redis did not answer in time, or refused; what it was asked to do may have been done, so it is not done again."""

    detail = "state_unavailable"
    default_message = "what is kept in Redis cannot be had: it did not answer"


class LockLost(RepositoryError):
    """A lock in Redis was not held to the end of the work under it: others may have worked meanwhile."""

    detail = "lock_lost"
    default_message = "the lock ended before the work under it: extend() it in time, or give it a longer ttl"
    level = logging.WARNING


class DatabaseFault(RepositoryError):
    """The database refused the statement itself: SQL, privileges, resources, internal errors."""

    detail = "database_fault"
    default_message = "the database refused the statement"


class UnfitPooler(DatabaseFault):
    """A pooler between here and PostgreSQL gives statements other connections than they need.

    One that does so for each transaction has prepared statements fail (SQLSTATE 26000 and 42P05): it has to be told,
    by ``Database.from_url(..., pooler=True)``. One that does so for each statement has no transactions.
    """

    detail = "unfit_pooler"
    default_message = (
        "a prepared statement was not met where it was prepared, as behind a pooler that gives each transaction "
        "another connection: write Database.from_url(..., pooler=True)"
    )


class MappingError(RepositoryError, TypeError):
    """A row, data, spec, patch or repository class is declared wrongly; raised when the class is made."""

    detail = "mapping_error"
    default_message = "the class does not fit its row"


class MissingExtra(RepositoryError, ImportError):
    """An optional dependency is not installed; the message names the extra to install."""

    detail = "missing_extra"
    default_message = "an optional dependency is not installed"
