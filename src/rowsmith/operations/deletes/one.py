"""Removing one row for good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete
from sqlalchemy.sql.dml import ReturningDelete

from rowsmith.conditions import limited
from rowsmith.errors import RefusedByTrigger
from rowsmith.execution import NativeLane
from rowsmith.operations.call import Call, Operation, TData, TRow, verb
from rowsmith.operations.deletes.joined import purge_joined
from rowsmith.operations.entity import by_entity
from rowsmith.operations.in_step import forget
from rowsmith.operations.present import present_doomed
from rowsmith.operations.updates.one import write_row
from rowsmith.operations.writes import AskedWrite, Writes
from rowsmith.scope import Limits, SearchScope


class Purger(Operation[TRow, TData]):
    """Removes one row, soft-deleted or not; one statement.

    A row that may be kept in several tables, its own class's or those of classes below, is found and locked by the
    first statement, under its scope, read, and removed from each.
    """

    @by_entity
    def _writes(self) -> Writes[TRow, TData]:
        def statement(_: object, key: Sequence[ColumnElement[bool]], limits: Limits) -> Any:
            return self._delete([*key, *limits.conditions])

        return Writes(self.entity, "purge", statement)

    def _ask(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedWrite | None:
        return self._writes.change(lane, args[0], kwargs, lambda _: {}, deletes=True) if len(args) == 1 else None

    @verb("purge", touches="id", native=_ask)
    async def purge(self, call: Call[TRow, TData], pk: Any, *, scope: SearchScope | None = None) -> TData:
        """Remove the row and give what it was.

        Raises:
            EntityNotFound: absent or outside the scope, both alike.
            StillReferenced: other rows point at it.
            RefusedByTrigger: a trigger let it not be removed, or put it back.
            InvalidValue: the key is no value of its column.
        """
        call = await call.removing(scope)
        key = call.info.key(pk)
        if len(call.info.all_parts) > 1:
            for data in (await purge_joined(call, [key], call.limits.conditions)).values():
                return data
            raise call.absent([pk])
        before = await present_doomed(call, [key], call.limits.conditions)
        if before is not None and key not in before:
            raise call.absent([pk])
        here = [*call.info.key_condition(key), *call.limits.conditions]
        record = await write_row(call, self.statement(pk, call.limits), call.origin(deletes=True), here)
        if record is None:
            raise call.absent([pk])
        if await call.first_back([key]) is not None:
            raise RefusedByTrigger
        if self.entity.shape.is_row:
            forget(call, [key])
        return self.entity.shape.build(record) if before is None else before[key]

    def statement(self, pk: Any, limits: Limits) -> ReturningDelete[*tuple[Any, ...]]:
        """Give the DELETE ... RETURNING of a key under a scope, without sending it.

        Raises:
            MappingError: the row is kept in several tables.
        """
        info = self.entity.info
        info.one_statement("Purger.statement", "purge(id)")
        return self._delete([*info.key_condition(info.key(pk)), *limits.conditions])

    def _delete(self, conditions: Sequence[ColumnElement[bool]]) -> ReturningDelete[*tuple[Any, ...]]:
        return limited(delete(self.entity.info.row), *conditions).returning(*self.entity.returning)
