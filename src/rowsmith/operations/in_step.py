"""Objects that a session holds, kept in step with what was written past it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import inspect, select
from sqlalchemy.orm import InstanceState, lazyload

from rowsmith.conditions import limited
from rowsmith.operations.arrays.keys import Key, key_chunks, keys_condition
from rowsmith.operations.arrays.same import are_exact
from rowsmith.operations.call import Call


async def keep_in_step(call: Call[object, object], keys: Iterable[Key], *, seen: bool = False) -> None:
    """Read the columns of those objects again that the session holds of these rows; nothing where it holds none.

    They are loaded at once and not only expired, for an attribute that loads itself cannot be read in asyncio.
    What was loaded over relationships stays. ``seen`` says that the write went through the ORM, which has set what
    it knows and expired the rest: only that is read.
    """
    db_sess, info, dialect = call.db_sess, call.info, call.dialect
    if not len(db_sess.identity_map):
        return
    if not are_exact(info.key_columns, dialect):
        kind, known = info.mapper.base_mapper.class_, db_sess.identity_map.keys()
        held = {key[1] for key in known if key[0] is kind}
        keys = list((await call.as_stored(info.key_columns, list(keys), held)).values())
    found = list[Key]()
    for key in keys:
        item = db_sess.identity_map.get(info.mapper.identity_key_from_primary_key(key))
        if item is None:
            continue
        state: InstanceState[Any] = inspect(item)
        db_sess.sync_session._register_altered([state])  # pyright: ignore[reportPrivateUsage] - for savepoints
        if not seen:
            db_sess.expire(item, [name for name in info.columns if name in item.__dict__])
        if not info.columns.keys().isdisjoint(state.expired_attributes):
            found.append(key)
    for chunk in key_chunks(found, dialect, info.key_columns):
        again = limited(select(info.row), keys_condition(info, chunk, dialect)).options(lazyload("*"))
        await call.execute(again, {"populate_existing": False})


def forget(call: Call[object, object], keys: Sequence[Key]) -> None:
    """Take the objects out of the session whose rows were removed: reading or returning them has put them there."""
    identities = call.db_sess.identity_map
    for key in keys if len(identities) else ():
        item = identities.get(call.info.mapper.identity_key_from_primary_key(key))
        if item is not None:
            # Not expunged: it comes back where a savepoint is undone.
            call.db_sess.sync_session._remove_newly_deleted([inspect(item)])  # pyright: ignore[reportPrivateUsage]
