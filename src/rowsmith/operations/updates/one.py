"""Changing one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Generic, NoReturn, cast

from sqlalchemy import ColumnElement, Executable, select, update
from sqlalchemy.sql.dml import ReturningUpdate
from typing_extensions import TypeVar

from rowsmith.conditions import limited
from rowsmith.errors import RefusedByTrigger, StaleVersion
from rowsmith.execution import NativeLane, Origin
from rowsmith.mapping import Patch
from rowsmith.mapping.writes import storable
from rowsmith.operations.arrays.binding import naming, unbindable_value
from rowsmith.operations.arrays.keys import Key
from rowsmith.operations.call import Call, Operation, TData, TRow, verb
from rowsmith.operations.contextual import with_contextual_changes
from rowsmith.operations.entity import Entity, by_entity
from rowsmith.operations.held import changed_rows, first_refusal, scope_first
from rowsmith.operations.in_step import keep_in_step
from rowsmith.operations.once import Written, as_stored, once
from rowsmith.operations.parents import find_new_parents
from rowsmith.operations.present import present, present_made, present_written
from rowsmith.operations.results import Upserted
from rowsmith.operations.updates.joined import write_joined
from rowsmith.operations.updates.version import is_counted, next_version
from rowsmith.operations.writes import UNDERSTOOD, AskedWrite, Values, Writes
from rowsmith.scope import Limits, SearchScope
from rowsmith.sql import is_sql

T = TypeVar("T")


class Updater(Operation[TRow, TData]):
    """Changes one row; one statement.

    A row that is kept in several tables is found and locked by the first statement, under its scope, then written to
    each table, and read again.
    """

    @by_entity
    def _writes(self) -> Writes[TRow, TData]:
        understood = UNDERSTOOD | {"expected_version"}
        return changes(self.entity, "update", self.entity.live(), understood=understood)

    def _ask(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedWrite | None:
        if len(args) != _ID_AND_PATCH:
            return None
        (id, patch), info = args, self.entity.info.on_postgresql
        return self._writes.change(lane, id, kwargs, lambda limits: limits.patched(patch, info))

    @verb("update", touches="id", removes=False, native=_ask)
    async def update(
        self,
        call: Call[TRow, TData],
        pk: Any,
        patch: Patch[TRow],
        *,
        scope: SearchScope | None = None,
        expected_version: Any = None,
        idempotency_key: str | None = None,
    ) -> TData:
        """Write the fields that the patch sets and give the row as it is afterwards.

        A patch with nothing set sends no UPDATE and gives the row as it is.

        Args:
            db_sess: the session whose transaction is written in.
            pk: the primary key; a tuple where it is composite.
            patch: what to change.
            scope: who changes; the row must be inside before and after.
            expected_version: the version last seen, for a row with ``version_id_col``.
            idempotency_key: has it done once, however often it is called with this key; see :func:`once`.

        Raises:
            EntityNotFound: absent, deleted or outside the scope, all alike.
            StaleVersion: the row is there in another version.
            ScopeMismatch: the patch would move the row out of the scope.
            InvalidValue, ConstraintViolation: a value or constraint said no; RefusedByTrigger: a trigger did.
            MappingError: the row's ``version_id_generator`` needs the version before for more than to add to it.
        """
        call = await call.writing(scope)
        if idempotency_key is None:
            return await self._write(call, pk, patch, expected_version)

        def asked() -> list[object]:
            call.limits.patched(patch, call.info)
            target = live_target(call.entity, pk, call.limits, expected_version)
            key = dict(zip(call.info.primary_key, target.key, strict=True))
            return [tuple(as_stored(call.info, key, call.dialect).values()), patch, expected_version]

        async def write(call: Call[TRow, Key]) -> Written:
            return [Upserted(await self._write(call, pk, patch, expected_version), inserted=False)]

        return (await once(call, idempotency_key, asked, write))[0].data

    async def _write(self, call: Call[TRow, T], id: object, patch: Patch[TRow], expected_version: object) -> T:
        values = call.limits.patched(patch, call.info)
        target = live_target(call.entity, id, call.limits, expected_version)
        if not values:
            return await target.read(call)
        values = await with_contextual_changes(call, values)
        if call.entity.next_value is not None:
            await find_new_parents(call, [values], partial(target.refused, call, values))
        return await naming(target.write(call, values), lambda: unbindable_value(call.info, values, call.dialect))

    def statement(
        self, pk: Any, patch: Patch[TRow], limits: Limits, expected_version: Any = None
    ) -> ReturningUpdate[*tuple[Any, ...]]:
        """Give the UPDATE ... RETURNING of a patch under a scope, without sending it.

        Raises:
            MappingError: the row is kept in several tables.
        """
        self.entity.info.one_statement("Updater.statement", "update(id, patch)")
        values = limits.patched(patch, self.entity.info)
        return live_target(self.entity, pk, limits, expected_version).statement(values)


_ID_AND_PATCH: Final = 2


def changes(
    entity: Entity[TRow, TData],
    operation: str,
    live: Sequence[ColumnElement[bool]],
    constants: Values | None = None,
    understood: frozenset[str] = UNDERSTOOD,
) -> Writes[TRow, TData]:
    """Give the plans of a verb that changes one row, of which further conditions hold; see :class:`Writes`."""

    def statement(values: Values, key: Sequence[ColumnElement[bool]], limits: Limits) -> Any:
        target: Target[Any] = Target(entity, (), [*limits.conditions, *live], compared=key)
        guard = limits.guard(values, entity.info)
        changing: Any = target.statement(values)
        return changing if guard is None else changing.returning(guard)

    writes = Writes(entity, operation, statement, constants, understood)
    writes.is_plain &= is_counted(entity.info)
    return writes


class Target(Generic[T]):
    """One row to be changed: its key, and every condition it must satisfy in the same statement."""

    def __init__(
        self,
        entity: Entity[object, T],
        key: tuple[object, ...],
        conditions: Sequence[ColumnElement[bool]],
        expected_version: object = None,
        compared: Sequence[ColumnElement[bool]] | None = None,
    ) -> None:
        self.entity, self.key, self.expected_version = entity, key, expected_version
        self.conditions = [*(entity.info.key_condition(key) if compared is None else compared), *conditions]
        if expected_version is None:
            return
        version = entity.info.kept_version
        if is_sql(expected_version):
            raise entity.info.refusal(version, "is a SQL expression: give the version last seen")
        storable(entity.info, version, expected_version)

    def statement(self, values: Mapping[str, object]) -> ReturningUpdate[*tuple[Any, ...]]:
        """Give the UPDATE ... RETURNING; the version goes up with it."""
        info = self.entity.info
        written = {**values, **next_version(info)}
        conditions = [*self.conditions, *self._in_version()]
        statement = limited(update(info.row), *conditions).values(written)
        return statement.returning(*self.entity.returning)  # pyright: ignore[reportUnknownVariableType]

    async def write(self, call: Call[object, T], values: Mapping[str, object]) -> T:
        """Send the UPDATE and give the row as it is afterwards; one that left its scope is undone."""
        if call.info.is_joined:
            return await self._write_parts(call, values)
        call = call.setting(values)
        origin = call.origin(writes=values)
        guard = call.limits.guard(values, call.info)
        if call.limits.must_verify(values, call.info):
            record = await self._send_inside(call, values, origin, guard)
        else:
            record = await self._send(call, self.statement(values), origin, guard)
        if values.keys().isdisjoint(call.info.primary_key):
            await keep_in_step(call, [self.key], seen=True)
        return (await present_written(call, [record]))[0]

    async def _write_parts(self, call: Call[object, T], values: Mapping[str, object]) -> T:
        keys = await write_joined(call, [*self.conditions, *self._in_version()], values, is_one=True)
        if not keys:
            await self._fail(call)
        return (await present_made(call, keys))[0]

    async def read(self, call: Call[object, T]) -> T:
        """Give the row as it is, in the expected version."""
        statement = limited(self.entity.shape.select(), *self.conditions, *self._in_version())
        record: Sequence[Any] | None = await call.sole(await call.execute(statement))
        if record is None:
            await self._fail(call)
        return (await present(call, [record]))[0]

    async def _send_inside(
        self, call: Call[object, T], values: Mapping[str, object], origin: Origin, guard: ColumnElement[bool] | None
    ) -> Sequence[Any]:
        keys = call.info.key_attributes

        async def write() -> Sequence[Any]:
            async with call.savepoint():
                statement: Executable = cast("Any", self.statement(values)).returning(*keys)
                record = await self._send(call, statement, origin, guard)
                await call.confirm([tuple(record[-len(keys) :])])
            return record[: -len(keys)]

        return await scope_first(call, write, partial(self.refused, call, values))

    async def refused(
        self, call: Call[object, T], values: Mapping[str, object], failure: Exception
    ) -> Exception | None:
        """Give the refusal of what the row would become, if that would be outside the scope or cannot be told."""
        row = changed_rows(call, values, [*self.conditions, *self._in_version()], is_one=True)
        return await first_refusal([row], failure)

    async def _send(
        self, call: Call[object, T], statement: Executable, origin: Origin, guard: ColumnElement[bool] | None
    ) -> Sequence[Any]:
        if guard is not None:
            statement = cast("Any", statement).returning(guard)
        record = await write_row(call, statement, origin, [*self.conditions, *self._in_version()])
        if record is None:
            await self._fail(call)
        if guard is None:
            return record
        await call.keep_inside([record])
        return record[:-1]

    async def _fail(self, call: Call[object, T]) -> NoReturn:
        """Nothing matched: say whether the row is absent or in another version."""
        if self.expected_version is not None:
            there = limited(select(*call.info.key_attributes), *self.conditions)
            if (await call.execute(there)).first() is not None:
                raise StaleVersion
        raise call.absent([self.key[0] if len(self.key) == 1 else self.key])

    def _in_version(self) -> list[ColumnElement[bool]]:
        if self.expected_version is None or self.entity.info.version is None:
            return []
        return [self.entity.info.attribute(self.entity.info.version) == self.expected_version]


async def write_row(
    call: Call[object, object], statement: Executable, origin: Origin, conditions: Sequence[ColumnElement[bool]]
) -> Sequence[Any] | None:
    """Send the UPDATE or DELETE of the row that satisfies some conditions; gives its record, None where there is none.

    A row that it did not reach and that is there all the same came meanwhile, or a trigger refused the write. Locked,
    nobody else changes it from now on: the same write again tells which.

    Raises:
        RefusedByTrigger: a trigger did.
    """
    record: Sequence[Any] | None = None
    if call.already_written is None:
        record = await call.sole(await call.execute_writing(statement, origin), undo=True)
    if record is not None:
        return record
    there, standing = limited(select(*call.info.key_attributes), *conditions), await call.standing()
    standing = standing.doomed if origin.deletes else standing
    if (await call.execute(standing.locked(there, of=call.info.tables))).first() is None:
        return None
    record = await call.sole(await call.execute_writing(statement, origin), undo=True)
    if record is None:
        raise RefusedByTrigger
    return record


def live_target(entity: Entity[object, T], id: object, limits: Limits, expected_version: object = None) -> Target[T]:
    """Give the live row with this key under a scope."""
    return Target(entity, entity.info.key(id), [*limits.conditions, *entity.live()], expected_version)
