"""Many rows to be changed or removed by one statement: the statement, and how its answer is read. Pure.

On PostgreSQL it is ``WITH given AS (SELECT ... FOR UPDATE) UPDATE ... WHERE ctid = given.place AND tableoid =
given.part``: the inner SELECT locks the rows in key order, so that batches which overlap queue up instead of
deadlocking (PostgreSQL's manual, "Deadlocks"), and hands their physical places on, so that the outer statement need
not look the keys up again. Where that statement would meet rows as they were before it waited for their locks, another
one locks them first: of a view, or where rows of the table refer to each other and are removed. All conditions stand in
the inner one, which alone says which rows are meant; a row that it has locked cannot change any more. The rows of a
view have no places, and are found again by their keys. SQLite has one writer at a time and needs no locks.

The planner is left no choice that would cost the square of the batch, whatever it takes the table to be: rows are
found by nothing but their keys, which it takes for dear to compare (:func:`dear`), and then by their places.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Label,
    Select,
    Update,
    any_,
    column,
    delete,
    func,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.dml import ReturningDelete

from rowsmith.conditions import conjunction, limited
from rowsmith.errors import InvalidValue
from rowsmith.execution.apart import apart
from rowsmith.execution.standing import TABLE, Standing
from rowsmith.mapping import RowInfo
from rowsmith.names import sql_name
from rowsmith.operations.arrays.given import NAME, Parameter, given_arrays, given_values
from rowsmith.operations.arrays.keys import (
    SQLITE_PARAMETERS,
    Key,
    array_of,
    dear,
    in_arrays,
    in_order,
    key_name,
    keys_condition,
    shared_parts,
)
from rowsmith.operations.arrays.same import collated
from rowsmith.operations.arrays.wire import fits_array
from rowsmith.operations.blocks.gate import Gate
from rowsmith.operations.call import TData, TRow
from rowsmith.operations.entity import Entity
from rowsmith.operations.updates.version import next_version

TMade = TypeVar("TMade")

VERSION = sql_name("version")

SPOT, PART = sql_name("place"), sql_name("part")
"""Where a row lies: its place in a table, and which table of a partitioned one that is."""


@dataclass(frozen=True)
class Changes:
    """What is written: ``values`` by attribute name, which may refer to ``parameters``, one value for each row.

    ``places`` are those of the rows among the keys of the batch, in their order; None where all are meant.
    """

    values: Mapping[str, Any]
    parameters: Sequence[Parameter] = ()
    places: Sequence[int] | None = None

    def part(self, places: Sequence[int]) -> Changes:
        """Give what is written to some of the rows."""
        if all(len(places) == len(parameter.values) for parameter in self.parameters):
            return self
        own = range(len(self.parameters[0].values)) if self.places is None else self.places
        at = {place: index for index, place in enumerate(own)}
        chosen = [at[place] for place in places]
        return replace(self, parameters=[parameter.part(chosen) for parameter in self.parameters], places=places)


@dataclass(frozen=True)
class Targets(Generic[TRow, TData]):
    """The rows with some keys, and every condition that they must satisfy in the same statement.

    ``keys`` stand each once; ``versions`` are the ones expected, in the order of the keys, or empty;
    ``through_orm`` has statements go through the ORM, which keeps the objects of a session in step; ``gate`` says
    what the session, the engine and the types of what is sent ask, where anything is sent; ``guard`` comes back last of
    each row that is changed, and is true of those that nothing took out of the scope; ``shard`` is what says, wherever
    the table stands, on which shard all of them are; ``standing`` is what the table is in the database.
    """

    entity: Entity[TRow, TData]
    dialect: Dialect
    keys: Sequence[Key]
    conditions: Sequence[ColumnElement[bool]]
    versions: Sequence[Any] = ()
    through_orm: bool = False
    gate: Gate | None = None
    guard: ColumnElement[bool] | None = None
    shard: Sequence[ColumnElement[bool]] = ()
    standing: Standing = TABLE

    def update(self, changes: Changes, *, held: bool = False) -> Update:
        """Give the UPDATE ... RETURNING; versions go up with it.

        ``held`` is for rows that are locked already: it does not wait for one that has come since.
        """
        info = self.entity.info
        values = by_column(info, {**changes.values, **next_version(info)})
        where = self._where(changes.parameters, held, lock_strength(info, changes.values))
        guard = () if self.guard is None else (self.guard,)
        return limited(update(self.keyed.target), *where).values(values).returning(*self.keyed.selects, *guard)

    def delete(self, *, held: bool = False) -> ReturningDelete[*tuple[Any, ...]]:
        """Give the DELETE ... RETURNING; ``held`` as for :meth:`update`."""
        return limited(delete(self.keyed.target), *self._where((), held, {})).returning(*self.keyed.selects)

    def select_keys(self, *, any_version: bool = False) -> Select[*tuple[Any, ...]]:
        """Give the SELECT of the keys that are there; ``any_version`` in another version than expected, too."""
        matched = [self._in_keys, *self.conditions] if any_version else self.matched()
        return limited(select(*self.entity.info.key_attributes), *matched, *self.shard)

    def matched(self, parameters: Sequence[Parameter] = ()) -> list[ColumnElement[bool]]:
        """Give the conditions on the rows: by a table of keys, where values come with them or arrays are sent."""
        given = [*self._version_parameter(), *parameters]
        keys = self._same(self._given(given)) if given or self.by_arrays else [self._in_keys]
        return [*keys, *self.conditions]

    @cached_property
    def keyed(self) -> KeyedRecords[TData]:
        """How the answer is read."""
        return KeyedRecords(self.entity, through_orm=self.through_orm)

    def lock(self, lock: Mapping[str, object]) -> Select[*tuple[Any, ...]]:
        """Give PostgreSQL's SELECT that locks the rows in key order, in whatever version, and says how many there are.

        Where several statements follow, each would lock its own in its turn.
        """
        places = replace(self, versions=())._locking((), {"skip_locked": False, **lock}).cte(NAME)
        return select(func.count()).select_from(places)

    def keys_only(self) -> Targets[TRow, TData]:
        """Give the target for a statement in which nothing but keys is sent: in their order, where it takes several."""
        if self.gate is None or self.gate.arrays:
            return self
        arrays = all(fits_array(column.type, self.dialect) for column in self.entity.info.key_columns)
        keys = self.keys if arrays else in_order(self.keys)
        return replace(self, keys=keys, versions=(), gate=replace(self.gate, arrays=arrays))

    def chunks(self, parameters: int = 0, of: Sequence[int] | None = None) -> Iterator[Sequence[int]]:
        """Cut the keys' places, or some ``of`` them, into what one statement takes: all where it takes arrays."""
        places = range(len(self.keys)) if of is None else of
        width = len(self.entity.info.primary_key) + bool(self.versions) + parameters
        keys_stand = 2 if self.dialect.name == "postgresql" else 1  # where rows are locked, and where they are written
        size = len(self.keys) if self.by_arrays else SQLITE_PARAMETERS // (keys_stand * width)
        for start in range(0, len(places), max(size, 1)):
            yield places[start : start + size]

    def part(self, places: Sequence[int]) -> Targets[TRow, TData]:
        """Give the target of some of the keys."""
        if len(places) == len(self.keys):
            return self
        versions = [self.versions[place] for place in places] if self.versions else ()
        return replace(self, keys=[self.keys[place] for place in places], versions=versions)

    @property
    def by_arrays(self) -> bool:
        """Whether keys and values are sent as arrays."""
        return self.dialect.name == "postgresql" if self.gate is None else self.gate.arrays

    def _where(
        self, parameters: Sequence[Parameter], held: bool, lock: Mapping[str, object]
    ) -> list[ColumnElement[bool]]:
        if self.dialect.name != "postgresql":
            return self.matched(parameters)
        found = self._locking(parameters, {"skip_locked": held, **lock}).cte(NAME)
        info, joined = self.entity.info, bool(parameters)
        return [*found_again(info, self.standing, found, self.conditions, joined=joined), *self.shard]

    def _locking(self, parameters: Sequence[Parameter], locks: Mapping[str, Any]) -> Select[*tuple[Any, ...]]:
        info = self.entity.info
        if not parameters and not self.versions:
            return self.standing.locked(self._found(self._in_keys).order_by(*info.key_attributes), **locks)
        return (self._looked_up if len(info.primary_key) == 1 else self._joined)(parameters, locks)

    def _looked_up(self, parameters: Sequence[Parameter], locks: Mapping[str, Any]) -> Select[*tuple[Any, ...]]:
        """Give the SELECT that takes key after key, in their order, and locks its row: the fastest, by one column."""
        table = self._given([*self._version_parameter(), *parameters], sql_name("sent"))
        keys = enumerate(self.entity.info.key_columns)
        order = [collated(table.c[key_name(place)], item.type) for place, item in keys]
        ordered = select(*table.c).order_by(*order).subquery(sql_name("ordered"))
        sought = self.standing.locked(self._found(*self._same(ordered)), **locks)
        row = sought.correlate(ordered).lateral(sql_name("found"))
        values = [ordered.c[parameter.name] for parameter in parameters]
        return select(*row.c, *values).select_from(ordered.join(row, true()))

    def _joined(self, parameters: Sequence[Parameter], locks: Mapping[str, Any]) -> Select[*tuple[Any, ...]]:
        """Give the SELECT that finds the rows by a join, and locks them in the order of their keys.

        Looking up key after key, the planner could take an index on a part of them, and meet the same rows each time.
        """
        info = self.entity.info
        table = self._given([*self._version_parameter(), *parameters], sql_name("sent"))
        values = [table.c[parameter.name] for parameter in parameters]
        found = self._found(*self._same(table)).add_columns(*values).order_by(*info.key_attributes)
        return self.standing.locked(found, of=info.table, **locks)

    def _found(self, *matched: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
        """Give the SELECT of marks; that the conditions be TRUE is a form which no index could be chosen for."""
        # In a CTE, where nothing looks for parameters that are called as what is written.
        hidden = [apart(conjunction(self.conditions).is_(true()))] if self.conditions else []
        marks = marks_of(self.entity.info, self.standing)
        return limited(select(*marks), *matched, *map(apart, self.shard), *hidden)

    @cached_property
    def _in_keys(self) -> ColumnElement[bool]:
        if not self.by_arrays or shared_parts(self.keys):
            return keys_condition(self.entity.info, self.keys, self.dialect)
        columns = [attribute.expression for attribute in self.entity.info.key_attributes]
        return in_arrays(columns, list(self.key_arrays.values()))

    @cached_property
    def key_arrays(self) -> Mapping[str, Any]:
        """The parameters of the keys, each sent once however often it stands in the statement."""
        info = self.entity.info
        named = enumerate(info.primary_key)
        return {
            key_name(place): array_of(info.columns[name], [key[place] for key in self.keys]) for place, name in named
        }

    def _given(self, parameters: Sequence[Parameter], name: str = NAME) -> FromClause:
        """Give the table of the keys, and of what comes with each."""
        if self.by_arrays:
            return given_arrays(parameters, self.dialect, self.key_arrays, name)
        keys = [
            Parameter(key_name(place), column.type, [key[place] for key in self.keys], column)
            for place, column in enumerate(self.entity.info.key_columns)
        ]
        return given_values([*keys, *parameters], self.dialect, name)

    def _same(self, table: FromClause) -> list[ColumnElement[bool]]:
        """Give the conditions that a row has the key, and the version, of a row of ``table``."""
        info = self.entity.info
        keys: list[ColumnElement[Any]] = [table.c[key_name(place)] for place in range(len(info.primary_key))]
        if self.dialect.name == "postgresql":
            keys[-1] = dear(keys[-1])
        same = [attribute == key for attribute, key in zip(info.key_attributes, keys, strict=True)]
        if self.versions and info.version is not None:
            same.append(info.attribute(info.version) == table.c[VERSION])
        return same

    def _version_parameter(self) -> list[Parameter]:
        info = self.entity.info
        if not self.versions or info.version is None:
            return []
        version = info.columns[info.version]
        return [Parameter(VERSION, version.type, self.versions, version)]


class KeyedRecords(Generic[TMade]):
    """What is returned of each row, its key included, and how data by key is made of it.

    ``target`` is what the statement is on: the mapped class ``through_orm``, and else its table, which is faster;
    ``places`` are those of the parts of the key.
    """

    def __init__(self, entity: Entity[Any, TMade], *, through_orm: bool) -> None:
        info, names = entity.info, list(entity.shape.names if entity.shape.returnable else entity.info.primary_key)
        self.through_orm = through_orm or not names
        self.target: Any = info.row if self.through_orm else info.table
        selects = entity.returning if self.through_orm else tuple(info.columns[name] for name in names)
        extra = [name for name in info.primary_key if name not in names]
        places = [names.index(name) if name in names else len(selects) + extra.index(name) for name in info.primary_key]
        self.selects = (*selects, *(info.attribute(name) if self.through_orm else info.columns[name] for name in extra))
        self._width, self._key, self.places = len(selects), itemgetter(*places), places
        self._build_all = entity.shape.build_all if entity.shape.returnable else None

    def data(self, rows: Sequence[Any]) -> dict[Any, Any]:
        """Give the data by key (the value itself, or for a composite key a tuple); None where it must be read."""
        keys = map(self._key, rows)
        if self._build_all is None:
            return dict.fromkeys(keys)
        records = rows if not rows or len(rows[0]) == self._width else [row[: self._width] for row in rows]
        return dict(zip(keys, self._build_all(records), strict=True))


def marks_of(info: RowInfo[object], standing: Standing) -> Sequence[Label[Any]]:
    """Give the columns by which a statement finds rows again that it has found and locked; of no meaning after it.

    Of a table those that say where a row is, the fastest way to it: ``ctid`` is unique within one table, so
    ``tableoid`` names the partition or child table that it is in. Of a view the key.
    """
    if standing.has_places:
        place: ColumnElement[Any] = column("ctid", _selectable=info.table)
        part: ColumnElement[Any] = column("tableoid", _selectable=info.table)
        return [place.label(SPOT), part.label(PART)]
    return [key.label(key_name(place)) for place, key in enumerate(info.key_columns)]


def found_again(
    info: RowInfo[object],
    standing: Standing,
    found: FromClause,
    conditions: Sequence[ColumnElement[bool]],
    *,
    joined: bool = False,
    only: Sequence[ColumnElement[bool]] = (),
) -> list[ColumnElement[bool]]:
    """Give the conditions that a row is one of those that were found.

    Of places an array leads to the rows, whatever the size of the table; the pairs tell the partitions apart. Of a view
    several rows may have one key, others' among them, so that all that was asked of them stands here once more.

    Args:
        info: what they are.
        standing: what their table is.
        found: the CTE that has locked them, with their marks.
        conditions: which they were found by, beside their keys.
        joined: the statement reads what stands beside the marks.
        only: conditions on what was found; the statement joins nothing then.
    """
    marks = marks_of(info, standing)
    own = [mark.element for mark in marks]
    others: list[ColumnElement[Any]] = [found.c[mark.name] for mark in marks]
    if standing.has_places:
        here = own[0] == any_(func.array(limited(select(others[0]), *only).correlate(None).scalar_subquery()))
        pairs = tuple_(*own).in_(limited(select(*others), *only).correlate(None)).is_(true())
        return [here, own[0] == dear(others[0]), own[1] == others[1]] if joined else [here, pairs]
    others[-1] = dear(others[-1])
    if joined:
        return [*(key == other for key, other in zip(own, others, strict=True)), *conditions]
    return [tuple_(*own).in_(limited(select(*others), *only).correlate(None)), *conditions]


def locking_in_key_order(
    info: RowInfo[object],
    standing: Standing,
    conditions: Sequence[ColumnElement[bool]],
    limit: int | None = None,
    source: Any = None,
    **lock: Any,
) -> Select[*tuple[Any, ...]]:
    """Give PostgreSQL's SELECT of the marks of some rows, which it locks one after the other by their keys.

    What writes them goes by the marks (:func:`found_again`), and meets no version of a row but the one that is locked.
    By conditions it would meet one that others have changed since, and wait, as whoever holds the row, for who has come
    to that version before and waits for this one: PostgreSQL does so while anybody keeps its key (``FOR KEY SHARE``).

    Args:
        info: what they are.
        standing: what their table is.
        conditions: which they are.
        limit: how many of them, the first ones; None for all.
        source: what they are selected from, if it is not the table.
        lock: how hard they are locked, see :func:`lock_strength`.
    """
    rows = select(*marks_of(info, standing)).select_from(info.table if source is None else source)
    chosen = limited(rows, *map(apart, conditions))
    return standing.locked(chosen.order_by(*info.key_attributes).limit(limit), of=info.table, **lock)


def by_column(info: RowInfo[object], values: Mapping[str, object]) -> dict[Any, Any]:
    """Give values by column, which statements on the table and on the class take alike."""
    return {info.columns[name]: value for name, value in values.items()}


def plain_keys(info: RowInfo[object], keys: Sequence[Key]) -> Sequence[Any]:
    """Give keys as :meth:`KeyedRecords.data` has them."""
    return [key[0] for key in keys] if len(info.primary_key) == 1 else keys


def keep_keys(info: RowInfo[object], names: Collection[str], index: int | None = None) -> None:
    """Refuse to write key columns, for the rows could not be told apart afterwards.

    ``index`` is that of the patch, where there are several.

    Raises:
        InvalidValue: one is among the names.
    """
    for name in info.primary_key:
        if name in names:
            complaint = "is part of the key, which a batch cannot change: update those rows singly"
            raise info.refusal(name, complaint, noun="patch", index=index)


def versions_of(info: RowInfo[object], ids: Sequence[object], expected: Mapping[Any, object] | None) -> Sequence[Any]:
    """Give the versions expected of some ids, in their order.

    Raises:
        MappingError: the row keeps no version.
        InvalidValue: some id has none, or some version no id.
    """
    if expected is None:
        return ()
    _ = info.kept_version
    if set(expected) != set(ids):
        raise InvalidValue("expected_versions must name the ids of the batch, all of them and no others")
    return [expected[id] for id in ids]


def lock_strength(info: RowInfo[object], names: Collection[str]) -> dict[str, bool]:
    """Give the lock for an update: it lets others refer to a row meanwhile, unless a unique column changes."""
    return {"key_share": info.unique.isdisjoint(names)}
