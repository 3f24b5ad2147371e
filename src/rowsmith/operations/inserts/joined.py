"""Creating a row that is kept in several tables: an INSERT for each, the class's at the root first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import insert

from rowsmith.errors import RefusedByTrigger
from rowsmith.operations.arrays.keys import Key
from rowsmith.operations.call import Call, TData, TRow
from rowsmith.operations.held import first_refusal, new_row, scope_first
from rowsmith.operations.parts import confirm_all, of_part, send_to_part
from rowsmith.operations.present import present_made


async def create_joined(call: Call[TRow, TData], values: Mapping[str, object]) -> TData:
    """Insert the row's part into each table, all or none, and give the whole as the database holds it.

    Raises:
        RepositoryError: as :meth:`Creator.create`.
    """
    limits = call.limits
    # What tells the class by an expression is asked of the row once it is there.
    own = call.info.own_class if call.info.is_told_apart else ()
    others = (*limits.others, *own)
    conditions = (*limits.conditions, *own)
    call = replace(call, limits=replace(limits, conditions=conditions, others=others))

    async def create() -> Key:
        async with call.savepoint():
            key: Key = ()
            for part in call.info.parts:
                row = {**of_part(call.info, part, values), **dict(zip(part.key, key, strict=False))}
                made = await send_to_part(call, part, insert(part.table).values(row))
                if not made:
                    raise RefusedByTrigger
                key = key or made[0]
            await confirm_all(call, [key])
        return key

    async def refused(failure: Exception) -> Exception | None:
        return await first_refusal([new_row(call, values)], failure)

    key = await (scope_first(call, create, refused) if call.limits.held else create())
    return (await present_made(call, [key]))[0]
