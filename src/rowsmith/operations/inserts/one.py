"""Creating one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningInsert

from rowsmith.errors import MappingError, RefusedByTrigger, ScopeMismatch
from rowsmith.execution import execute
from rowsmith.mapping import RowInfo, Spec
from rowsmith.mapping.writes import checked_values
from rowsmith.operations.admission import admit, confirm, savepoint
from rowsmith.operations.arrays.keys import dialect_of
from rowsmith.operations.blocks.binding import naming, unbindable_value
from rowsmith.operations.entity import Operation, TData, TRow, located
from rowsmith.operations.held import refused_row, scope_first
from rowsmith.operations.inserts.tree import Creation
from rowsmith.operations.present import present_written
from rowsmith.scope import Limits, Related, SearchScope


class Creator(Operation[TRow, TData]):
    """Creates one row from a spec; one statement.

    A spec that holds the specs of rows below it makes them as well, a statement for each level of the tree; with
    ``next_value`` the row is numbered within its parent.
    """

    @located("create")
    async def create(self, db_sess: AsyncSession, spec: Spec[TRow], *, scope: SearchScope | None = None) -> TData:
        """Insert the row and give what the database holds, its defaults included.

        Args:
            db_sess: the session whose transaction is written in.
            spec: the new row's values.
            scope: who creates; its equality conditions are stamped onto the row, and a row outside
                the other ones is undone.

        Raises:
            ScopeMismatch: the spec says otherwise than the scope.
            InvalidValue: a value does not fit its column.
            EntityAlreadyExists, ReferenceNotFound, ConstraintViolation: a constraint said no, or the
                error declared for it in ``violations``; RefusedByTrigger: a trigger did.
        """
        limits = await admit(db_sess, self.entity, scope, "create")
        if self.entity.next_value is not None or getattr(type(spec), "__rowsmith_children__", False):
            related = Related(scope, self.entity.info, self.entity.scope_required)
            creation = Creation(self.entity, limits, related, "create", next_value=self.entity.next_value)
            return (await creation.create(db_sess, [spec]))[0]
        values = new_values(spec, limits, self.entity.info)
        writing = self._create(db_sess, values, limits)
        return await naming(
            writing, lambda: unbindable_value(self.entity.info, values, dialect_of(db_sess, self.entity.info))
        )

    def statement(self, spec: Spec[TRow], limits: Limits) -> ReturningInsert[*tuple[Any, ...]]:
        """Give the INSERT ... RETURNING of a spec under a scope, without sending it."""
        if children := getattr(type(spec), "__rowsmith_children__", ()):
            raise MappingError(
                f"{type(spec).__name__}.{children[0]} holds other rows, which take statements of their own"
            )
        return self._insert(new_values(spec, limits, self.entity.info))

    def _insert(self, values: Mapping[str, Any]) -> ReturningInsert[*tuple[Any, ...]]:
        statement = insert(self.entity.info.row).values(values)
        return statement.returning(*self.entity.returning)  # pyright: ignore[reportUnknownVariableType]

    async def _create(self, db_sess: AsyncSession, values: Mapping[str, Any], limits: Limits) -> TData:
        statement = self._insert(values)

        async def create() -> Sequence[Any]:
            return await self._create_inside(db_sess, statement, limits)

        async def refused() -> ScopeMismatch | None:
            return await refused_row(db_sess, self.entity, limits, values, "create")

        writing = scope_first(self.entity, create, refused) if limits.others else self._record(db_sess, statement)
        return (await present_written(db_sess, self.entity, [await writing], "create"))[0]

    async def _create_inside(self, db_sess: AsyncSession, statement: Any, limits: Limits) -> Sequence[Any]:
        entity, keys = self.entity, self.entity.info.key_attributes
        async with savepoint(db_sess):
            record = await self._record(db_sess, statement.returning(*keys))
            await confirm(db_sess, entity, limits, tuple(record[-len(keys) :]), "create")
        return record[: -len(keys)]

    async def _record(self, db_sess: AsyncSession, statement: Any) -> Sequence[Any]:
        record: Sequence[Any] | None
        record = (await execute(db_sess, statement, self.entity.origin("create"))).one_or_none()
        if record is None:
            raise RefusedByTrigger
        return record


def new_values(spec: Spec[TRow], limits: Limits, info: RowInfo[TRow]) -> dict[str, Any]:
    """Give the values of a new row: the spec's, the scope's, its kind, and the first version where one is kept.

    Raises:
        MappingError, InvalidValue, ScopeMismatch: as :meth:`Creator.create`.
    """
    values = {**info.discriminator, **limits.stamp(checked_values(spec, info), info)}
    generate = info.mapper.version_id_generator
    if info.version is not None and callable(generate):
        values.setdefault(info.version, generate(None))
    return values
