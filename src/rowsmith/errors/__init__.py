"""Every error that rowsmith raises.

The tree::

    RepositoryError
    ├── EntityNotFound            the row is absent, soft-deleted, or outside the scope: told apart by nobody
    ├── ConstraintViolation       a constraint of the database said no
    │   ├── EntityAlreadyExists       unique or primary key
    │   ├── ReferenceNotFound         foreign key, the referenced row is absent
    │   ├── StillReferenced           foreign key, other rows still point here
    │   ├── CheckViolation            a CHECK, a view's CHECK OPTION, or WITH CHECK of row security
    │   ├── NotNullViolation
    │   ├── ExclusionViolation
    │   └── RefusedByTrigger          a trigger, rule or policy let a row be neither written nor removed
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

from rowsmith.errors.bad_input import (
    BadInput,
    InvalidCursor,
    InvalidFilter,
    InvalidPagination,
    InvalidValue,
)
from rowsmith.errors.code import (
    ErrorCode,
)
from rowsmith.errors.constraints import (
    CheckViolation,
    ConstraintViolation,
    EntityAlreadyExists,
    ExclusionViolation,
    NotNullViolation,
    ReferenceNotFound,
    RefusedByTrigger,
    StillReferenced,
)
from rowsmith.errors.declarations import (
    MappingError,
    MissingExtra,
)
from rowsmith.errors.facts import (
    ErrorFacts,
)
from rowsmith.errors.root import (
    RepositoryError,
    about,
    kind_of,
    named,
)
from rowsmith.errors.rows import (
    EntityNotFound,
    IdempotencyMismatch,
    SeveralFound,
    StaleVersion,
)
from rowsmith.errors.scopes import (
    EmptyScope,
    ScopeError,
    ScopeMismatch,
    ScopeRequired,
)
from rowsmith.errors.servers import (
    DatabaseFault,
    DatabaseUnavailable,
    DeadlineExceeded,
    LockLost,
    PoolExhausted,
    StateUnavailable,
    UnfitPooler,
)
from rowsmith.errors.transactions import (
    AfterCommitFailed,
    CommitOutcomeUnknown,
    ConcurrentUse,
    DeadlockDetected,
    LockNotAvailable,
    ReadOnlyViolation,
    SerializationFailure,
    StalePlan,
    TransactionAborted,
    TransactionError,
)
from rowsmith.errors.violations import (
    ErrorFactory,
    Violations,
    check_factory,
    made,
)

__all__ = [
    "AfterCommitFailed",
    "BadInput",
    "CheckViolation",
    "CommitOutcomeUnknown",
    "ConcurrentUse",
    "ConstraintViolation",
    "DatabaseFault",
    "DatabaseUnavailable",
    "DeadlineExceeded",
    "DeadlockDetected",
    "EmptyScope",
    "EntityAlreadyExists",
    "EntityNotFound",
    "ErrorCode",
    "ErrorFactory",
    "ErrorFacts",
    "ExclusionViolation",
    "IdempotencyMismatch",
    "InvalidCursor",
    "InvalidFilter",
    "InvalidPagination",
    "InvalidValue",
    "LockLost",
    "LockNotAvailable",
    "MappingError",
    "MissingExtra",
    "NotNullViolation",
    "PoolExhausted",
    "ReadOnlyViolation",
    "ReferenceNotFound",
    "RefusedByTrigger",
    "RepositoryError",
    "ScopeError",
    "ScopeMismatch",
    "ScopeRequired",
    "SerializationFailure",
    "SeveralFound",
    "StalePlan",
    "StaleVersion",
    "StateUnavailable",
    "StillReferenced",
    "TransactionAborted",
    "TransactionError",
    "UnfitPooler",
    "Violations",
    "about",
    "check_factory",
    "kind_of",
    "made",
    "named",
]


# All classes go by one name, that of this package: in tracebacks, in spans, in pickles.
for _each in (globals()[name] for name in __all__):
    if isinstance(_each, type):
        _each.__module__ = __name__
