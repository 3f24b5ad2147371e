"""What ``from rowsmith import ...`` gives: pinned, sorted, and complete."""

from __future__ import annotations

import inspect

import rowsmith
from rowsmith import errors

# A name leaves this list only with a major version.
NAMES = [
    "PUBLIC",
    "UNSET",
    "AfterCommitFailed",
    "Aggregator",
    "AllOf",
    "AnyOf",
    "BadInput",
    "BatchCreator",
    "BatchPurger",
    "BatchQuerier",
    "BatchResult",
    "BatchSoftDeleter",
    "BatchUpdater",
    "BatchUpserter",
    "CheckViolation",
    "CommitOutcomeUnknown",
    "ConcurrentUse",
    "Condition",
    "Conflict",
    "ConstraintViolation",
    "Count",
    "Creator",
    "CursorBackwardPagination",
    "CursorForwardPagination",
    "DBSource",
    "Database",
    "DatabaseFault",
    "DatabaseUnavailable",
    "DeadlineExceeded",
    "DeadlockDetected",
    "EmptyScope",
    "EntityAlreadyExists",
    "EntityNotFound",
    "ErrorFactory",
    "ErrorFacts",
    "ExclusionViolation",
    "ExistenceCheck",
    "Expr",
    "Failure",
    "InvalidCursor",
    "InvalidFilter",
    "InvalidPagination",
    "InvalidValue",
    "LockNotAvailable",
    "MappingError",
    "MissingExtra",
    "NextValue",
    "NoPagination",
    "Not",
    "NotNullViolation",
    "OffsetPagination",
    "OptionalState",
    "Order",
    "Page",
    "Pagination",
    "PartialResult",
    "Patch",
    "PoolExhausted",
    "PurgeReport",
    "Purger",
    "Querier",
    "Query",
    "ReadOnlyViolation",
    "ReferenceNotFound",
    "RefusedByTrigger",
    "Repository",
    "RepositoryError",
    "Rules",
    "ScopeError",
    "ScopeMismatch",
    "ScopeRequired",
    "SearchScope",
    "SerializationFailure",
    "SoftDelete",
    "SoftDeleter",
    "Spec",
    "StaleVersion",
    "StillReferenced",
    "Stream",
    "Success",
    "TransactionAborted",
    "TransactionError",
    "TriState",
    "UnitOfWork",
    "Unscoped",
    "Updater",
    "Upserted",
    "Upserter",
    "avg",
    "count",
    "max_",
    "min_",
    "sum_",
]


def test_all_is_pinned_and_sorted() -> None:
    """``__all__`` is what this test says, in the order that ruff gives it, and every name is there."""
    assert sorted(rowsmith.__all__) == sorted(NAMES)
    constants = [name for name in rowsmith.__all__ if name.isupper()]
    assert rowsmith.__all__ == constants + sorted(name for name in rowsmith.__all__ if not name.isupper())
    assert all(hasattr(rowsmith, name) for name in rowsmith.__all__)


def test_every_error_is_public() -> None:
    """Whatever a caller may have to catch can be imported from the top."""
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]
    assert {kind.__name__ for kind in kinds} <= set(rowsmith.__all__)


def test_everything_public_has_a_docstring() -> None:
    """Classes and their public methods say what they do."""
    for name in rowsmith.__all__:
        thing = getattr(rowsmith, name)
        if not inspect.isclass(thing) or not thing.__module__.startswith("rowsmith"):
            continue
        assert inspect.getdoc(thing), name
        for method, value in vars(thing).items():
            if inspect.isfunction(value) and not method.startswith("_"):
                assert inspect.getdoc(value), f"{name}.{method}"
