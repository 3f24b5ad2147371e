"""Changing many rows: one patch for many ids, one patch for each id, one patch for all that match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from rowsmith.execution import NativeLane
from rowsmith.execution.driver import connection_of
from rowsmith.mapping import Patch
from rowsmith.operations.arrays.binding import naming, unbindable, unbindable_value
from rowsmith.operations.blocks.defaults import Context, contextual_updates
from rowsmith.operations.call import Call, Operation, TData, TRow, verb
from rowsmith.operations.entity import by_entity
from rowsmith.operations.partial import run_over_ids
from rowsmith.operations.reads.narrowing import narrowing
from rowsmith.operations.reads.search import Filters
from rowsmith.operations.results import BatchResult, PartialResult
from rowsmith.operations.unread import tell_id
from rowsmith.operations.updates.one import new_values
from rowsmith.operations.updates.patches import Patches
from rowsmith.operations.updates.planned import BatchWrites
from rowsmith.operations.updates.statement import (
    Changes,
    keep_keys,
    versions_of,
)
from rowsmith.operations.updates.where import write_where
from rowsmith.operations.updates.writer import BatchWriter
from rowsmith.operations.writes import AskedWrite
from rowsmith.scope import SearchScope
from rowsmith.state import UNSET

_IDS_AND_PATCH: Final = 2


class BatchUpdater(Operation[TRow, TData]):
    """Changes many rows; one statement each, and one more where some rows are not there."""

    @by_entity
    def _writes(self) -> BatchWrites[TRow, TData]:
        return BatchWrites(self.entity, "batch_update", self.entity.live(), {})

    def _ask(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedWrite | None:
        if len(args) != _IDS_AND_PATCH:
            return None
        (ids, patch), info = args, self.entity.info
        return self._writes.ask(lane, ids, kwargs, lambda limits: new_values(patch, limits, info))

    @verb("batch_update", touches="ids", native=_ask, tells=tell_id)
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
        call = await call.under(scope)
        values = new_values(patch, call.limits, call.info)
        writer = BatchWriter(call, ids)
        targets = await writer.targets(call.conditions(), expected_versions)
        writing = writer.update(targets, Changes(values))
        return await naming(writing, lambda: unbindable_value(call.info, values, targets.dialect))

    @verb("batch_update_each", singly="update(id, patch)", touches="ids", tells=tell_id)
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
            InvalidValue: a value does not fit; the message gives the index.
            StaleVersion, ScopeMismatch, ConstraintViolation: as :meth:`update`.
        """
        return await _update_each(await call.under(scope), patches, expected_versions)

    @verb("batch_update_partial", singly="update(id, patch)", touches="ids")
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
        (``EntityNotFound``), stale ones, values and constraints are an item's own failure. All are tried
        together inside a savepoint; only where that fails are the culprits looked for.

        Raises:
            RepositoryError: no item's fault (the connection, a deadlock, the scope as such); nothing is kept then.
        """
        call = await call.under(scope)
        versions_of(call.info, list(patches), expected_versions)
        is_held = False

        def refuse(index: int, item: tuple[object, Patch[TRow]]) -> None:
            call.info.key(item[0])
            keep_keys(call.info, _read(call, [item[1]], index).columns)

        async def write(part: Sequence[tuple[object, Patch[TRow]]]) -> BatchResult[TData, Any]:
            versions = None if expected_versions is None else {id: expected_versions[id] for id, _ in part}
            return await _update_each(call, dict(part), versions, is_held=is_held)

        async def hold(part: Sequence[tuple[object, Patch[TRow]]]) -> None:
            nonlocal is_held
            await BatchWriter(call, [id for id, _ in part]).hold(call.conditions())
            is_held = True

        return await run_over_ids(call, list(patches.items()), itemgetter(0), refuse, write, hold)

    @verb("update_where")
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
            all_rows: no filters, and all rows that the scope reaches are meant.

        Returns:
            How many rows were changed; with nothing set in the patch, none.

        Raises:
            InvalidFilter: no filter is given, nor ``all_rows=True``.
            ScopeMismatch, InvalidValue, ConstraintViolation: as :meth:`update`.
        """
        narrowed = narrowing(self.entity.info, filters, all_rows=all_rows)
        call = await call.under(scope)
        values = new_values(patch, call.limits, call.info)
        return await write_where(call, [*narrowed, *self.entity.live()], values) if values else 0


async def _update_each(
    call: Call[TRow, TData],
    patches: Mapping[Any, Patch[TRow]],
    expected_versions: Mapping[Any, object] | None,
    *,
    is_held: bool = False,
) -> BatchResult[TData, Any]:
    read = _read(call, list(patches.values()))
    await _fill_updates(call, read)
    writer = BatchWriter(call, list(patches), is_held=is_held)
    targets = await writer.targets(call.conditions(), expected_versions, read.columns)
    writing = writer.update(targets, *read.changes(arrays=targets.by_arrays))
    return await naming(
        writing, lambda: unbindable(call.info, read.sent, targets.dialect, range(len(patches)), "patch")
    )


async def _fill_updates(call: Call[object, object], read: Patches) -> None:
    """Work out what an ``onupdate`` that asks for a row's values gives for each: one statement has but one answer."""
    names = contextual_updates(call.info, ())
    rows = read.rows() if names else []
    if not any(rows):
        return
    connection = await connection_of(call.db_sess, call.origin())

    def made(name: str, row: Mapping[str, object]) -> Any:
        update: Any = call.info.columns[name].onupdate
        return update.arg(Context.of_row(connection, call.info, row, name, isinsert=False))

    for name in names:
        # A patch that sets nothing changes no row.
        read.columns[name] = [row[name] if name in row else made(name, row) if row else UNSET for row in rows]


def _read(call: Call[object, object], patches: Sequence[Patch[Any]], first: int = 0) -> Patches:
    """Read patches and hold them against the scope."""
    read = Patches(call.info, patches, first)
    for name in call.limits.stamps.keys() & read.columns.keys():
        for value in read.columns[name]:
            if value is not UNSET:
                call.limits.agree({name: value}, call.info)
    return read
