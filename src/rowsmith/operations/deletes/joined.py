"""Removing rows that are kept in several tables: found and locked first, then a DELETE for each, the root's last."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete

from rowsmith.conditions import limited
from rowsmith.errors import RefusedByTrigger
from rowsmith.operations.arrays.keys import Key, key_chunks, keys_condition
from rowsmith.operations.call import Call, TData, TRow
from rowsmith.operations.in_step import forget
from rowsmith.operations.parts import at_keys, check_all, locked, send_to_part
from rowsmith.operations.present import present_keys


async def purge_joined(
    call: Call[TRow, TData],
    keys: Sequence[Key],
    conditions: Sequence[ColumnElement[bool]],
    *,
    is_held: bool = False,
) -> dict[Key, TData]:
    """Remove those rows with these keys for which all conditions hold, all or none, and give what they were.

    A row of a class below is removed with what that class has of it. Where those that were there ``is_held``, none is
    waited for that has come since.

    Raises:
        StillReferenced: other rows point at one.
        RefusedByTrigger: a trigger kept one back, or put it back.
    """
    there: list[Key] = []
    async with call.savepoint():
        for chunk in key_chunks(keys, call.dialect, call.info.key_columns):
            here = keys_condition(call.info, chunk, call.dialect)
            there += [tuple(row) for row in await locked(call, [here, *conditions], skip_locked=is_held)]
        found = await present_keys(call, there)
        await remove_parts(call, there)
        if await call.first_back(there) is not None:
            raise RefusedByTrigger
    forget(call, there)
    return found


async def remove_parts(call: Call[object, object], keys: Sequence[Key]) -> None:
    """Remove rows that are locked from all tables that they may be kept in."""
    for part in reversed(call.info.all_parts):
        reached: list[Key] = []
        for chunk in key_chunks(keys, call.dialect, part.key):
            statement = limited(delete(part.table), at_keys(call, part, chunk))
            reached += await send_to_part(call, part, statement, deletes=True)
        if part in call.info.parts:
            check_all(reached, keys)
