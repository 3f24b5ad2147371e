"""Whose fault a failed COMMIT is: deferred constraints are checked long after the statement that broke them."""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.execution.origin import UNKNOWN, Origin
from rowsmith.execution.translate import constraint_of

_ORIGINS = "rowsmith_origins"


def remember(db_sess: AsyncSession, origin: Origin) -> None:
    """Note in the session that this call writes; once for each kind of call."""
    if origin is not UNKNOWN:
        db_sess.info.setdefault(_ORIGINS, {})[origin.domain, origin.operation] = origin


def blame(db_sess: AsyncSession, failure: BaseException) -> Origin:
    """Give the call that an error at COMMIT is due to, as far as the names in it tell; else an unknown one."""
    origins: list[Origin] = list(db_sess.info.get(_ORIGINS, {}).values())
    constraint, table = constraint_of(failure)
    owners = (origin for origin in origins if _owns(origin.table, constraint, table))
    declared = (origin for origin in origins if constraint in origin.violations)
    # Of several that no name tells apart, one that deletes if all do.
    is_one = len(origins) == 1 or all(origin.deletes for origin in origins)
    return next(owners, None) or next(declared, None) or (origins[0] if origins and is_one else UNKNOWN)


def _owns(table: Table | None, constraint: str | None, name: str | None) -> bool:
    if table is None:
        return False
    return table.name == name or any(item.name == constraint for item in table.constraints if constraint)
