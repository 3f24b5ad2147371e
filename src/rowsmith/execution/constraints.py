"""The constraints of a table by name and by column, as far as its mapping tells what a database does not."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint, Table, UniqueConstraint
from sqlalchemy.exc import NoReferencedTableError


def columns_of(table: Table | None, constraint: str | None) -> tuple[str, ...]:
    """Give the columns of a constraint; empty where the mapping knows no such constraint."""
    if table is None or constraint is None:
        return ()
    items: list[Any] = [*table.constraints, *table.indexes]
    return next((_columns(item) for item in items if name_of(item) == constraint), ())


def key_with(table: Table | None, columns: tuple[str, ...]) -> str | None:
    """Give the name of the primary key, unique constraint or unique index over these columns."""
    if table is None:
        return None
    keys = [item for item in table.constraints if isinstance(item, (PrimaryKeyConstraint, UniqueConstraint))]
    items: list[Any] = [*keys, *(index for index in table.indexes if index.unique)]
    return next((name_of(item) for item in items if _columns(item) == columns), None)


def names_around(table: Table | None) -> frozenset[str]:
    """Give the names of all that the mapping knows around a table: tables, columns, constraints, indexes."""
    names: set[str] = set()
    for each in () if table is None else table.metadata.tables.values():
        names.update((each.name, *(column.name for column in each.columns)))
        names.update(name for name in map(name_of, (*each.constraints, *each.indexes)) if name)
    return frozenset(names)


def only_reference_from(table: Table, writes: Collection[str] | None) -> ForeignKeyConstraint | None:
    """Give the one foreign key of a table that a write of these columns (None: of all) can break."""
    keys = table.foreign_key_constraints
    return _only([key for key in keys if writes is None or not set(writes).isdisjoint(_columns(key))])


def only_reference_to(table: Table) -> ForeignKeyConstraint | None:
    """Give the one foreign key that can keep a row of a table from being removed."""
    others = table.metadata.tables.values()
    return _only([key for other in others for key in other.foreign_key_constraints if _keeps(key, table)])


def name_of(item: Any) -> str | None:
    """Give a constraint's name; one without has PostgreSQL's own for it."""
    if item.name:
        return str(item.name)
    table, columns = item.table.name, "_".join(_columns(item))
    match item:
        case PrimaryKeyConstraint():
            return f"{table}_pkey"
        case UniqueConstraint():
            return f"{table}_{columns}_key"
        case ForeignKeyConstraint():
            return f"{table}_{columns}_fkey"
        case _:
            return None


def _columns(item: Any) -> tuple[str, ...]:
    return tuple(column.name for column in getattr(item, "columns", ()))


def _keeps(key: ForeignKeyConstraint, table: Table) -> bool:
    try:
        refers = key.referred_table is table
    except NoReferencedTableError:  # to a table that is not imported yet
        return False
    return refers and (key.ondelete or "").upper() not in {"CASCADE", "SET NULL", "SET DEFAULT"}


def _only(keys: list[ForeignKeyConstraint]) -> ForeignKeyConstraint | None:
    return keys[0] if len(keys) == 1 else None
