"""Creating one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningInsert

from rowsmith.errors import MappingError, ScopeMismatch
from rowsmith.execution import execute
from rowsmith.mapping import RowInfo, Spec
from rowsmith.mapping.writes import checked_values
from rowsmith.operations.admission import admit, confirm, savepoint
from rowsmith.operations.entity import Operation, TData, TRow, located
from rowsmith.operations.held import refused_row, scope_first
from rowsmith.operations.present import present_written
from rowsmith.scope import Limits, SearchScope


class Creator(Operation[TRow, TData]):
    """Creates one row from a spec; one statement."""

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
                error declared for it in ``violations``.
        """
        limits = await admit(db_sess, self.entity, scope, "create")
        statement = self.statement(spec, limits)
        if not limits.others:
            written = (await execute(db_sess, statement, self.entity.origin("create"))).one()
            return (await present_written(db_sess, self.entity, [written], "create"))[0]

        async def create() -> Sequence[Any]:
            return await self._create_inside(db_sess, statement, limits)

        async def refused() -> ScopeMismatch | None:
            values = new_values(spec, limits, self.entity.info)
            return await refused_row(db_sess, self.entity, limits, values, "create")

        record = await scope_first(self.entity, create, refused)
        return (await present_written(db_sess, self.entity, [record], "create"))[0]

    def statement(self, spec: Spec[TRow], limits: Limits) -> ReturningInsert[*tuple[Any, ...]]:
        """Give the INSERT ... RETURNING of a spec under a scope, without sending it."""
        if children := getattr(type(spec), "__rowsmith_children__", ()):
            raise MappingError(f"{type(spec).__name__}.{children[0]} holds other rows: create makes one row only")
        values = new_values(spec, limits, self.entity.info)
        statement = insert(self.entity.info.row).values(values)
        return statement.returning(*self.entity.returning)  # pyright: ignore[reportUnknownVariableType]

    async def _create_inside(self, db_sess: AsyncSession, statement: Any, limits: Limits) -> Sequence[Any]:
        entity, keys = self.entity, self.entity.info.key_attributes
        async with savepoint(db_sess):
            result = await execute(db_sess, statement.returning(*keys), entity.origin("create"))
            record: Sequence[Any] = result.one()
            await confirm(db_sess, entity, limits, tuple(record[-len(keys) :]), "create")
        return record[: -len(keys)]


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
