"""Reading by keys on plans, one row or many: what is sent for a call, and what the answer means."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, Generic, TypeAlias

from sqlalchemy import BindParameter, ColumnElement
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import visitors
from typing_extensions import TypeVar, override

from rowsmith.conditions import limited
from rowsmith.execution import UNTOLD, NativeLane
from rowsmith.mapping.layout import AnySelect, Record
from rowsmith.operations.arrays.keys import columns_condition
from rowsmith.operations.arrays.same import are_exact
from rowsmith.operations.entity import Entity
from rowsmith.operations.plans import Asked, Binds, Keys, ManyKeys, Plan, Plans, Shape, compile_plan
from rowsmith.operations.settled import ask_scope, draw_scope
from rowsmith.scope import Limits, resolve_scope

TRow = TypeVar("TRow")
TData = TypeVar("TData", default=TRow)

Selecting: TypeAlias = Callable[[Sequence[ColumnElement[bool]], Limits, bool], AnySelect]
"""Makes the SELECT of a key's conditions under a scope; says whether deleted rows are seen."""

Absent: TypeAlias = Callable[[Sequence[object]], Exception]


class AskedRow(Asked[Any]):
    """A row that is asked for; ``absent`` makes the error where it is not there, None where that is an answer."""

    __slots__ = ("absent", "missing")

    def __init__(
        self,
        entity: Entity[Any, Any],
        operation: str,
        plan: Plan,
        values: Sequence[Any],
        missing: Sequence[object] = (),
    ) -> None:
        # Not by super(): one call fewer for each read of a row.
        self.entity, self.operation, self.plan, self.values = entity, operation, plan, values
        self.missing = missing
        self.absent: Absent | None = None

    @override
    def answer(self, records: Sequence[Record]) -> Any:
        if records:
            return UNTOLD if records[1:] else self.entity.shape.layout.make(records, ())[0]
        if self.absent is None:
            return None
        raise self.absent(self.missing)


class KeyReads(Generic[TRow, TData]):
    """The plans of reads by keys: of each shape that a scope has, with and without deleted rows."""

    def __init__(self, entity: Entity[TRow, TData]) -> None:
        layout = entity.shape.layout
        self.entity, self.plans = entity, Plans[Plan](entity.info)
        self.is_flat = not entity.shape.is_row and bool(layout.names) and not (layout.joins or layout.collections)

    def shape(self, kwargs: dict[str, Any], values: list[Any]) -> Hashable | None:
        """Give the shape of a call, and its scope's values; None where it has none.

        A scope that had to be asked is put back with what it said.
        """
        scope, deleted = kwargs.get("scope"), kwargs.get("include_deleted", False)
        if not _UNDERSTOOD.issuperset(kwargs) or (deleted is not True and deleted is not False):
            return None
        if scope is None:
            return None if self.entity.scope_required else deleted
        shape: Shape = [deleted]
        kwargs["scope"], is_plain = draw_scope(self.plans, scope, shape, values)
        return tuple(shape) if is_plain else None

    def limits(self, kwargs: dict[str, Any]) -> tuple[Limits, Binds]:
        """Give what a scope that has a shape limits a call to, and its parameters."""
        scope, binds = kwargs.get("scope"), list[Any]()
        if scope is not None:
            scope, _ = ask_scope(self.plans, scope, [], binds)
        return resolve_scope(scope, self.entity.info), binds


class ByKey(KeyReads[TRow, TData]):
    """The plans of the reads of one row.

    Args:
        entity: whose rows are read.
        select: makes the statement that SQLAlchemy is given for the same call.
    """

    def __init__(self, entity: Entity[TRow, TData], select: Selecting) -> None:
        super().__init__(entity)
        self._select, self._keys = select, Keys(entity.info)

    def ask(self, operation: str, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedRow | None:
        """Say what a call has to send; None where it is not plainly a read of columns by a key that can be one.

        Args:
            operation: the verb's name.
            lane: where it is sent.
            args, kwargs: the verb's arguments.
        """
        key = self._keys.of(args[0]) if self.is_flat and args and not args[1:] else None
        if key is None:
            return None
        scoped: list[Any] = []
        shape = self.shape(kwargs, scoped)
        if shape is None:
            return None
        plan = self.plans.find(shape, lane.dialect, lambda: self._plan(key, kwargs, lane.dialect))
        values = None if plan is None else plan.values((*key, *scoped) if scoped else key)
        if plan is None or values is None:
            return None
        return AskedRow(self.entity, operation, plan, values, args)

    def _plan(self, key: tuple[Any, ...], kwargs: dict[str, Any], dialect: Dialect) -> Plan | None:
        info = self.entity.info
        compared: list[Any] = info.key_condition(key)
        limits, binds = self.limits(kwargs)
        statement = self._select(compared, limits, kwargs.get("include_deleted", False))
        return compile_plan(statement, info, [*(each.right for each in compared), *binds], dialect)


class ByKeys(KeyReads[TRow, TData]):
    """The plans of the reads of many rows, whose keys are one array; of rows with a key of one column."""

    def __init__(self, entity: Entity[TRow, TData]) -> None:
        super().__init__(entity)
        info = entity.info
        self._column, self._ids = info.key_attributes[0].expression, ManyKeys(info)
        self.is_flat = self.is_flat and self._ids.are_of_one_column

    def ask(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedRows | None:
        """Say what a call has to send; None where it is not plainly a read of columns by keys that can be such."""
        if not self.is_flat or not args or args[1:] or not self._ids.are(args[0]):
            return None
        scoped: list[Any] = []
        shape = self.shape(kwargs, scoped)
        if shape is None:
            return None
        ids = args[0]
        plan = self.plans.find(shape, lane.dialect, lambda: self._plan(ids, kwargs, lane.dialect))
        values = None if plan is None else plan.values((list(dict.fromkeys(ids)), *scoped))
        return None if plan is None or values is None else AskedRows(self.entity, plan, values, ids)

    def _plan(self, ids: Sequence[Any], kwargs: dict[str, Any], dialect: Dialect) -> Plan | None:
        entity = self.entity
        if not are_exact([self._column], dialect):
            return None
        (limits, binds), live = self.limits(kwargs), entity.live(kwargs.get("include_deleted", False))
        among = columns_condition([self._column], [(id_,) for id_ in ids], dialect)
        arrays: list[Any] = [part for part in visitors.iterate(among) if isinstance(part, BindParameter)]
        selected = limited(entity.shape.select(*entity.info.key_attributes), *limits.conditions, *live)
        plan = compile_plan(limited(selected, among), entity.info, [*arrays, *binds], dialect)
        return plan if len(arrays) == 1 and not arrays[0].expanding else None


class AskedRows(Asked[list[Any]]):
    """The rows that are asked for by their keys, which stand after the data in each record."""

    __slots__ = ("_ids",)

    def __init__(self, entity: Entity[Any, Any], plan: Plan, values: Sequence[Any], ids: Sequence[Any]) -> None:
        super().__init__(entity, "batch_get", plan, values)
        self._ids = ids

    @override
    def answer(self, records: Sequence[Record]) -> list[Any]:
        data: list[Any] = self.entity.shape.layout.make([record[:-1] for record in records], ())
        found = dict(zip([record[-1] for record in records], data, strict=True))
        if len(found) < len(records):  # twins, of which SQLAlchemy's way tells
            untold: list[Any] = UNTOLD
            return untold
        missing = [id_ for id_ in self._ids if id_ not in found] if len(found) < len(self._ids) else []
        if missing:
            raise self.entity.absent(missing)
        return [found[id_] for id_ in self._ids]


_UNDERSTOOD: Final = frozenset({"scope", "include_deleted"})
