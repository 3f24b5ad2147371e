"""Creating one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert
from sqlalchemy.sql.dml import ReturningInsert
from typing_extensions import TypeVar

from rowsmith.errors import MappingError, RefusedByTrigger
from rowsmith.execution import NativeLane
from rowsmith.mapping import RowInfo, Spec
from rowsmith.mapping.target import insertable
from rowsmith.mapping.writes import checked_values
from rowsmith.operations.arrays.binding import naming, unbindable_value
from rowsmith.operations.arrays.keys import Key
from rowsmith.operations.blocks.defaults import default_of, is_version_made
from rowsmith.operations.call import Call, Operation, TData, TRow, of_one, verb
from rowsmith.operations.contextual import with_contextual_values
from rowsmith.operations.entity import Entity, by_entity
from rowsmith.operations.held import first_refusal, new_row, scope_first
from rowsmith.operations.inserts.branches import check_trees
from rowsmith.operations.inserts.joined import create_joined
from rowsmith.operations.inserts.tree import Creation
from rowsmith.operations.once import Written, once
from rowsmith.operations.present import present_written
from rowsmith.operations.results import Upserted
from rowsmith.operations.writes import AskedWrite, Values, Writes
from rowsmith.scope import Limits, SearchScope

TMade = TypeVar("TMade")


class Creator(Operation[TRow, TData]):
    """Creates one row from a spec; one statement.

    A row that is kept in several tables takes a statement for each of them, and one that reads it.
    A spec that holds the specs of rows below it makes them as well, a statement for each level of the tree; with
    ``next_value`` the row is numbered within its parent.
    """

    @by_entity
    def _writes(self) -> Writes[TRow, TData]:
        def statement(values: Values, _: object, limits: Limits) -> Any:
            inserting: Any = _insert(self.entity, values)
            return inserting.returning(*map(self.entity.info.attribute, limits.stamps))

        return Writes(self.entity, "create", statement)

    def _ask(self, lane: NativeLane, args: list[Any], kwargs: dict[str, Any]) -> AskedWrite | None:
        is_alone = self.entity.next_value is None and len(args) == 1
        spec: Any = args[0] if is_alone else None
        info = self.entity.info.on_postgresql
        if getattr(spec, "__rowsmith_children__", True):
            return None
        return self._writes.create(lane, kwargs, lambda limits: new_values(spec, limits, info))

    @verb("create", touches="new", removes=False, native=_ask)
    async def create(
        self,
        call: Call[TRow, TData],
        spec: Spec[TRow],
        *,
        scope: SearchScope | None = None,
        idempotency_key: str | None = None,
    ) -> TData:
        """Insert the row and give what the database holds, its defaults included.

        Args:
            db_sess: the session whose transaction is written in.
            spec: the new row's values.
            scope: who creates; its equality conditions are stamped onto the row, and a row outside
                the other ones is undone.
            idempotency_key: has it done once, however often it is called with this key; see :func:`once`.

        Raises:
            ScopeMismatch: the spec says otherwise than the scope.
            InvalidValue: a value does not fit its column.
            EntityAlreadyExists, ReferenceNotFound, ConstraintViolation: a constraint said no, or the
                error declared for it in ``violations``; RefusedByTrigger: a trigger did.
        """
        check_trees(call.info, [spec], None)
        call = await call.writing(scope)
        if idempotency_key is None:
            return await self._write(call, spec)

        def asked() -> list[object]:
            self._check(call, spec)
            return [spec]

        async def write(call: Call[TRow, Key]) -> Written:
            return [Upserted(await self._write(call, spec), inserted=True)]

        return (await once(call, idempotency_key, asked, write))[0].data

    def _is_tree(self, spec: Spec[TRow]) -> bool:
        return self.entity.next_value is not None or getattr(type(spec), "__rowsmith_children__", False)

    def _check(self, call: Call[TRow, TData], spec: Spec[TRow]) -> None:
        """Refuse a spec as :meth:`_write` does, before anything is sent."""
        if self._is_tree(spec):
            with of_one():
                Creation(call).check([spec])
        else:
            new_values(spec, call.limits, call.info)

    async def _write(self, call: Call[TRow, TMade], spec: Spec[TRow]) -> TMade:
        if self._is_tree(spec):
            with of_one():
                return (await Creation(call.setting({}, call.info.columns)).create([spec]))[0]
        given, dialect = new_values(spec, call.limits, call.info), call.dialect
        values = await with_contextual_values(call, given)
        call = call.setting(values, call.info.columns.keys() - values.keys())
        in_parts = call.info.is_joined or call.info.is_told_apart
        writing = create_joined(call, values) if in_parts else self._create(call, values)
        return await naming(writing, lambda: unbindable_value(call.info, values, dialect))

    def statement(self, spec: Spec[TRow], limits: Limits) -> ReturningInsert[*tuple[Any, ...]]:
        """Give the INSERT ... RETURNING of a spec under a scope, without sending it.

        Raises:
            MappingError: the spec brings rows below it, or the row is kept in several tables.
        """
        self.entity.info.one_statement("Creator.statement", "create(spec)")
        if children := getattr(type(spec), "__rowsmith_children__", ()):
            raise MappingError(
                f"{type(spec).__name__}.{children[0]} holds other rows, which take statements of their own"
            )
        return _insert(self.entity, new_values(spec, limits, self.entity.info))

    async def _create(self, call: Call[TRow, TMade], values: Mapping[str, object]) -> TMade:
        statement, keys = _insert(call.entity, values), call.info.key_attributes

        async def create() -> Sequence[Any]:
            async with call.savepoint():
                record = await self._record(call, statement.returning(*keys))
                await call.confirm([tuple(record[-len(keys) :])])
            return record[: -len(keys)]

        async def refused(failure: Exception) -> Exception | None:
            return await first_refusal([new_row(call, values)], failure)

        writing = scope_first(call, create, refused) if call.limits.held else self._record(call, statement)
        return (await present_written(call, [await writing]))[0]

    async def _record(self, call: Call[TRow, Any], statement: Any) -> Sequence[Any]:
        stamps = call.limits.stamps
        if stamps:
            statement = statement.returning(*map(call.info.attribute, stamps))
        record: Sequence[Any] | None = (await call.execute(statement)).one_or_none()
        if record is None:
            raise RefusedByTrigger
        if not stamps:
            return record
        width = len(record) - len(stamps)
        await call.keep_stamps({name: [value] for name, value in zip(stamps, record[width:], strict=True)})
        return record[:width]


def _insert(entity: Entity[object, object], values: Mapping[str, object]) -> ReturningInsert[*tuple[Any, ...]]:
    statement = insert(insertable(entity.info.row)).values(values)
    return statement.returning(*entity.returning)  # pyright: ignore[reportUnknownVariableType]


def new_values(spec: Spec[TRow], limits: Limits, info: RowInfo[TRow]) -> dict[str, Any]:
    """Give the values of a new row: the spec's, the scope's, its kind, and the first version where one is kept.

    Raises:
        MappingError, InvalidValue, ScopeMismatch: as :meth:`Creator.create`.
    """
    given = limits.stamp(checked_values(spec, info, Spec), info)
    values = {**info.class_of_new(given), **given}
    if info.version is not None and is_version_made(info, info.version):
        values.setdefault(info.version, default_of(info, info.version))
    return values
