"""Changing many rows: one patch for many ids, one patch for each id, one patch for all that match."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any, cast

from sqlalchemy import ColumnElement, Update, update
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.conditions import limited
from rowsmith.errors import ScopeMismatch
from rowsmith.execution import execute_writing
from rowsmith.mapping import Patch, RowInfo
from rowsmith.mapping.writes import checked_values
from rowsmith.operations.admission import admit, savepoint
from rowsmith.operations.arrays.keys import Key, dialect_of
from rowsmith.operations.blocks.binding import naming, unbindable, unbindable_value
from rowsmith.operations.entity import Operation, TData, TRow, located
from rowsmith.operations.held import refused_change, scope_first
from rowsmith.operations.in_step import keep_in_step
from rowsmith.operations.reads.narrowing import narrowing
from rowsmith.operations.reads.search import Filters
from rowsmith.operations.results import BatchResult, PartialResult
from rowsmith.operations.sifting import Partial
from rowsmith.operations.updates.one import next_version
from rowsmith.operations.updates.patches import Patches
from rowsmith.operations.updates.statement import (
    Changes,
    by_column,
    keep_keys,
    lock_strength,
    locked_in_key_order,
    versions_of,
)
from rowsmith.operations.updates.writer import BatchWriter, confirm_all, to_confirm
from rowsmith.scope import Limits, SearchScope


class BatchUpdater(Operation[TRow, TData]):
    """Changes many rows; one statement each, and one more where some rows are not there."""

    @located("batch_update")
    async def update(
        self,
        db_sess: AsyncSession,
        ids: Sequence[Any],
        patch: Patch[TRow],
        *,
        scope: SearchScope | None = None,
        expected_versions: Mapping[Any, Any] | None = None,
    ) -> BatchResult[TData, Any]:
        """Write what one patch sets into many rows, locked in the order of their keys.

        A patch with nothing set sends no UPDATE and reports the rows as they are.

        Args:
            db_sess: the session whose transaction is written in.
            ids: the primary keys, tuples where they are composite.
            patch: what to change.
            scope: who changes; every row must be inside before and after.
            expected_versions: the version last seen of each id, for a row with ``version_id_col``.

        Returns:
            The rows as they are afterwards and the ids that are absent, deleted or outside the scope.

        Raises:
            StaleVersion: a row is there in another version; ``stale`` has their ids, and nothing is written.
            ScopeMismatch: the patch would move a row out of the scope.
            InvalidValue, ConstraintViolation: an id, value or constraint said no.
        """
        entity = self.entity
        limits = await admit(db_sess, entity, scope, "batch_update")
        values = checked_values(patch, entity.info)
        limits.agree(values, entity.info)
        writer = BatchWriter(db_sess, entity, ids, "batch_update")
        target = await writer.target([*limits.conditions, *entity.live()], expected_versions)
        writing = writer.update(target, Changes(values), to_confirm(limits, values, entity.info))
        return await naming(writing, lambda: unbindable_value(entity.info, values, target.dialect))

    @located("batch_update_each")
    async def update_each(
        self,
        db_sess: AsyncSession,
        patches: Mapping[Any, Patch[TRow]],
        *,
        scope: SearchScope | None = None,
        expected_versions: Mapping[Any, Any] | None = None,
    ) -> BatchResult[TData, Any]:
        """Write a patch of its own into each of many rows, locked in the order of their keys.

        All patches set the same fields. An expression stands in all of them or in none, and its literals may
        differ: ``OptionalState.expression(lambda: TitleRow.uses + 3)`` in one, ``+ 5`` in another.

        Args:
            db_sess: the session whose transaction is written in.
            patches: primary key to patch.
            scope: who changes; every row must be inside before and after.
            expected_versions: the version last seen of each id, for a row with ``version_id_col``.

        Returns:
            As :meth:`update`.

        Raises:
            InvalidValue: patches set different fields, or a value does not fit; the message gives the index.
            StaleVersion, ScopeMismatch, ConstraintViolation: as :meth:`update`.
        """
        limits = await admit(db_sess, self.entity, scope, "batch_update_each")
        return await self._each(db_sess, patches, limits, expected_versions)

    @located("batch_update_partial")
    async def update_partial(
        self,
        db_sess: AsyncSession,
        patches: Mapping[Any, Patch[TRow]],
        *,
        scope: SearchScope | None = None,
        expected_versions: Mapping[Any, Any] | None = None,
    ) -> PartialResult[TData]:
        """Write the patches that can be written, and say of each other one why not.

        As :meth:`update_each`, but each patch stands for itself, by its index in ``patches``: absent rows
        (``EntityNotFound``), stale ones, values and constraints are an item's own failure. All are tried
        together inside a savepoint; only where that fails are the culprits looked for.

        Raises:
            RepositoryError: no item's fault (the connection, a deadlock, the scope as such); nothing is kept then.
        """
        info = self.entity.info
        limits = await admit(db_sess, self.entity, scope, "batch_update_partial")
        versions_of(info, list(patches), expected_versions)
        sieve = _Sieve(info, limits)

        async def write(part: Sequence[tuple[Any, Patch[TRow]]]) -> BatchResult[TData, Any]:
            versions = None if expected_versions is None else {pk: expected_versions[pk] for pk, _ in part}
            return await self._each(db_sess, dict(part), limits, versions)

        partial = Partial(db_sess, self.entity, "batch_update_partial", itemgetter(0))
        return await partial.run(list(patches.items()), sieve.refuse, write)

    async def _each(
        self,
        db_sess: AsyncSession,
        patches: Mapping[Any, Patch[TRow]],
        limits: Limits,
        expected_versions: Mapping[Any, Any] | None,
    ) -> BatchResult[TData, Any]:
        entity = self.entity
        read = _read(entity.info, limits, list(patches.values()))
        writer = BatchWriter(db_sess, entity, list(patches), "batch_update_each")
        target = await writer.target([*limits.conditions, *entity.live()], expected_versions, read.columns)
        changes = Changes(*read.assignments(arrays=target.by_arrays))
        writing = writer.update(target, changes, to_confirm(limits, changes.values, entity.info))
        return await naming(writing, lambda: unbindable(entity.info, read.columns, target.dialect, read.first, "patch"))

    @located("update_where")
    async def update_where(
        self,
        db_sess: AsyncSession,
        filters: Filters[TRow],
        patch: Patch[TRow],
        *,
        scope: SearchScope | None = None,
        all_rows: bool = False,
    ) -> int:
        """Write what one patch sets into every row that matches, locked in the order of their keys.

        Args:
            db_sess: the session whose transaction is written in.
            filters: which rows: a filter model, or conditions in code.
            patch: what to change.
            scope: who changes. It says who asks, not which rows are meant: it does not stand in for filters.
            all_rows: no filters, and all rows that the scope reaches are meant.

        Returns:
            How many rows were changed; with nothing set in the patch, none.

        Raises:
            InvalidFilter: no filter is given, nor ``all_rows=True``.
            ScopeMismatch, InvalidValue, ConstraintViolation: as :meth:`update`.
        """
        entity = self.entity
        conditions = narrowing(entity.info, filters, all_rows=all_rows)
        limits = await admit(db_sess, entity, scope, "update_where")
        values = checked_values(patch, entity.info)
        limits.agree(values, entity.info)
        if not values:
            return 0
        there = [*limits.conditions, *conditions, *entity.live()]
        verify = to_confirm(limits, values, entity.info)
        writing = self._update_where(db_sess, there, values, verify)
        return await naming(
            writing, lambda: unbindable_value(entity.info, values, dialect_of(db_sess, self.entity.info))
        )

    async def _update_where(
        self, db_sess: AsyncSession, there: Sequence[ColumnElement[bool]], values: Mapping[str, Any], verify: Limits
    ) -> int:
        statement = self._update_all(there, values, dialect_of(db_sess, self.entity.info))
        if not verify.others:
            return await self._count(db_sess, statement)

        async def refused() -> ScopeMismatch | None:
            return await refused_change(db_sess, self.entity, verify, values, there, "update_where")

        return await scope_first(self.entity, lambda: self._count_inside(db_sess, statement, verify), refused)

    def _update_all(
        self, conditions: Sequence[ColumnElement[bool]], values: Mapping[str, Any], dialect: Dialect
    ) -> Update:
        """Give the UPDATE; on PostgreSQL it has all rows locked in key order before it touches the first."""
        info = self.entity.info
        keep_keys(info, values)
        written = by_column(info, {**values, **next_version(info)})
        statement = limited(update(info.row), *conditions).values(written)
        if dialect.name != "postgresql":
            return statement
        return limited(statement, locked_in_key_order(info, conditions, **lock_strength(info, values)).is_not(None))

    async def _count(self, db_sess: AsyncSession, statement: Update) -> int:
        if len(db_sess.identity_map):
            keys = await self._keys(db_sess, statement)
            await keep_in_step(db_sess, self.entity, keys, "update_where", seen=True)
            return len(keys)
        result: Any = await execute_writing(db_sess, statement, self.entity.origin("update_where"))
        return int(result.rowcount)

    async def _count_inside(self, db_sess: AsyncSession, statement: Update, verify: Limits) -> int:
        async with savepoint(db_sess):
            keys = await self._keys(db_sess, statement)
            await confirm_all(db_sess, self.entity, verify, keys, "update_where")
        await keep_in_step(db_sess, self.entity, keys, "update_where", seen=True)
        return len(keys)

    async def _keys(self, db_sess: AsyncSession, statement: Update) -> list[Key]:
        returning: Any = cast("Any", statement).returning(*self.entity.info.key_attributes)
        rows = await execute_writing(db_sess, returning, self.entity.origin("update_where"))
        return [tuple(row) for row in rows.all()]


class _Sieve:
    """Refuses patches that could not be sent, alone or beside the first one that could."""

    def __init__(self, info: RowInfo[Any], limits: Limits) -> None:
        self.info, self.limits = info, limits
        self.first: tuple[Patch[Any], Collection[str]] | None = None

    def refuse(self, index: int, item: tuple[Any, Patch[Any]]) -> None:
        pk, patch = item
        self.info.key(pk)
        fields = _read(self.info, self.limits, [patch], index).columns
        keep_keys(self.info, fields)
        if self.first is None:
            self.first = patch, fields.keys()
        elif self.first[1] != fields.keys():
            Patches(self.info, [self.first[0], patch], index - 1)


def _read(info: RowInfo[Any], limits: Limits, patches: Sequence[Patch[Any]], first: int = 0) -> Patches:
    """Read patches and hold them against the scope."""
    read = Patches(info, patches, first)
    for name in limits.stamps.keys() & read.columns.keys():
        for value in read.columns[name]:
            limits.agree({name: value}, info)
    return read
