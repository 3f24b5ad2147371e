"""Which returned row is which of the input. Pure.

PostgreSQL promises no order for RETURNING. What tells rows apart is their key, where all of it is known before; or the
one part that the server counts up, for it counts in the order of the SELECT that gives the rows (PostgreSQL's manual,
"INSERT", and SQLAlchemy's, "Insert Many Values", rely on it alike). Other parts of the key say nothing of the order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import literal, type_coerce
from sqlalchemy.engine import Dialect

from rowsmith.mapping import RowInfo
from rowsmith.operations.blocks.echo import echo_of

Rows: TypeAlias = Mapping[str, Sequence[Any]]
"""Rows, as columns by attribute name."""


def counted(info: RowInfo[object], written: Collection[str]) -> str | None:
    """Give the part of the key that the server counts, if it makes one so."""
    missing = (name for name in info.primary_key if name not in written)
    return next((name for name in missing if _is_counted(info, name)), None)


def _is_counted(info: RowInfo[object], name: str) -> bool:
    column = info.columns[name]
    if column.identity is not None:
        return not column.identity.cycle
    return column is info.table.autoincrement_column and column.server_default is None and not _is_sequence(column)


def _is_sequence(column: Any) -> bool:
    default = column.default
    return default is not None and not (default.is_sequence and default.optional)


def maker(info: RowInfo[object], name: str) -> Any:
    """Give the SQL that makes a part of the key; None where it isn't known."""
    column = info.columns[name]
    default: Any = column.default if _is_sequence(column) else column.server_default
    if getattr(default, "is_sequence", False):
        return default.next_value().label(column.key)
    arg = getattr(default, "arg", None)
    if arg is None or callable(arg):
        return None
    return type_coerce(literal(arg) if isinstance(arg, str) else arg, column.type).label(column.key)


def is_exact(info: RowInfo[object], dialect: Dialect) -> bool:
    """Say whether keys surely come back as they were given."""
    types = [info.columns[name].type for name in info.primary_key]
    return all(echo_of(kind) and echo_of(kind.dialect_impl(dialect)) for kind in types)


def places_by_key(info: RowInfo[object], given: Rows, returned: Rows) -> list[int | None]:
    """Give for each row of the input its place among the returned ones; None where it is not among them."""
    keys = list(zip(*(returned[name] for name in info.primary_key), strict=True))
    places = {key: place for place, key in enumerate(keys)}
    return [places.get(key) for key in zip(*(given[name] for name in info.primary_key), strict=True)]


def places_by_count(info: RowInfo[object], name: str, returned: Rows) -> list[int]:
    """Give the places of the returned rows, in the order in which the server counted this column."""
    identity, numbers = info.columns[name].identity, returned[name]
    falls = identity is not None and (identity.increment or 1) < 0
    return sorted(range(len(numbers)), key=numbers.__getitem__, reverse=falls)


def arranged(returned: Rows, places: Sequence[int]) -> Rows:
    """Give the returned rows in another order."""
    if all(place == index for index, place in enumerate(places)):
        return returned
    return {name: [column[place] for place in places] for name, column in returned.items()}


def first_gap(sent: Sequence[object], held: Sequence[object]) -> int | None:
    """Give the first place of what was sent that is left out of what is held; None where they do not follow it."""
    gaps, rest = list[int](), iter(held)
    expected = next(rest, None)
    for place, item in enumerate(sent):
        if item == expected:
            expected = next(rest, None)
        else:
            gaps.append(place)
    return gaps[0] if gaps and len(gaps) + len(held) == len(sent) else None
