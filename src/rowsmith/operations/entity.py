"""What every operation on one kind of row shares: mapping, shape of the data, rules. Made once, frozen."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypedDict, Unpack, cast

from sqlalchemy import ColumnElement
from typing_extensions import TypeVar

from rowsmith.errors import EntityNotFound, ErrorFactory, MappingError
from rowsmith.execution import Origin
from rowsmith.mapping import RowInfo, Shape, data_shape, nearest, row_info, row_shape
from rowsmith.mapping.constraints import declared_names, is_implicit
from rowsmith.operations.conflict import Conflict
from rowsmith.operations.next_value import NextValue
from rowsmith.operations.soft_delete import SoftDelete

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)
TRow_co = TypeVar("TRow_co", covariant=True)
TData_co = TypeVar("TData_co", covariant=True, default=TRow_co)
TOther = TypeVar("TOther")


class Rules(TypedDict, total=False):
    """The keyword arguments that every operation object takes.

    ``not_found`` and the values of ``violations`` (by constraint name) make a domain's own errors from a
    message; ``soft_delete`` hides deleted rows; ``scope_required`` refuses calls without a scope;
    ``domain`` is the noun in error codes, by default the row's; ``conflict`` is the unique key that upserts go by,
    the primary key without it; ``next_value`` numbers rows within a parent.
    """

    not_found: ErrorFactory
    violations: Mapping[str, ErrorFactory]
    soft_delete: SoftDelete | None
    scope_required: bool
    domain: str | None
    conflict: Conflict | None
    next_value: NextValue | None


@dataclass(frozen=True)
class Entity(Generic[TRow_co, TData_co]):
    """One kind of row as its operations see it."""

    info: RowInfo[TRow_co]
    shape: Shape[TRow_co, TData_co]
    not_found: ErrorFactory
    violations: Mapping[str, ErrorFactory]
    soft_delete: SoftDelete | None
    scope_required: bool
    domain: str
    conflict: Conflict
    next_value: NextValue | None

    def origin(self, operation: str, *, deletes: bool = False, writes: Collection[str] | None = None) -> Origin:
        """Say whose call a statement is; ``writes`` are the attributes that an UPDATE changes."""
        columns = None if writes is None else frozenset(self.info.columns[name].name for name in writes)
        return Origin(self.domain, operation, self.info.table, self.violations, deletes, columns, self.info.mapper)

    @property
    def returning(self) -> tuple[Any, ...]:
        """What a write returns: a record of the data, or only the key where data holds more than RETURNING can give.

        ``present_written`` makes data of it.
        """
        return self.shape.selects if self.shape.returnable else self.info.key_attributes

    def live(self, include_deleted: bool = False) -> list[ColumnElement[bool]]:
        """Give the conditions that hide deleted rows."""
        return [] if include_deleted or self.soft_delete is None else [self.soft_delete.is_live()]

    def absent(self, missing: Sequence[object] = ()) -> Exception:
        """Give the domain's error for rows that are not there for this caller."""
        count = f"{len(missing)} of the requested entities were" if len(missing) > 1 else "the entity was"
        error = self.not_found(f"{count} not found")
        if isinstance(error, EntityNotFound):
            error.missing = tuple(missing)
        return error

    def into(self, into: type[TOther] | None) -> Entity[TRow_co, TOther]:
        """Give the same entity with another shape of data; None keeps this one."""
        if into is None:
            return cast("Entity[TRow_co, TOther]", self)
        return cast("Entity[TRow_co, TOther]", replace(cast("Any", self), shape=shape_for(self.info, into)))


def make_entity(row: type[TRow], into: type[TData] | None = None, **rules: Unpack[Rules]) -> Entity[TRow, TData]:
    """Read a row and a data class once.

    Raises:
        MappingError: they do not fit; or a rule names a constraint, column or key that the table does not have.
    """
    info = row_info(row)
    violations = dict(rules.get("violations") or {})
    _check_constraints(info, violations)
    conflict, next_value = rules.get("conflict") or Conflict(), rules.get("next_value")
    conflict.resolve(info)
    if next_value is not None:
        next_value.foreign_key(info)
    return Entity(
        info=info,
        shape=shape_for(info, into),
        not_found=rules.get("not_found", EntityNotFound),
        violations=violations,
        soft_delete=_own_soft_delete(info, rules.get("soft_delete")),
        scope_required=rules.get("scope_required", False),
        domain=rules.get("domain") or info.domain,
        conflict=conflict,
        next_value=next_value,
    )


def shape_for(info: RowInfo[TRow], into: type[TData] | None) -> Shape[TRow, TData]:
    """Give the shape of a data class, or of the row itself."""
    if into is None or cast("Any", into) is info.row:
        return cast("Shape[TRow, TData]", row_shape(info))
    return data_shape(info, into)


def _own_soft_delete(info: RowInfo[object], soft_delete: SoftDelete | None) -> SoftDelete | None:
    if soft_delete is None:
        return None
    column = soft_delete.column
    if not info.has(column):
        raise MappingError(f"SoftDelete names {column}, which is no column of {info.row.__name__}")
    if complaint := soft_delete.complaint(info.columns[column.key], info.check(column.key)):
        raise MappingError(f"{info.row.__name__}.{column.key} {complaint}")
    return soft_delete


def _check_constraints(info: RowInfo[object], violations: Mapping[str, ErrorFactory]) -> None:
    """A misspelt constraint name would silently give the general error instead of the domain's.

    A foreign key that points here stands on another table, perhaps one that is not imported yet, so a name
    is refused only where one of the table's own is so like it that it must be meant.
    """
    known = frozenset[str]().union(*map(declared_names, info.table.metadata.tables.values()))
    for name in violations:
        if name in known or is_implicit(name):
            continue
        if meant := nearest(name, declared_names(info.table), cutoff=0.85):
            raise MappingError(f"violations names {name!r}, no constraint of {info.table.name}{meant}")
