"""Removing many rows for good, by their keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rowsmith.errors import RefusedByTrigger
from rowsmith.execution import NativeLane
from rowsmith.operations.arrays.keys import Key, batch_key, batch_keys, keep_once
from rowsmith.operations.call import Call, Operation, TData, TRow, verb
from rowsmith.operations.deletes.joined import purge_joined
from rowsmith.operations.entity import by_entity
from rowsmith.operations.faults import is_of_a_row
from rowsmith.operations.needs import Change, Needs, SelfKeys
from rowsmith.operations.partial import rows_before, run_over_ids
from rowsmith.operations.results import BatchResult, PartialResult
from rowsmith.operations.unread import tell_id
from rowsmith.operations.updates.many import BatchWrites
from rowsmith.operations.updates.writer import BatchWriter
from rowsmith.operations.writes import AskedWrite
from rowsmith.scope import SearchScope


class BatchPurger(Operation[TRow, TData]):
    """Removes many rows, soft-deleted or not; one statement, and one more where some rows are not there.

    On PostgreSQL a statement before it locks rows that may refer to each other, and those of a view; on SQLite one
    reads rows that may take each other along, of which it would tell nothing afterwards.

    Rows that may be kept in several tables are found and locked by the first one, and removed from each table.
    """

    @by_entity
    def _writes(self) -> BatchWrites[TRow, TData]:
        return BatchWrites(self.entity, "batch_purge")

    def _ask(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedWrite | None:
        return self._writes.ask(lane, args[0], kwargs, lambda _: {}) if len(args) == 1 else None

    @verb("batch_purge", touches="ids", native=_ask, tells=tell_id)
    async def purge(
        self, call: Call[TRow, TData], ids: Sequence[Any], *, scope: SearchScope | None = None
    ) -> BatchResult[TData, Any]:
        """Remove the rows, locked in the order of their keys, and report what they were.

        Args:
            db_sess: the session whose transaction is written in.
            ids: the primary keys, tuples where they are composite.
            scope: who removes.

        Returns:
            The rows as they were, and the ids that are absent or outside the scope.

        Raises:
            StillReferenced: other rows point at one of them; nothing is removed.
            RefusedByTrigger: a trigger kept one, or put it back; nor is it then.
            InvalidValue: an id is no key, or stands twice.
        """
        call = await call.removing(scope)
        return await _purge(call, ids)

    @verb("batch_purge_partial", touches="ids", late=is_of_a_row)
    async def purge_partial(
        self, call: Call[TRow, TData], ids: Sequence[Any], *, scope: SearchScope | None = None
    ) -> PartialResult[TData]:
        """Remove the rows that can be removed, and say of each other one why not.

        As :meth:`purge`, but each id stands for itself, by its index in ``ids``: absent rows
        (``EntityNotFound``), those that others point at, ids that are no key, and ids that have the key of an earlier
        one (``InvalidValue``) are an item's own failure. Rows that point at each other go together. What is checked at
        COMMIT is as for ``BatchCreator.create_partial``.

        Raises:
            RepositoryError: no item's fault (the connection, a deadlock, the scope as such); nothing is removed then.
        """
        call = await call.removing(scope)
        places: dict[Key, tuple[int, Key]] = {}
        is_held = False

        def refuse(index: int, id: object) -> None:
            keep_once(self.entity.info, places, batch_key(self.entity.info, id, index), index)

        async def write(part: Sequence[object]) -> BatchResult[TData, Any]:
            return await _purge(call.in_parts(), part, is_held=is_held)

        async def hold(part: Sequence[object]) -> None:
            nonlocal is_held
            await BatchWriter(call, part).hold(call.limits.conditions)
            is_held = True

        async def find_needs(part: Sequence[object]) -> Needs:
            tied = SelfKeys.of_rows(call.info)
            before = await rows_before(call, call.info.all_parts, batch_keys(call.info, part), tied.columns)
            return await tied.needs(call, [Change(row, {}) for row in before])

        result = await run_over_ids(call, list(ids), lambda id: id, refuse, write, hold, find_needs)
        if call.may_come_back:  # by what a later part did
            gone = batch_keys(call.info, [ids[success.index] for success in result.succeeded])
            if await call.first_back(gone) is not None:
                raise RefusedByTrigger
        return result


async def _purge(call: Call[TRow, TData], ids: Sequence[object], *, is_held: bool = False) -> BatchResult[TData, Any]:
    writer = BatchWriter(call, ids, is_held=is_held)
    if len(call.info.all_parts) == 1:
        return await writer.delete(await writer.targets(call.limits.conditions))
    found = await purge_joined(call, writer.keys, call.limits.conditions, is_held=is_held)
    stored = await call.as_stored(call.info.key_columns, writer.keys, found.keys())
    return writer.report({key: found[stored[key]] for key in stored})
