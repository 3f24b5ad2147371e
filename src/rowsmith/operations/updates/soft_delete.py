"""Marking rows as deleted, or bringing them back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rowsmith.errors import MappingError
from rowsmith.execution import NativeLane
from rowsmith.operations.call import Call, Operation, TData, TRow, verb
from rowsmith.operations.entity import Entity, by_entity
from rowsmith.operations.reads.narrowing import narrowing
from rowsmith.operations.reads.search import Filters
from rowsmith.operations.results import BatchResult
from rowsmith.operations.soft_delete import SoftDelete
from rowsmith.operations.unread import tell_deleted_id, tell_id
from rowsmith.operations.updates.many import BatchWrites
from rowsmith.operations.updates.one import Target, changes, live_target
from rowsmith.operations.updates.statement import Changes
from rowsmith.operations.updates.where import write_where
from rowsmith.operations.updates.writer import BatchWriter
from rowsmith.operations.writes import AskedWrite, Writes
from rowsmith.scope import SearchScope


class SoftDeleter(Operation[TRow, TData]):
    """Marks one row as deleted, or unmarks it; one statement each.

    Raises:
        MappingError: on use, where no ``soft_delete`` is declared.
    """

    @by_entity
    def _deleting(self) -> Writes[TRow, TData]:
        marking = declared_soft_delete(self.entity).marking()
        return changes(self.entity, "delete", self.entity.live(), marking)

    @by_entity
    def _restoring(self) -> Writes[TRow, TData]:
        soft_delete = declared_soft_delete(self.entity)
        return changes(self.entity, "restore", [soft_delete.is_deleted()], soft_delete.unmarking())

    def _delete(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedWrite | None:
        is_one = self.entity.soft_delete is not None and len(args) == 1
        return self._deleting.change(lane, args[0], kwargs, lambda _: {}) if is_one else None

    def _restore(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedWrite | None:
        is_one = self.entity.soft_delete is not None and len(args) == 1
        return self._restoring.change(lane, args[0], kwargs, lambda _: {}) if is_one else None

    @verb("delete", touches="id", removes=False, native=_delete)
    async def delete(self, call: Call[TRow, TData], pk: Any, *, scope: SearchScope | None = None) -> TData:
        """Mark a live row as deleted and give it.

        Raises:
            EntityNotFound: absent, already deleted or outside the scope, all alike.
        """
        soft_delete = declared_soft_delete(self.entity)
        call = await call.marking(scope, soft_delete.is_deleted())
        return await live_target(call.entity, pk, call.limits).write(call, soft_delete.marking())

    @verb("restore", touches="id", removes=False, native=_restore)
    async def restore(self, call: Call[TRow, TData], pk: Any, *, scope: SearchScope | None = None) -> TData:
        """Make a deleted row live again and give it.

        Raises:
            EntityNotFound: absent, not deleted or outside the scope, all alike.
            EntityAlreadyExists: its place was taken meanwhile (a unique index over live rows).
        """
        soft_delete = declared_soft_delete(self.entity)
        call = await call.marking(scope, soft_delete.is_live())
        conditions = [*call.limits.conditions, soft_delete.is_deleted()]
        return await Target(call.entity, call.info.key(pk), conditions).write(call, soft_delete.unmarking())


class BatchSoftDeleter(Operation[TRow, TData]):
    """Marks many rows as deleted, or unmarks them; one statement each, and one more where some ids are not there.

    On PostgreSQL a statement before it locks the rows that conditions are to find, and those of a view.

    Raises:
        MappingError: on use, where no ``soft_delete`` is declared.
    """

    @by_entity
    def _deleting(self) -> BatchWrites[TRow, TData]:
        soft_delete = declared_soft_delete(self.entity)
        return BatchWrites(self.entity, "batch_delete", [soft_delete.is_live()], soft_delete.marking())

    @by_entity
    def _restoring(self) -> BatchWrites[TRow, TData]:
        soft_delete = declared_soft_delete(self.entity)
        return BatchWrites(self.entity, "batch_restore", [soft_delete.is_deleted()], soft_delete.unmarking())

    def _delete(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedWrite | None:
        is_one = self.entity.soft_delete is not None and len(args) == 1
        return self._deleting.ask(lane, args[0], kwargs, lambda _: {}) if is_one else None

    def _restore(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedWrite | None:
        is_one = self.entity.soft_delete is not None and len(args) == 1
        return self._restoring.ask(lane, args[0], kwargs, lambda _: {}) if is_one else None

    @verb("batch_delete", touches="ids", removes=False, native=_delete, tells=tell_id)
    async def delete(
        self, call: Call[TRow, TData], ids: Sequence[Any], *, scope: SearchScope | None = None
    ) -> BatchResult[TData, Any]:
        """Mark live rows as deleted, locked in the order of their keys, and report them.

        Returns:
            The rows marked, and as missing the ids that are absent, deleted already or outside the scope.

        Raises:
            InvalidValue: an id is no key, or stands twice.
        """
        soft_delete = declared_soft_delete(self.entity)
        call = await call.marking(scope, soft_delete.is_deleted())
        writer = BatchWriter(call, ids)
        targets = await writer.targets([*call.limits.conditions, soft_delete.is_live()])
        return await writer.update(targets, Changes(soft_delete.marking()))

    @verb("batch_restore", touches="ids", removes=False, native=_restore, tells=tell_deleted_id)
    async def restore(
        self, call: Call[TRow, TData], ids: Sequence[Any], *, scope: SearchScope | None = None
    ) -> BatchResult[TData, Any]:
        """Make deleted rows live again, locked in the order of their keys, and report them.

        Returns:
            The rows restored, and as missing the ids that are absent, not deleted or outside the scope.

        Raises:
            EntityAlreadyExists: the place of one was taken meanwhile (a unique index over live rows).
            InvalidValue: an id is no key, or stands twice.
        """
        soft_delete = declared_soft_delete(self.entity)
        call = await call.marking(scope, soft_delete.is_live())
        writer = BatchWriter(call, ids)
        targets = await writer.targets([*call.limits.conditions, soft_delete.is_deleted()])
        return await writer.update(targets, Changes(soft_delete.unmarking()))

    @verb("delete_where")
    async def delete_where(
        self,
        call: Call[TRow, TData],
        filters: Filters[TRow],
        *,
        scope: SearchScope | None = None,
        all_rows: bool = False,
    ) -> int:
        """Mark every live row that matches as deleted, locked in the order of their keys.

        Args:
            db_sess: the session whose transaction is written in.
            filters: which rows: a filter model, or conditions in code.
            scope: who deletes. It says who asks, not which rows are meant: it does not stand in for filters.
            all_rows: all rows that the scope reaches are meant, should no filter tell them apart.

        Returns:
            How many rows were marked.

        Raises:
            InvalidFilter: no filter tells rows apart, and ``all_rows=True`` is not said.
        """
        meant = narrowing(self.entity.info, filters, all_rows=all_rows)
        soft_delete = declared_soft_delete(self.entity)
        call = await call.marking(scope, soft_delete.is_deleted())
        return await write_where(call, meant(call.limits, soft_delete.is_live()), soft_delete.marking())

    @verb("restore_where")
    async def restore_where(
        self,
        call: Call[TRow, TData],
        filters: Filters[TRow],
        *,
        scope: SearchScope | None = None,
        all_rows: bool = False,
    ) -> int:
        """Make every deleted row that matches live again, locked in the order of their keys.

        Args:
            db_sess, filters, scope, all_rows: as for :meth:`delete_where`.

        Returns:
            How many rows were restored.

        Raises:
            InvalidFilter: no filter tells rows apart, and ``all_rows=True`` is not said.
            EntityAlreadyExists: the place of one was taken meanwhile (a unique index over live rows).
        """
        meant = narrowing(self.entity.info, filters, all_rows=all_rows)
        soft_delete = declared_soft_delete(self.entity)
        call = await call.marking(scope, soft_delete.is_live())
        return await write_where(call, meant(call.limits, soft_delete.is_deleted()), soft_delete.unmarking())


def declared_soft_delete(entity: Entity[object, object]) -> SoftDelete:
    """Give the entity's soft deletion.

    Raises:
        MappingError: there is none; the message says what to declare.
    """
    if entity.soft_delete is None:
        name = entity.info.row.__name__
        raise MappingError(
            f"{name} has no soft deletion: declare soft_delete = SoftDelete({name}.deleted_at), or purge"
        )
    return entity.soft_delete
