"""The statement of an upsert, and how its rows find back to their specs. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Connection, literal_column
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from rowsmith.conditions import conjunction
from rowsmith.errors import InvalidValue
from rowsmith.execution.apart import apart
from rowsmith.mapping import RowInfo
from rowsmith.mapping.target import insertable
from rowsmith.operations.arrays.keys import Key, keep_hashable, keep_tellable
from rowsmith.operations.arrays.unnest import Unnested
from rowsmith.operations.blocks.block import Block
from rowsmith.operations.blocks.defaults import Context, contextual, contextual_updates, counts_versions
from rowsmith.operations.conflict import ConflictKey
from rowsmith.operations.rebinding import rebound
from rowsmith.operations.updates.version import next_version

OLD_ROW_VERSION = (18,)
"""From this version on, PostgreSQL's RETURNING knows the old row."""


@dataclass(frozen=True)
class UpsertStatement:
    """What an upsert of some rows sends.

    ``given`` are the attributes that the specs set, which a row that is there takes over; ``conditions`` must
    hold for such a row or it is left alone; ``back`` are the attributes that come back.
    """

    info: RowInfo[object]
    key: ConflictKey
    given: Sequence[str]
    conditions: Sequence[ColumnElement[bool]]
    back: Sequence[str]
    update: bool
    connection: Connection

    def from_arrays(self, source: Unnested, block: Block, dialect: Dialect) -> Any:
        """Give PostgreSQL's statement for many rows, in the order of their keys, so that batches cannot deadlock.

        The last expression that comes back says whether the row is new.
        """
        names = [self.info.columns[name].key for name in source.names]
        rows = source.select().order_by(None).order_by(*(source[name] for name in self.key.names))
        statement = postgresql.insert(self.info.table).from_select(names, rows, include_defaults=True)
        return self._resolved(statement, block).returning(*self._back(), _is_new(self.info, dialect))

    def from_values(self, block: Block, dialect: Dialect) -> Any:
        """Give the statement for a few rows, each value bound by itself.

        On PostgreSQL the last expression that comes back says whether the row is new; on SQLite that has to be
        asked before.
        """
        rows = [dict(zip(block.columns, row, strict=True)) for row in block.rows()]
        made = [{self.info.columns[name].key: self._value(name, row[name]) for name in row} for row in rows]
        values: Any = made[0] if len(made) == 1 else made  # of a list SQLAlchemy can give a default no context
        target = insertable(self.info.row)
        if dialect.name != "postgresql":
            return self._resolved(sqlite.insert(target).values(values), block).returning(*self._back())
        statement = self._resolved(postgresql.insert(target).values(values), block)
        return statement.returning(*self._back(), _is_new(self.info, dialect))

    def _value(self, name: str, value: object) -> Any:
        return self.info.nothing(name) if value is None else value

    def _back(self) -> list[Any]:
        return [self.info.columns[name] for name in self.back]

    def _resolved(self, statement: Any, block: Block) -> Any:
        target = [self.info.columns[name] for name in self.key.names]
        if not self.changes_rows:
            return statement.on_conflict_do_nothing(index_elements=target, index_where=self.key.inferred())
        conditions = {"where": self.in_reach[0]} if self.in_reach else {}
        return statement.on_conflict_do_update(
            index_elements=target,
            index_where=self.key.inferred(),
            set_=self._changes(statement.excluded, block),
            **conditions,
        )

    def _context(self, name: str, block: Block) -> Context:
        """Give the context of a row; of the first one where no ``onupdate`` asks for any."""
        row = dict(zip(block.columns, next(block.rows()), strict=True))
        return Context.of_row(self.connection, self.info, row, name, isinsert=True)

    def is_singly(self, block: Block) -> bool:
        """Say whether each row needs a statement of its own: a default or ``onupdate`` asks for the row's values."""
        asked = contextual(self.info, block.columns)
        return bool(asked) or (self.changes_rows and bool(contextual_updates(self.info, self.given)))

    @property
    def in_reach(self) -> list[ColumnElement[bool]]:
        """The condition that a row that is there must satisfy, in one; asked of the row itself in subqueries too."""

        def of_the_row(column: Column[Any]) -> ColumnElement[Any]:
            # Without its table, which a subquery would take into its own FROM: SQLAlchemy correlates subqueries to
            # no INSERT, and a scope with EXISTS would ask whether *any* row is inside.
            return RowColumn(self.info.table.name, column)

        where = [rebound(condition, self.info, of_the_row) for condition in self.conditions]
        return [Qualified(apart(conjunction(where)))] if where else []

    @property
    def changes_rows(self) -> bool:
        """Say whether a row that is there is written: not where the specs set nothing but its key."""
        return self.update and not set(self.given) <= {*self.info.primary_key, *self.key.names}

    def _changes(self, excluded: Any, block: Block) -> dict[Any, Any]:
        """Give what is written into a row that is there. The primary key stays: other rows may point at it."""
        columns = self.info.columns
        written = [name for name in self.given if name not in self.info.primary_key]
        changes: dict[Any, Any] = {columns[name]: excluded[columns[name].key] for name in written}
        for name, column in columns.items():
            update: Any = column.onupdate
            if update is None or name in written:
                continue
            changes[column] = update.arg(self._context(name, block)) if update.is_callable else update.arg
        if counts_versions(self.info):
            changes |= {columns[name]: value for name, value in next_version(self.info).items()}
        return changes


class RowColumn(ColumnElement[Any]):
    """A column of a table, written with the table's bare name and bringing none into FROM."""

    inherit_cache = False

    def __init__(self, table_name: str, column: Column[Any]) -> None:
        self.table_name, self.column_name, self.type = table_name, column.name, column.type


class Qualified(ColumnElement[bool]):
    """A condition whose tables keep their schema: SQLAlchemy leaves it out in ON CONFLICT, in subqueries too."""

    inherit_cache = False

    def __init__(self, condition: ColumnElement[bool]) -> None:
        self.condition, self.type = condition, condition.type


@compiles(Qualified)
def _qualified(element: Qualified, compiler: SQLCompiler, **options: Any) -> str:
    return str(compiler.process(element.condition, **{**options, "use_schema": True}))


@compiles(RowColumn)
def _row_column(element: RowColumn, compiler: SQLCompiler, **_: Any) -> str:
    return f"{compiler.preparer.quote(element.table_name)}.{compiler.preparer.quote(element.column_name)}"


def _is_new(info: RowInfo[object], dialect: Dialect) -> Any:
    """Give the expression that tells an inserted row from an updated one.

    PostgreSQL 18 has the old row in RETURNING. Before, ``xmax`` tells: it is zero in a new row, and in an updated
    one the lock that ON CONFLICT took on the old version before it was changed.
    """
    version = getattr(dialect, "server_version_info", None) or ()
    if version >= OLD_ROW_VERSION and info.table.name != "old":
        name = dialect.identifier_preparer.quote(info.columns[info.primary_key[0]].name)
        return cast("Any", literal_column(f"old.{name} IS NULL"))
    return cast("Any", literal_column("xmax = 0"))


def conflict_keys(info: RowInfo[object], key: ConflictKey, block: Block) -> list[Key]:
    """Give the key of each row.

    Raises:
        InvalidValue: a part of it is missing or NULL, which equals nothing; or two rows have the same key.
    """
    keep_tellable(info, (*info.primary_key, *key.names))
    for name in key.names:
        _refuse_keyless(info, name, block)
    keys = list(zip(*(_hashable(name, block) for name in key.names), strict=True))
    if len(set(keys)) != len(keys):
        refuse_twice(keys)
    return keys


_PLAIN = {str, int, UUID, dt.date, dt.datetime, bytes, bool, float, Decimal}


def _hashable(name: str, block: Block) -> Sequence[Any]:
    """Give the values of a part of the key so that they can be told from each other."""
    values, kinds = block.columns[name], block.types[name]
    if not kinds.isdisjoint({bytearray, memoryview}):
        return list(map(bytes, values))
    for place, value in enumerate(values) if not kinds <= _PLAIN else ():
        keep_hashable((value,), "spec", place)
    return values


def _refuse_keyless(info: RowInfo[object], name: str, block: Block) -> None:
    where = f"{info.row.__name__}.{name} is part of the key that the upsert goes by"
    if name not in block.columns:
        raise InvalidValue(f"{where}: give it, or name another key with Conflict(columns=[...])")
    if type(None) in block.types[name]:
        index = list(block.columns[name]).index(None)
        raise InvalidValue(f"the spec at index {index}: {where}: NULL equals no other NULL, so create the row instead")


def refuse_twice(keys: Sequence[Key]) -> None:
    """Refuse keys of which two are the same."""
    first: dict[Key, int] = {}
    for index, key in enumerate(keys):
        if first.setdefault(key, index) != index:
            raise InvalidValue(
                f"the spec at index {index} has the key of the one at index {first[key]}: give each key once"
            )
