"""Whose fault it is that a write failed: that of a row or an item that was given, or nobody's of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from rowsmith.errors import (
    BadInput,
    ConstraintViolation,
    DatabaseFault,
    DatabaseUnavailable,
    DeadlineExceeded,
    EntityNotFound,
    ErrorFactory,
    InvalidValue,
    MappingError,
    MissingExtra,
    RepositoryError,
    ScopeError,
    ScopeMismatch,
    StaleVersion,
    TransactionError,
    made,
)
from rowsmith.execution import connections_of
from rowsmith.execution.kinds import TRIGGERED_DATA_CHANGE, is_of_application, kind_of_key
from rowsmith.execution.translate import STATEMENT_ERRORS
from rowsmith.operations.call import Call
from rowsmith.operations.entity import Entity, HasEntity

OWN_FAULTS = (ConstraintViolation, EntityNotFound, InvalidValue, ScopeMismatch, StaleVersion)
"""Errors of rowsmith's that can be the fault of a single item."""

ENDS_ALL = (
    BadInput,
    DatabaseFault,
    DatabaseUnavailable,
    DeadlineExceeded,
    MappingError,
    MissingExtra,
    ScopeError,
    TransactionError,
    MemoryError,
)
"""What ends the whole batch, where it is none of those: the connection, a deadlock, the scope as such. A MappingError,
too: it says that a class is declared or used wrongly, so the program is at fault, and a report would hide it."""


def is_of_an_item(error: Exception, call: Call[object, object]) -> bool:
    """Say whether an error of a write that is undone can be the fault of a single item, and the transaction goes on."""
    # SQLAlchemy takes a TimeoutError out of what it calls for the connection's, and gives that up.
    is_lost = any(connection.invalidated for connection in connections_of(call.db_sess))
    return not (is_lost or _is_of_the_scope(error, call)) and is_own_fault(error, call.entity)


def _is_of_the_scope(error: Exception, call: Call[object, object]) -> bool:
    """Say whether an error is what the scope raised, or its conditions, when it was asked for related rows."""
    return call.limits.related is not None and any(error is raised for raised in call.limits.related.raised)


def is_own_fault(error: Exception, entity: Entity[object, object], *, was_sent: bool = True) -> bool:
    """Say whether an error can be the fault of a single item.

    Before anything was sent, an error of the driver's or SQLAlchemy's is what an application raised.

    Rowsmith's own faults of items and the domain's are, and whatever else an application raised: in ``to_values``,
    ``to_data``, a default, a converter. A group of errors is, where all in it are.
    """
    if isinstance(error, ExceptionGroup):
        members: tuple[Exception, ...] = cast("Any", error).exceptions
        return all(is_own_fault(member, entity, was_sent=was_sent) for member in members)
    faults = _declared(entity, OWN_FAULTS)
    others = [factory for factory in entity.violations.values() if factory not in faults]
    if isinstance(error, (*OWN_FAULTS, *_kinds([entity.not_found, *faults]))) or is_of_a_trigger(error):
        return True
    ends = (*ENDS_ALL, *STATEMENT_ERRORS) if was_sent else ENDS_ALL
    return not isinstance(error, (*ends, *_kinds(others)))


def is_of_a_row(operation: HasEntity, error: Exception) -> bool:
    """Say whether a constraint or a trigger refused some row, which an error at COMMIT does not name."""
    declared = _declared(operation.entity, (ConstraintViolation,))
    return isinstance(error, (ConstraintViolation, *_kinds(declared))) or is_of_a_trigger(error)


def _declared(entity: Entity[object, object], kinds: tuple[type[RepositoryError], ...]) -> list[ErrorFactory]:
    return [factory for key, factory in entity.violations.items() if issubclass(kind_of_key(key), kinds)]


def _kinds(factories: Sequence[ErrorFactory]) -> tuple[type[Exception], ...]:
    """Give the classes of errors, but for those that are so general that rowsmith's own are of them."""
    kinds = (type(made(factory, "")) for factory in factories)
    return tuple(kind for kind in kinds if kind not in RepositoryError.__mro__)


def is_of_a_trigger(error: Exception) -> bool:
    """Say whether a trigger refused an item by RAISE, or changed the row of another one of the batch."""
    if not isinstance(error, DatabaseFault):
        return False
    return error.facts.sqlstate == TRIGGERED_DATA_CHANGE or is_of_application(error.facts.sqlstate)
