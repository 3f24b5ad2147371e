"""Defaults that ask for the values of the row they are for: worked out row by row, before anything is sent.

SQLAlchemy would call them while it sends, where it takes a TimeoutError for the connection's own.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.execution import Origin
from rowsmith.execution.driver import connection_of
from rowsmith.mapping import RowInfo
from rowsmith.operations.blocks.block import Block
from rowsmith.operations.blocks.defaults import contextual, fill_contextual


async def with_contextual(db_sess: AsyncSession, origin: Origin, info: RowInfo[object], block: Block) -> Block:
    """Give rows with what such defaults make of each.

    Raises:
        RepositoryError: there is no connection to be had.
        Exception: whatever a default raises.
    """
    if not contextual(info, block.columns):
        return block
    columns = fill_contextual(await connection_of(db_sess, origin), info, block.columns, block.size)
    return block.beside(columns, {name: set(map(type, column)) for name, column in columns.items()})
