"""Soft deletion: what marks a row as deleted, and what brings it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, func, or_
from sqlalchemy.orm import InstrumentedAttribute

from rowsmith.errors import MappingError, kind_of
from rowsmith.mapping import RowInfo
from rowsmith.mapping.types import Comparison, column_type
from rowsmith.mapping.writes import check_writable
from rowsmith.sql import as_sql, calls_for_values, instead, is_sql, own_parameters
from rowsmith.state import UNSET

_TIMES = (Comparison.MOMENT, Comparison.LOCAL_TIME, Comparison.DATE)


@dataclass(frozen=True, init=False)
class SoftDelete:
    """How a row is deleted without being removed.

    By time, ``SoftDelete(GroupRow.deleted_at)``: NULL is live, the database's clock marks the deletion.
    By status, ``SoftDelete(GroupRow.status, deleted=Status.DELETED, restored=Status.ACTIVE)``: only the
    value ``deleted`` is deleted, ``restored`` is what restoring writes. Of several dead values, as in
    ``deleted=[Status.DELETED, Status.BANNED]``, the first one is what deleting writes.
    By an expression over the row, ``SoftDelete(GroupRow.deleted, deleted=GroupRow.id, restored=0)``: ``restored`` is
    live, and so is NULL; whatever else is deleted.

    ``also`` are columns that are written beside it, which say nothing themselves of whether a row is deleted:
    ``SoftDelete(GroupRow.deleted_at, also={GroupRow.is_deleted: True})``. Restoring writes the opposite of a bool, and
    NULL otherwise; what else it shall write stands second in a tuple: ``also={GroupRow.state: ("gone", "here")}``.

    Raises:
        MappingError: only one of ``deleted`` and ``restored`` is given, or they do not tell a live row from a deleted
            one; ``also`` is no mapping of columns.
    """

    column: InstrumentedAttribute[Any]
    deleted: Any
    restored: Any
    also: tuple[tuple[InstrumentedAttribute[Any], Any, Any], ...]

    # Written out, because a type checker takes a dataclass field of a descriptor's type for any value at all.
    def __init__(
        self,
        column: InstrumentedAttribute[object],
        *,
        deleted: object = UNSET,
        restored: object = UNSET,
        also: Mapping[Any, object] | None = None,
    ) -> None:
        object.__setattr__(self, "column", column)
        object.__setattr__(self, "deleted", deleted)
        object.__setattr__(self, "restored", restored)
        object.__setattr__(self, "also", tuple(_written_beside(also)))
        if (deleted is UNSET) != (restored is UNSET):
            raise MappingError("SoftDelete by status needs both: deleted=..., the mark, and restored=..., its undoing")
        if self._by_expression and is_sql(restored):
            raise MappingError("SoftDelete with deleted=... as SQL needs a value as restored=...: it tells a live row")
        if len(self._dead) > 1 and any(dead is None or is_sql(dead) for dead in self._dead):
            raise MappingError("SoftDelete with several values as deleted=[...] takes plain ones: no None, no SQL")
        if not is_sql(restored) and any(not is_sql(dead) and dead == restored for dead in self._dead):
            raise MappingError("SoftDelete has the same value as deleted=... and as restored=...")

    @property
    def _by_time(self) -> bool:
        return self.deleted is UNSET

    @property
    def _by_expression(self) -> bool:
        return is_sql(self.deleted)

    @property
    def _dead(self) -> Sequence[Any]:
        """The values that are deleted, the one that deleting writes first."""
        if self._by_time:
            return ()
        deleted: Any = self.deleted
        return cast("Sequence[Any]", deleted) if isinstance(deleted, list | tuple) else [deleted]

    def check(self, info: RowInfo[object]) -> None:
        """Refuse a declaration that does not fit a row.

        Raises:
            MappingError: something named is no column of it, cannot be written, or cannot hold what it is to hold.
        """
        named = [self.column, *(column for column, _, _ in self.also)]
        for attribute in named:
            if not isinstance(cast("Any", attribute), InstrumentedAttribute) or not info.has(attribute):
                raise MappingError(f"SoftDelete names {attribute}, which is no column of {info.row.__name__}")
            check_writable(info, attribute.key, f"SoftDelete's {attribute.key}")
            if attribute.key in (*info.primary_key, info.version):
                raise MappingError(f"SoftDelete names {attribute}, which is the row's key or version: name another one")
        if twice := next((one for place, one in enumerate(named) if one.key in {o.key for o in named[:place]}), None):
            raise MappingError(f"SoftDelete names {twice} twice: once is enough")
        complaints = [(self.column, self._complaint(info))]
        complaints += [(column, _complaint(info, column, value)) for column, *both in self.also for value in both]
        for attribute, complaint in complaints:
            if complaint:
                raise MappingError(f"{info.row.__name__}.{attribute.key} {complaint}")

    def _complaint(self, info: RowInfo[object]) -> str | None:
        column = info.columns[self.column.key]
        if not self._by_time:
            if not self._dead:
                return "has no value that is deleted: write deleted=..."
            return next(
                filter(None, (_complaint(info, self.column, one) for one in (*self._dead, self.restored))), None
            )
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
        if self._by_expression:
            return self._or_null(self.column == self.restored)
        if len(self._dead) == 1:
            return self.column.is_distinct_from(self._dead[0])
        return self._or_null(self.column.not_in(self._dead))

    def is_deleted(self) -> ColumnElement[bool]:
        """Give the condition of a deleted row."""
        if self._by_time:
            return self.column.is_not(None)
        if self._by_expression:
            differs: ColumnElement[bool] = self.column != self.restored
            return differs
        return self.column == self._dead[0] if len(self._dead) == 1 else self.column.in_(self._dead)

    def _or_null(self, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        column: Any = self.column.property.columns[0]
        return or_(condition, self.column.is_(None)) if column.nullable else condition

    def marking(self) -> dict[str, Any]:
        """Give the values that delete a row, by attribute name."""
        mark = func.now() if self._by_time else self.deleted if self._by_expression else self._dead[0]
        return _marks({self.column.key: mark, **{column.key: deleted for column, deleted, _ in self.also}})

    def unmarking(self) -> dict[str, Any]:
        """Give the values that restore a row, by attribute name."""
        mark = None if self._by_time else self.restored
        return _marks({self.column.key: mark, **{column.key: restored for column, _, restored in self.also}})


def _marks(values: dict[str, Any]) -> dict[str, Any]:
    """Give values that are written together, whose parameters no name ties to each other."""
    return {name: own_parameters(as_sql(value)) if is_sql(value) else value for name, value in values.items()}


def _written_beside(also: object) -> Iterator[tuple[Any, Any, Any]]:
    """Give each column with what deleting and what restoring writes into it."""
    if also is not None and not issubclass(type(also), Mapping):
        raise MappingError(
            f"SoftDelete(also=...) maps columns to values, not {kind_of(also)}: write {{Row.flag: True}}"
        )
    given: Any = also or dict[Any, Any]()
    for column in given:
        both = value = given[column]
        if isinstance(value, tuple) and len(both) == _DELETED_AND_RESTORED:
            yield column, both[0], both[1]
        else:
            yield column, value, not value if isinstance(value, bool) else None


_DELETED_AND_RESTORED = 2


def _complaint(info: RowInfo[object], attribute: InstrumentedAttribute[Any], value: Any) -> str | None:
    """Say why a column cannot hold a value, or what an expression makes of the row; None if it can."""
    if is_sql(value):
        given = as_sql(value)
        if not isinstance(given, ColumnElement):
            return f"is marked by what is no SQL expression{instead(given, 'Text')}"
        sources: list[Any] = given._from_objects  # pyright: ignore[reportPrivateUsage] - there is no public name
        own = {part.table.key for part in info.parts}
        if any(getattr(part, "key", None) not in own for part in sources):
            return f"is marked by SQL that is no expression over {info.row.__name__} alone"
        if calls_for_values(given):
            return "is marked by SQL with a parameter whose value a callable gives: have the database say it"
        return None
    if value is None:
        return None if info.columns[attribute.key].nullable else "is NOT NULL: say what restoring writes into it"
    return info.checks[attribute.key](value)
