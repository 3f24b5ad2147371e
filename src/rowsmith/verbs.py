"""What a verb says of itself: its name in error codes, its way without a session, and whose it is.

It is a method that :func:`rowsmith.operations.call.verb` has made, or any coroutine function of the application's.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import Any, cast

from rowsmith.operations import Operation
from rowsmith.operations.call import Native
from rowsmith.pagination import Count
from rowsmith.query import Query


def operation_of(verb: Any) -> str:
    """Give the name of an operation as error codes have it: what the verb says, else the function's own name."""
    try:
        named: str = verb.operation
    except AttributeError:
        named = ""
    return named or str(getattr(verb, "__name__", None) or type(verb).__name__)


def native_of(verb: Any) -> Native | None:
    """Give the way of a verb that needs no session: of itself, and of no function around it that has its attributes."""
    try:
        native: Native | None = verb.native
    except AttributeError:
        return None
    is_own = native is not None and verb.__class__ is MethodType and verb.__func__ is native.function
    return native if is_own else None


def is_foreign(verb: Any) -> bool:
    """Say whether a verb is the application's own, which may send any statement."""
    return not str(getattr(verb, "__module__", "")).startswith("rowsmith.")


def is_several(verb: Any, args: Sequence[Any], kwargs: Any) -> bool:
    """Say whether a read is several statements, which must see the same: it counts too, or data takes more."""
    operation: Any = getattr(verb, "__self__", None)
    if isinstance(operation, Operation) and cast("Any", operation).entity.shape.layout.is_several:
        return True
    counts = (given.count if isinstance(given, Query) else given for given in (*args, *kwargs.values()))
    return any(isinstance(count, Count) and count != Count.NONE for count in counts)
