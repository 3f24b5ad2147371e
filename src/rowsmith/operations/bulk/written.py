"""Rows just written, held against their scope by their keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.errors import ScopeMismatch
from rowsmith.execution import execute
from rowsmith.operations.entity import Entity
from rowsmith.operations.keys import Key, dialect_of, key_chunks, keys_condition
from rowsmith.scope import Limits


async def confirm_all(
    db_sess: AsyncSession, entity: Entity[Any, Any], limits: Limits, keys: Sequence[Key], operation: str
) -> None:
    """Hold rows against the conditions of a scope that could not be stamped; one statement, none without such.

    Raises:
        ScopeMismatch: one is outside, its index is named; the caller must undo the writes.
    """
    if not limits.others:
        return
    dialect, inside = dialect_of(db_sess, entity.info), set[Key]()
    for chunk in key_chunks(keys, dialect, entity.info.key_columns):
        wanted = keys_condition(entity.info, chunk, dialect)
        statement = select(*entity.info.key_attributes).where(wanted, *limits.others)
        inside.update(map(tuple, (await execute(db_sess, statement, entity.origin(operation))).all()))
    outside = next((index for index, key in enumerate(keys) if key not in inside), None)
    if outside is not None:
        raise ScopeMismatch(f"the spec at index {outside} would leave its scope")
