"""The order in which new rows are inserted, so that batches that clash wait for each other and do not deadlock. Pure.

An INSERT waits for another transaction that has inserted a row with the same unique key. Two batches that both insert
the keys 1 and 2 must do so in the same order, then; what orders them is the key over which they clash. Rows that can
clash over several keys at once have no order that serves them all: they are put into that of the key that the class
declares as its ``conflict``, without it the primary key, and where a spec leaves that out, the table's next one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain, groupby
from typing import Any

from rowsmith.operations.arrays.keys import places_in_order
from rowsmith.operations.blocks.block import Block
from rowsmith.operations.entity import Entity
from rowsmith.scope import Limits


def clash_key(entity: Entity[Any, Any], given: Collection[str]) -> tuple[str, ...] | None:
    """Give the unique key over which rows clash whose specs give these attributes; None where the server makes all."""
    return next((names for names in entity.unique_keys if set(names) <= set(given)), None)


def clash_order(entity: Entity[Any, Any], limits: Limits, parts: Sequence[Block]) -> Sequence[int] | None:
    """Give the places of rows that set the same columns, in the order of their key; None where they are in it."""
    fixed = {*limits.stamps, *entity.info.discriminator}
    names = clash_key(entity, parts[0].given | fixed)
    columns = [
        list(chain.from_iterable(part.columns[name] for part in parts))
        for name in names or ()
        if name in parts[0].given
    ]
    order = places_in_order(columns)
    return None if isinstance(order, range) else order


def in_clash_order(entity: Entity[Any, Any], limits: Limits, parts: Sequence[Block]) -> list[Block]:
    """Give rows in the order of their key: as many blocks as it takes, each of which one statement inserts."""
    fixed = {*limits.stamps, *entity.info.discriminator}
    keys = [clash_key(entity, part.given | fixed) for part in parts]
    names = next((key for key in keys if key is not None), None)
    if names is None:
        return list(parts)
    keyed, others = list[Block](), list[Block]()
    for part in parts:
        (keyed if set(names) <= part.given | fixed else others).append(part)
    rows = [(part, row) for part in keyed for row in range(part.size)]
    order = places_in_order([list(chain.from_iterable(part.columns[name] for part in keyed)) for name in names])
    runs = groupby((rows[place] for place in order), key=lambda item: id(item[0]))
    chosen = [list(run) for _, run in runs]
    ordered = [run[0][0].chosen([row for _, row in run]) for run in chosen]
    return [*ordered, *others]
