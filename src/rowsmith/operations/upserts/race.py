"""Upserts that lose a race over a key that they do not go by.

ON CONFLICT waits for others at the key that it goes by, and at no other: where two insert the same row at once and
another unique key of it is met first, that one is refused. Made again, the upsert finds the row by its own key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowsmith.errors import RepositoryError
from rowsmith.execution.kinds import UNIQUE_VIOLATION
from rowsmith.mapping import RowInfo
from rowsmith.operations.call import Operation
from rowsmith.operations.conflict import Conflict


def is_overtaken(info: RowInfo[object], conflict: Conflict, failure: BaseException) -> bool:
    """Say whether another key was taken than the one that an upsert goes by, maybe by the row that it goes by."""
    if not isinstance(failure, RepositoryError) or failure.facts.sqlstate != UNIQUE_VIOLATION:
        return False
    return {info.columns[name].name for name in conflict.resolve(info).names} != {*failure.facts.columns}


def is_overtaken_call(upserter: Operation[Any, Any], failure: RepositoryError, kwargs: Mapping[str, object]) -> bool:
    """Say the same of a call with these arguments, which may be why it failed."""
    given, entity = kwargs.get("conflict"), upserter.entity
    return is_overtaken(entity.info, given if isinstance(given, Conflict) else entity.conflict, failure)
