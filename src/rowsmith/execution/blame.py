"""Whose fault a failed COMMIT is: deferred constraints are checked long after the statement that broke them."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ForeignKeyConstraint
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.execution.broken import Broken, broken_by
from rowsmith.execution.origin import UNKNOWN, Origin
from rowsmith.execution.transactions import is_open_to_all
from rowsmith.execution.translate import driver_error
from rowsmith.mapping.constraints import column_names, refers_to

_ORIGINS = "rowsmith_origins"


def remember(db_sess: AsyncSession, origin: Origin) -> None:
    """Note in the session that this call writes; once for each kind of call, table, and what it writes."""
    if origin is not UNKNOWN:
        key = (origin.domain, origin.operation, origin.table, origin.writes)
        db_sess.info.setdefault(_ORIGINS, {})[key] = origin


def has_only_read(db_sess: AsyncSession) -> bool:
    """Say whether it is known that nothing was written: by no call, and by nothing of the application's own."""
    return not db_sess.info.get(_ORIGINS) and not is_open_to_all(db_sess)


def blame(db_sess: AsyncSession, failure: BaseException) -> Origin:
    """Give the call that an error at COMMIT is due to, as far as the names in it tell; else an unknown one."""
    origins: list[Origin] = list(db_sess.info.get(_ORIGINS, {}).values())
    driver = driver_error(failure)
    found = [(origin, broken_by(driver, origin)) for origin in origins]
    owners = (
        origin
        for origin, broken in found
        if broken.is_of(origin.table) and not origin.deletes and _writes(origin, column_names(broken.item))
    )
    others = (origin for origin, broken in found if _broke_anothers(origin, broken))
    declared = (
        origin for origin, broken in found if not origin.violations.keys().isdisjoint(broken.names_for(origin.table))
    )
    # Of several that no name tells apart, one that deletes if all do.
    calls = {(origin.domain, origin.operation) for origin in origins}
    is_one = len(calls) == 1 or all(origin.deletes for origin in origins)
    rest = origins[0] if origins and is_one else UNKNOWN
    return next(owners, None) or next(others, None) or next(declared, None) or rest


def _broke_anothers(origin: Origin, broken: Broken) -> bool:
    """Say whether a call can have broken a foreign key by taking away what it refers to."""
    key = broken.item
    if not isinstance(key, ForeignKeyConstraint) or not refers_to(key, origin.table):
        return False
    return origin.deletes or (origin.writes is not None and _writes(origin, [e.column.name for e in key.elements]))


def _writes(origin: Origin, columns: Collection[str]) -> bool:
    return origin.writes is None or not columns or not origin.writes.isdisjoint(columns)
