"""Operators: what each takes and refuses, and the SQL it becomes."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from sqlalchemy import BindParameter, Enum, Float, Integer, Numeric, String, Uuid
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql import visitors

from company import Base, Color, ThingFilter
from rowsmith.errors import InvalidValue
from rowsmith.filters import (
    BoolFilter,
    DateFilter,
    DateTimeFilter,
    EnumFilter,
    Filter,
    JSONFilter,
    NumberFilter,
    PathEquals,
    StringFilter,
    UUIDFilter,
)
from rowsmith.filters.filter import expressions_of

KINDS: list[type[BaseModel]] = [
    *(BoolFilter, DateFilter, DateTimeFilter, EnumFilter[Color], JSONFilter, NumberFilter, StringFilter, UUIDFilter),
]


def sql(tree: Any, dialect: Any = None) -> str:
    """The one condition of a filter, parameters as the dialect writes them."""
    [condition] = expressions_of(ThingFilter.model_validate(tree))
    return str(condition.compile(dialect=dialect or postgresql.asyncpg.dialect()))


def bound(wanted: Filter[Any]) -> list[Any]:
    """What the filter binds."""
    return [value for each in expressions_of(wanted) for value in each.compile().params.values()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_says_something(kind: type[BaseModel]) -> None:
    """A field without operator is refused, and so are an unknown one and null, whatever the operator."""
    for nothing in ({}, {"like": "x"}, *({name: None} for name in kind.model_json_schema()["properties"])):
        with pytest.raises(ValidationError):
            kind.model_validate(nothing)


def test_in_is_spelt_in_in_json_and_in_underscore_in_python() -> None:
    """A reserved word is a name in JSON; Python has the usual spelling, and takes both."""
    assert StringFilter(in_=["a"]) == StringFilter.model_validate_json('{"in": ["a"]}')
    assert StringFilter(**{"in": ["a"]}) == StringFilter(in_=["a"])  # type: ignore[arg-type]
    assert StringFilter(in_=["a"]).model_dump(by_alias=True) == {"in": ["a"]}


@pytest.mark.parametrize(
    "tree, expected",
    [
        ({"text": {"contains": "a"}}, "(filter_things.the_text LIKE $1::VARCHAR)"),
        ({"text": {"i_contains": "a"}}, "(lower(filter_things.the_text) LIKE lower($1::VARCHAR))"),
        ({"text": {"not_contains": "a"}}, "((filter_things.the_text LIKE $1::VARCHAR)) IS NOT true"),
        ({"text": {"not_equals": "a"}}, "filter_things.the_text IS DISTINCT FROM $1::VARCHAR"),
        ({"text": {"i_equals": "a"}}, "lower(filter_things.the_text) = lower($1::VARCHAR)"),
        ({"text": {"in": []}}, "false"),
        ({"text": {"not_in": []}}, "(false) IS NOT true"),
        ({"small": {"between": [1, 2]}}, "filter_things.small BETWEEN $1::INTEGER AND $2::INTEGER"),
        ({"moment": {"is_null": False}}, "filter_things.moment IS NOT NULL"),
    ],
)
def test_operators_on_postgresql(tree: Any, expected: str) -> None:
    """Comparisons are bare where an index can answer, complements mind NULL."""
    assert sql(tree) == expected


@pytest.mark.parametrize(
    "tree, expected",
    [
        ({"text": {"contains": "a"}}, "(instr(filter_things.the_text, ?) > 0)"),
        ({"text": {"starts_with": "a"}}, "(substr(filter_things.the_text, 1, length(?)) = ?)"),
        ({"text": {"not_equals": "a"}}, "filter_things.the_text IS NOT ?"),
        ({"document": {"has_key": "a"}}, "(CASE WHEN (filter_things.document IS NULL) THEN NULL ELSE"),
    ],
)
def test_operators_on_sqlite(tree: Any, expected: str) -> None:
    """SQLite's LIKE ignores case, so text is matched by other means there."""
    assert sql(tree, sqlite.dialect()).startswith(expected)


@pytest.mark.parametrize("place, expected", [("contains", "%{}%"), ("starts_with", "{}%"), ("ends_with", "%{}")])
def test_like_characters_are_literal(place: str, expected: str) -> None:
    """Percent, underscore and backslash are escaped in the pattern."""
    [condition] = expressions_of(ThingFilter.model_validate({"text": {place: "50%_\\"}}))
    [bind] = {bind for bind in visitors.iterate(condition) if isinstance(bind, BindParameter)}
    process = bind.type.dialect_impl(postgresql.asyncpg.dialect()).bind_processor(postgresql.asyncpg.dialect())
    assert process is not None
    assert process(bind.value) == expected.format("50\\%\\_\\\\")


@pytest.mark.parametrize(
    "field, value",
    [
        *(("text", value) for value in ("\x00", "a\x00", "\ud800", "x" * 10_001, 1, True, None, ["a"], b"a")),
        *(("small", value) for value in (True, "x", "", float("nan"), float("inf"), Decimal("sNaN"), "NaN", "1e99999")),
        *(("small", value) for value in (10**2000, Decimal("1e2000"), Decimal("1e-2000"), [1], {}, "Infinity")),
        *(("flag", value) for value in (0, 1, "true", "yes")),
        *(("key", value) for value in ("", "not-a-uuid", "0" * 31, 1)),
        *(("color", value) for value in ("RED", "", 0, "red ")),
        *(("moment", value) for value in ("2024-01-01T00:00:00", 1_700_000_000, "1700000000", "2024-01-01", "", True)),
        *(("moment", value) for value in (dt.datetime(2024, 1, 1), "0001-01-01T00:00:00+14:00")),
        *(("day", value) for value in ("2024-02-30", 19_000, "19000", dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "x")),
    ],
)
def test_odd_values_are_refused(field: str, value: Any) -> None:
    """What no column of the kind can hold is a validation error, as a value, in a list, and in a NOT."""
    for operators in ({"equals": value}, {"in": [value]}, {"not_equals": value}):
        for tree in ({field: operators}, {"NOT": {field: operators}}):
            with pytest.raises(ValidationError):
                ThingFilter.model_validate(tree)


@pytest.mark.parametrize(
    "field, value",
    [
        *(("small", value) for value in (2**31 + 6, -(2**31) - 7, 1.5, "0.5", 10**300)),
        *(("big", value) for value in (2**63 + 6, -(2**63) - 7)),
        *(("price", value) for value in (10**10, "1e11", -(10**10))),
        *(("ratio", value) for value in (10**400, "1e400", "-1e400")),
    ],
)
def test_numbers_beyond_their_column_are_refused(field: str, value: Any) -> None:
    """A number that the column cannot hold is an error naming the column's range, not the value."""
    for operator, given in (("gt", value), ("in", [0, value]), ("between", [0, value])):
        with pytest.raises(InvalidValue, match=f"ThingFilter.{field}") as caught:
            ThingFilter.model_validate({field: {operator: given}}).to_conditions()
        assert str(value) not in str(caught.value)


class LedgerRow(Base):
    __tablename__ = "filter_ledgers"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    amount: Mapped[Decimal] = mapped_column(Numeric)
    weight: Mapped[float] = mapped_column(Float)
    key: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    color: Mapped[str] = mapped_column(String(10))
    shade: Mapped[str] = mapped_column(Enum("red", "green", "blue", "grey", name="filter_shade"))


class LedgerFilter(Filter[LedgerRow]):
    id: NumberFilter | None = None
    amount: NumberFilter | None = None
    weight: NumberFilter | None = None
    key: UUIDFilter | None = None
    color: EnumFilter[Color] | None = None
    shade: EnumFilter[Color] | None = None


@pytest.mark.parametrize(
    "field, value, expected",
    [
        ("id", 3.0, 3),
        ("id", "3", 3),
        ("id", Decimal("3.00"), 3),
        ("amount", 0.1, Decimal("0.1")),
        ("amount", "0.10", Decimal("0.10")),
        ("amount", 7, Decimal(7)),
        ("weight", 1, 1.0),
        ("weight", "0.1", 0.1),
        ("key", "00000000-0000-0000-0000-000000000001", str(uuid.UUID(int=1))),
        ("color", "red", "red"),
        ("shade", Color.GREEN, "green"),
    ],
)
def test_values_are_bound_as_their_column_keeps_them(field: str, value: Any, expected: Any) -> None:
    """Numbers become the column's own kind, exactly; enums kept as text and UUIDs kept as text become text."""
    [found] = bound(LedgerFilter.model_validate({field: {"equals": value}}))
    assert (type(found), found) == (type(expected), expected)


def test_json_numbers_are_exact() -> None:
    """A decimal keeps every digit that its text has."""
    wanted = LedgerFilter.model_validate_json('{"amount": {"equals": "12345678901234567890.123456789"}}')
    assert bound(wanted) == [Decimal("12345678901234567890.123456789")]


def test_moments_are_bound_in_utc() -> None:
    """A point in time is itself in any zone, and in a column of local times its UTC reading."""
    moment = "2024-01-01T12:00:00+02:00"
    assert bound(ThingFilter.model_validate({"moment": {"before": moment}})) == [
        dt.datetime(2024, 1, 1, 10, tzinfo=dt.UTC)
    ]
    assert bound(ThingFilter.model_validate({"naive": {"before": moment}})) == [dt.datetime(2024, 1, 1, 10)]


@pytest.mark.parametrize(
    "operators",
    [
        {"path_equals": {"path": [], "value": 1}},
        {"path_equals": {"path": [-1], "value": 1}},
        {"path_equals": {"path": [True], "value": 1}},
        {"path_equals": {"path": ["a"] * 17, "value": 1}},
        {"path_equals": {"path": ["\x00"], "value": 1}},
        {"path_equals": {"path": ["a"]}},
        {"path_equals": {"path": ["a"], "value": "\x00"}},
        {"path_equals": {"path": ["a"], "value": {"\ud800": 1}}},
        {"path_equals": {"path": ["a"], "value": float("nan")}},
        {"path_equals": {"path": ["a"], "value": [10**5000]}},
        {"path_equals": {"path": ["a"], "value": [0] * 1_001}},
        {"contains": 1},
        {"contains": "a"},
        {"has_key": 1},
        {"has_key": "\ud800"},
    ],
)
def test_json_that_jsonb_cannot_hold_is_refused(operators: Any) -> None:
    """NUL, lone surrogates, NaN, absurd numbers, sizes and paths are validation errors."""
    with pytest.raises(ValidationError):
        JSONFilter.model_validate(operators)


def test_a_path_may_lead_to_null() -> None:
    """JSON's null is a value to look for."""
    assert JSONFilter(path_equals=PathEquals(path=["a"], value=None)).path_equals is not None


def test_statements_are_cached_and_told_apart() -> None:
    """Filters of one shape share SQLAlchemy's cached statement; another place or column does not."""
    keys = [
        expressions_of(ThingFilter.model_validate({"text": {place: text}}))[0]._generate_cache_key()
        for place, text in (("contains", "a"), ("contains", "b"), ("starts_with", "a"), ("i_contains", "a"))
    ]
    assert keys[0] is not None
    assert keys[0].key == keys[1].key
    assert len({key.key for key in keys if key is not None}) == 3


@pytest.mark.parametrize("written", ["2024-01-01T00:00:00.0000019Z", "2024-01-01T00:00:00,000001900Z"])
def test_a_moment_finer_than_the_database_keeps_is_refused(written: str) -> None:
    """It was cut, and another moment than the one asked for was looked for; zeros say nothing."""
    with pytest.raises(ValidationError, match="no more than six digits after the point"):
        DateTimeFilter.model_validate({"equals": written})
    given = DateTimeFilter.model_validate({"equals": "2024-01-01T00:00:00.000001000Z"})
    assert given.equals == dt.datetime(2024, 1, 1, microsecond=1, tzinfo=dt.UTC)
