"""Changing many rows: one patch for many ids, one patch for each id, one patch for all that match.

The first has a plan (:class:`BatchWrites`), as batches have that remove rows, or mark them as removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import ColumnElement
from sqlalchemy.engine import Dialect
from typing_extensions import override

from rowsmith.execution import Made, NativeLane, Origin
from rowsmith.mapping import Patch
from rowsmith.mapping.constraints import refers_to_itself
from rowsmith.mapping.layout import Record
from rowsmith.operations.arrays.binding import naming, unbindable, unbindable_value
from rowsmith.operations.arrays.keys import batch_key, batch_keys
from rowsmith.operations.arrays.same import are_exact
from rowsmith.operations.arrays.wire import fits_array
from rowsmith.operations.blocks.defaults import client_updates, contextual_updates, update_of
from rowsmith.operations.call import Call, Operation, TData, TRow, verb
from rowsmith.operations.contextual import contextual_changes, with_contextual_changes
from rowsmith.operations.ending import Ending
from rowsmith.operations.entity import Entity, by_entity
from rowsmith.operations.faults import is_of_a_row
from rowsmith.operations.held import changed_rows, first_refusal
from rowsmith.operations.needs import Change, Needs, SelfKeys
from rowsmith.operations.parents import find_new_parents
from rowsmith.operations.partial import rows_before, run_over_ids
from rowsmith.operations.plans import Binds, CallPattern, ManyKeys, Plan, compile_write, make_plan, placed
from rowsmith.operations.reads.narrowing import narrowing
from rowsmith.operations.reads.search import Filters
from rowsmith.operations.results import BatchResult, PartialResult
from rowsmith.operations.unread import tell_id
from rowsmith.operations.updates.patches import Patches
from rowsmith.operations.updates.statement import (
    Changes,
    KeyedRecords,
    Targets,
    keep_keys,
    lock_strength,
    versions_of,
)
from rowsmith.operations.updates.version import is_counted
from rowsmith.operations.updates.where import write_where
from rowsmith.operations.updates.writer import BatchWriter
from rowsmith.operations.writes import AskedWrite, PlannedWrites, Values
from rowsmith.scope import Limits, SearchScope, resolve_scope
from rowsmith.state import UNSET

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
        self.is_plain &= is_counted(info) if constants is not None else not refers_to_itself(info.table)

    def ask(
        self, lane: NativeLane, ids: Any, kwargs: dict[str, Any], values_of: Callable[[Limits], Values]
    ) -> AskedBatch | None:
        """Say what is written to which rows; None where it is not plainly one statement, or nothing is written."""
        is_plain = self.is_plain and kwargs.get("expected_versions") is None and self._ids.are(ids)
        if not is_plain or len(ids) > MOST_IDS or len(set(ids)) < len(ids):
            return None
        pattern: CallPattern = []
        binds: Binds = []
        limits = self.scoped(kwargs, pattern, binds)
        values = None if limits is None else self.plain_values(values_of, limits, pattern, kwargs)
        if limits is None or values is None or not self._may_write(values, limits):
            return None
        dialect = lane.dialect
        plan = self._plans.find(tuple(pattern), dialect, lambda: self._plan(ids, values, binds, kwargs, dialect))
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
        if self.moves(marks, kwargs):
            return None
        if written is not None and not limits.is_guarded(written, info):
            return None
        guard = None if written is None else limits.guard(written, info)
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
            plan.placed, plan.removes = info.table, written is None
            self._ids.spare(plan)
            lock = {} if written is None else lock_strength(info, written)
            there = targets.select_keys().with_for_update(of=info.tables, skip_locked=True, **lock)
            plan.doubt = make_plan(there, info.table, places[: 1 + len(binds)], dialect)
            self._ids.spare(plan.doubt)
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
    async def otherwise(self, call: Call[Any, Any], records: Sequence[Record]) -> Made | Mapping[Any, Any]:
        """Give what was written: others may have changed the rest as their locks were waited for."""
        found = self._keyed.data(records)
        if len(found) < len(records):
            await call.refuse_twins(undo=True)
        if self._expected:
            await call.keep_inside(records)
        return found

    @override
    def data(self, records: Sequence[Record]) -> Made:
        return self._reported(self._keyed.data(records))

    def _reported(self, found: dict[Any, Any]) -> Made:
        missing = [id_ for id_ in self._ids if id_ not in found]
        return (BatchResult([found[id_] for id_ in self._ids if id_ in found], missing),)


_IDS_AND_PATCH: Final = 2


class BatchUpdater(Operation[TRow, TData]):
    """Changes many rows; one statement each, and one more where some rows are not there.

    On PostgreSQL a statement before it locks the rows that conditions are to find, and those of a view.
    """

    @by_entity
    def _writes(self) -> BatchWrites[TRow, TData]:
        return BatchWrites(self.entity, "batch_update", self.entity.live(), {})

    def _ask(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedWrite | None:
        if len(args) != _IDS_AND_PATCH:
            return None
        (ids, patch), info = args, self.entity.info.on_postgresql
        return self._writes.ask(lane, ids, kwargs, lambda limits: limits.patched(patch, info))

    @verb("batch_update", touches="ids", removes=False, native=_ask, tells=tell_id)
    async def update(
        self,
        call: Call[TRow, TData],
        ids: Sequence[Any],
        patch: Patch[TRow],
        *,
        scope: SearchScope | None = None,
        expected_versions: Mapping[Any, Any] | None = None,
    ) -> BatchResult[TData, Any]:
        """Write what one patch sets into many rows, locked in the order of their keys.

        A patch with nothing set sends no UPDATE and reports the rows as they are.

        Args:
            db_sess: the session whose transaction is written in.
            ids: the primary keys, tuples where they are composite.
            patch: what to change.
            scope: who changes; every row must be inside before and after.
            expected_versions: the version last seen of each id, for a row with ``version_id_col``.

        Returns:
            The rows as they are afterwards and the ids that are absent, deleted or outside the scope.

        Raises:
            StaleVersion: a row is there in another version; ``stale`` has their ids, and nothing is written.
            ScopeMismatch: the patch would move a row out of the scope.
            InvalidValue, ConstraintViolation: an id, value or constraint said no.
        """
        call = await call.writing(scope, several=True)
        values = await with_contextual_changes(call, call.limits.patched(patch, call.info))
        writer, changes = BatchWriter(call, ids), Changes(values)
        targets = await writer.targets(call.conditions(), expected_versions)
        if call.entity.next_value is not None:
            await find_new_parents(call, [values], partial(writer.refused, targets, [changes]))
        writing = writer.update(targets, changes)
        return await naming(writing, lambda: unbindable_value(call.info, values, targets.dialect))

    @verb("batch_update_each", singly="update(id, patch)", touches="ids", removes=False, tells=tell_id)
    async def update_each(
        self,
        call: Call[TRow, TData],
        patches: Mapping[Any, Patch[TRow]],
        *,
        scope: SearchScope | None = None,
        expected_versions: Mapping[Any, Any] | None = None,
    ) -> BatchResult[TData, Any]:
        """Write a patch of its own into each of many rows, locked in the order of their keys.

        Patches may set different fields. Those that set the same ones are written by one statement, expressions
        among them too that differ in their literals at most: ``OptionalState.expression(lambda: TitleRow.uses + 3)``
        in one, ``+ 5`` in another. Where it takes several statements, all rows are locked beforehand, in the order
        of their keys. A row whose patch sets nothing is only read.

        Args:
            db_sess: the session whose transaction is written in.
            patches: primary key to patch.
            scope: who changes; every row must be inside before and after.
            expected_versions: the version last seen of each id, for a row with ``version_id_col``.

        Returns:
            As :meth:`update`.

        Raises:
            InvalidValue: a value does not fit, or two ids are one key to the database; the message gives the index.
            StaleVersion, ScopeMismatch, ConstraintViolation: as :meth:`update`.
        """
        return await _update_each(await call.writing(scope, several=True), patches, expected_versions)

    @verb("batch_update_partial", singly="update(id, patch)", touches="ids", removes=False, late=is_of_a_row)
    async def update_partial(
        self,
        call: Call[TRow, TData],
        patches: Mapping[Any, Patch[TRow]],
        *,
        scope: SearchScope | None = None,
        expected_versions: Mapping[Any, Any] | None = None,
    ) -> PartialResult[TData]:
        """Write the patches that can be written, and say of each other one why not.

        As :meth:`update_each`, but each patch stands for itself, by its index in ``patches``: absent rows
        (``EntityNotFound``), stale ones, values and constraints are an item's own failure, and so is an id that has the
        key of an earlier one to the database alone (``InvalidValue``). All are tried together inside a savepoint; only
        where that fails are the culprits looked for. Rows that take each other's values of a unique key stay together.
        What is checked at COMMIT is as for ``BatchCreator.create_partial``.

        Raises:
            RepositoryError: no item's fault (the connection, a deadlock, the scope as such); nothing is kept then.
        """
        call = await call.writing(scope, several=True)
        versions_of(call.info, list(patches), expected_versions)
        ending, is_held = Ending(call), False

        def refuse(index: int, item: tuple[object, Patch[TRow]]) -> None:
            batch_key(call.info, item[0], index)
            _read(call, [item[1]], index)

        async def write(part: Sequence[tuple[object, Patch[TRow]]]) -> BatchResult[TData, Any]:
            versions = None if expected_versions is None else {id: expected_versions[id] for id, _ in part}
            return await _update_each(ending.parts.in_parts(), dict(part), versions, is_held=is_held)

        async def hold(part: Sequence[tuple[object, Patch[TRow]]]) -> None:
            nonlocal is_held
            await BatchWriter(call, [id for id, _ in part]).hold(call.conditions())
            is_held = True

        async def find_needs(part: Sequence[tuple[object, Patch[TRow]]]) -> Needs:
            info, read = call.info, _read(call, [patch for _, patch in part])
            tied = SelfKeys.of_changes(info, read.columns)
            before = await rows_before(call, info.parts, batch_keys(info, [id for id, _ in part]), tied.columns)
            return await tied.needs(call, [Change.of(info, *row) for row in zip(before, read.rows(), strict=True)])

        return await ending.outcome(
            await run_over_ids(call, list(patches.items()), itemgetter(0), refuse, write, hold, find_needs)
        )

    @verb("update_where", removes=False)
    async def update_where(
        self,
        call: Call[TRow, TData],
        filters: Filters[TRow],
        patch: Patch[TRow],
        *,
        scope: SearchScope | None = None,
        all_rows: bool = False,
    ) -> int:
        """Write what one patch sets into every row that matches, locked in the order of their keys.

        Args:
            db_sess: the session whose transaction is written in.
            filters: which rows: a filter model, or conditions in code.
            patch: what to change.
            scope: who changes. It says who asks, not which rows are meant: it does not stand in for filters.
            all_rows: all rows that the scope reaches are meant, should no filter tell them apart.

        Returns:
            How many rows were changed; with nothing set in the patch, none.

        Raises:
            InvalidFilter: no filter tells rows apart, and ``all_rows=True`` is not said.
            ScopeMismatch, InvalidValue, ConstraintViolation: as :meth:`update`.
        """
        meant = narrowing(self.entity.info, filters, all_rows=all_rows)
        call = await call.writing(scope, several=True)
        values = await with_contextual_changes(call, call.limits.patched(patch, call.info))
        conditions = meant(call.limits, *self.entity.live())
        rows = changed_rows(call, values, [*call.limits.conditions, *conditions])
        await find_new_parents(call, [values], partial(first_refusal, [rows]))
        return await write_where(call, conditions, values) if values else 0


async def _update_each(
    call: Call[TRow, TData],
    patches: Mapping[Any, Patch[TRow]],
    expected_versions: Mapping[Any, object] | None,
    *,
    is_held: bool = False,
) -> BatchResult[TData, Any]:
    read = _read(call, list(patches.values()))
    if contextual_updates(call.info, ()):
        read.columns.update(await contextual_changes(call, read.rows()))
    writer = BatchWriter(call, list(patches), is_held=is_held)
    targets = await writer.targets(call.conditions(), expected_versions, read.columns)
    changes = read.changes(arrays=targets.by_arrays)
    if call.entity.next_value is not None:
        await find_new_parents(call, read.rows(), partial(writer.refused, targets, changes))
    writing = writer.update(targets, *changes)
    return await naming(
        writing, lambda: unbindable(call.info, read.sent, targets.dialect, range(len(patches)), "patch")
    )


def _read(call: Call[object, object], patches: Sequence[Patch[Any]], first: int = 0) -> Patches:
    """Read patches, and hold them against the keys and the scope."""
    read = Patches(call.info, patches, first)
    for name in call.info.primary_key:
        for place, value in enumerate(read.columns.get(name, ())):
            if value is not UNSET:
                keep_keys(call.info, [name], first + place)
    read.columns = call.limits.patched_columns(read.columns, first, call.info)
    return read
