"""Changing one row: by a patch, by soft deletion, by restoring it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, NoReturn

from sqlalchemy import ColumnElement, select, update
from sqlalchemy import types as sqltypes
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningUpdate
from typing_extensions import TypeVar

from rowsmith.conditions import limited
from rowsmith.errors import MappingError, RefusedByTrigger, ScopeMismatch, StaleVersion
from rowsmith.execution import Origin, execute, execute_writing
from rowsmith.mapping import Patch, RowInfo
from rowsmith.mapping.writes import checked_values, storable
from rowsmith.operations.admission import admit, confirm, savepoint
from rowsmith.operations.arrays.keys import dialect_of
from rowsmith.operations.blocks.binding import naming, unbindable_value
from rowsmith.operations.entity import Entity, Operation, TData, TRow, located
from rowsmith.operations.held import refused_change, scope_first
from rowsmith.operations.in_step import keep_in_step
from rowsmith.operations.present import present, present_written
from rowsmith.operations.soft_delete import SoftDelete
from rowsmith.scope import Limits, SearchScope

T = TypeVar("T")


class Updater(Operation[TRow, TData]):
    """Changes one row; one statement."""

    @located("update")
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
            InvalidValue, ConstraintViolation: a value or constraint said no; RefusedByTrigger: a trigger did.
        """
        entity = self.entity
        limits = await admit(db_sess, entity, scope, "update")
        values = _new_values(patch, limits, entity.info)
        target = live_target(entity, pk, limits, expected_version)
        if not values:
            return await target.read(db_sess, "update")
        verify = limits if limits.must_verify(values, entity.info) else None
        writing = target.write(db_sess, values, "update", verify)
        return await naming(writing, lambda: unbindable_value(entity.info, values, dialect_of(db_sess, entity.info)))

    def statement(
        self, pk: Any, patch: Patch[TRow], limits: Limits, expected_version: Any = None
    ) -> ReturningUpdate[*tuple[Any, ...]]:
        """Give the UPDATE ... RETURNING of a patch under a scope, without sending it."""
        values = _new_values(patch, limits, self.entity.info)
        return live_target(self.entity, pk, limits, expected_version).statement(values)


def _new_values(patch: Patch[TRow], limits: Limits, info: RowInfo[TRow]) -> dict[str, Any]:
    values = checked_values(patch, info)
    limits.agree(values, info)
    return values


class SoftDeleter(Operation[TRow, TData]):
    """Marks one row as deleted, or unmarks it; one statement each.

    Raises:
        MappingError: on use, where no ``soft_delete`` is declared.
    """

    @located("delete")
    async def delete(self, db_sess: AsyncSession, pk: Any, *, scope: SearchScope | None = None) -> TData:
        """Mark a live row as deleted and give it.

        Raises:
            EntityNotFound: absent, already deleted or outside the scope, all alike.
        """
        limits = await admit(db_sess, self.entity, scope, "delete")
        soft_delete = declared_soft_delete(self.entity)
        target = live_target(self.entity, pk, limits)
        return await target.write(db_sess, soft_delete.marking(), "delete")

    @located("restore")
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
        return await target.write(db_sess, soft_delete.unmarking(), "restore")


class Target(Generic[T]):
    """One row to be changed: its key, and every condition it must satisfy in the same statement."""

    def __init__(
        self,
        entity: Entity[Any, T],
        key: tuple[Any, ...],
        conditions: Sequence[ColumnElement[bool]],
        expected_version: Any = None,
    ) -> None:
        self.entity, self.key, self.expected_version = entity, key, expected_version
        self.conditions = [*entity.info.key_condition(key), *conditions]
        if expected_version is not None:
            _check_version(entity.info, expected_version)

    def statement(self, values: Mapping[str, Any]) -> ReturningUpdate[*tuple[Any, ...]]:
        """Give the UPDATE ... RETURNING; the version goes up with it."""
        info = self.entity.info
        written = {**values, **next_version(info)}
        conditions = [*self.conditions, *self._in_version()]
        statement = limited(update(info.row), *conditions).values(written)
        return statement.returning(*self.entity.returning)  # pyright: ignore[reportUnknownVariableType]

    async def write(
        self, db_sess: AsyncSession, values: Mapping[str, Any], operation: str, verify: Limits | None = None
    ) -> T:
        """Send the UPDATE and give the row as it is afterwards; one that left its scope is undone."""
        origin = self.entity.origin(operation, writes=values)
        if verify is None:
            record = await self._send(db_sess, self.statement(values), origin)
        else:
            record = await self._send_inside(db_sess, values, origin, verify)
        if values.keys().isdisjoint(self.entity.info.primary_key):
            await keep_in_step(db_sess, self.entity, [self.key], operation, seen=True)
        return (await present_written(db_sess, self.entity, [record], operation))[0]

    async def read(self, db_sess: AsyncSession, operation: str) -> T:
        """Give the row as it is, in the expected version."""
        statement = limited(self.entity.shape.select(), *self.conditions, *self._in_version())
        origin = self.entity.origin(operation)
        record: Sequence[Any] | None = (await execute(db_sess, statement, origin)).one_or_none()
        if record is None:
            await self._fail(db_sess, origin)
        return (await present(db_sess, self.entity.shape, [record], origin))[0]

    async def _send_inside(
        self, db_sess: AsyncSession, values: Mapping[str, Any], origin: Origin, verify: Limits
    ) -> Sequence[Any]:
        keys, operation = self.entity.info.key_attributes, origin.operation or ""

        async def write() -> Sequence[Any]:
            async with savepoint(db_sess):
                record = await self._send(db_sess, self.statement(values).returning(*keys), origin)
                await confirm(db_sess, self.entity, verify, tuple(record[-len(keys) :]), operation)
            return record[: -len(keys)]

        async def refused() -> ScopeMismatch | None:
            there = [*self.conditions, *self._in_version()]
            return await refused_change(db_sess, self.entity, verify, values, there, operation)

        return await scope_first(self.entity, write, refused)

    async def _send(self, db_sess: AsyncSession, statement: Any, origin: Origin) -> Sequence[Any]:
        record: Sequence[Any] | None = (await execute_writing(db_sess, statement, origin)).one_or_none()
        if record is None and await is_there(db_sess, self.entity, [*self.conditions, *self._in_version()], origin):
            record = (await execute_writing(db_sess, statement, origin)).one_or_none()
            if record is None:
                raise RefusedByTrigger
        return record if record is not None else await self._fail(db_sess, origin)

    async def _fail(self, db_sess: AsyncSession, origin: Origin) -> NoReturn:
        """Nothing matched: say whether the row is absent or in another version."""
        operation = origin.operation or ""
        if self.expected_version is not None:
            there = limited(select(*self.entity.info.key_attributes), *self.conditions)
            if (await execute(db_sess, there, origin)).first() is not None:
                raise self.entity.located(StaleVersion(), operation)
        raise self.entity.absent(operation, [self.key[0] if len(self.key) == 1 else self.key])

    def _in_version(self) -> list[ColumnElement[bool]]:
        if self.expected_version is None or self.entity.info.version is None:
            return []
        return [self.entity.info.attribute(self.entity.info.version) == self.expected_version]


async def is_there(
    db_sess: AsyncSession, entity: Entity[Any, Any], conditions: Sequence[ColumnElement[bool]], origin: Origin
) -> bool:
    """Say whether a row that a write did not reach is there after all; if it is, nobody else changes it from now on.

    Then it came meanwhile, or a trigger refused the write: the same write again tells which.
    """
    there = limited(select(*entity.info.key_attributes), *conditions).with_for_update(of=entity.info.row)
    return (await execute(db_sess, there, origin)).first() is not None


def live_target(entity: Entity[Any, T], pk: Any, limits: Limits, expected_version: Any = None) -> Target[T]:
    """Give the live row with this key under a scope."""
    return Target(entity, entity.info.key(pk), [*limits.conditions, *entity.live()], expected_version)


def _check_version(info: RowInfo[Any], expected: Any) -> None:
    if info.version is None:
        raise MappingError(f"{info.row.__name__} keeps no version: map one with version_id_col")
    storable(info, info.version, expected)


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
        raise MappingError(
            f"{name} has no soft deletion: declare soft_delete = SoftDelete({name}.deleted_at), or purge"
        )
    return entity.soft_delete
