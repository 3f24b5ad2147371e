"""Rows that are kept in several tables: the first statement finds and locks them, and the others go by their keys.

What a scope, soft deletion or a version says may be about columns of any of the tables, so no single UPDATE or DELETE
could decide it. ``SELECT ... JOIN ... FOR UPDATE`` does: key and conditions stand in it together, and where it waited
for a lock PostgreSQL asks the conditions again, of the rows as they are then. From there on nobody else changes the
rows, so that the statements after it need nothing but the keys. Every statement on rows that subclasses share begins
with the table of the class at the root, so that calls on base and subclass wait for each other. SQLite has one writer
at a time: a session of rowsmith's that writes is the one from its first statement on (BEGIN IMMEDIATE).

A savepoint is around them all: a caller that goes on after an error has nothing half written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from sqlalchemy import Column, ColumnElement, Executable, select
from sqlalchemy.sql import visitors

from rowsmith.conditions import limited
from rowsmith.errors import RefusedByTrigger
from rowsmith.execution import execute
from rowsmith.mapping import RowInfo
from rowsmith.mapping.parts import Part
from rowsmith.operations.arrays.keys import Key, columns_condition
from rowsmith.operations.call import Call
from rowsmith.sql import as_sql


async def locked(
    call: Call[object, object],
    conditions: Sequence[ColumnElement[bool]],
    extra: Sequence[ColumnElement[Any]] = (),
    **strength: bool,
) -> Sequence[Sequence[Any]]:
    """Give the keys of the rows for which all conditions hold, in their order, each locked in all its tables.

    Args:
        call: whose rows they are.
        conditions: which they are; keys, scope and all.
        extra: what of each row is wanted after its key.
        strength: the lock's, as ``with_for_update`` takes it.

    Raises:
        MappingError: several rows have the same key.
    """
    keys = call.info.key_attributes
    there = limited(select(*keys, *extra).select_from(call.info.row), *conditions).order_by(*keys)
    rows = (await call.execute(there.with_for_update(of=call.info.tables, **strength))).all()
    if len({tuple(row[: len(keys)]) for row in rows}) < len(rows):
        await call.refuse_twins(undo=False)
    return rows


async def send_to_part(
    call: Call[object, object],
    part: Part,
    statement: Executable,
    writes: Iterable[str] | None = None,
    *,
    deletes: bool = False,
) -> list[Key]:
    """Send a write on one of the tables and give the keys of the rows that it reached.

    Args:
        call: whose write it is.
        part: the table.
        statement: an INSERT, UPDATE or DELETE on it.
        writes: the columns that an UPDATE writes, by their names.
        deletes: it is a DELETE.
    """
    names = None if writes is None else frozenset(writes)
    origin = replace(call.origin(deletes=deletes), table=part.table, writes=names)
    returning: Any = cast("Any", statement).returning(*part.key)
    return [tuple(row) for row in (await execute(call.db_sess, returning, origin)).all()]


def at_keys(call: Call[object, object], part: Part, keys: Sequence[Key]) -> ColumnElement[bool]:
    """Give the condition of the rows of a table that belong to these keys."""
    return columns_condition(part.key, keys, call.dialect)


def check_all(reached: Sequence[Key], keys: Sequence[Key]) -> None:
    """Refuse to go on where a write did not reach rows that are locked.

    Raises:
        RefusedByTrigger: a trigger or rule of the database kept one back.
    """
    if len(reached) < len(keys):
        raise RefusedByTrigger


async def confirm_all(call: Call[object, object], keys: Sequence[Key]) -> None:
    """Hold rows just written against the whole scope: also against what was stamped, which a trigger may have moved.

    Raises:
        ScopeMismatch: one is outside; the caller must undo the write.
        RefusedByTrigger: a trigger has undone what one was to become.
    """
    limits = call.limits
    if (limits.conditions or limits.becoming or limits.references) and keys:
        await replace(call, limits=replace(limits, others=limits.conditions)).confirm(keys)


def of_part(info: RowInfo[object], part: Part, values: Mapping[str, object]) -> dict[Column[Any], Any]:
    """Give those of some values that are kept in one of the tables, by column."""
    return {
        column: value for name, value in values.items() for column in info.stored[name] if column.table is part.table
    }


def across(info: RowInfo[object], values: Mapping[str, object]) -> dict[str, Any]:
    """Give those expressions among some values that read another table of the row than the one they are written to."""
    return {
        name: value for name, value in values.items() if any(_reads_other(info, c, value) for c in info.stored[name])
    }


def _reads_other(info: RowInfo[object], written: Column[Any], value: Any) -> bool:
    expression = as_sql(value)
    if not isinstance(expression, ColumnElement):
        return False
    read: Iterable[Any] = visitors.iterate(cast("Any", expression))
    return any(isinstance(c, Column) and info.owns(c.table) and c.table is not written.table for c in read)
