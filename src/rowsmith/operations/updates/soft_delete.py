"""Marking many rows as deleted, or bringing them back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.operations.admission import admit
from rowsmith.operations.entity import Operation, TData, TRow, located
from rowsmith.operations.results import BatchResult
from rowsmith.operations.updates.one import declared_soft_delete
from rowsmith.operations.updates.statement import Changes
from rowsmith.operations.updates.writer import BatchWriter
from rowsmith.scope import SearchScope


class BatchSoftDeleter(Operation[TRow, TData]):
    """Marks many rows as deleted, or unmarks them; one statement each, and one more where some are not there.

    Raises:
        MappingError: on use, where no ``soft_delete`` is declared.
    """

    @located("batch_delete")
    async def delete(
        self, db_sess: AsyncSession, ids: Sequence[Any], *, scope: SearchScope | None = None
    ) -> BatchResult[TData, Any]:
        """Mark live rows as deleted, locked in the order of their keys, and report them.

        Returns:
            The rows marked, and as missing the ids that are absent, deleted already or outside the scope.

        Raises:
            InvalidValue: an id is no key, or stands twice.
        """
        limits = await admit(db_sess, self.entity, scope, "batch_delete")
        soft_delete = declared_soft_delete(self.entity)
        writer = BatchWriter(db_sess, self.entity, ids, "batch_delete")
        target = await writer.target([*limits.conditions, soft_delete.is_live()])
        return await writer.update(target, Changes(soft_delete.marking()))

    @located("batch_restore")
    async def restore(
        self, db_sess: AsyncSession, ids: Sequence[Any], *, scope: SearchScope | None = None
    ) -> BatchResult[TData, Any]:
        """Make deleted rows live again, locked in the order of their keys, and report them.

        Returns:
            The rows restored, and as missing the ids that are absent, not deleted or outside the scope.

        Raises:
            EntityAlreadyExists: the place of one was taken meanwhile (a unique index over live rows).
            InvalidValue: an id is no key, or stands twice.
        """
        limits = await admit(db_sess, self.entity, scope, "batch_restore")
        soft_delete = declared_soft_delete(self.entity)
        writer = BatchWriter(db_sess, self.entity, ids, "batch_restore")
        target = await writer.target([*limits.conditions, soft_delete.is_deleted()])
        return await writer.update(target, Changes(soft_delete.unmarking()))
