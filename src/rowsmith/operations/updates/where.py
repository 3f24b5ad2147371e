"""Changing every row that matches, once all of them are locked in the order of their keys.

On PostgreSQL a statement of its own locks them. One that did both would see rows as they were before it waited for
their locks, and leave out, or meet once more, those that others have changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Update, func, select, update

from rowsmith.conditions import limited
from rowsmith.execution import Origin, flush
from rowsmith.operations.arrays.binding import naming, unbindable_value
from rowsmith.operations.arrays.given import NAME
from rowsmith.operations.arrays.keys import Key
from rowsmith.operations.call import Call
from rowsmith.operations.held import changed_rows, first_refusal, scope_first
from rowsmith.operations.in_step import keep_in_step
from rowsmith.operations.updates.joined import write_joined
from rowsmith.operations.updates.statement import (
    by_column,
    found_again,
    keep_keys,
    lock_strength,
    locking_in_key_order,
)
from rowsmith.operations.updates.version import next_version


async def write_where(
    call: Call[object, object], conditions: Sequence[ColumnElement[bool]], values: Mapping[str, object]
) -> int:
    """Write the same values into all rows under some conditions and the scope's; gives their number.

    Raises:
        ScopeMismatch: a row would leave the scope; nothing is written then.
        InvalidValue, ConstraintViolation: a value or constraint said no.
    """
    writing = _write(call, [*call.limits.conditions, *conditions], values)
    return await naming(writing, lambda: unbindable_value(call.info, values, call.dialect))


async def _write(
    call: Call[object, object], conditions: Sequence[ColumnElement[bool]], values: Mapping[str, object]
) -> int:
    if call.info.is_joined:
        return len(await write_joined(call, conditions, values))
    call = call.setting(values)
    statement, guard = await _statement(call, conditions, values), call.limits.guard(values, call.info)
    if statement is None:
        return 0
    origin = call.origin(writes=values)
    if not call.limits.must_verify(values, call.info):
        if guard is None and not len(call.db_sess.identity_map):
            result: Any = await call.execute_writing(statement, origin)
            return int(result.rowcount)
        keys = await _keys(call, statement, origin, guard)
        await keep_in_step(call, keys, seen=True)
        return len(keys)

    async def write() -> int:
        async with call.savepoint():
            keys = await _keys(call, statement, origin, guard)
            await call.confirm(keys)
        await keep_in_step(call, keys, seen=True)
        return len(keys)

    async def refused(failure: Exception) -> Exception | None:
        return await first_refusal([changed_rows(call, values, conditions)], failure)

    return await scope_first(call, write, refused)


async def _statement(
    call: Call[object, object], conditions: Sequence[ColumnElement[bool]], values: Mapping[str, object]
) -> Update | None:
    """Give the UPDATE; on PostgreSQL once all rows are locked in key order, and None where there are none.

    Those that match since then are changed, too, unless others have them: to wait for one could be a deadlock.
    """
    info = call.info
    keep_keys(info, values)
    changing = update(info.row).values(by_column(info, {**values, **next_version(info)}))
    if call.dialect.name != "postgresql":
        return limited(changing, *conditions)
    await flush(call.db_sess, call.origin())
    standing, lock = await call.standing(), lock_strength(info, values)
    locking = locking_in_key_order(info, standing, conditions, **lock)
    if not (await call.execute(select(func.count()).select_from(locking.cte(NAME)))).scalar_one():
        return None
    held = locking_in_key_order(info, standing, conditions, skip_locked=True, **lock).cte(NAME)
    on_shard = conditions if info.shard_key is not None else ()  # of what stands in a CTE its planner learns nothing
    return limited(changing, *found_again(info, standing, held, conditions), *on_shard)


async def _keys(
    call: Call[object, object], statement: Update, origin: Origin, guard: ColumnElement[bool] | None
) -> list[Key]:
    keys = call.info.key_attributes
    returning: Any = cast("Any", statement).returning(*keys, *(() if guard is None else (guard,)))
    rows = (await call.execute_writing(returning, origin)).all()
    if guard is not None:
        await call.keep_inside(rows)
    return [tuple(row[: len(keys)]) for row in rows]
