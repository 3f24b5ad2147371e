"""The statement of an upsert, and how its rows find back to their specs. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from operator import itemgetter
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import (
    CTE,
    ClauseElement,
    Column,
    ColumnElement,
    Select,
    Table,
    and_,
    exists,
    func,
    literal,
    literal_column,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal

from rowsmith.conditions import conjunction, limited
from rowsmith.errors import InvalidValue, MappingError
from rowsmith.execution.apart import apart
from rowsmith.mapping import RowInfo
from rowsmith.mapping.constraints import takes_nulls_for_equal, unique_keys_of
from rowsmith.mapping.target import insertable
from rowsmith.mapping.types import NONE, in_utc
from rowsmith.names import sql_name
from rowsmith.operations.arrays.keys import (
    Key,
    columns_condition,
    dear,
    equal_alone,
    keep_hashable,
    keep_tellable,
    key_name,
    key_twice,
)
from rowsmith.operations.arrays.unnest import PLACE, Unnested
from rowsmith.operations.blocks.block import Block
from rowsmith.operations.blocks.defaults import contextual_updates
from rowsmith.operations.conflict import ConflictKey
from rowsmith.operations.rebinding import rebound
from rowsmith.operations.updates.statement import lock_strength
from rowsmith.operations.updates.version import next_version

KEPT: Final = {"read": True, "key_share": True}
"""The lock that keeps a row from being removed, and its key from being changed."""

WITHOUT_UPSERT: Final = "call find, then create(spec) or update(id, patch)"
"""What to do with rows that an upsert does not tell apart."""

OLD_ROW_VERSION = (18,)
"""From this version on, PostgreSQL's RETURNING knows the old row."""


@dataclass(frozen=True)
class UpsertStatement:
    """What an upsert of some rows sends.

    ``given`` are the attributes that the specs set, which a row that is there takes over; ``conditions`` must
    hold for such a row or it is left alone; ``back`` are the attributes that come back; ``updated`` works out what an
    ``onupdate`` that is a Python function writes into such a row, by the attribute's name.
    """

    info: RowInfo[object]
    key: ConflictKey
    given: Sequence[str]
    conditions: Sequence[ColumnElement[bool]]
    back: Sequence[str]
    update: bool
    updated: Callable[[str, Block], Any]

    def from_arrays(self, source: Unnested, block: Block, dialect: Dialect) -> Any:
        """Give PostgreSQL's statement for many rows, in their order.

        The last expression that comes back says whether the row is new.
        """
        statement = self._inserting(source.names, source.select())
        return self._resolved(statement, block).returning(*self._back(), _is_new(self.info, dialect))

    def in_steps(self, source: Unnested, block: Block, dialect: Dialect) -> Any:
        """Give PostgreSQL's statement that does all in an order in which nobody waits in a circle.

        New rows are inserted in their order. Then the rows that were there are locked in the order of their primary
        keys, and then changed. What came or went meanwhile is left out. It gives what :meth:`from_arrays` does.
        """
        given = self._given(source).cte(sql_name("given"))
        values, there = (
            [given.c[sql_name(f"value_{number}")] for number in range(len(source.names))],
            given.c[key_name(0)].is_not(None),
        )
        new = limited(select(*values), ~there).order_by(given.c[PLACE])
        inserting = replace(self, update=False)._resolved(self._inserting(source.names, new), block)
        back = [column.label(sql_name(f"back_{number}")) for number, column in enumerate(self._back())]
        made = inserting.returning(*back, true().label(sql_name("is_new"))).cte(sql_name("made"))
        locked = self._locked(given, there, made).cte(sql_name("locked"))
        keys = [given.c[sql_name(f"value_{source.names.index(name)}")] for name in self.key.names]
        # That it be TRUE has the database look into a hash table, however many it takes them to be.
        here = tuple_(*keys).in_(select(*locked.c)).is_(true())
        changing = self._resolved(self._inserting(source.names, limited(select(*values), here)), block)
        new_too = _is_new(self.info, dialect).label(sql_name("is_new"))
        changed = changing.returning(*back, new_too).cte(sql_name("changed"))
        return union_all(select(*made.c), select(*changed.c))

    def _inserting(self, names: Sequence[str], rows: Select[Any]) -> Any:
        columns = [self.info.columns[name].key for name in names]
        return postgresql.insert(self.info.table).from_select(columns, rows, include_defaults=True)

    def _given(self, source: Unnested) -> Select[Any]:
        """Give the SELECT of what is sent, beside it the primary key of the row that is there."""
        keys = [column.label(key_name(number)) for number, column in enumerate(self.info.key_columns)]
        values = [source[name].label(sql_name(f"value_{number}")) for number, name in enumerate(source.names)]
        same = self._same(self.key.names, [source[name] for name in self.key.names])
        there = source.table.outerjoin(self.info.table, and_(*same, *self._predicate))
        return select(*values, source.place.label(PLACE), *keys).select_from(there)

    def _locked(self, given: CTE, there: ColumnElement[bool], made: CTE) -> Select[*tuple[Any, ...]]:
        """Give the SELECT that locks the rows that are there, once all new ones are made.

        Of a key of one column each is looked up by itself; by a join the planner would read the table once more.
        """
        keys = [given.c[key_name(number)] for number in range(len(self.info.primary_key))]
        all_made = select(func.count()).select_from(made).scalar_subquery() >= 0
        sought_by = [self.info.columns[name] for name in self.key.names]
        # By short labels: of long names SQLAlchemy takes a part where they are spoken of outside.
        found = select(*(column.label(key_name(number)) for number, column in enumerate(sought_by)))
        lock = self._strength
        if len(keys) > 1:
            locking = limited(found, *self._same(self.info.primary_key, keys), there, all_made)
            return locking.order_by(*self.info.key_columns).with_for_update(of=self.info.table, **lock)
        ordered = limited(select(*keys), there, all_made).order_by(*keys).subquery(sql_name("ordered"))
        sought = limited(found, *self._same(self.info.primary_key, [*ordered.c])).with_for_update(**lock)
        row = sought.correlate(ordered).lateral(sql_name("found"))
        return select(*row.c).select_from(ordered.join(row, true()))

    def _same(self, names: Sequence[str], keys: Sequence[ColumnElement[Any]]) -> list[ColumnElement[bool]]:
        """Give the conditions that a row has a key: of a form with which the planner compares it with few others."""
        pairs = zip(names, [*keys[:-1], dear(keys[-1])], strict=True)
        return [self.info.columns[name] == key for name, key in pairs]

    @property
    def _predicate(self) -> list[ColumnElement[bool]]:
        return [] if self.key.where is None else [apart(self.key.where)]

    @property
    def _strength(self) -> dict[str, Any]:
        return {**lock_strength(self.info, self.written)} if self.changes_rows else KEPT

    @property
    def written(self) -> list[str]:
        """The attributes that a row that is there takes over."""
        return [name for name in self.given if name not in self.info.primary_key]

    def lock(self, keys: Sequence[Key], dialect: Dialect, *, waits: bool = True) -> Select[Any]:
        """Give PostgreSQL's SELECT that locks the rows with these keys, in the order of their primary keys.

        If it does not wait, rows that others have are left out.
        """
        these = columns_condition([self.info.columns[name] for name in self.key.names], keys, dialect)
        there = limited(select(*self.info.key_columns), these, *self._predicate).order_by(*self.info.key_columns)
        return there.with_for_update(skip_locked=not waits, **self._strength)

    def from_values(self, block: Block, dialect: Dialect) -> Any:
        """Give the statement for a few rows, each value bound by itself.

        On PostgreSQL the last expression that comes back says whether the row is new; on SQLite that has to be
        asked before.
        """
        rows = [dict(zip(block.columns, row, strict=True)) for row in block.rows()]
        # By columns: SQLAlchemy takes a name for an attribute's, which may be that of another's column.
        columns = self.info.columns
        made = [
            {columns[name]: self.info.nothing(name) if value is None else value for name, value in row.items()}
            for row in rows
        ]
        values: Any = made[0] if len(made) == 1 else made  # of a list SQLAlchemy can give a default no context
        target = insertable(self.info.row)
        if dialect.name != "postgresql":
            return self._resolved(sqlite.insert(target).values(values), block).returning(*self._back())
        statement = self._resolved(postgresql.insert(target).values(values), block)
        return statement.returning(*self._back(), _is_new(self.info, dialect))

    def _back(self) -> list[Any]:
        return [self.info.columns[name] for name in self.back]

    def _resolved(self, statement: Any, block: Block) -> Any:
        target = [self.info.columns[name] for name in self.key.names]
        if not self.changes_rows:
            return statement.on_conflict_do_nothing(index_elements=target, index_where=self.key.inferred())
        in_reach = self.in_reach
        return statement.on_conflict_do_update(
            index_elements=target,
            index_where=self.key.inferred(),
            set_=self._changes(_excluded(self.info.table), block),
            where=in_reach[0] if in_reach else None,
        )

    @property
    def is_singly(self) -> bool:
        """Say whether each row needs a statement of its own: an ``onupdate`` asks for the row's values."""
        return self.changes_rows and bool(contextual_updates(self.info, self.given))

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
        changes: dict[Any, Any] = {columns[name]: excluded[columns[name].key] for name in self.written}
        for name, column in columns.items():
            update: Any = column.onupdate
            if update is None or name in self.written:
                continue
            if update.is_callable:
                changes[column] = self.updated(name, block)
            else:
                changes[column] = self._updated(column, update.arg, excluded)
        changes |= {columns[name]: value for name, value in next_version(self.info).items()}
        return changes

    def _updated(self, column: Column[Any], value: object, excluded: Any) -> Any:
        """Give what an ``onupdate`` writes. For a shard it has to be worked out before, as for a new row.

        Raises:
            MappingError: a new row gets something else.
        """
        if self.info.shard_key is None or not isinstance(value, ClauseElement):
            return value
        new: Any = getattr(column.server_default or column.default, "arg", None)
        if not (isinstance(new, ClauseElement) and value.compare(new)):
            raise MappingError(
                f"the onupdate of {self.info.row.__name__}.{column.key} cannot be worked out on a shard: have new rows "
                "get the same by server_default, or write onupdate as a Python function"
            )
        return excluded[column.key]


@cache
def _excluded(table: Table) -> Any:
    """Give the columns of the row that was not inserted, which SQLAlchemy makes anew for each statement."""
    return table.alias("excluded").columns


class RowColumn(ColumnElement[Any]):
    """A column of a table, written with the table's bare name and bringing none into FROM."""

    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012 - SQLAlchemy's own form
        ("table_name", InternalTraversal.dp_string),
        ("column_name", InternalTraversal.dp_string),
        ("type", InternalTraversal.dp_type),
    ]

    def __init__(self, table_name: str, column: Column[Any]) -> None:
        self.table_name, self.column_name, self.type = table_name, column.name, column.type


class Qualified(ColumnElement[bool]):
    """A condition whose tables keep their schema: SQLAlchemy leaves it out in ON CONFLICT, in subqueries too."""

    inherit_cache = True
    _traverse_internals = [("condition", InternalTraversal.dp_clauseelement)]  # noqa: RUF012 - SQLAlchemy's own form

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
    if tells_by_xmax(info, dialect):
        return cast("Any", literal_column("xmax = 0"))
    name = dialect.identifier_preparer.quote(info.columns[info.primary_key[0]].name)
    return cast("Any", literal_column(f"old.{name} IS NULL"))


def tells_by_xmax(info: RowInfo[object], dialect: Dialect) -> bool:
    """Say whether an upsert tells new rows from others by a system column, which views have none of."""
    version = getattr(dialect, "server_version_info", None) or ()
    return dialect.name == "postgresql" and (version < OLD_ROW_VERSION or info.table.name == "old")


def shown(info: RowInfo[object]) -> ColumnElement[bool]:
    """Give the condition that a view shows a row: ON CONFLICT finds any that the table beneath it has."""
    view = info.table.alias(sql_name("shown"))
    same = [view.c[column.key] == column for column in info.key_columns]
    return exists(limited(select(literal(1)).select_from(view), *same).correlate(info.table))


def conflict_keys(info: RowInfo[object], key: ConflictKey, block: Block) -> list[Key]:
    """Give the key of each row.

    Raises:
        InvalidValue: a part of it is missing or NULL, by which no row is found; or two rows have the same key.
    """
    faults = key_faults(info, key, block)
    if faults:
        raise faults[min(faults)]
    return keys_of(key, block)


def key_faults(info: RowInfo[object], key: ConflictKey, block: Block) -> dict[int, InvalidValue]:
    """Give the errors of rows that have no key of their own, by their places in the input."""
    keep_tellable(info, (*info.primary_key, *key.names), WITHOUT_UPSERT)
    faults = dict[int, InvalidValue]()
    for name in key.names:
        where = "is part of the key that the upsert goes by"
        if name not in block.columns:
            return {place: info.refusal(name, f"{where}: {_MISSING}", index=place) for place in block.places}
        if NONE in block.types[name]:
            why = _why_not_null(info, key, name)
            for place, value in zip(block.places, block.columns[name], strict=True):
                if value is None:
                    faults.setdefault(place, info.refusal(name, f"{where}: {why}", index=place))
        if not block.types[name] <= _HASHABLE:
            faults = {**_unhashable(block, name), **faults}
    if faults and any(place in faults for place in block.places):
        block = block.chosen([row for row, place in enumerate(block.places) if place not in faults])
    keys = keys_of(key, block)
    return faults if len(set(keys)) == len(keys) else {**twice(info, key, keys, block.places), **faults}


_HASHABLE = {str, int, UUID, dt.date, dt.datetime, bytes, bool, float, Decimal, NONE}

_MISSING = "give it, or name another key with Conflict(columns=[...])"
_EQUAL_TO_NONE = "NULL equals no other NULL, so create the row instead"
_SOUGHT_BY_NONE = (
    "an upsert finds rows by values alone, also where a key takes NULLs for equal (NULLS NOT DISTINCT): "
    "search for the row, then update or create it"
)


def _why_not_null(info: RowInfo[object], key: ConflictKey, name: str) -> str:
    """Say why no upsert goes by a key of which this part is NULL, and what to do instead."""
    if not info.columns[name].nullable:
        return _MISSING
    columns = {info.columns[name] for name in key.names}
    keys = (each for each in unique_keys_of(info.table) if set(each.columns) == columns)
    return _SOUGHT_BY_NONE if any(map(takes_nulls_for_equal, keys)) else _EQUAL_TO_NONE


def keys_of(key: ConflictKey, block: Block) -> list[Key]:
    """Give the key of each row so that it can be told from the others."""
    return list(zip(*key_columns(key, block), strict=True))


def key_columns(key: ConflictKey, block: Block) -> list[Sequence[Any]]:
    """Give the same by column."""
    found = [_hashable(block, name) for name in key.names]
    return [[*map(in_utc, one)] if name in key.moments else one for name, one in zip(key.names, found, strict=True)]


def _hashable(block: Block, name: str) -> Sequence[Any]:
    """Give the values of a part of the key so that they can be told from each other."""
    if block.types[name].isdisjoint({bytearray, memoryview}):
        return block.columns[name]
    return [None if value is None else bytes(value) for value in block.columns[name]]


def _unhashable(block: Block, name: str) -> dict[int, InvalidValue]:
    faults = dict[int, InvalidValue]()
    for place, value in zip(block.places, _hashable(block, name), strict=True):
        try:
            keep_hashable((value,), "spec", place)
        except InvalidValue as exc:
            faults[place] = exc
    return faults


def twice(
    info: RowInfo[object], key: ConflictKey, keys: Sequence[Key], places: Sequence[int]
) -> dict[int, InvalidValue]:
    """Give the errors of rows whose key is that of one before them in the input, by their places there."""
    first, faults = dict[Key, tuple[int, Key]](), dict[int, InvalidValue]()
    for one in sorted(zip(places, keys, strict=True), key=itemgetter(0)):
        other = first.setdefault(one[1], one)
        if other is not one:
            alone = equal_alone(info, key.names, "spec", one, other)
            faults[one[0]] = alone or key_twice(one[0], other[0], "spec")
    return faults
