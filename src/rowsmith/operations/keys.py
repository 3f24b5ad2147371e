"""Many keys in one statement: one array parameter for each key column, however many keys there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, any_, bindparam, column, func, select, tuple_
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncSession

from rowsmith.errors import InvalidValue
from rowsmith.mapping import RowInfo

SQLITE_PARAMETERS = 30_000
"""How many parameters one SQLite statement takes, a little under its limit of 32,766."""

Key = tuple[Any, ...]


def dialect_of(db_sess: AsyncSession) -> Dialect:
    """Give the dialect of the database that a session talks to."""
    return db_sess.get_bind().dialect


def unique_keys(info: RowInfo[Any], ids: Sequence[Any]) -> list[Key]:
    """Give ids as key tuples.

    Raises:
        InvalidValue: one is no key of the row, or stands twice; the message gives the places.
    """
    places: dict[Key, int] = {}
    for place, pk in enumerate(ids):
        first = places.setdefault(info.key(pk), place)
        if first != place:
            raise InvalidValue(f"the id at index {place} stands at index {first} already: give each id once")
    return list(places)


def key_chunks(keys: Sequence[Key], dialect: Dialect) -> Iterator[Sequence[Key]]:
    """Cut keys into what one statement takes: all of them on PostgreSQL, whose parameters are arrays."""
    size = len(keys) if dialect.name == "postgresql" else SQLITE_PARAMETERS // max(len(keys[0]) if keys else 1, 1)
    for start in range(0, len(keys), max(size, 1)):
        yield keys[start : start + size]


def keys_condition(info: RowInfo[Any], keys: Sequence[Key], dialect: Dialect) -> ColumnElement[bool]:
    """Give the condition that a row's key is one of these."""
    if dialect.name == "postgresql":
        return _in_arrays(info, keys)
    attributes = info.key_attributes
    if len(attributes) == 1:
        return attributes[0].in_([key[0] for key in keys])
    return tuple_(*attributes).in_([tuple(key) for key in keys])


def array_of(info: RowInfo[Any], name: str, values: Sequence[Any]) -> Any:
    """Give the values of one column as a single array parameter of the column's type."""
    return bindparam(None, list(values), type_=ARRAY(info.columns[name].type), unique=True)


def _in_arrays(info: RowInfo[Any], keys: Sequence[Key]) -> ColumnElement[bool]:
    arrays = [array_of(info, name, [key[i] for key in keys]) for i, name in enumerate(info.primary_key)]
    if len(arrays) == 1:
        return info.key_attributes[0] == any_(arrays[0])
    names = [f"k{i}" for i in range(len(arrays))]
    wanted = func.unnest(*arrays).table_valued(*(column(name) for name in names)).render_derived(name="wanted")
    return tuple_(*info.key_attributes).in_(select(*(wanted.c[name] for name in names)))
