"""The parents that rows are numbered within: found under the scope, and locked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Column, ColumnElement, ForeignKeyConstraint, FromClause, select
from sqlalchemy.sql import visitors

from rowsmith.conditions import limited
from rowsmith.mapping import RowInfo, row_info
from rowsmith.mapping.types import column_type
from rowsmith.operations.arrays.keys import Key, columns_condition, key_chunks
from rowsmith.operations.call import Call
from rowsmith.operations.held import Refused, scope_first
from rowsmith.operations.next_value import NextValue
from rowsmith.references import classes_of
from rowsmith.scope import NO_LIMITS, Limits, RelatedScope
from rowsmith.sql import is_sql


async def find_new_parents(
    call: Call[object, object],
    rows: Sequence[Mapping[str, object]],
    refused: Refused,
) -> None:
    """Lock the parents that rows are moved to, where rows are numbered within a parent and the call has a scope.

    One whose conditions on the rows themselves tell whose parents are meant is left to them: they are held against
    what is written, and answer before the foreign key does.

    Args:
        call: whose rows they are.
        rows: what is written into each, by attribute name.
        refused: gives what the scope says to the rows themselves; see :func:`scope_first`.

    Raises:
        ReferenceNotFound: as for a new row: a parent is absent or outside the scope.
        ScopeMismatch: a row would be outside with its new parent.
        InvalidValue: it is not given whole, as values: nobody could look it up.
        ScopeRequired: the scope does not tell whose parents are meant.
    """
    number: NextValue | None = call.entity.next_value
    if number is None or call.limits.related is None or call.limits.related.is_free:
        return
    names, found = number.parents, list[Key]()
    for row in rows:
        if number.is_within(row):
            whole = {**call.limits.stamps, **row}
            if odd := [name for name in names if name not in whole or is_sql(whole[name])]:
                together = " and ".join(names)
                raise call.info.refusal(odd[0], f"says within what is counted: give {together} as values in the patch")
            found.append(tuple(whole[name] for name in names))
    keys = sorted({key for key in found if None not in key}, key=repr)
    parents = Parents(call, number)
    if not keys or parents.are_told_by_rows:
        return

    async def lock() -> None:
        await parents.lock(keys)

    await (scope_first(call, lock, refused) if call.limits.must_verify(names, call.info) else lock())


class Parents:
    """The parents of one call's rows, which are numbered within them."""

    def __init__(self, call: Call[object, object], number: NextValue) -> None:
        self.call, self.info, self.number = call, call.info, number
        self.foreign_key = number.foreign_key(call.info)
        self._related = call.limits.related or RelatedScope(None, self.info)

    @cached_property
    def _row(self) -> type[Any] | None:
        """The class of the parents, of several the one of which the scope speaks."""
        rows = classes_of(self.foreign_key)
        return next(iter([*self._related.speaks_of(rows), *rows]), None)

    async def lock(self, parents: Sequence[Key]) -> Mapping[Key, Key]:
        """Lock the parents until the transaction ends; gives the key of each as the database has it."""
        inside, found, dialect = self._inside(), set[Key](), self.call.dialect
        table = self.foreign_key.referred_table
        whole = self._row or table  # with all of its tables, which the scope may be about
        places = {element.parent: element.column for element in self.foreign_key.elements}
        columns: list[Column[Any]] = [places[self.info.columns[name]] for name in self.number.parents]
        for chunk in key_chunks(parents, dialect, columns):
            these = columns_condition(columns, chunk, dialect)
            statement = limited(select(*columns).select_from(whole), these, *inside).order_by(*columns)
            # NO KEY UPDATE: rows that merely refer to the parent are not kept waiting.
            locking = statement.with_for_update(of=table, key_share=True)
            found.update(map(tuple, (await self.call.execute(locking)).all()))
        stored = await self.call.as_stored(columns, parents, found)
        if len(stored) != len(parents):
            raise self.call.parentless(self.foreign_key)
        return stored

    @property
    def are_told_by_rows(self) -> bool:
        """Whether the scope has no word about parents, and looks at each row with the parent that it is given."""
        return self._said is None and any(_reads_key(part, self.foreign_key) for part in self.call.limits.others)

    @cached_property
    def _said(self) -> Limits | None:
        """What the scope says about parents; None where it says nothing."""
        if self._related.is_free:
            return NO_LIMITS
        return None if self._row is None else self._related.limits(row_info(self._row))

    def _inside(self) -> Sequence[ColumnElement[bool]]:
        """Give what must hold for a parent under the scope."""
        if self._said is not None:
            return self._said.conditions
        own, table = self.call.limits, self.foreign_key.referred_table
        if any(_reads_key(condition, self.foreign_key) for condition in own.conditions):
            return ()
        if same := _same_columns(own, self.info, table):
            return same
        raise self._related.silence(table.name if self._row is None else self._row.__name__)


def _reads_key(condition: ColumnElement[bool], foreign_key: ForeignKeyConstraint) -> bool:
    keys = {(column.table.key, column.name) for column in foreign_key.columns}
    parts: list[Any] = list(visitors.iterate(condition))
    columns: list[Column[Any]] = [part for part in parts if isinstance(part, Column)]
    return any((getattr(column.table, "key", None), column.name) in keys for column in columns)


def _same_columns(own: Limits, info: RowInfo[object], table: FromClause) -> list[ColumnElement[bool]]:
    """Give the scope's equalities as those on a parent's columns of the same names, where their values fit."""
    stamps = {info.columns[name].name: value for name, value in own.stamps.items()}
    columns: list[Any] = [column for column in table.columns if column.name in stamps]
    fitting = [column for column in columns if not column_type(column.type).operand(stamps[column.name])]
    return [column == stamps[column.name] for column in fitting]
