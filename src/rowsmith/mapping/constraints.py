"""The keys, foreign keys and indexes of a table, by name and by column, as far as its mapping tells.

A constraint that was declared without a name has the one that PostgreSQL gives to it; that is worked out here alone.
Source: PostgreSQL's manual, "CREATE TABLE", and ``ChooseConstraintName`` in ``pg_constraint.c``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import TypeAlias

from sqlalchemy import (
    Constraint,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)
from sqlalchemy.exc import NoReferencedTableError
from sqlalchemy.schema import ColumnCollectionConstraint

UniqueKey: TypeAlias = PrimaryKeyConstraint | UniqueConstraint | Index
"""What keeps rows apart: the primary key, a unique constraint, or a unique index."""

_IMPLICIT = re.compile(r"_(pkey|key\d*|fkey\d*|check\d*|excl\d*|idx\d*)$")


def unique_keys_of(table: Table) -> list[UniqueKey]:
    """Give a table's unique constraints and indexes, its primary key among them."""
    constraints = [item for item in table.constraints if isinstance(item, (PrimaryKeyConstraint, UniqueConstraint))]
    return [*constraints, *(index for index in table.indexes if index.unique)]


def key_with(table: Table | None, columns: tuple[str, ...]) -> str | None:
    """Give the name of the unique key over these columns."""
    keys = [] if table is None else unique_keys_of(table)
    return next((name_of(key) for key in keys if _column_names(key) == columns), None)


def key_named(table: Table, name: str | None) -> UniqueKey | ForeignKeyConstraint | None:
    """Give the unique or foreign key of this name, if equal values of its columns alone are what it goes by."""
    keys: list[UniqueKey | ForeignKeyConstraint] = [
        *(key for key in unique_keys_of(table) if not isinstance(key, Index) or _is_of_columns(key)),
        *table.foreign_key_constraints,
    ]
    return None if name is None else next((key for key in keys if name_of(key) == name), None)


def columns_behind(table: Table | None, name: str | None) -> tuple[str, ...]:
    """Give the columns of a constraint or index; empty where the mapping knows none of this name."""
    if table is None or name is None:
        return ()
    return next((_column_names(item) for item in _all_of(table) if name_of(item) == name), ())


def only_reference_from(table: Table, writes: Collection[str] | None) -> ForeignKeyConstraint | None:
    """Give the one foreign key of a table that a write of these columns (None: of all) can break."""
    keys = table.foreign_key_constraints
    return _sole([key for key in keys if writes is None or not set(writes).isdisjoint(_column_names(key))])


def only_reference_to(table: Table) -> ForeignKeyConstraint | None:
    """Give the one foreign key that can keep a row of a table from being removed."""
    others = table.metadata.tables.values()
    return _sole([key for other in others for key in other.foreign_key_constraints if _keeps(key, table)])


def name_of(item: Constraint | Index) -> str | None:
    """Give the name of a constraint or index; one without has PostgreSQL's own for it."""
    if item.name:
        return str(item.name)
    columns = "_".join(_column_names(item))
    match item:
        case PrimaryKeyConstraint():
            return f"{item.table.name}_pkey"
        case UniqueConstraint():
            return f"{item.table.name}_{columns}_key"
        case ForeignKeyConstraint():
            return f"{item.table.name}_{columns}_fkey"
        case _:
            return None


def is_implicit(name: str) -> bool:
    """Say whether a name is such as PostgreSQL gives to a constraint or index that was declared without one."""
    return _IMPLICIT.search(name) is not None


def declared_names(table: Table) -> frozenset[str]:
    """Give the names that a table's constraints and indexes were declared with."""
    return frozenset(str(item.name) for item in _all_of(table) if item.name)


def names_around(table: Table | None) -> frozenset[str]:
    """Give the names of all that the mapping knows around a table: tables, columns, constraints, indexes."""
    tables = () if table is None else table.metadata.tables.values()
    return frozenset(name for each in tables for name in _names_in(each))


def _names_in(table: Table) -> Iterator[str]:
    yield table.name
    yield from (column.name for column in table.columns)
    yield from (name for name in map(name_of, _all_of(table)) if name)


def _all_of(table: Table) -> list[Constraint | Index]:
    return [*table.constraints, *table.indexes]


def _column_names(item: Constraint | Index) -> tuple[str, ...]:
    if not isinstance(item, (ColumnCollectionConstraint, Index)):
        return ()
    return tuple(column.name for column in item.columns)


def _is_of_columns(index: Index) -> bool:
    """Say whether an index covers all rows, and nothing but columns."""
    return len(index.columns) == len(index.expressions) and index.dialect_options["postgresql"].get("where") is None


def _keeps(key: ForeignKeyConstraint, table: Table) -> bool:
    try:
        refers = key.referred_table is table
    except NoReferencedTableError:  # to a table that is not imported yet
        return False
    return refers and (key.ondelete or "").upper() not in {"CASCADE", "SET NULL", "SET DEFAULT"}


def _sole(keys: list[ForeignKeyConstraint]) -> ForeignKeyConstraint | None:
    return keys[0] if len(keys) == 1 else None
