"""Whose fault a failed COMMIT is: deferred constraints are checked long after the statement that broke them."""

from __future__ import annotations

from collections.abc import Iterable

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
    return next(owners, None) or next(declared, None) or _only(origins)


def _owns(table: Table | None, constraint: str | None, name: str | None) -> bool:
    if table is None:
        return False
    return table.name == name or any(item.name == constraint for item in table.constraints if constraint)


def _only(origins: Iterable[Origin]) -> Origin:
    """Give the one call there was; of several, one that deletes if all do."""
    found = list(origins)
    return found[0] if found and (len(found) == 1 or all(origin.deletes for origin in found)) else UNKNOWN
