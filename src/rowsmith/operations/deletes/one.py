"""Removing one row for good."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningDelete

from rowsmith.conditions import limited
from rowsmith.errors import RefusedByTrigger
from rowsmith.execution import execute_writing
from rowsmith.operations.admission import admit
from rowsmith.operations.entity import Operation, TData, TRow, located
from rowsmith.operations.present import present_keys
from rowsmith.operations.updates.one import is_there
from rowsmith.scope import Limits, SearchScope


class Purger(Operation[TRow, TData]):
    """Removes one row, soft-deleted or not; one statement."""

    @located("purge")
    async def purge(self, db_sess: AsyncSession, pk: Any, *, scope: SearchScope | None = None) -> TData:
        """Remove the row and give what it was.

        Raises:
            EntityNotFound: absent or outside the scope, both alike.
            StillReferenced: other rows point at it.
            RefusedByTrigger: a trigger let it not be removed.
            InvalidValue: the key is no value of its column.
        """
        limits = await admit(db_sess, self.entity, scope, "purge")
        before = await self._nested(db_sess, pk, limits)
        origin = self.entity.origin("purge", deletes=True)
        statement, info = self.statement(pk, limits), self.entity.info
        record = (await execute_writing(db_sess, statement, origin)).one_or_none()
        here = [*info.key_condition(info.key(pk)), *limits.conditions]
        if record is None and await is_there(db_sess, self.entity, here, origin):
            record = (await execute_writing(db_sess, statement, origin)).one_or_none()
            if record is None:
                raise RefusedByTrigger
        if record is None:
            raise self.entity.absent("purge", [pk])
        if self.entity.shape.is_row and record[0] in db_sess:
            db_sess.expunge(record[0])  # RETURNING put the object there, but its row is gone
        return self.entity.shape.build(record) if before is None else before[0]

    def statement(self, pk: Any, limits: Limits) -> ReturningDelete[*tuple[Any, ...]]:
        """Give the DELETE ... RETURNING of a key under a scope, without sending it."""
        info = self.entity.info
        conditions = [*info.key_condition(info.key(pk)), *limits.conditions]
        return limited(delete(info.row), *conditions).returning(*self.entity.returning)

    async def _nested(self, db_sess: AsyncSession, pk: Any, limits: Limits) -> list[TData] | None:
        """Read data that RETURNING cannot give, of the row locked and still there; None where it can."""
        if self.entity.shape.returnable:
            return None
        key = self.entity.info.key(pk)
        found = await present_keys(db_sess, self.entity, [key], "purge", limits.conditions, lock=True)
        if not found:
            raise self.entity.absent("purge", [pk])
        return [found[key]]
