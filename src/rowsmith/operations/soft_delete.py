"""Soft deletion: what marks a row as deleted, and what brings it back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, func
from sqlalchemy.orm import InstrumentedAttribute

from rowsmith.errors import MappingError
from rowsmith.mapping import Check
from rowsmith.mapping.types import Comparison, column_type
from rowsmith.state import UNSET

_TIMES = (Comparison.MOMENT, Comparison.LOCAL_TIME, Comparison.DATE)


@dataclass(frozen=True, init=False)
class SoftDelete:
    """How a row is deleted without being removed.

    By time, ``SoftDelete(GroupRow.deleted_at)``: NULL is live, the database's clock marks the deletion.
    By status, ``SoftDelete(GroupRow.status, deleted=Status.DELETED, restored=Status.ACTIVE)``: only the
    value ``deleted`` is deleted, ``restored`` is what restoring writes.

    Raises:
        MappingError: only one of ``deleted`` and ``restored`` is given.
    """

    column: InstrumentedAttribute[Any]
    deleted: Any
    restored: Any

    # Written out, because a type checker takes a dataclass field of a descriptor's type for any value at all.
    def __init__(self, column: InstrumentedAttribute[Any], *, deleted: Any = UNSET, restored: Any = UNSET) -> None:
        object.__setattr__(self, "column", column)
        object.__setattr__(self, "deleted", deleted)
        object.__setattr__(self, "restored", restored)
        if (deleted is UNSET) != (restored is UNSET):
            raise MappingError("SoftDelete by status needs both: deleted=..., the mark, and restored=..., its undoing")

    @property
    def _by_time(self) -> bool:
        return self.deleted is UNSET

    def complaint(self, column: Column[Any], check: Check) -> str | None:
        """Say why a column cannot be the mark; None if it can."""
        if not self._by_time:
            return check(self.deleted) or check(self.restored)
        if not column.nullable:
            return "is NOT NULL: soft deletion by time keeps NULL in live rows; or write deleted=..., restored=..."
        kind = column_type(column.type)
        if kind.wraps is None and kind.compared not in _TIMES:
            return "holds no time: write SoftDelete(..., deleted=..., restored=...)"
        return None

    def is_live(self) -> ColumnElement[bool]:
        """Give the condition of a row that is not deleted; a NULL status is live."""
        if self._by_time:
            return self.column.is_(None)
        return self.column.is_distinct_from(self.deleted)

    def is_deleted(self) -> ColumnElement[bool]:
        """Give the condition of a deleted row."""
        return self.column.is_not(None) if self._by_time else self.column == self.deleted

    def marking(self) -> dict[str, Any]:
        """Give the values that delete a row, by attribute name."""
        return {self.column.key: func.now() if self._by_time else self.deleted}

    def unmarking(self) -> dict[str, Any]:
        """Give the values that restore a row, by attribute name."""
        return {self.column.key: None if self._by_time else self.restored}
