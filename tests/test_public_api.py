"""What ``from rowsmith import ...`` gives: pinned, sorted, and complete."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

import rowsmith
from rowsmith import (
    Aggregator,
    BatchCreator,
    BatchResult,
    DBSource,
    Repository,
    WherePurger,
    errors,
    filters,
    operations,
)
from rowsmith.operations import Operation

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
    "CommitOutcome",
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
    "ErrorCode",
    "ErrorFactory",
    "ErrorFacts",
    "ExclusionViolation",
    "ExistenceCheck",
    "Expr",
    "Failure",
    "IdempotencyMismatch",
    "InvalidCursor",
    "InvalidFilter",
    "InvalidPagination",
    "InvalidValue",
    "Lag",
    "Lock",
    "LockLost",
    "LockNotAvailable",
    "MappingError",
    "MissingExtra",
    "Nested",
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
    "SeveralFound",
    "SoftDelete",
    "SoftDeleter",
    "Spec",
    "StalePlan",
    "StaleVersion",
    "StateUnavailable",
    "StillReferenced",
    "Stream",
    "Success",
    "TransactionAborted",
    "TransactionError",
    "TriState",
    "UnfitPooler",
    "UnitOfWork",
    "Unscoped",
    "Unset",
    "Updater",
    "Upserted",
    "Upserter",
    "WherePurger",
    "avg",
    "commit_outcome",
    "count",
    "max_",
    "min_",
    "related",
    "sum_",
]


OPERATIONS = [
    kind
    for name in operations.__all__
    if inspect.isclass(kind := getattr(operations, name)) and issubclass(kind, Operation)
]


def test_all_is_pinned_and_sorted() -> None:
    """``__all__`` is what this test says, in the order that ruff gives it, and every name is there."""
    assert sorted(rowsmith.__all__) == sorted(NAMES)
    constants = [name for name in rowsmith.__all__ if name.isupper()]
    assert rowsmith.__all__ == constants + sorted(name for name in rowsmith.__all__ if not name.isupper())
    assert all(hasattr(rowsmith, name) for name in rowsmith.__all__)


@pytest.mark.parametrize("package", [rowsmith, filters])
def test_what_type_checkers_see_is_what_is_given(package: ModuleType) -> None:
    """Each name that is imported when it is asked for is the one of the module that type checkers look in."""
    tree = ast.parse(inspect.getsource(package))
    given = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    places = {name.name: str(node.module) for node in given for name in node.names}
    for name in package.__all__:
        assert getattr(package, name) is getattr(import_module(places[name]), name)


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    """Neither SQLAlchemy nor pydantic by the package alone, nor filters by what searches with them."""
    code = (
        "import sys, rowsmith; assert not {'sqlalchemy', 'pydantic'} & sys.modules.keys(); "
        "rowsmith.Repository; assert 'rowsmith.filters.filter' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)


def test_a_name_that_is_not_there() -> None:
    """It is an AttributeError; a module is there by its name."""
    name, module = "nothing", "filters"
    with pytest.raises(AttributeError, match="module 'rowsmith' has no attribute 'nothing'"):
        getattr(rowsmith, name)
    assert getattr(rowsmith, module) is filters


def test_every_error_is_public() -> None:
    """Whatever a caller may have to catch can be imported from the top."""
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]
    assert {kind.__name__ for kind in kinds} <= set(rowsmith.__all__)


def test_every_operation_is_public() -> None:
    """Whoever works in a session of their own finds each class of verbs at the top."""
    assert {kind.__name__ for kind in OPERATIONS} - {Operation.__name__} <= set(rowsmith.__all__)


def undocumented(kind: type[Any]) -> list[str]:
    """Give what says nothing of the class and its methods; what ``dataclass`` writes by itself is nothing."""
    own = vars(kind).get("__doc__") or ""
    silent = [] if own and not own.startswith(f"{kind.__name__}(") else [kind.__name__]
    for name, value in inspect.getmembers_static(kind):
        method = inspect.unwrap(getattr(value, "__func__", getattr(value, "fget", value)))
        is_public = inspect.isfunction(method) and not name.startswith("_")
        if is_public and method.__module__.startswith("rowsmith") and not inspect.getdoc(method):
            silent.append(f"{kind.__name__}.{name}")
    return silent


def test_everything_public_has_a_docstring() -> None:
    """Classes and their public methods say what they do."""
    kinds = [thing for name in rowsmith.__all__ if inspect.isclass(thing := getattr(rowsmith, name))]
    assert [name for kind in kinds for name in undocumented(kind)] == []


def test_every_operation_has_a_docstring() -> None:
    """A repository, its source and all operations that the source holds, public by name or not; inherited verbs too."""
    kinds = [Repository, DBSource, *OPERATIONS]
    assert [name for kind in kinds for name in undocumented(kind)] == []
    assert {Aggregator, BatchCreator, WherePurger} <= set(OPERATIONS)


def test_a_docstring_that_is_missing_is_found() -> None:
    """The tests above are able to fail, for a method of any sort and for a class that inherits another's words."""

    @dataclass(frozen=True)
    class Silent(BatchResult[int]):
        __module__ = "rowsmith.silent"

    def verb(self: object) -> None: ...

    verb.__module__ = "rowsmith.silent"
    Silent.verb, Silent.kind, Silent.given = verb, classmethod(verb), property(verb)
    assert undocumented(Silent) == ["Silent", "Silent.given", "Silent.kind", "Silent.verb"]
