"""When an upsert finds its row there already: which unique key says so, and what happens then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, Index
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BindParameter

from rowsmith.conditions import Condition, resolve
from rowsmith.errors import InvalidFilter, MappingError, kind_of
from rowsmith.mapping import RowInfo, nearest
from rowsmith.mapping.comparisons import check_comparisons
from rowsmith.mapping.constraints import is_over_columns, name_of, names_of, predicate_of, unique_keys_of
from rowsmith.mapping.truth import check_boolean, complaint_inside
from rowsmith.several import several_complaint
from rowsmith.texts import complaint_about


@dataclass(frozen=True)
class Conflict:
    """The unique key that an upsert goes by; without arguments the primary key.

    ::

        Conflict(columns=[GroupRow.domain_name, GroupRow.name])
        Conflict(constraint="uq_groups_domain_name_name")
        Conflict(columns=[GroupRow.name], where=GroupRow.deleted_at.is_(None))  # a partial unique index
        Conflict(columns=[GroupRow.name], update=False)                         # leave a row that is there as it is

    Args:
        columns: attributes that a unique constraint or index of the table covers.
        constraint: instead of them, the name of that constraint or index.
        where: the predicate of a partial index.
        update: write the given fields into a row that is there; False leaves it untouched and gives it. Such a row is
            kept from being removed until the transaction ends (FOR KEY SHARE): PostgreSQL asks the UPDATE privilege.
    """

    columns: Sequence[InstrumentedAttribute[Any]] = ()
    constraint: str | None = None
    where: Condition | None = None
    update: bool = True

    def resolve(self, info: RowInfo[object]) -> ConflictKey:
        """Give the key in terms of a row.

        Raises:
            MappingError: it names columns and a constraint, no column of the row, no constraint of its table, or
                columns over which the mapping has no unique key.
            InvalidFilter: its predicate has text that does not end what it begins, or is no condition on one row.
            InvalidValue: its predicate compares what no database compares.
        """
        self._check_kinds()
        if self.columns and self.constraint is not None:
            raise MappingError("Conflict takes columns or a constraint's name, not both")
        where = None if self.where is None else resolve(self.where)
        if where is not None:
            elements: list[Any] = list(visitors.iterate(where))
            check_boolean(where)
            if complaint := complaint_about(elements) or several_complaint(where) or complaint_inside(elements):
                raise InvalidFilter(f"Conflict(where=...) on {info.row.__name__} {complaint}")
            check_comparisons(where, elements, info, "Conflict(where=...) on")
        if self.constraint is not None:
            return _by_name(info, self.constraint, where)
        for attribute in self.columns:
            if not info.has(attribute):
                raise MappingError(f"Conflict names {attribute}, no column of {info.row.__name__}")
        names = tuple(attribute.key for attribute in self.columns) or info.primary_key
        return _immediate(info, _kept_apart(info, ConflictKey.of(info, names, where)))

    def _check_kinds(self) -> None:
        columns: Any = self.columns
        if not isinstance(columns, Sequence) or isinstance(columns, str | bytes):
            raise MappingError(f"Conflict(columns=...) is a list, not {kind_of(columns)}: write [GroupRow.name]")
        for column in cast("Any", columns):
            if not isinstance(column, InstrumentedAttribute):
                raise MappingError(
                    f"Conflict(columns=...) lists attributes such as GroupRow.name, not {kind_of(column)}"
                )
        if not isinstance(cast("Any", self.constraint), str | None):
            raise MappingError(f"Conflict(constraint=...) is a constraint's name, not {kind_of(self.constraint)}")
        if not isinstance(cast("Any", self.update), bool):
            raise MappingError(f"Conflict(update=...) is True or False, not {kind_of(self.update)}")


@dataclass(frozen=True)
class ConflictKey:
    """A unique key: attribute names, and the predicate of a partial index."""

    names: tuple[str, ...]
    where: ColumnElement[bool] | None = None
    moments: frozenset[str] = frozenset()
    """Those that are points in time, which may be given in any time zone."""

    @classmethod
    def of(cls, info: RowInfo[object], names: tuple[str, ...], where: ColumnElement[bool] | None) -> ConflictKey:
        """Make the key of some attributes of a row."""
        return cls(names, where, frozenset(filter(info.is_moment, names)))

    def inferred(self) -> ColumnElement[bool] | None:
        """Give the predicate as PostgreSQL needs it to find the index: with its values written out."""
        if self.where is None:
            return None
        return visitors.replacement_traverse(self.where, {}, _written_out)


def _written_out(element: object, **options: Any) -> Any:
    return cast("Any", element).render_literal_execute() if isinstance(element, BindParameter) else None


def _by_name(info: RowInfo[object], name: str, where: ColumnElement[bool] | None) -> ConflictKey:
    keys = unique_keys_of(info.table)
    found = next((key for key in keys if name in names_of(key)), None)
    if found is None:
        known = filter(None, map(name_of, keys))
        raise MappingError(f"Conflict names {name!r}, no unique constraint of {info.table.name}{nearest(name, known)}")
    if isinstance(found, Index) and not is_over_columns(found):
        raise MappingError(
            f"Conflict names {name!r}, which is over expressions: an upsert goes by columns, whose values it is given; "
            "map a generated column (Computed) and make that unique"
        )
    names = {column.name: attribute for attribute, column in info.columns.items()}
    if unmapped := [column.name for column in found.columns if column.name not in names]:
        raise MappingError(f"Conflict names {name!r}, over {unmapped[0]}, no attribute of {info.row.__name__}")
    predicate = predicate_of(found) if where is None else where
    key = ConflictKey.of(info, tuple(names[column.name] for column in found.columns), predicate)
    return _immediate(info, key)


def _kept_apart(info: RowInfo[object], key: ConflictKey) -> ConflictKey:
    """Refuse columns that no unique key covers: the database would have none to go by."""
    columns = {info.columns[name] for name in key.names}
    over = [
        each
        for each in unique_keys_of(info.table)
        if set(each.columns) == columns and (not isinstance(each, Index) or is_over_columns(each))
    ]
    if not over:
        table = info.table.name
        raise MappingError(
            f"Conflict goes by ({', '.join(key.names)}), over which {table} has no unique key that the mapping knows: "
            "declare a UniqueConstraint or a unique Index over just these columns, or name another key"
        )
    if key.where is None and all(predicate_of(item) is not None for item in over):
        raise MappingError(
            f"Conflict goes by ({', '.join(key.names)}), and {name_of(over[0])} holds for some of the rows: give its "
            "predicate, Conflict(columns=[...], where=...), or its name, Conflict(constraint=...)"
        )
    return key


def _immediate(info: RowInfo[object], key: ConflictKey) -> ConflictKey:
    """Refuse a key that is checked later: PostgreSQL takes no deferrable constraint for ON CONFLICT."""
    columns = {info.columns[name] for name in key.names}
    constraints = (item for item in unique_keys_of(info.table) if not isinstance(item, Index))
    late = (item for item in constraints if item.deferrable and set(item.columns) == columns)
    if (found := next(late, None)) is not None:
        raise MappingError(
            f"{name_of(found)} of {info.table.name} is deferrable, and an upsert cannot go by it: "
            "name another key with Conflict(...), or declare it without deferrable"
        )
    return key
