"""From records to data where that takes further statements: collections, and rows just written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement

from rowsmith.conditions import limited
from rowsmith.errors import RefusedByTrigger
from rowsmith.execution import Items
from rowsmith.lock import Lock
from rowsmith.mapping.constraints import takes_its_own_along
from rowsmith.mapping.layout import Collection, Groups, Layout, Record
from rowsmith.operations.arrays.keys import Key, columns_condition, key_chunks
from rowsmith.operations.call import Call, TData, TRow


async def present(call: Call[TRow, TData], records: Sequence[Record]) -> list[TData]:
    """Make data of records; one further statement for each collection, however many records there are."""
    shape = call.entity.shape
    if not shape.layout.collections:
        return shape.build_all(records)
    return await _made(call, shape.layout, records)


async def present_written(call: Call[TRow, TData], records: Sequence[Record]) -> list[TData]:
    """Make data of what a write returned with ``entity.returning``, in the same order.

    Where data holds more than RETURNING can give, the rows are read again by their keys, in the
    transaction that wrote them and so holds them locked.
    """
    if call.entity.shape.returnable:
        return call.entity.shape.build_all(records)
    return await present_made(call, [tuple(record) for record in records])


async def present_made(call: Call[TRow, TData], keys: Sequence[Key], places: Sequence[int] = ()) -> list[TData]:
    """Read rows that this call itself has written, in the order of their keys; ``places`` are the indexes of its items.

    Raises:
        RefusedByTrigger: a trigger of the database took one away again.
    """
    found = await present_keys(call, keys)
    if gone := [at for at, key in enumerate(keys) if key not in found]:
        raise RefusedByTrigger.at(places[gone[0]]) if places else RefusedByTrigger
    return [found[key] for key in keys]


async def present_keys(
    call: Call[TRow, TData],
    keys: Sequence[Key],
    conditions: Sequence[ColumnElement[bool]] = (),
    *,
    lock: Lock | None = None,
    places: Sequence[int] = (),
) -> dict[Key, TData]:
    """Read rows by their keys: the data of those that are there and satisfy the conditions, by the keys as given.

    With ``lock`` the rows, not those related to them, stay as they are until the transaction ends; ``places`` are the
    indexes of the keys in the caller's input, where they stand there.
    """
    attributes, dialect = call.info.key_attributes, call.dialect
    columns, width = [attribute.expression for attribute in attributes], len(attributes)
    selected = limited(call.entity.shape.select(*attributes), *conditions)
    if lock is not None:
        selected = call.locked(selected.order_by(*attributes), lock)
    found, read = dict[Key, TData](), 0
    for chunk in key_chunks(keys, dialect, columns):
        statement = limited(selected, columns_condition(columns, chunk, dialect))
        rows = (await call.execute(statement, items=Items(places[: len(chunk)], "id"))).all()
        places = places[len(chunk) :]
        data = await present(call, [row[:-width] for row in rows])
        found.update(zip((tuple(row[-width:]) for row in rows), data, strict=True))
        read += len(rows)
    if len(found) < read:
        await call.refuse_twins(undo=False)
    if all(map(found.__contains__, keys)):
        return found
    stored = await call.as_found(columns, keys, found.keys())
    return {key: found[stored[key]] for key in stored}


async def present_doomed(
    call: Call[TRow, TData],
    keys: Sequence[Key],
    conditions: Sequence[ColumnElement[bool]],
    *,
    skip_locked: bool = False,
) -> dict[Key, TData] | None:
    """Read data that RETURNING cannot give, of rows about to be removed, locked from now on; None where it can.

    It gives nothing of a row that is gone before its turn comes, as SQLite's cascades have it.
    """
    if call.entity.shape.returnable and not (goes_at_once(call) and len(keys) > 1):
        return None
    lock = Lock(skip_locked=skip_locked) if (await call.standing()).doomed.can_lock else None
    return await present_keys(call, keys, conditions, lock=lock)


def goes_at_once(call: Call[object, object]) -> bool:
    """Say whether what a row takes along goes at once, and may be rows of the same batch."""
    return call.dialect.name == "sqlite" and takes_its_own_along(call.info.table)


async def _made(call: Call[object, object], layout: Layout, records: Sequence[Record]) -> list[Any]:
    related = [await _groups(call, collection, records) for collection in layout.collections]
    return layout.make(records, related)


async def _groups(call: Call[object, object], collection: Collection, records: Sequence[Record]) -> Groups:
    """Read a collection for all parents, and sort it by the parents' keys."""
    dialect, width = call.dialect, len(collection.keys)
    parents = dict.fromkeys(tuple(record[place] for place in collection.places) for record in records)
    rows: list[Sequence[Any]] = []
    for chunk in key_chunks([key for key in parents if None not in key], dialect, collection.keys):
        statement = limited(collection.statement, columns_condition(collection.keys, chunk, dialect))
        rows.extend((await call.execute(statement)).all())
    data = await _made(call, collection.layout, [row[:-width] for row in rows])
    groups = dict[Key, list[Any]]()
    for row, item in zip(rows, data, strict=True):
        groups.setdefault(tuple(row[-width:]), []).append(item)
    return await _of_parents(call, collection, parents, groups)


async def _of_parents(
    call: Call[object, object], collection: Collection, parents: Iterable[Key], groups: Mapping[Key, list[Any]]
) -> Groups:
    """Give groups by the keys of the parents: what refers to one may have written its key otherwise."""
    known = list(parents)
    stored = await call.as_stored(collection.keys, list(groups), set(known))
    if all(key is other for key, other in stored.items()):
        return groups
    merged = dict[Key, list[Any]]()
    for key, items in groups.items():
        merged.setdefault(stored.get(key, key), []).extend(items)
    return merged
