"""Reading one row by its key."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.conditions import limited
from rowsmith.execution import execute
from rowsmith.mapping.layout import AnySelect
from rowsmith.operations.admission import admit
from rowsmith.operations.entity import Operation, TData, TRow, located
from rowsmith.operations.present import present
from rowsmith.scope import Limits, SearchScope


class Querier(Operation[TRow, TData]):
    """Reads one row by its primary key; one statement, and one more for each collection in the data."""

    @located("get")
    async def query(
        self,
        db_sess: AsyncSession,
        pk: Any,
        *,
        scope: SearchScope | None = None,
        for_update: bool = False,
        include_deleted: bool = False,
    ) -> TData:
        """Give the row with this key.

        Args:
            db_sess: the session to read in.
            pk: the primary key; a tuple where it is composite.
            scope: who asks; its conditions stand in the same statement.
            for_update: lock the row until the transaction ends (``SELECT ... FOR UPDATE``).
            include_deleted: also give a soft-deleted row.

        Raises:
            EntityNotFound: absent, deleted or outside the scope, all alike; or ``not_found``'s error.
            InvalidValue: the key is no value of its column.
        """
        limits = await admit(db_sess, self.entity, scope, "get")
        statement = self.statement(pk, limits, for_update=for_update, include_deleted=include_deleted)
        record = (await execute(db_sess, statement, self.entity.origin("get"))).one_or_none()
        if record is None:
            raise self.entity.absent("get", [pk])
        return (await present(db_sess, self.entity.shape, [record], self.entity.origin("get")))[0]

    @located("find")
    async def find(
        self, db_sess: AsyncSession, pk: Any, *, scope: SearchScope | None = None, include_deleted: bool = False
    ) -> TData | None:
        """Give the row with this key, or None; otherwise as :meth:`query`."""
        limits = await admit(db_sess, self.entity, scope, "find")
        statement = self.statement(pk, limits, include_deleted=include_deleted)
        record = (await execute(db_sess, statement, self.entity.origin("find"))).one_or_none()
        if record is None:
            return None
        return (await present(db_sess, self.entity.shape, [record], self.entity.origin("find")))[0]

    def statement(
        self, pk: Any, limits: Limits, *, for_update: bool = False, include_deleted: bool = False
    ) -> AnySelect:
        """Give the SELECT of a key under a scope, without sending it."""
        entity = self.entity
        key = entity.info.key_condition(entity.info.key(pk))
        statement = limited(entity.shape.select(), *key, *limits.conditions, *entity.live(include_deleted))
        # OF: the rows joined to it are not locked, and behind an outer join could not be.
        return statement.with_for_update(of=entity.info.row) if for_update else statement
