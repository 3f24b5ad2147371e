"""Many keys in one statement: one array parameter for each key column, however many keys there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from functools import partial
from itertools import islice
from operator import eq, lt
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    and_,
    any_,
    bindparam,
    case,
    column,
    func,
    literal_column,
    select,
    tuple_,
    values,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine

from rowsmith.errors import InvalidValue, kind_of
from rowsmith.execution import Origin
from rowsmith.execution.parameters import about_all
from rowsmith.identity import are_one
from rowsmith.mapping import RowInfo
from rowsmith.mapping.types import Travel, column_type, stored_form
from rowsmith.names import PARAMETER, sql_name
from rowsmith.operations.arrays.wire import ArrayOf, fits_array, has_sql

SQLITE_PARAMETERS = 30_000
"""How many parameters one statement takes: a little under SQLite's limit of 32,766, and PostgreSQL's."""

MAX_CHUNK: Final = 2**31 - 1
"""The most rows of a chunk: what the driver's cursor and PostgreSQL's LIMIT both take."""

Key = tuple[Any, ...]

_NAME = sql_name("keys")


def key_name(place: int) -> str:
    """Give the name of a part of the key where keys are sent as a table."""
    return sql_name(f"key_{place}")


def check_chunk_size(size: object) -> None:
    """Refuse what cannot be the number of rows that a stream, a load or a purge takes at a time.

    Raises:
        InvalidValue: it is no int from 1 to MAX_CHUNK.
    """
    if isinstance(size, bool) or not isinstance(size, int):
        raise InvalidValue(f"chunk_size is {kind_of(size)}: give an int, 1 or more")
    if size < 1:
        raise InvalidValue(f"chunk_size is {max(size, -MAX_CHUNK)}: give 1 or more")
    if size > MAX_CHUNK:
        raise InvalidValue(f"chunk_size is too large: give {MAX_CHUNK} or less")


def dialect_of(db_sess: AsyncSession, info: RowInfo[object] | Origin) -> Dialect:
    """Give the dialect of the database that a session has a kind of row in, or that a call is about."""
    return db_sess.get_bind(info.mapper).dialect


def keep_tellable(info: RowInfo[object], names: Iterable[str], instead: str = "take them one by one") -> None:
    """Refuse keys whose values come back as what Python cannot hash, so that rows cannot be told apart by them.

    ``instead`` says what to do, for the message.

    Raises:
        InvalidValue: one of the attributes holds arrays or documents.
    """
    for name in names:
        if not is_tellable(info, name):
            is_array = column_type(stored_form(info.columns[name].type)).travel is Travel.ARRAY
            what = "arrays" if is_array else "documents"
            raise info.refusal(name, f"is part of the key, and rows are not told apart by {what}: {instead}")


def is_tellable(info: RowInfo[object], name: str) -> bool:
    """Say whether the values of an attribute are such that Python can hash."""
    return _is_tellable(info.columns[name].type)


def _is_tellable(kind: TypeEngine[Any]) -> bool:
    return column_type(stored_form(kind)).travel not in (Travel.ARRAY, Travel.JSON)


def batch_key(info: RowInfo[object], id: object, place: int) -> Key:
    """Give an id of a batch as a key that can be told from the others.

    Raises:
        InvalidValue: it is no key of the row, or is made of what Python cannot hash; with the index.
    """
    try:
        key = info.key(id)
    except InvalidValue as exc:
        exc.among(place, "id")
        raise
    keep_hashable(key, "id", place)
    return key


def batch_keys(info: RowInfo[object], ids: Sequence[object]) -> list[Key]:
    """Give the ids of a batch as keys, in their order, each as often as it is given.

    Raises:
        InvalidValue: as :func:`keep_tellable` and :func:`batch_key`; or two are equal to Python and may not be one.
    """
    keep_tellable(info, info.primary_key)
    keys: list[Key] | None
    try:
        keys = [info.key(id_) for id_ in ids]
        hash(tuple(keys))
    except (InvalidValue, TypeError):
        keys = None
    if keys is None:  # it is found which one
        return [batch_key(info, id_, place) for place, id_ in enumerate(ids)]
    if not info.split.isdisjoint(info.primary_key) and len(set(keys)) < len(keys):
        first = dict[Key, tuple[int, Key]]()
        for place, key in enumerate(keys):
            other = first.setdefault(key, (place, key))
            if (failure := equal_alone(info, info.primary_key, "id", (place, key), other)) is not None:
                raise failure
    return keys


def equal_alone(
    info: RowInfo[object], names: Iterable[str], noun: str, one: tuple[int, Key], other: tuple[int, Key]
) -> InvalidValue | None:
    """Give the error of a key that may be equal to another one to Python alone; None where both surely are one.

    What is found for the one would be given for the other.

    Args:
        info: whose attributes ``names`` are those that the keys are values of.
        noun: what an item is called that has a key.
        one, other: their places in the input, and the keys.
    """
    kinds = (info.columns[name].type for name in names)
    if all(map(are_one, kinds, one[1], other[1])):
        return None
    why = f"Python holds its key to be equal to that of the one at index {other[0]}, and the database may not"
    return InvalidValue.at(one[0], f"{why}: take them one by one", noun)


def keep_hashable(key: Key, noun: str, place: int) -> None:
    """Refuse a key that Python cannot hash, and so cannot tell from the others of a batch.

    Raises:
        InvalidValue: a part is a list or the like.
    """
    for part in key:
        try:
            hash(part)
        except TypeError:
            given = f"the key is or holds a {kind_of(part)}, by which rows cannot be told apart"
            raise InvalidValue.at(place, f"{given}: give what Python can hash", noun) from None


def distinct_keys(info: RowInfo[object], ids: Sequence[object]) -> list[Key]:
    """Give ids as key tuples.

    Raises:
        InvalidValue: one is no key of the row, or stands twice; the message gives the places.
    """
    if _are_plain(info, ids):
        return list(zip(ids, strict=True))
    places: dict[Key, tuple[int, Key]] = {}
    for place, key in enumerate(batch_keys(info, ids)):
        keep_once(info, places, key, place)
    return list(places)


def keep_once(info: RowInfo[object], places: dict[Key, tuple[int, Key]], key: Key, place: int) -> None:
    """Note at which place of a batch a key stands.

    Raises:
        InvalidValue: it stands before that already, or one that Python takes for it; the message gives both.
    """
    other = places.setdefault(key, (place, key))
    if other[0] != place:
        twice = InvalidValue(f"the id at index {place} stands at index {other[0]} already: give each id once")
        twice.index = place
        raise equal_alone(info, info.primary_key, "id", (place, key), other) or twice


def key_twice(place: int, first: int, noun: str = "id") -> InvalidValue:
    """Give the error of an item whose key is that of an earlier one to the database, whatever it is to Python.

    Args:
        place, first: their places in the input.
        noun: what an item is called.
    """
    failure = InvalidValue(f"the {noun} at index {place} has the key of the one at index {first}: give each key once")
    failure.index = place
    return failure


def _are_plain(info: RowInfo[object], ids: Sequence[object]) -> bool:
    """Say whether these surely are keys, each there once: one look at all together, for keys of one column."""
    quick = column_type(info.columns[info.primary_key[0]].type).quick
    is_loose = len(info.primary_key) > 1 or info.has_rounded_key or info.moments
    if is_loose or quick.fits is None or set(map(type, ids)) != {quick.exact}:
        return False
    return quick.fits(ids) and len(set(ids)) == len(ids)


def in_order(keys: Sequence[Key]) -> list[Key]:
    """Give keys in an order that is the same for all batches: by their values, where those have one."""
    return [keys[place] for place in places_in_order(list(zip(*keys, strict=True)))]


def places_in_order(columns: Sequence[Sequence[Any]]) -> Sequence[int]:
    """Give the places of keys in that order, by the columns of their parts.

    NULL comes last, and text goes by its letters before their case.
    """
    places = range(len(columns[0]) if columns else 0)
    try:
        ranks = [_ranked(column) for column in columns]
        keys = partial(iter, ranks[0]) if len(ranks) == 1 else partial(zip, *ranks, strict=True)
        if not any(map(lt, islice(keys(), 1, None), keys())):
            return places
        order: Sequence[int] = places
        for column in reversed(ranks):  # comparing plain values twice is faster than tuples of them once
            order = sorted(order, key=column.__getitem__)
    except Exception:  # noqa: BLE001 - values that have no order may say so by any error
        rows = list(zip(*columns, strict=True))
        order = sorted(places, key=lambda place: repr(rows[place]))
    return places if all(map(eq, order, places)) else order


def _ranked(column: Sequence[Any]) -> Sequence[Any]:
    """Give what one column of keys is ordered by."""
    kinds = set(map(type, column))
    if kinds == {str}:
        text = "".join(column)
        if text == text.casefold():
            return column
        return list(zip(map(str.casefold, column), column, strict=True))
    if type(None) in kinds or any(issubclass(kind, str) for kind in kinds):
        # Columns that do not tell cases apart hold "A" and "a" to be one key.
        return [(part is None, (part.casefold(), part) if isinstance(part, str) else part) for part in column]
    return column


def key_chunks(
    keys: Sequence[Key], dialect: Dialect, columns: Sequence[ColumnElement[Any]] = ()
) -> Iterator[Sequence[Key]]:
    """Cut keys of some columns into what one statement takes: all of them where its parameters are arrays."""
    arrays = dialect.name == "postgresql" and _fit_arrays(columns, dialect)
    size = len(keys) if arrays else SQLITE_PARAMETERS // max(len(keys[0]) if keys else 1, 1)
    for start in range(0, len(keys), max(size, 1)):
        yield keys[start : start + size]


def keys_condition(info: RowInfo[object], keys: Sequence[Key], dialect: Dialect) -> ColumnElement[bool]:
    """Give the condition that a row's key is one of these."""
    return columns_condition([attribute.expression for attribute in info.key_attributes], keys, dialect)


def columns_condition(
    columns: Sequence[ColumnElement[Any]], keys: Sequence[Key], dialect: Dialect
) -> ColumnElement[bool]:
    """Give the condition that the values of some columns, together, are one of these keys."""
    if dialect.name == "postgresql" and _fit_arrays(columns, dialect):
        return _among(columns, keys)
    if len(columns) == 1:
        alone = bindparam(PARAMETER, [key[0] for key in keys], columns[0].type, expanding=True, unique=True)
        return columns[0].in_(alone)
    if any(has_sql(one.type, dialect) for one in columns):  # which SQLAlchemy leaves out of a list of tuples
        named = (column(key_name(place), one.type) for place, one in enumerate(columns))
        given = values(*named, name=_NAME).data(list(keys))
        return tuple_(*columns).in_(select(given.cte(_NAME)))
    return tuple_(*columns).in_([tuple(key) for key in keys])


def _among(columns: Sequence[ColumnElement[Any]], keys: Sequence[Key]) -> ColumnElement[bool]:
    """Give the condition by arrays; what all keys have in common is compared by itself, and needs no table of keys."""
    common = shared_parts(keys)
    rest = [place for place in range(len(columns)) if place not in common]
    if len(rest) > 1:
        common, rest = [], list(range(len(columns)))
    same = [
        columns[place] == bindparam(PARAMETER, keys[0][place], columns[place].type, unique=True) for place in common
    ]
    varied = [columns[place] for place in rest]
    arrays = [array_of(columns[place], [key[place] for key in keys]) for place in rest]
    return and_(*same, in_arrays(varied, arrays)) if rest else and_(*same)


_SAME_TO_DATABASE: Final = {str, int, bool, bytes, UUID, date}


def shared_parts(keys: Sequence[Key]) -> list[int]:
    """Give the places of what all keys have in common: one value, also to the database."""
    if not keys or len(keys[0]) == 1:
        return []
    parts = enumerate(zip(*keys, strict=True))
    return [place for place, part in parts if set(map(type, part)) <= _SAME_TO_DATABASE and len(set(part)) == 1]


def _fit_arrays(columns: Sequence[ColumnElement[Any]], dialect: Dialect) -> bool:
    return all(fits_array(one.type, dialect) and _is_tellable(one.type) for one in columns)


def array_of(given: ColumnElement[Any], values: Sequence[object]) -> Any:
    """Give the values of one column as a single array parameter of the column's type."""
    return about_all(bindparam(PARAMETER, list(values), type_=ArrayOf(given.type), unique=True), given)


def in_arrays(columns: Sequence[ColumnElement[Any]], arrays: Sequence[Any]) -> ColumnElement[bool]:
    """Give the condition that the values of some columns, together, stand at one place of as many arrays."""
    if len(arrays) == 1:
        return columns[0] == any_(arrays[0])
    names = [key_name(i) for i in range(len(arrays))]
    parts: list[Any] = [column(name) for name in names]
    given = func.unnest(*arrays).table_valued(*parts).render_derived(name=_NAME)
    return tuple_(*columns).in_(select(*(given.c[name] for name in names[:-1]), dear(given.c[names[-1]])))


def dear(key: ColumnElement[Any]) -> ColumnElement[Any]:
    """Give a value of a table of keys so that the planner thinks it dear to work out, which it is not.

    Where the planner takes the other table for one of hardly a row, it would compare each of its rows with each key.
    It counts the value once for each such pair, but once for each key where it hashes the keys or looks each up.
    """
    series = func.generate_series(literal_column("1"), literal_column("100"))
    numbers = series.table_valued(sql_name("number")).render_derived(name=sql_name("numbers"))
    never = select(key).select_from(numbers).correlate_except(numbers).offset(literal_column("100")).scalar_subquery()
    return case((key.is_(None), never), else_=key)
