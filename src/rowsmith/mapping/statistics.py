"""Statistics: the data class of an aggregation, field by field a group's key or something computed over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

from sqlalchemy import BigInteger, Column, ColumnElement, Float, Numeric, cast, func, type_coerce
from sqlalchemy.sql.elements import FunctionFilter, WithinGroup
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import SelectBase

from rowsmith.errors import MappingError
from rowsmith.mapping.annotations import annotation, options
from rowsmith.mapping.builders import builder
from rowsmith.mapping.expr import Aggregate, Expr, keep_to_row
from rowsmith.mapping.fields import Stored, computed, data_fields, hold
from rowsmith.mapping.generated import Build
from rowsmith.mapping.row import RowInfo, nearest
from rowsmith.sql import are_same

TData = TypeVar("TData")


@dataclass(frozen=True)
class Statistics(Generic[TData]):
    """What an aggregation selects, and what makes data of its records."""

    selects: tuple[ColumnElement[Any], ...]
    build: Build


def statistics(info: RowInfo[object], into: type[TData], keys: Sequence[ColumnElement[Any]]) -> Statistics[TData]:
    """Hold a data class against the keys that rows are grouped by.

    Args:
        info: the row.
        into: each field is named like a key's column, has a key's expression as ``Expr``, or aggregates.
        keys: what the rows are grouped by.

    Raises:
        MappingError: a field is neither grouped nor aggregated, or may be NULL and does not say so.
    """
    names = data_fields(into)
    reader = _Reader(info, into, keys)
    return Statistics(tuple(reader.field(name) for name in names), builder(into, names))


@dataclass(frozen=True)
class _Reader:
    info: RowInfo[Any]
    into: type[Any]
    keys: Sequence[ColumnElement[Any]]

    def field(self, name: str) -> ColumnElement[Any]:
        """Give a field's expression."""
        marker = computed(self.into, name)
        if isinstance(marker, Aggregate):
            return self._aggregate(name, marker)
        if marker is None and name not in self.info.columns:
            meant = nearest(name, (key.key for key in self.keys if isinstance(key, Column) and key.key))
            raise MappingError(f"{self._where(name)} is neither grouped by nor aggregated{meant}")
        expression = self.info.attribute(name).expression if marker is None else marker.resolve()
        key = next((key for key in self.keys if are_same(key, expression)), None)
        if key is not None:
            hold(self.info, self.into, name, Stored() if marker is None else marker)
            return key  # the very same: a second parameter in its place would be another expression to PostgreSQL
        if isinstance(marker, Expr) and self._is_aggregated(expression):
            keep_to_row(expression, self.info, self._where(name))
            return expression
        raise MappingError(
            f"{self._where(name)} is neither grouped by nor aggregated: add it to group_by, or write "
            "Annotated[..., max_(...)] or another aggregate"
        )

    def _aggregate(self, name: str, marker: Aggregate) -> ColumnElement[Any]:
        found = options(annotation(self.into, name)[0])
        parts = [part for part in found if part is not type(None)]
        kind = parts[0] if len(parts) == 1 else Any
        is_optional = len(parts) < len(found) or found == [Any]
        expression = marker.resolve()
        keep_to_row(expression, self.info, self._where(name))
        if marker.kind == "sum" and not is_optional:
            expression = func.coalesce(expression, 0, type_=expression.type)
        elif marker.kind != "count" and not is_optional:
            over = None if marker.expression is None else Expr(marker.expression).resolve()
            may_be_null = not isinstance(over, Column) or over.nullable is not False
            if may_be_null or marker.conditions or not self.keys:  # a group, unlike the whole, is never empty
                named = getattr(kind, "__name__", str(kind))
                raise MappingError(f"{self._where(name)} is None where there is no value: write {named} | None")
        if marker.kind == "count":
            return expression
        # PostgreSQL's sums and means are wider than what they are of.
        if kind is int:
            return cast(expression, BigInteger)
        if kind is float:
            return cast(expression, Float(53))
        return type_coerce(expression, Numeric()) if kind is Decimal else expression

    def _is_aggregated(self, expression: Any) -> bool:
        """Say whether each column in an expression stands inside of a function, or is a key."""
        if any(are_same(key, expression) for key in self.keys):
            return True
        if isinstance(expression, FunctionElement | FunctionFilter | WithinGroup | SelectBase):
            return True
        return not isinstance(expression, Column) and all(map(self._is_aggregated, expression.get_children()))

    def _where(self, name: str) -> str:
        return f"{self.into.__name__}.{name} (of {self.info.row.__name__})"
