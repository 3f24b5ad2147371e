"""Keys that the database holds to be equal and Python does not: a CHAR's blanks, letters that a type folds. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Integer, Select, collate, column, func, select
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

from rowsmith.conditions import limited
from rowsmith.mapping import RowInfo
from rowsmith.mapping.types import column_type
from rowsmith.names import sql_name
from rowsmith.operations.arrays.given import Parameter, given_values
from rowsmith.operations.arrays.keys import SQLITE_PARAMETERS, Key, array_of, key_name
from rowsmith.operations.arrays.unnest import PLACE
from rowsmith.operations.arrays.wire import fits_array

NUMBER = sql_name("number")


def are_exact(columns: Sequence[ColumnElement[Any]], dialect: Dialect) -> bool:
    """Say whether values of these columns are equal in the database where they are in Python, and nowhere else."""
    return all(_is_exact(column.type) and _is_exact(column.type.dialect_impl(dialect)) for column in columns)


def _is_exact(kind: object) -> bool:
    record = column_type(kind)
    return record.echo is not None and not record.beside.folds


def as_read(columns: Sequence[ColumnElement[Any]], key: Key, dialect: Dialect) -> Key:
    """Give a key as the types of its columns would read it, had it been stored; as it is where they cannot say."""
    try:
        return tuple(
            _read_back(one.type.dialect_impl(dialect), part, dialect) for one, part in zip(columns, key, strict=True)
        )
    except Exception:  # noqa: BLE001 - a type may raise anything: the database is asked then
        return key


def as_told(info: RowInfo[object], values: Mapping[str, object], dialect: Dialect) -> Mapping[str, object]:
    """Give values of attributes as they are read once they are stored: a team's type may bind one and read another."""
    if info.bound.isdisjoint(values):
        return values
    return {
        name: as_read([info.columns[name]], (value,), dialect)[0] if name in info.bound else value
        for name, value in values.items()
    }


def _read_back(kind: TypeEngine[Any], value: object, dialect: Dialect) -> Any:
    bind, read = kind.bind_processor(dialect), kind.result_processor(dialect, None)
    stored = value if bind is None else bind(value)
    return stored if read is None else read(stored)


def comparisons(
    columns: Sequence[ColumnElement[Any]], given: Sequence[Key], stored: Sequence[Key], dialect: Dialect
) -> Iterator[Select[*tuple[Any, ...]]]:
    """Give the SELECTs of which of the given keys of some columns are which of the stored ones, by their places."""
    arrays = dialect.name == "postgresql" and all(fits_array(column.type, dialect) for column in columns)
    table = _unnested if arrays else _listed
    size = max(len(given), len(stored)) if arrays else SQLITE_PARAMETERS // (2 * (len(columns) + 1))
    for first in range(0, len(given), size):
        for second in range(0, len(stored), size):
            left = table(sql_name("given"), columns, given[first : first + size], dialect)
            right = table(sql_name("stored"), columns, stored[second : second + size], dialect)
            places = select(left.c[PLACE] + first, right.c[PLACE] + second)
            equal = (
                collated(left.c[key_name(part)], one.type) == collated(right.c[key_name(part)], one.type)
                for part, one in enumerate(columns)
            )
            yield limited(places, *equal)


def found_by(
    columns: Sequence[ColumnElement[Any]], given: Sequence[Key], dialect: Dialect
) -> Iterator[Select[*tuple[Any, ...]]]:
    """Give the SELECTs of the places of those given keys by which rows are found, each with its row's own key."""
    arrays = dialect.name == "postgresql" and all(fits_array(column.type, dialect) for column in columns)
    size = len(given) if arrays else SQLITE_PARAMETERS // (len(columns) + 1)
    for first in range(0, len(given), size):
        chunk = given[first : first + size]
        keys = (_unnested if arrays else _listed)(sql_name("given"), columns, chunk, dialect)
        equal = (one == keys.c[key_name(part)] for part, one in enumerate(columns))
        yield limited(select(keys.c[PLACE] + first, *columns), *equal)


def collated(key: ColumnElement[Any], kind: object) -> ColumnElement[Any]:
    """Have values compared, and put in order, as those of the column itself are."""
    collation = getattr(kind, "collation", None)
    return key if collation is None else collate(key, collation)


def _unnested(name: str, columns: Sequence[ColumnElement[Any]], keys: Sequence[Key], dialect: Dialect) -> FromClause:
    arrays = [array_of(one, [key[part] for key in keys]) for part, one in enumerate(columns)]
    parts: list[Any] = [column(key_name(part), one.type) for part, one in enumerate(columns)]
    given = func.unnest(*arrays).table_valued(*parts, with_ordinality=NUMBER).render_derived(name=name)
    # A subquery, so that the number is the place, counted from nought, as in the other form.
    chosen: list[Any] = [*(given.c[part.name] for part in parts), (given.c[NUMBER] - 1).label(PLACE)]
    return select(*chosen).subquery(f"{name}_keys")


def _listed(name: str, columns: Sequence[ColumnElement[Any]], keys: Sequence[Key], dialect: Dialect) -> FromClause:
    parts = [Parameter(key_name(part), one.type, [key[part] for key in keys], one) for part, one in enumerate(columns)]
    return given_values([Parameter(PLACE, Integer(), range(len(keys))), *parts], dialect, name)
