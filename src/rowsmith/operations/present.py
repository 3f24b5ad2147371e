"""From records to data where that takes further statements: collections, and rows just written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.conditions import limited
from rowsmith.execution import Origin, execute
from rowsmith.mapping import Shape
from rowsmith.mapping.layout import Collection, Groups, Layout, Record
from rowsmith.operations.arrays.keys import Key, columns_condition, dialect_of, key_chunks
from rowsmith.operations.entity import Entity, TData, TRow


async def present(
    db_sess: AsyncSession, shape: Shape[TRow, TData], records: Sequence[Record], origin: Origin
) -> list[TData]:
    """Make data of records; one further statement for each collection, however many records there are."""
    if not shape.layout.collections:
        return shape.build_all(records)
    return await _made(db_sess, shape.layout, records, origin)


async def present_written(
    db_sess: AsyncSession, entity: Entity[TRow, TData], records: Sequence[Record], operation: str
) -> list[TData]:
    """Make data of what a write returned with ``entity.returning``, in the same order.

    Where data holds more than RETURNING can give, the rows are read again by their keys, in the
    transaction that wrote them and so holds them locked.
    """
    if entity.shape.returnable:
        return entity.shape.build_all(records)
    keys = [tuple(record) for record in records]
    found = await present_keys(db_sess, entity, keys, operation)
    missing = [key for key in keys if key not in found]
    if missing:  # a trigger of the database took them away again
        raise entity.absent(operation, missing)
    return [found[key] for key in keys]


async def present_keys(
    db_sess: AsyncSession,
    entity: Entity[TRow, TData],
    keys: Sequence[Key],
    operation: str,
    conditions: Sequence[ColumnElement[bool]] = (),
    *,
    lock: bool = False,
) -> dict[Key, TData]:
    """Read rows by their keys: the data of those that are there and satisfy the conditions.

    With ``lock`` the rows, not those related to them, stay as they are until the transaction ends.
    """
    attributes, dialect, origin = entity.info.key_attributes, dialect_of(db_sess, entity.info), entity.origin(operation)
    wanted, width = limited(entity.shape.select(*attributes), *conditions), len(attributes)
    if lock:
        wanted = wanted.order_by(*attributes).with_for_update(of=entity.info.row)
    found = dict[Key, TData]()
    for chunk in key_chunks(keys, dialect, [item.expression for item in attributes]):
        statement = limited(wanted, columns_condition([item.expression for item in attributes], chunk, dialect))
        rows = (await execute(db_sess, statement, origin)).all()
        data = await present(db_sess, entity.shape, [row[:-width] for row in rows], origin)
        found.update(zip((tuple(row[-width:]) for row in rows), data, strict=True))
    return found


async def _made(db_sess: AsyncSession, layout: Layout, records: Sequence[Record], origin: Origin) -> list[Any]:
    related = [await _groups(db_sess, collection, records, origin) for collection in layout.collections]
    return layout.make(records, related)


async def _groups(db_sess: AsyncSession, collection: Collection, records: Sequence[Record], origin: Origin) -> Groups:
    """Read a collection for all parents, and sort it by the parents' keys."""
    dialect, width = dialect_of(db_sess, origin), len(collection.keys)
    parents = dict.fromkeys(tuple(record[place] for place in collection.places) for record in records)
    rows: list[Sequence[Any]] = []
    for chunk in key_chunks([key for key in parents if None not in key], dialect, collection.keys):
        statement = limited(collection.statement, columns_condition(collection.keys, chunk, dialect))
        rows.extend((await execute(db_sess, statement, origin)).all())
    data = await _made(db_sess, collection.layout, [row[:-width] for row in rows], origin)
    groups = dict[Key, list[Any]]()
    for row, item in zip(rows, data, strict=True):
        groups.setdefault(tuple(row[-width:]), []).append(item)
    return groups
