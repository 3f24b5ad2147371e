"""Writing the same to some rows, or removing them, on plans: what is sent for a call, and what the answer means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import ColumnElement
from sqlalchemy.engine import Dialect
from typing_extensions import override

from rowsmith.execution import Made, NativeLane, Origin
from rowsmith.mapping.layout import Record
from rowsmith.operations.arrays.same import are_exact
from rowsmith.operations.arrays.wire import fits_array
from rowsmith.operations.blocks.defaults import client_updates, update_of
from rowsmith.operations.call import Call, TData, TRow
from rowsmith.operations.entity import Entity
from rowsmith.operations.plans import Binds, ManyKeys, Plan, Shape, compile_write, make_plan, placed
from rowsmith.operations.results import BatchResult
from rowsmith.operations.updates.statement import Changes, KeyedRecords, Targets, lock_strength
from rowsmith.operations.updates.version import is_counted
from rowsmith.operations.writes import AskedWrite, PlannedWrites, Values, plain_values
from rowsmith.scope import Limits, resolve_scope

MOST_IDS: Final = 1_000
"""Up to how many ids: with more of them, what goes on around the statement is nothing beside it."""

_UNDERSTOOD: Final = frozenset({"scope", "expected_versions"})


class BatchWrites(PlannedWrites[TRow, TData, Plan]):
    """The plans of a verb that writes the same to the rows with some keys, or removes them; keys of one column.

    Args:
        entity, operation: as for :class:`PlannedWrites`.
        live: what holds of the rows, beside their keys and the scope.
        constants: what is written the same each time, SQL among it; None where rows are removed.
    """

    def __init__(
        self,
        entity: Entity[TRow, TData],
        operation: str,
        live: Sequence[ColumnElement[bool]] = (),
        constants: Values | None = None,
    ) -> None:
        super().__init__(entity, operation, _UNDERSTOOD)
        info = entity.info
        self._live, self._constants, self._ids = live, constants, ManyKeys(info)
        self.is_plain &= self._ids.are_of_one_column and info.shard_key is None
        if constants is not None:
            self.is_plain &= is_counted(info)

    def ask(
        self, lane: NativeLane, ids: Any, kwargs: dict[str, Any], values_of: Callable[[Limits], Values]
    ) -> AskedBatch | None:
        """Say what is written to which rows; None where it is not plainly one statement, or nothing is written."""
        is_plain = self.is_plain and kwargs.get("expected_versions") is None and self._ids.are(ids)
        if not is_plain or len(ids) > MOST_IDS or len(set(ids)) < len(ids):
            return None
        shape: Shape = []
        binds: Binds = []
        limits = self.scoped(kwargs, shape, binds)
        values = None if limits is None else plain_values(values_of, limits)
        if limits is None or values is None or not self._may_write(values, limits):
            return None
        shape += (*values, *[value is None for value in values.values()])
        dialect = lane.dialect
        plan = self._plans.find(tuple(shape), dialect, lambda: self._plan(ids, values, binds, kwargs, dialect))
        scope = [bind.value for bind in binds]
        sent = None if plan is None else plan.values([ids, *scope, *values.values()])
        if plan is None or sent is None:
            return None
        written = None if self._constants is None else {**values, **self._constants}
        return AskedBatch(self._entity, self._operation, plan, sent, written, ids, scope, self._keyed)

    @cached_property
    def _keyed(self) -> KeyedRecords[TData]:
        return KeyedRecords(self._entity, through_orm=False)

    def _may_write(self, values: Values, limits: Limits) -> bool:
        """Say whether there is something to write, and neither keys nor what the scope fixes."""
        if self._constants is None:
            return True
        fixed = {*limits.stamps, *self._entity.info.primary_key}
        return bool(values or self._constants) and fixed.isdisjoint(values)

    def _plan(
        self, ids: Sequence[object], values: Values, binds: Binds, kwargs: dict[str, Any], dialect: Dialect
    ) -> Plan | None:
        info = self._entity.info
        if not (are_exact(info.key_columns, dialect) and fits_array(info.key_columns[0].type, dialect)):
            return None
        limits, marks = resolve_scope(kwargs.get("scope"), info), self.marks(values)
        written = None if self._constants is None else {**marks, **self._constants}
        guard = None if written is None else limits.guard(written, info)
        if written is not None and (limits.must_verify(written, info) or (binds and guard is None)):
            return None
        conditions = [placed(condition, binds, 1) for condition in (*limits.conditions, *self._live)]
        targets = Targets(self._entity, dialect, [(id_,) for id_ in ids], conditions, guard=guard)
        updates = [] if written is None else client_updates(info, written)
        made = self.marks(dict.fromkeys(updates))
        statement = targets.delete() if written is None else targets.update(Changes({**written, **made}))
        places = [*targets.key_arrays.values(), *binds, *marks.values(), *made.values()]
        makers = [partial(update_of, info, name) for name in updates]
        (key,) = targets.keyed.places
        plan = compile_write(statement, info, places, dialect, [] if guard is None else [None], makers, key)
        if plan is not None:
            lock = {} if written is None else lock_strength(info, written)
            there = targets.select_keys().with_for_update(of=info.tables, skip_locked=True, **lock)
            plan.doubt = make_plan(there, info.table, places[: 1 + len(binds)], dialect)
        return plan


class AskedBatch(AskedWrite):
    """A write of the rows with some keys that is asked for; with the scope's word last of each that is changed."""

    __slots__ = ("_ids", "_keyed", "_scope")

    def __init__(
        self,
        entity: Entity[Any, Any],
        operation: str,
        plan: Plan,
        values: Sequence[object],
        writes: Values | None,
        ids: Sequence[object],
        scope: Sequence[object],
        keyed: KeyedRecords[Any],
    ) -> None:
        expected = (True,) if scope and writes is not None else ()
        super().__init__(entity, operation, plan, values, expected, writes, deletes=writes is None)
        self._ids, self._scope, self._keyed = ids, scope, keyed

    @override
    def origin(self) -> Origin:
        return super().origin().of(range(len(self._ids)), "id")

    @override
    def made(self, records: Sequence[Record]) -> Made | None:
        """Make the report; None where a row was not written, or left its scope, and where rows have one key."""
        if len(records) != len(self._ids) or (self._expected and not all(map(itemgetter(-1), records))):
            return None
        found = self._keyed.data(records)
        return self._reported(found) if found.keys() == set(self._ids) else None

    @override
    def doubt(self, records: Sequence[Record]) -> tuple[str, Sequence[Any]] | None:
        """Give the query for those that were not written: others may have changed them as their locks were waited for.

        The statement's snapshot does not see them as they are now; this one's does. None where SQLAlchemy's way does
        it all again: where it found nothing, and where a row left its scope, or rows have one key.
        """
        found = self._keyed.data(records)
        is_whole = len(found) == len(records) and found.keys() <= set(self._ids) and found
        if not is_whole or self.plan.doubt is None or (self._expected and not all(map(itemgetter(-1), records))):
            return None
        missing = [id_ for id_ in self._ids if id_ not in found]
        values = self.plan.doubt.values([missing, *self._scope])
        return None if values is None else (self.plan.doubt.sql, values)

    @override
    async def settled(self, call: Call[Any, Any], records: Sequence[Record]) -> Made | Mapping[Any, Any]:
        """Give what was written: others may have changed the rest as their locks were waited for."""
        found = self._keyed.data(records)
        if len(found) < len(records):
            await call.refuse_twins(written=True)
        if self._expected and not all(map(itemgetter(-1), records)):
            raise await call.left()
        return found

    @override
    def data(self, records: Sequence[Record]) -> Made:
        return self._reported(self._keyed.data(records))

    def _reported(self, found: dict[Any, Any]) -> Made:
        missing = [id_ for id_ in self._ids if id_ not in found]
        return (BatchResult([found[id_] for id_ in self._ids if id_ in found], missing),)
