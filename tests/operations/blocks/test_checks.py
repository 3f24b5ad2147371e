"""Checking whole columns: never another answer than checking value by value."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from rowsmith import InvalidValue
from rowsmith.mapping import row_info
from rowsmith.mapping.types import column_type
from rowsmith.operations.blocks.checks import check_column


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Anything(TypeDecorator[Any]):
    impl = sa.String
    cache_ok = True


class Base(DeclarativeBase):
    pass


class KindsRow(Base):
    __tablename__ = "kinds"
    id: Mapped[int] = mapped_column(primary_key=True)
    small: Mapped[Any] = mapped_column(sa.SmallInteger)
    normal: Mapped[Any] = mapped_column(sa.Integer)
    big: Mapped[Any] = mapped_column(sa.BigInteger)
    ratio: Mapped[Any] = mapped_column(sa.Float)
    single: Mapped[Any] = mapped_column(sa.REAL)
    short_ratio: Mapped[Any] = mapped_column(sa.Float(24))
    price: Mapped[Any] = mapped_column(sa.Numeric(5, 2))
    amount: Mapped[Any] = mapped_column(sa.Numeric)
    flag: Mapped[Any] = mapped_column(sa.Boolean)
    text: Mapped[Any] = mapped_column(sa.Text)
    short: Mapped[Any] = mapped_column(sa.String(3))
    colour: Mapped[Any] = mapped_column(sa.Enum(Colour))
    word: Mapped[Any] = mapped_column(sa.Enum("red", "blue", name="word"))
    document: Mapped[Any] = mapped_column(sa.JSON)
    items: Mapped[Any] = mapped_column(sa.ARRAY(sa.Integer))
    key: Mapped[Any] = mapped_column(sa.Uuid)
    text_key: Mapped[Any] = mapped_column(sa.Uuid(as_uuid=False))
    seen_at: Mapped[Any] = mapped_column(sa.DateTime(True))
    local: Mapped[Any] = mapped_column(sa.DateTime(False))
    day: Mapped[Any] = mapped_column(sa.Date)
    clock: Mapped[Any] = mapped_column(sa.Time)
    aware_clock: Mapped[Any] = mapped_column(sa.Time(True))
    span: Mapped[Any] = mapped_column(sa.Interval)
    blob: Mapped[Any] = mapped_column(sa.LargeBinary)
    free: Mapped[Any] = mapped_column(Anything)


INFO = row_info(KindsRow)
EAST, WEST = dt.timezone(dt.timedelta(hours=3)), dt.timezone(dt.timedelta(hours=-3))
ODD = [2**31, -(2**63), 2**63, 0, True, 1.5, float("nan"), float("inf"), "", "abcd", "\x00", "\ud800", "ä", b"x", "red"]
ODD += [Decimal("999.99"), Decimal("999.995"), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("1e400")]
ODD += [
    Colour.RED,
    {"a": 1},
    {1: 2},
    {"a": float("nan")},
    [1],
    (2,),
    ["x"],
    [2**40],
    uuid.UUID(int=1),
    str(uuid.UUID(int=1)),
]
ODD += [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.date(2024, 1, 1), dt.time(1)]
ODD += [dt.datetime.min, dt.datetime.max, dt.datetime.max.replace(tzinfo=dt.UTC), dt.date.min, dt.date.max]
ODD += [dt.datetime.min.replace(tzinfo=EAST), dt.datetime.max.replace(tzinfo=WEST)]
ODD += [dt.datetime.min.replace(tzinfo=WEST), dt.datetime.max.replace(tzinfo=EAST)]
ODD += [0.0, 1e-50, -7e-46, 7.1e-46, 3.4e38, -3.4028235677973366e38, 1e39, Decimal("1e-400"), Decimal("1e-50"), 10**39]
ODD += [dt.time(1, tzinfo=dt.UTC), dt.timedelta(1), object()]
values = st.one_of(st.none(), st.sampled_from(ODD), st.integers(), st.text(max_size=4), st.decimals(), st.floats())


def first_refused(name: str, column: Sequence[Any]) -> int | None:
    check = column_type(INFO.columns[name].type).check
    refused = (index for index, value in enumerate(column) if value is not None and check(value) is not None)
    return next(refused, None)


@given(st.sampled_from(sorted(INFO.columns)), st.lists(values, max_size=6), st.integers(0, 5))
def test_a_column_is_refused_where_one_of_its_values_is(name: str, column: list[Any], first: int) -> None:
    """For every kind of column and any values: refused or not as value by value, at the index of the first one."""
    index = first_refused(name, column)
    if index is None:
        check_column(INFO, name, column, set(map(type, column)), first)
        return
    with pytest.raises(InvalidValue, match=f"index {first + index}: KindsRow.{name} "):
        check_column(INFO, name, column, set(map(type, column)), first)


@given(st.sampled_from(sorted(INFO.columns)), values)
def test_a_column_of_one_value_repeated_is_checked_like_that_value(name: str, value: Any) -> None:
    """The quick look at columns of one type, which the mixed ones above rarely meet, is no more lenient."""
    refused = first_refused(name, [value]) is not None
    try:
        check_column(INFO, name, [value] * 3, {type(value)})
    except InvalidValue:
        assert refused
    else:
        assert not refused


def test_an_expression_is_refused() -> None:
    """SQL has no place in a column of values, not even in one that takes everything."""
    for name in ("text", "free", "items"):
        with pytest.raises(InvalidValue, match=f"index 1: KindsRow.{name} is a SQL expression"):
            check_column(INFO, name, [None, sa.func.now()], {type(None), type(sa.func.now())})
