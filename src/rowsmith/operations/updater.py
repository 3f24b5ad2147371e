"""Changing one row: by a patch, by soft deletion, by restoring it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Update, select, update
from sqlalchemy import types as sqltypes
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.errors import MappingError, StaleVersion
from rowsmith.execution import execute, execute_writing
from rowsmith.mapping import Patch, RowInfo
from rowsmith.mapping.writes import checked_values
from rowsmith.operations.admission import admit, confirm, savepoint
from rowsmith.operations.entity import Entity, Operation, TData, TRow
from rowsmith.operations.soft_delete import SoftDelete
from rowsmith.scope import Limits, SearchScope


class Updater(Operation[TRow, TData]):
    """Changes one row; one statement."""

    async def update(
        self,
        db_sess: AsyncSession,
        pk: Any,
        patch: Patch[TRow],
        *,
        scope: SearchScope | None = None,
        expected_version: Any = None,
    ) -> TData:
        """Write the fields that the patch sets and give the row as it is afterwards.

        A patch with nothing set sends no UPDATE and gives the row as it is.

        Args:
            db_sess: the session whose transaction is written in.
            pk: the primary key; a tuple where it is composite.
            patch: what to change.
            scope: who changes; the row must be inside before and after.
            expected_version: the version last seen, for a row with ``version_id_col``.

        Raises:
            EntityNotFound: absent, deleted or outside the scope, all alike.
            StaleVersion: the row is there in another version.
            ScopeMismatch: the patch would move the row out of the scope.
            InvalidValue, ConstraintViolation: a value or constraint said no.
        """
        entity = self.entity
        limits = await admit(db_sess, entity, scope, "update")
        values = checked_values(patch, entity.info)
        limits.agree(values, entity.info)
        target = Target.of(entity, pk, limits, expected_version)
        if not values:
            return entity.shape.build(await target.read(db_sess, "update"))
        verify = limits if limits.must_verify(values, entity.info) else None
        return entity.shape.build(await target.write(db_sess, values, "update", verify))

    def statement(self, pk: Any, patch: Patch[TRow], limits: Limits, expected_version: Any = None) -> Update:
        """Give the UPDATE ... RETURNING of a patch under a scope, without sending it."""
        values = checked_values(patch, self.entity.info)
        return Target.of(self.entity, pk, limits, expected_version).statement(values)


class SoftDeleter(Operation[TRow, TData]):
    """Marks one row as deleted, or unmarks it; one statement each.

    Raises:
        MappingError: on use, where no ``soft_delete`` is declared.
    """

    async def delete(self, db_sess: AsyncSession, pk: Any, *, scope: SearchScope | None = None) -> TData:
        """Mark a live row as deleted and give it.

        Raises:
            EntityNotFound: absent, already deleted or outside the scope, all alike.
        """
        limits = await admit(db_sess, self.entity, scope, "delete")
        soft_delete = declared_soft_delete(self.entity)
        target = Target.of(self.entity, pk, limits)
        return self.entity.shape.build(await target.write(db_sess, soft_delete.marking(), "delete"))

    async def restore(self, db_sess: AsyncSession, pk: Any, *, scope: SearchScope | None = None) -> TData:
        """Make a deleted row live again and give it.

        Raises:
            EntityNotFound: absent, not deleted or outside the scope, all alike.
            EntityAlreadyExists: its place was taken meanwhile (a unique index over live rows).
        """
        limits = await admit(db_sess, self.entity, scope, "restore")
        soft_delete = declared_soft_delete(self.entity)
        conditions = [*limits.conditions, soft_delete.is_deleted()]
        target = Target(self.entity, self.entity.info.key(pk), conditions)
        return self.entity.shape.build(await target.write(db_sess, soft_delete.unmarking(), "restore"))


class Target:
    """One row to be changed: its key, and every condition it must satisfy in the same statement."""

    def __init__(
        self,
        entity: Entity[Any, Any],
        key: tuple[Any, ...],
        conditions: Sequence[ColumnElement[bool]],
        expected_version: Any = None,
    ) -> None:
        self.entity, self.key, self.expected_version = entity, key, expected_version
        self.conditions = [*entity.info.key_condition(key), *conditions]
        if expected_version is not None and entity.info.version is None:
            raise MappingError(f"{entity.info.row.__name__} keeps no version: map one with version_id_col")

    @classmethod
    def of(cls, entity: Entity[Any, Any], pk: Any, limits: Limits, expected_version: Any = None) -> Target:
        """Give the live row with this key under a scope."""
        return cls(entity, entity.info.key(pk), [*limits.conditions, *entity.live()], expected_version)

    def statement(self, values: Mapping[str, Any]) -> Update:
        """Give the UPDATE ... RETURNING; the version goes up with it."""
        info = self.entity.info
        written = {**values, **next_version(info)}
        conditions = [*self.conditions, *self._in_version()]
        return update(info.row).where(*conditions).values(written).returning(*self.entity.shape.selects)

    async def write(
        self, db_sess: AsyncSession, values: Mapping[str, Any], operation: str, verify: Limits | None = None
    ) -> Sequence[Any]:
        """Send the UPDATE and give the record; a row that left its scope is undone."""
        if verify is None:
            return await self._send(db_sess, self.statement(values), operation)
        keys = self.entity.info.key_attributes
        async with savepoint(db_sess):
            record = await self._send(db_sess, self.statement(values).returning(*keys), operation)
            await confirm(db_sess, self.entity, verify, tuple(record[-len(keys) :]), operation)
        return record[: -len(keys)]

    async def read(self, db_sess: AsyncSession, operation: str) -> Sequence[Any]:
        """Give the record as it is, in the expected version."""
        statement = select(*self.entity.shape.selects).where(*self.conditions, *self._in_version())
        record = (await execute(db_sess, statement, self.entity.origin(operation))).one_or_none()
        return record if record is not None else await self._fail(db_sess, operation)

    async def _send(self, db_sess: AsyncSession, statement: Any, operation: str) -> Sequence[Any]:
        result = await execute_writing(db_sess, statement, self.entity.origin(operation))
        record = result.one_or_none()
        return record if record is not None else await self._fail(db_sess, operation)

    async def _fail(self, db_sess: AsyncSession, operation: str) -> Sequence[Any]:
        """Nothing matched: say whether the row is absent or in another version."""
        if self.expected_version is not None:
            there = select(*self.entity.info.key_attributes).where(*self.conditions)
            if (await execute(db_sess, there, self.entity.origin(operation))).first() is not None:
                raise self.entity.located(StaleVersion(), operation)
        raise self.entity.absent(operation, [self.key if len(self.key) > 1 else self.key[0]])

    def _in_version(self) -> list[ColumnElement[bool]]:
        if self.expected_version is None or self.entity.info.version is None:
            return []
        return [self.entity.info.attribute(self.entity.info.version) == self.expected_version]


def next_version(info: RowInfo[Any]) -> dict[str, Any]:
    """Give what an update writes into the version column: one more, or what the mapper's generator makes.

    SQLAlchemy counts versions up only when it flushes objects, not in statements like these.
    """
    generate = info.mapper.version_id_generator
    if info.version is None or not callable(generate):
        return {}
    if isinstance(info.columns[info.version].type, sqltypes.Integer):
        return {info.version: info.attribute(info.version) + 1}
    return {info.version: generate(None)}


def declared_soft_delete(entity: Entity[Any, Any]) -> SoftDelete:
    """Give the entity's soft deletion.

    Raises:
        MappingError: there is none; the message says what to declare.
    """
    if entity.soft_delete is None:
        name = entity.info.row.__name__
        raise MappingError(f"{name} has no soft deletion: declare soft_delete = SoftDelete({name}.deleted_at), or purge")
    return entity.soft_delete
