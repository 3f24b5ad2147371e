"""JSON, and arrays of any other type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, cast

from sqlalchemy import types as sqltypes

from rowsmith.mapping.types.column_type import (
    NONE,
    Check,
    ColumnType,
    Comparison,
    InCursor,
    Quick,
    Row,
    Travel,
    never,
)
from rowsmith.mapping.types.numbers import finite_complaint
from rowsmith.mapping.types.text import text_complaint
from rowsmith.mapping.types.unknown import by_python_type

JSON_DEPTH: Final = 200
"""How deep JSON may be nested; far below what PostgreSQL's and Python's parsers take."""


def json_complaint(value: Any, depth: int = 0) -> str | None:
    """Say why ``jsonb`` cannot hold this value: not JSON, NaN, a NUL character, too deep."""
    if depth > JSON_DEPTH:
        return f"holds JSON nested at most {JSON_DEPTH} deep"
    match value:
        case None | bool() | int():
            return None
        case str():
            return text_complaint(value)
        case float():
            return finite_complaint(value)
        case list() | tuple():
            return _first(json_complaint(item, depth + 1) for item in cast("list[Any]", value))
        case dict():
            members = cast("Any", value).items()
            return _first(_json_member(key, item, depth + 1) for key, item in members)
        case _:
            return "holds JSON: give dicts, lists, text, numbers, booleans or None"


def _json_member(key: object, value: object, depth: int) -> str | None:
    if not isinstance(key, str):
        return "holds JSON: the keys of an object are text"
    return text_complaint(key) or json_complaint(value, depth)


def _first(complaints: Iterable[str | None]) -> str | None:
    return next((complaint for complaint in complaints if complaint), None)


def _json(declared: sqltypes.JSON) -> ColumnType:
    return ColumnType(
        wraps=None,
        check=_check_json,
        operand=_check_json,
        quick=Quick(NONE, never),
        echo=None,  # tuples come back as lists
        travel=Travel.JSON,
        cursor=by_python_type(declared),  # of a scalar; objects and arrays have no form there
        gives=(dict, list, str, int, float, bool),
        compared=Comparison.DOCUMENT,
    )


def _check_json(value: object) -> str | None:
    return None if value is sqltypes.JSON.NULL else json_complaint(value)


def array_row(column_type: Callable[[Any], ColumnType]) -> Row:
    """Give the row of arrays, whose items are of types that the table knows."""

    def array(declared: sqltypes.ARRAY[Any]) -> ColumnType:
        item = column_type(declared.item_type)
        check = _array_check(item.check, holds_lists=item.compared is Comparison.DOCUMENT)
        return ColumnType(
            wraps=None,
            check=check,
            operand=check,
            quick=Quick(NONE, never),
            echo=None,
            travel=Travel.ARRAY,
            cursor=InCursor(list, lambda _: False),
            gives=(tuple if declared.as_tuple else list,),
            compared=Comparison.ARRAY,
        )

    return sqltypes.ARRAY, array


def _array_check(item: Check, *, holds_lists: bool) -> Check:
    def check(value: object) -> str | None:
        if not isinstance(value, (list, tuple)):
            return "holds arrays: give a list"
        complaint = _first(item(element) for element in _elements(cast("list[Any]", value), nested=not holds_lists))
        return complaint and f"is an array that {complaint}"

    return check


def _elements(values: Iterable[object], *, nested: bool) -> Iterator[Any]:
    """Give the elements that are not NULL, of arrays in arrays too."""
    for value in values:
        if nested and isinstance(value, (list, tuple)):
            yield from _elements(cast("list[Any]", value), nested=True)
        elif value is not None:
            yield value


ROWS: Final[tuple[Row, ...]] = ((sqltypes.JSON, _json),)
