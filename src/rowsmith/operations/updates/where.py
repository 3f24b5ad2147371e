"""Changing every row that matches: one statement, whose rows are locked in the order of their keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Update, update

from rowsmith.conditions import limited
from rowsmith.execution import Origin
from rowsmith.operations.arrays.binding import naming, unbindable_value
from rowsmith.operations.arrays.keys import Key
from rowsmith.operations.call import Call
from rowsmith.operations.held import refused_change, scope_first
from rowsmith.operations.in_step import keep_in_step
from rowsmith.operations.updates.joined import write_joined
from rowsmith.operations.updates.statement import by_column, keep_keys, lock_strength, locked_in_key_order
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

    async def refused() -> Exception | None:
        return await refused_change(call, values, conditions)

    return await scope_first(call, write, refused)


async def _statement(
    call: Call[object, object], conditions: Sequence[ColumnElement[bool]], values: Mapping[str, object]
) -> Update:
    """Give the UPDATE; on PostgreSQL it has all rows locked in key order before it touches the first."""
    info = call.info
    keep_keys(info, values)
    written = by_column(info, {**values, **next_version(info)})
    statement = limited(update(info.row), *conditions).values(written)
    if call.dialect.name != "postgresql":
        return statement
    locked = locked_in_key_order(info, await call.standing(), conditions, **lock_strength(info, values))
    return limited(statement, locked)


async def _keys(
    call: Call[object, object], statement: Update, origin: Origin, guard: ColumnElement[bool] | None
) -> list[Key]:
    keys = call.info.key_attributes
    returning: Any = cast("Any", statement).returning(*keys, *(() if guard is None else (guard,)))
    rows = (await call.execute_writing(returning, origin)).all()
    if guard is not None:
        await call.keep_inside(rows)
    return [tuple(row[: len(keys)]) for row in rows]
