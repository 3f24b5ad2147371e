"""Removing many rows for good, by their keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.errors import InvalidValue
from rowsmith.operations.admission import admit
from rowsmith.operations.entity import Operation, TData, TRow, located
from rowsmith.operations.results import BatchResult, PartialResult
from rowsmith.operations.sifting import Partial
from rowsmith.operations.updates.writer import BatchWriter
from rowsmith.scope import SearchScope


class BatchPurger(Operation[TRow, TData]):
    """Removes many rows, soft-deleted or not; one statement, and one more where some rows are not there."""

    @located("batch_purge")
    async def purge(
        self, db_sess: AsyncSession, ids: Sequence[Any], *, scope: SearchScope | None = None
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
            InvalidValue: an id is no key, or stands twice.
        """
        limits = await admit(db_sess, self.entity, scope, "batch_purge")
        writer = BatchWriter(db_sess, self.entity, ids, "batch_purge")
        return await writer.delete(await writer.target(limits.conditions))

    @located("batch_purge_partial")
    async def purge_partial(
        self, db_sess: AsyncSession, ids: Sequence[Any], *, scope: SearchScope | None = None
    ) -> PartialResult[TData]:
        """Remove the rows that can be removed, and say of each other one why not.

        As :meth:`purge`, but each id stands for itself, by its index in ``ids``: absent rows
        (``EntityNotFound``), those that others point at, and ids that are no key are an item's own failure.

        Raises:
            RepositoryError: no item's fault (the connection, a deadlock, the scope as such); nothing is removed then.
        """
        limits = await admit(db_sess, self.entity, scope, "batch_purge_partial")
        places: dict[Any, int] = {}

        def refuse(index: int, pk: Any) -> None:
            first = places.setdefault(self.entity.info.key(pk), index)
            if first != index:
                raise InvalidValue(f"the id at index {index} stands at index {first} already: give each id once")

        async def write(part: Sequence[Any]) -> BatchResult[TData, Any]:
            writer = BatchWriter(db_sess, self.entity, part, "batch_purge_partial")
            return await writer.delete(await writer.target(limits.conditions))

        return await Partial(db_sess, self.entity, "batch_purge_partial", lambda pk: pk).run(list(ids), refuse, write)
