"""Filters over arrays and JSON documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Generic, TypeAlias, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StrictBool, StrictInt
from sqlalchemy import ColumnElement, Text, and_, bindparam, case, func, literal_column, null, true
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH
from sqlalchemy.types import TypeEngine
from typing_extensions import override

from rowsmith.filters.fields import MAX_VALUES, FieldFilter, Operator, type_argument
from rowsmith.filters.operands import On, Operand, Prepare, as_given, stored, stored_name
from rowsmith.filters.operators import IS_NULL, complement
from rowsmith.filters.scalars import MAX_BITS, checked
from rowsmith.filters.sql import PerBackend, PostgresOnly
from rowsmith.filters.text import SearchText
from rowsmith.mapping.types import Comparison, json_complaint, stored_form

T = TypeVar("T")
_ARRAYS: Final = "an array operator"


def _array(symbol: str) -> Any:
    def compile_(operand: Operand, values: list[Any]) -> ColumnElement[bool]:
        given = bindparam(None, operand.prepare(values), operand.expression.type, unique=True)
        return PostgresOnly(operand.expression.bool_op(symbol)(given), _ARRAYS)

    return compile_


class ArrayFilter(FieldFilter, Generic[T]):
    """Operators on an array field, by the rules of sets: order and repetition do not count (PostgreSQL)."""

    contains: Annotated[
        Annotated[list[T], Field(max_length=MAX_VALUES)] | None,
        Operator(_array("@>"), "The array holds all of these; an empty list is held by every array."),
    ] = None
    not_contains: Annotated[
        Annotated[list[T], Field(max_length=MAX_VALUES)] | None,
        Operator(complement(_array("@>")), "The array lacks one of these, or is null."),
    ] = None
    contained_by: Annotated[
        Annotated[list[T], Field(max_length=MAX_VALUES)] | None,
        Operator(_array("<@"), "The array holds nothing but these."),
    ] = None
    overlaps: Annotated[
        Annotated[list[T], Field(max_length=MAX_VALUES)] | None,
        Operator(_array("&&"), "The array holds at least one of these."),
    ] = None
    not_overlaps: Annotated[
        Annotated[list[T], Field(max_length=MAX_VALUES)] | None,
        Operator(complement(_array("&&")), "The array holds none of these, or is null."),
    ] = None
    is_null: Annotated[StrictBool | None, IS_NULL] = None

    @override
    @classmethod
    def _prepare(cls, declared: TypeEngine[Any], on: On, where: str) -> Prepare | str:
        kind = stored(declared)
        if kind.compared is not Comparison.ARRAY:
            return f"it compares arrays, and the column is {stored_name(declared)}"
        item: TypeEngine[Any] = cast("Any", stored_form(declared)).item_type
        member = type_argument(cls)
        if member is None or not issubclass(member, item.python_type):
            return f"the column is an array of {type(item).__name__}: write ArrayFilter[...] of its type"
        return checked(as_given, kind.check, where)


JSONMember: TypeAlias = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)] | SearchText


def _json_value(value: object) -> Any:
    # Before pydantic looks at it, who would name the place of what is wrong by the keys around it.
    if (complaint := json_complaint(value)) is not None:
        raise ValueError(f"a JSON column {complaint}")
    if _count(value) > MAX_VALUES:
        raise ValueError(f"give JSON of at most {MAX_VALUES} values")
    return value


def _count(value: object) -> int:
    waiting, counted = [value], 0  # no calls in calls, as where its depth is looked at
    while waiting:
        counted += 1
        match member := waiting.pop():
            case int() if member.bit_length() > MAX_BITS:
                raise ValueError("give smaller numbers")
            case tuple():
                raise ValueError("give lists, not tuples")
            case list():
                waiting += cast("Any", member)
            case dict():
                waiting += cast("Any", member).values()
            case _:
                pass
    return counted


JSONDocument: TypeAlias = Annotated[JsonValue, BeforeValidator(_json_value)]
JSONContainer: TypeAlias = Annotated[dict[str, JsonValue] | list[JsonValue], BeforeValidator(_json_value)]


class PathEquals(BaseModel):
    """A place in a JSON document and the value expected there.

    ``path`` names it from the top: keys of objects as text, places in arrays as numbers from 0. ``value`` is
    any JSON value; ``null`` is JSON's null, which a path that leads nowhere does not equal.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    path: Annotated[
        list[JSONMember], Field(min_length=1, max_length=16, description="Keys and places in arrays, from the top.")
    ]
    value: Annotated[JSONDocument, Field(description="Any JSON value; null is JSON's null.")]


def _contains(operand: Operand, value: object) -> ColumnElement[bool]:
    return PostgresOnly(_jsonb(operand).bool_op("@>")(_bound_json(value)), "containment of JSON")


def _has_key(operand: Operand, key: str) -> ColumnElement[bool]:
    document = _jsonb(operand)
    # PostgreSQL's ? finds a text in an array, too.
    has_key = and_(document.bool_op("?")(_text(key)), func.jsonb_typeof(document) == "object")
    if not _is_plain(key):
        return PostgresOnly(has_key, _KEYS)
    kind = func.json_type(operand.expression, _text(_sqlite_path([key])))
    return PerBackend(has_key, case((operand.expression.is_(None), null()), else_=kind.is_not(None)))


def _path_equals(operand: Operand, expected: PathEquals) -> ColumnElement[bool]:
    # Strict, because the lax form, like ->, takes a scalar for an array of itself.
    steps = (f"[{member}]" if isinstance(member, int) else f".{json.dumps(member)}" for member in expected.path)
    place = sql_cast(_text("strict $" + "".join(steps)), JSONPATH())
    # Silent: a place that is not there is NULL, not an error.
    found = func.jsonb_path_query_first(_jsonb(operand), place, literal_column("'{}'::jsonb"), true())
    equal = found.bool_op("=")(_bound_json(expected.value))
    if not all(isinstance(member, int) or _is_plain(member) for member in expected.path):
        return PostgresOnly(equal, _KEYS)
    on_sqlite = _sqlite_equals(operand, expected)
    return PostgresOnly(equal, "equality of JSON documents") if on_sqlite is None else PerBackend(equal, on_sqlite)


def _jsonb(operand: Operand) -> ColumnElement[Any]:
    return sql_cast(operand.expression, JSONB())


def _bound_json(value: object) -> ColumnElement[Any]:
    return sql_cast(_text(json.dumps(value)), JSONB())


def _text(value: str) -> ColumnElement[str]:
    return bindparam(None, value, Text(), unique=True)


_KEYS: Final = "a JSON key with quotes, backslashes or letters beyond ASCII"


def _is_plain(key: str) -> bool:
    """Say whether SQLite finds this key: its paths have no escapes, and it compares keys as they were written."""
    return key.isascii() and key.isprintable() and not {'"', "\\"} & set(key)


def _sqlite_path(path: Sequence[int | str]) -> str:
    """Spell a path in the form of https://www.sqlite.org/json1.html#path_arguments."""
    return "$" + "".join(f"[{member}]" if isinstance(member, int) else f'."{member}"' for member in path)


def _sqlite_equals(operand: Operand, expected: PathEquals) -> ColumnElement[bool] | None:
    place = _text(_sqlite_path(expected.path))
    kind, value = func.json_type(operand.expression, place), func.json_extract(operand.expression, place)
    match expected.value:
        case None:
            return kind == "null"
        case bool():
            return kind == ("true" if expected.value else "false")
        case str():
            return and_(kind == "text", value == expected.value)
        case int() | float() if abs(expected.value) < 2**63:
            return and_(kind.in_(["integer", "real"]), value == expected.value)
        case _:
            return None


_HAS_KEY: Final = Operator(_has_key, "The document is an object with this key, whatever its value.")
_NOT_HAS_KEY: Final = Operator(complement(_has_key), "The document is no object with this key, or the field is null.")


class JSONFilter(FieldFilter):
    """Operators on a JSON field. Containment, and equality of whole objects and arrays, need PostgreSQL."""

    contains: Annotated[
        JSONContainer | None,
        Operator(_contains, "The document contains this object or array, by the rules of PostgreSQL's @>."),
    ] = None
    not_contains: Annotated[
        JSONContainer | None, Operator(complement(_contains), "The document does not contain this, or is null.")
    ] = None
    has_key: Annotated[SearchText | None, _HAS_KEY] = None
    not_has_key: Annotated[SearchText | None, _NOT_HAS_KEY] = None
    path_equals: Annotated[
        PathEquals | None, Operator(_path_equals, "The value at this place of the document is this one.")
    ] = None
    not_path_equals: Annotated[
        PathEquals | None,
        Operator(complement(_path_equals), "The value there is another one, the place is not there, or all is null."),
    ] = None
    is_null: Annotated[StrictBool | None, IS_NULL] = None

    _kind: ClassVar[str] = "JSON documents"
    _comparisons: ClassVar[tuple[Comparison, ...]] = (Comparison.DOCUMENT,)
