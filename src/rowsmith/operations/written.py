"""Rows just written, held against their scope by their keys."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.conditions import limited
from rowsmith.execution import execute
from rowsmith.operations.arrays.keys import Key, dialect_of, key_chunks, keys_condition
from rowsmith.operations.held import NewRows


async def confirm_all(db_sess: AsyncSession, new: NewRows, keys: Sequence[Key]) -> None:
    """Hold rows, by their keys, against the conditions of their scope that could not be stamped.

    Raises:
        ScopeMismatch: one is outside, its index is named; the caller must undo the writes.
    """
    entity, limits, operation = new.entity, new.limits, new.operation
    dialect, inside = dialect_of(db_sess, entity.info), set[Key]()
    for chunk in key_chunks(keys, dialect, entity.info.key_columns):
        wanted = keys_condition(entity.info, chunk, dialect)
        statement = limited(select(*entity.info.key_attributes), wanted, *limits.others)
        inside.update(map(tuple, (await execute(db_sess, statement, entity.origin(operation))).all()))
    outside = next((index for index, key in enumerate(keys) if key not in inside), None)
    if outside is not None:
        raise new.refusal(outside)
