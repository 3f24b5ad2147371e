"""Changing rows that are kept in several tables: found and locked first, then an UPDATE for each table concerned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, type_coerce, update

from rowsmith.conditions import limited
from rowsmith.mapping import RowInfo
from rowsmith.names import sql_name
from rowsmith.operations.arrays.keys import Key, key_chunks
from rowsmith.operations.call import Call
from rowsmith.operations.held import changed_rows, first_refusal, scope_first
from rowsmith.operations.in_step import keep_in_step
from rowsmith.operations.parts import across, at_keys, check_all, confirm_all, locked, of_part, send_to_part
from rowsmith.operations.updates.version import next_version


async def write_joined(
    call: Call[object, object],
    conditions: Sequence[ColumnElement[bool]],
    values: Mapping[str, object],
    *,
    is_one: bool = False,
) -> list[Key]:
    """Write the same values into all rows for which the conditions hold, or into none, and give their keys.

    These are those of one row at most, where that is said.

    A table none of whose columns is written is left alone, unless it has columns with ``onupdate``: the row has
    changed. An expression that reads several of the tables is worked out while the rows are being locked, before
    anything is written.

    Raises:
        ScopeMismatch: a row would leave the scope.
        InvalidValue: the key is among the values.
        RefusedByTrigger: a trigger kept a row back.
    """
    keep_key(call.info, values)
    call = call.setting(values)
    verifies = call.limits.must_verify(values, call.info)

    async def write() -> list[Key]:
        async with call.savepoint():
            keys = await _write(call, conditions, {**values, **next_version(call.info)})
            await confirm_all(call, keys)
        return keys

    async def refused(failure: Exception) -> Exception | None:
        return await first_refusal([changed_rows(call, values, conditions, is_one=is_one)], failure)

    keys = await (scope_first(call, write, refused) if verifies else write())
    await keep_in_step(call, keys)
    return keys


async def _write(
    call: Call[object, object], conditions: Sequence[ColumnElement[bool]], values: Mapping[str, object]
) -> list[Key]:
    info = call.info
    first = across(info, values)
    extra = [
        type_coerce(value, info.columns[name].type).label(sql_name(f"value_{place}"))
        for place, (name, value) in enumerate(first.items())
    ]
    records = await locked(call, conditions, extra, key_share=info.unique.isdisjoint(values))
    width = len(info.primary_key)
    keys: list[Key] = [tuple(record[:width]) for record in records]
    if not first:
        for chunk in key_chunks(keys, call.dialect, info.key_columns):
            await _update(call, chunk, values)
        return keys
    for key, record in zip(keys, records, strict=True):
        await _update(call, [key], {**values, **dict(zip(first, record[width:], strict=True))})
    return keys


async def _update(call: Call[object, object], keys: Sequence[Key], values: Mapping[str, object]) -> None:
    for part in call.info.parts:
        changes: dict[Any, Any] = of_part(call.info, part, values)
        if changes or any(column.onupdate is not None for column in part.table.columns):
            # Something must be set for SQLAlchemy to set the rest: the key, to what it is.
            changes = changes or {part.key[0]: part.key[0]}
            statement = limited(update(part.table), at_keys(call, part, keys)).values(changes)
            reached = await send_to_part(call, part, statement, (column.name for column in changes))
            check_all(reached, keys)


def keep_key(info: RowInfo[object], values: Mapping[str, object]) -> None:
    """Refuse to write a key that stands in several tables.

    Raises:
        InvalidValue: a column of it is among the values.
    """
    for name in info.primary_key:
        if name in values:
            tables = f"is the key of {len(info.parts)} tables and stays as it is"
            raise info.refusal(name, f"{tables}: create the row anew under the other key, and purge this one")
