"""JSON, and arrays of any other type."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, cast

from sqlalchemy import types as sqltypes
from sqlalchemy.dialects import postgresql

from rowsmith.mapping.types.column_type import (
    NONE,
    Beside,
    Check,
    ColumnType,
    Comparison,
    Family,
    InCursor,
    Quick,
    Row,
    Take,
    Travel,
    is_walked,
    never,
)
from rowsmith.mapping.types.numbers import finite_complaint
from rowsmith.mapping.types.text import text_complaint
from rowsmith.mapping.types.unknown import by_python_type

JSON_DEPTH: Final = 200
"""How deep JSON may be nested; far below what PostgreSQL's and Python's parsers take."""


def json_complaint(value: object) -> str | None:
    """Say why ``jsonb`` cannot hold this value: not JSON, NaN, a NUL character, too deep."""
    waiting = [(value, 0)]  # no calls in calls, which a deep document in a deep stack would have too many of
    while waiting:
        value, depth = waiting.pop()
        complaint = f"holds JSON nested at most {JSON_DEPTH} deep" if depth > JSON_DEPTH else _own_complaint(value)
        if complaint is not None:
            return complaint
        given = cast("Any", value)
        members = given.values() if isinstance(value, dict) else given if isinstance(value, list | tuple) else ()
        waiting += [(member, depth + 1) for member in reversed(members)]
    return None


def _own_complaint(value: Any) -> str | None:
    """Say what is wrong with a value itself, whatever its members are."""
    match value:
        case None | bool() | int() | list() | tuple():
            return None
        case str():
            return text_complaint(value)
        case float():
            return finite_complaint(value)
        case dict():
            keys: list[Any] = list(cast("Any", value))
            if not all(isinstance(key, str) for key in keys):
                return "holds JSON: the keys of an object are text"
            return _first(map(text_complaint, keys))
        case _:
            return "holds JSON: give dicts, lists, text, numbers, booleans or None"


def _first(complaints: Iterable[str | None]) -> str | None:
    return next((complaint for complaint in complaints if complaint), None)


def _json(declared: sqltypes.JSON) -> ColumnType:
    alone = None if isinstance(declared, postgresql.JSONB) else "json"
    return ColumnType(
        wraps=None,
        check=_check_json,
        operand=_check_json,
        taken=_taken_json,
        quick=Quick(NONE, never),
        echo=None,  # tuples come back as lists
        travel=Travel.JSON,
        cursor=by_python_type(declared),  # of a scalar; objects and arrays have no form there
        gives=(dict, list, str, int, float, bool),
        compared=Comparison.DOCUMENT,
        beside=Beside(family=Family.DOCUMENTS, alone=alone, is_ordered=alone is None, splits=True),
        is_condition=False,
    )


def _check_json(value: object) -> str | None:
    return None if value is sqltypes.JSON.NULL else json_complaint(value)


def _taken_json(value: Any) -> Any:
    """Take for a document what JSON writes as one: numbers that are keys as text, unless two keys would be one.

    What else there is in it the engine's ``json_serializer`` may know.
    """
    given = value
    match value:
        case dict():
            taken = {_as_key(key): _taken_json(member) for key, member in given.items()}
            return taken if len(taken) == len(given) else given
        case list() | tuple():
            return list(map(_taken_json, given))
        case str() | int() | float():
            return value
        case _:
            return None


def _as_key(key: object) -> str:
    return json.dumps(key) if key is None or isinstance(key, int | float) else str(key)


def array_row(column_type: Callable[[Any], ColumnType]) -> Row:
    """Give the row of arrays, whose items are of types that the table knows."""

    def array(declared: sqltypes.ARRAY[Any]) -> ColumnType:
        item = column_type(declared.item_type)
        check = _array_check(item.check, holds_lists=item.compared is Comparison.DOCUMENT)
        wider, keeps = item.beside.wider, item.beside.keeps
        if not type(declared).__module__.startswith("sqlalchemy."):
            wider = keeps = None  # a team's own may be made of something else
        if keeps is not None:
            keeps = _array_check(keeps, holds_lists=False)
        if item.beside.is_of_single_precision:
            wider = None  # PostgreSQL compares arrays of one type alone
        if wider is not None:
            wider = type(declared)(wider, declared.as_tuple, declared.dimensions, declared.zero_indexes)
        return ColumnType(
            wraps=None,
            check=check,
            operand=check if keeps is None or item.beside.is_of_single_precision else keeps,
            taken=_taken_items(item.taken, holds_lists=item.compared is Comparison.DOCUMENT),
            quick=Quick(NONE, never),
            echo=None,
            travel=Travel.ARRAY,
            cursor=InCursor(list, lambda _: False),
            gives=(tuple if declared.as_tuple else list,),
            compared=Comparison.ARRAY,
            beside=Beside(
                family=Family.ARRAYS,
                is_ordered=item.beside.is_ordered,
                wider=wider,
                keeps=keeps,
                splits=item.beside.splits,
                one=item.beside.one and _taken_items(item.beside.one, holds_lists=False),
            ),
            is_condition=False,
        )

    return sqltypes.ARRAY, array


def _taken_items(take: Take, *, holds_lists: bool) -> Take:
    """Give what takes for an array what can be walked through, and each item as its type does."""

    def taken(value: Any) -> Any:
        return list(map(item, value)) if is_walked(value.__class__) else value

    def item(value: Any) -> Any:
        if isinstance(value, (list, tuple)) and not holds_lists:
            return list(map(item, cast("list[Any]", value)))
        return None if value is None else take(value)

    return taken


def _array_check(item: Check, *, holds_lists: bool) -> Check:
    def check(value: object) -> str | None:
        if not isinstance(value, (list, tuple)):
            return "holds arrays: give a list"
        complaint = items_complaint(cast("list[Any]", value), 1)
        if complaint is None and not holds_lists:
            complaint = _shape_complaint(cast("list[Any]", value))
        return complaint and f"is an array that {complaint}"

    def items_complaint(values: Iterable[object], dimension: int) -> str | None:
        if dimension > _DIMENSIONS:
            return f"has at most {_DIMENSIONS} dimensions"
        return _first(map(partial(item_complaint, dimension), values))

    def item_complaint(dimension: int, value: object) -> str | None:
        if isinstance(value, (list, tuple)) and not holds_lists:
            return items_complaint(cast("list[Any]", value), dimension + 1)
        return None if value is None else item(value)

    return check


def _shape_complaint(values: Sequence[object]) -> str | None:
    """Say what PostgreSQL does not have of an array's shape."""
    shape = _shape(values)
    if shape is None:
        return "has parts of several lengths: PostgreSQL has none"
    if len(shape) > 1 and 0 in shape:
        return "has parts without items, which PostgreSQL takes for no parts at all: give []"
    return None


def _shape(values: Sequence[object]) -> tuple[int, ...] | None:
    """Give the length of an array in each of its dimensions; None where its parts are not alike."""
    parts = {_shape(cast("list[Any]", part)) if isinstance(part, (list, tuple)) else () for part in values}
    part = next(iter(parts), ())
    return None if part is None or len(parts) > 1 else (len(values), *part)


_DIMENSIONS: Final = 6  # PostgreSQL's MAXDIM (its ``src/include/utils/array.h``)


ROWS: Final[tuple[Row, ...]] = ((sqltypes.JSON, _json),)
