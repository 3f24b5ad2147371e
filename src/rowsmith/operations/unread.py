"""Which item of a batch has a stored value that cannot be read.

The driver fails on the whole of an answer, and says neither row nor column of what it could not read. So the items are
read once more, in halves, until one is left: some ten statements for a thousand, and none where all can be read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement

from rowsmith.errors import InvalidValue, RepositoryError
from rowsmith.operations.arrays.keys import batch_keys
from rowsmith.operations.call import Call, is_unread
from rowsmith.operations.present import present_keys

ReadPlaces = Callable[[Sequence[int]], Awaitable[object]]
"""Reads the items in some places of the input."""


async def tell_id(call: Call[Any, Any], failure: InvalidValue, ids: Any, kwargs: Mapping[str, Any]) -> None:
    """Have an error say which id of a batch it is about, if its row is still there to be read.

    Args:
        call: the call that failed, or another one in a session that can read.
        failure: says that a stored value cannot be read.
        ids: what the verb was given first: keys, or a mapping by key.
        kwargs: its arguments by name.
    """
    await _tell_among(call, failure, ids, kwargs, call.entity.live(kwargs.get("include_deleted", False)))


async def tell_deleted_id(call: Call[Any, Any], failure: InvalidValue, ids: Any, kwargs: Mapping[str, Any]) -> None:
    """Do as :func:`tell_id` for a verb that sees deleted rows only."""
    deletion = call.entity.soft_delete
    await _tell_among(call, failure, ids, kwargs, [] if deletion is None else [deletion.is_deleted()])


async def _tell_among(
    call: Call[Any, Any],
    failure: InvalidValue,
    ids: Any,
    kwargs: Mapping[str, Any],
    seen: Sequence[ColumnElement[bool]],
) -> None:
    """Look for it among the rows that the verb sees, and then, as it may have marked them itself, among all."""
    call = await call.under(kwargs.get("scope"))
    keys = batch_keys(call.info, list(ids))
    noun = "patch" if isinstance(ids, Mapping) else "id"

    async def read(conditions: Sequence[ColumnElement[bool]], places: Sequence[int]) -> object:
        return await present_keys(call, list(dict.fromkeys(keys[place] for place in places)), conditions)

    for conditions in ([*call.limits.conditions, *seen], call.limits.conditions):
        if await tell_place(failure, range(len(keys)), partial(read, conditions), noun):
            return


async def tell_place(failure: InvalidValue, places: Sequence[int], read: ReadPlaces, noun: str = "spec") -> bool:
    """Have an error say which item of a batch it is about, the first that cannot be read, and which column.

    Says whether there is one.

    Args:
        failure: says that a stored value cannot be read.
        places: those of the items in the input.
        read: reads some of them.
        noun: what the items are called.
    """
    found = sorted(places) if await _unread(places, read) else []
    while len(found) > 1:
        half = found[: len(found) // 2]
        found = half if await _unread(half, read) else found[len(half) :]
    alone = await _unread(found, read) if found else None
    if alone is not None:
        failure.facts = replace(failure.facts, columns=alone.facts.columns)
        failure.place(found[0], str(alone), noun)
    return alone is not None


async def _unread(places: Sequence[int], read: ReadPlaces) -> InvalidValue | None:
    try:
        await read(places)
    except InvalidValue as exc:
        if is_unread(exc):
            return exc
    except RepositoryError:
        pass
    return None
