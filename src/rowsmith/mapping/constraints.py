"""The keys, foreign keys and indexes of a table, by name and by column, as far as its mapping tells.

A constraint that was declared without a name has the one that PostgreSQL gives to it, and one with a name that is too
long the one that is left of it; both are worked out here alone. Names tell constraints apart within a table only.
Source: PostgreSQL's manual, "CREATE TABLE", and ``ChooseConstraintName`` in ``pg_constraint.c``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from itertools import chain
from typing import Any, TypeAlias, TypeVar, cast

from sqlalchemy import (
    CheckConstraint,
    ClauseElement,
    Column,
    ColumnClause,
    ColumnElement,
    Constraint,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    Table,
    TextClause,
    UnaryExpression,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.dialects.postgresql.base import PGDialect, PGIdentifierPreparer
from sqlalchemy.exc import NoReferencedTableError
from sqlalchemy.schema import ColumnCollectionConstraint, conv
from sqlalchemy.sql import operators, visitors

UniqueKey: TypeAlias = PrimaryKeyConstraint | UniqueConstraint | Index
"""What keeps rows apart: the primary key, a unique constraint, or a unique index."""

T = TypeVar("T")

MOST_BYTES = 63
"""How much of a name PostgreSQL keeps, in UTF-8."""

_NUMBERS = ("", *map(str, range(1, 10)))
_PART = re.compile(r"(_\d+)+$")
_PREPARER: Any = PGIdentifierPreparer(cast("Any", PGDialect)())


def unique_keys_of(table: Table) -> list[UniqueKey]:
    """Give a table's unique constraints and indexes, its primary key among them."""
    constraints = [item for item in table.constraints if isinstance(item, (PrimaryKeyConstraint, UniqueConstraint))]
    return [*constraints, *(index for index in table.indexes if index.unique)]


def exclusive_keys_of(table: Table) -> list[UniqueKey | ExcludeConstraint]:
    """Give all that keeps rows of a table apart: exclusion constraints beside its unique keys."""
    return [*unique_keys_of(table), *(item for item in table.constraints if isinstance(item, ExcludeConstraint))]


def key_with(table: Table | None, columns: tuple[str, ...]) -> UniqueKey | None:
    """Give the unique key over these columns."""
    keys = [] if table is None else unique_keys_of(table)
    return next((key for key in keys if column_names(key) == columns), None)


def key_named(table: Table, name: str | None) -> UniqueKey | ForeignKeyConstraint | None:
    """Give the unique or foreign key of this name, if equal values of its columns alone are what it goes by."""
    found = None if name is None else item_named(table, name)
    if isinstance(found, Index) and not (found.unique and tells_all_apart(found)):
        return None
    return found if isinstance(found, PrimaryKeyConstraint | UniqueConstraint | Index | ForeignKeyConstraint) else None


def item_named(table: Table, name: str) -> Constraint | Index | None:
    """Give the constraint or index of a table that a name means, to the mapping or to the database."""
    items = all_of(table)
    exact = (item for item in items if name in names_of(item))
    numbered = (item for item in items if name in _numbered(item))
    parts = (key for key in table.foreign_key_constraints if _PART.sub("", name) in names_of(key))
    return _first(chain(exact, numbered, parts))  # not by "or": a constraint without columns is false


def table_named(near: Table | None, name: str | None, schema: str | None = None) -> Table | None:
    """Give the table that a database means, among those that are mapped together with one.

    Of several in different schemas the one of this schema, else one without, else ``near`` itself: schemas may be
    translated.
    """
    if near is None or name is None:
        return None
    tables = [table for table in near.metadata.tables.values() if name in (table.name, _cut(table.name))]
    tables.sort(key=lambda table: (table.schema != schema, table.schema is not None, table is not near))
    return _first(tables)


def key_listed(table: Table, detail: str | None) -> Constraint | Index | None:
    """Give the key whose columns PostgreSQL lists first in a DETAIL; None where that may be several.

    For an index of a partition, whose name the mapping cannot know: its columns are those of the table's own.
    """
    listed = None if detail is None else detail[detail.find("(") :]
    if listed is None:
        return None
    keys: list[Constraint | Index] = [*exclusive_keys_of(table)]
    plain = [key for key in keys if not isinstance(key, Index) or is_over_columns(key)]
    heads = [(key, ", ".join(map(_PREPARER.quote, column_names(key)))) for key in plain]
    same = [key for key, columns in heads if listed.startswith(f"({columns})=(")]
    return _sole(same or [key for key in keys if key not in plain])


def only_reference_from(table: Table, writes: Collection[str] | None) -> ForeignKeyConstraint | None:
    """Give the one foreign key of a table that a write of these columns (None: of all) can break."""
    keys = table.foreign_key_constraints
    return _sole([key for key in keys if writes is None or not set(writes).isdisjoint(column_names(key))])


def only_reference_to(table: Table, among: Iterable[Table] | None = None) -> ForeignKeyConstraint | None:
    """Give the one foreign key that can keep a row of a table from being removed."""
    others = table.metadata.tables.values() if among is None else among
    return _sole([key for other in others for key in other.foreign_key_constraints if keeps(key, table)])


def keeps(key: ForeignKeyConstraint, table: Table) -> bool:
    """Say whether a foreign key can keep a row of a table from being removed."""
    return refers_to(key, table) and (key.ondelete or "").upper() not in {"CASCADE", "SET NULL", "SET DEFAULT"}


def cascades(key: ForeignKeyConstraint) -> bool:
    """Say whether what refers to a row is removed with it."""
    return (key.ondelete or "").upper() == "CASCADE"


def refers_to_itself(table: Table) -> bool:
    """Say whether rows of a table refer to others of it."""
    return any(refers_to(key, table) for key in table.foreign_key_constraints)


def takes_its_own_along(table: Table) -> bool:
    """Say whether removing a row of a table can take others of it along, by foreign keys of other tables, too."""
    taken, waiting = set[Table](), [table]
    while waiting and table not in taken:
        gone = waiting.pop()
        keys = (key for other in table.metadata.tables.values() for key in other.foreign_key_constraints)
        found = {key.table for key in keys if cascades(key) and refers_to(key, gone)} - taken
        taken |= found
        waiting += found
    return table in taken


@lru_cache(maxsize=1024)
def replaces_or_ignores(table: object) -> str | None:
    """Say which of the two a key of a table does on SQLite in place of an error; None where it is neither, or no table.

    Other rows go by the one, and new ones do not come by the other. PostgreSQL has nothing of the kind.
    """
    if not isinstance(table, Table):
        return None
    said = [key.dialect_kwargs.get("sqlite_on_conflict") for key in table.constraints]
    for column in cast("Any", table).columns:
        said += map(column.dialect_kwargs.get, ("sqlite_on_conflict_unique", "sqlite_on_conflict_primary_key"))
    return next((word.upper() for word in said if word and word.upper() in {"REPLACE", "IGNORE"}), None)


def refers_to(item: Constraint | Index | None, table: Table | None) -> bool:
    """Say whether this is a foreign key that leads to a table."""
    try:
        return isinstance(item, ForeignKeyConstraint) and item.referred_table is table
    except NoReferencedTableError:  # to a table that is not imported yet
        return False


def sides(key: ForeignKeyConstraint) -> tuple[list[Column[Any]], list[Column[Any]]]:
    """Give the columns of a foreign key, and those that they refer to, in the same order."""
    return [element.parent for element in key.elements], [element.column for element in key.elements]


def name_of(item: Constraint | Index) -> str | None:
    """Give the name of a constraint or index; one without has PostgreSQL's own for it."""
    return _first(names_of(item))


def names_of(item: Constraint | Index) -> tuple[str, ...]:
    """Give every name that a constraint or index may go by: the mapping's first, then what databases keep of it."""
    name = item.name
    if not isinstance(name, str):
        implicit = _implicit(item)
        return () if implicit is None else (implicit,)
    rendered = _PREPARER.truncate_and_render_constraint_name(name, False) if isinstance(name, conv) else name
    return tuple(dict.fromkeys([str(name), _cut(str(name)), _cut(rendered)]))


def names_in(table: Table) -> frozenset[str]:
    """Give the names of all constraints and indexes of a table."""
    return frozenset(name for item in all_of(table) for name in names_of(item))


def names_around(table: Table | None) -> frozenset[str]:
    """Give the names of all that the mapping knows around a table: tables, columns, constraints, indexes."""
    tables = () if table is None else table.metadata.tables.values()
    columns = (column.name for each in tables for column in each.columns)
    return frozenset(chain((each.name for each in tables), columns, *map(names_in, tables)))


def column_names(item: Constraint | Index | None) -> tuple[str, ...]:
    """Give the names of a constraint's or index's columns, as far as it is made of columns."""
    if not isinstance(item, (ColumnCollectionConstraint, Index)):
        return ()
    return tuple(column.name for column in item.columns)


def columns_read(item: Constraint | Index) -> set[str] | None:
    """Give the names of all columns that a constraint is about, those included of which others are computed.

    None where a part of it is SQL in words, which may be about any, or where it keeps its parts to itself.
    """
    match item:
        case Index():
            return _read(cast("Any", item.expressions))
        case CheckConstraint():
            return _read([item.sqltext])
        case ColumnCollectionConstraint() if not isinstance(item, ExcludeConstraint):
            return _read(list(item.columns))
        case _:
            return None


def _read(expressions: Iterable[ClauseElement]) -> set[str] | None:
    read = set[str]()
    for part in cast("Iterable[Any]", chain.from_iterable(map(visitors.iterate, expressions))):
        computed: Any = getattr(part, "computed", None)
        beneath = set[str]() if computed is None else _read([computed.sqltext])
        if beneath is None or isinstance(part, TextClause) or getattr(part, "is_literal", False):
            return None
        read |= beneath
        if isinstance(part, ColumnClause):
            read.add(part.name)
    return read


def all_of(table: Table) -> list[Constraint | Index]:
    """Give all constraints and indexes of a table."""
    return [*table.constraints, *table.indexes]


def _numbered(item: Constraint | Index) -> list[str]:
    """Give the names that PostgreSQL makes up where the first is taken: a foreign key to partitions has several."""
    if isinstance(item.name, str) and not isinstance(item, ForeignKeyConstraint):
        return []
    if isinstance(item, CheckConstraint) and not len(item.columns):  # SQL in words may be about any of the columns
        columns = ("", *(column.name for column in item.table.columns))
        return [_object_name(item.table.name, name, f"check{number}") for number in _NUMBERS for name in columns]
    return [name for number in _NUMBERS if (name := _implicit(item, number))]


def _implicit(item: Constraint | Index, number: str = "") -> str | None:
    columns = "_".join(column_names(item))
    match item:
        case PrimaryKeyConstraint():
            return _object_name(item.table.name, "", f"pkey{number}")
        case UniqueConstraint():
            return _object_name(item.table.name, columns, f"key{number}")
        case ForeignKeyConstraint():
            return _object_name(item.table.name, columns, f"fkey{number}")
        case ExcludeConstraint():
            return _object_name(item.table.name, columns, f"excl{number}")
        case CheckConstraint() if len(item.columns):  # of SQL in words nobody knows the columns
            return _object_name(item.table.name, columns if len(item.columns) == 1 else "", f"check{number}")
        case _:
            return None


def _object_name(table: str, columns: str, label: str) -> str:
    """Put a name together as ``makeObjectName`` does: the longer part is cut, a byte at a time."""
    label = f"_{label}"
    first, second = table.encode(), columns.encode()
    room = MOST_BYTES - len(label) - bool(second)
    while len(first) + len(second) > room:
        first, second = (first[:-1], second) if len(first) > len(second) else (first, second[:-1])
    return "_".join(part.decode(errors="ignore") for part in (first, second) if part) + label


def _cut(name: str) -> str:
    return name.encode()[:MOST_BYTES].decode(errors="ignore")


def is_over_columns(index: Index) -> bool:
    """Say whether an index is over columns alone, in any direction, and no other expressions."""
    return all(isinstance(_undirected(expression), Column) for expression in index.expressions)


def tells_all_apart(key: UniqueKey) -> bool:
    """Say whether no two rows can have equal values in a key's columns: it is over them alone, and has all rows.

    Of the databases that know partial indexes each may have its own; one that either cuts down has not all rows.
    """
    if not isinstance(key, Index):
        return True
    is_partial = any(key.dialect_options[name].get("where") is not None for name in ("postgresql", "sqlite"))
    return not is_partial and is_over_columns(key)


def predicate_of(key: UniqueKey) -> ColumnElement[bool] | None:
    """Give what must hold of a row that PostgreSQL has in the index; None where it has all of them."""
    where: ColumnElement[bool] | None = (
        key.dialect_options["postgresql"].get("where") if isinstance(key, Index) else None
    )
    return where


def takes_nulls_for_equal(key: UniqueKey) -> bool:
    """Say whether PostgreSQL takes a NULL in a key for equal to another one: it is NULLS NOT DISTINCT."""
    return bool(key.dialect_options["postgresql"].get("nulls_not_distinct"))


def referred_by(key: ForeignKeyConstraint) -> Table | None:
    """Give the table that a foreign key leads to; None where it is declared nowhere."""
    try:
        return key.referred_table
    except NoReferencedTableError:
        return None


def _undirected(expression: object) -> Any:
    if not isinstance(expression, UnaryExpression):
        return expression
    unary = cast("Any", expression)
    return _undirected(unary.element) if unary.modifier in _DIRECTIONS else unary


_DIRECTIONS = (operators.asc_op, operators.desc_op, operators.nulls_first_op, operators.nulls_last_op)


def _first(items: Iterable[T]) -> T | None:
    return next(iter(items), None)


def _sole(items: list[T]) -> T | None:
    return items[0] if len(items) == 1 else None
