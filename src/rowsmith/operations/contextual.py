"""Defaults that ask for the values of the row they are for: worked out row by row, before anything is sent.

SQLAlchemy would call them while it sends, where it takes a TimeoutError for the connection's own. Its context does not
know of a NULL that is given for a document, either. They may ask the database, by the connection of their context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.util import greenlet_spawn

from rowsmith.execution.driver import connection_of
from rowsmith.operations.blocks.block import Block
from rowsmith.operations.blocks.defaults import (
    Context,
    client_defaults,
    contextual,
    contextual_updates,
    default_of,
    fill_contextual,
    fill_defaults,
)
from rowsmith.operations.call import Call
from rowsmith.state import UNSET


async def with_contextual(call: Call[object, object], block: Block) -> Block:
    """Give rows with what such defaults make of each.

    Raises:
        RepositoryError: there is no connection to be had.
        Exception: whatever a default raises.
    """
    info = call.info
    if not contextual(info, block.columns):
        return block
    known, connection = fill_defaults(info, block.columns, block.size), await connection_of(call.db_sess, call.origin())
    columns = {**block.columns, **known}
    columns = known | await greenlet_spawn(fill_contextual, connection, info, columns, block.size)
    return block.beside(columns, {name: set(map(type, column)) for name, column in columns.items()})


async def with_contextual_values(call: Call[object, object], values: Mapping[str, object]) -> dict[str, Any]:
    """Do as :func:`with_contextual` for one row, whose values may be SQL: those no default sees."""
    info = call.info
    if not contextual(info, values):
        return {**values}
    known = {**values, **{name: default_of(info, name) for name in client_defaults(info, values)}}
    row, connection = {name: [value] for name, value in known.items()}, await connection_of(call.db_sess, call.origin())
    made = await greenlet_spawn(fill_contextual, connection, info, row, 1)
    return known | {name: column[0] for name, column in made.items()}


async def contextual_changes(call: Call[object, object], rows: Sequence[Mapping[str, object]]) -> dict[str, list[Any]]:
    """Give, by attribute name, what an ``onupdate`` of that kind writes into rows, and what is given for it instead.

    One statement has one answer for all of its rows. ``rows`` are what is written into each, by attribute name; nothing
    is into one that has none.
    """
    info = call.info
    names = contextual_updates(info, ())
    if not (names and any(rows)):
        return {}
    connection = await connection_of(call.db_sess, call.origin())

    def made(name: str, row: Mapping[str, object]) -> Any:
        if name in row:
            return row[name]
        update: Any = info.columns[name].onupdate
        return update.arg(Context.of_row(connection, info, row, name, isinsert=False)) if row else UNSET

    return await greenlet_spawn(lambda: {name: [made(name, row) for row in rows] for name in names})


async def with_contextual_changes(call: Call[object, object], values: Mapping[str, object]) -> dict[str, Any]:
    """Give what is written into one row, or the same into many, with what such an ``onupdate`` writes."""
    made = await contextual_changes(call, [values])
    return {**values, **{name: column[0] for name, column in made.items()}}
