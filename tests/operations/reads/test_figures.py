"""Figures over columns whose values a type of the team's makes, and fields that are of another type than theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, make_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, NewType

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, create_model
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column

from columns import Cents
from rowsmith import InvalidValue, MappingError, Repository, Spec, avg, count, max_, min_, sum_
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class LineRow(Base):
    __tablename__ = "figure_lines"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    price: Mapped[Decimal] = mapped_column(Cents)
    rebate: Mapped[Decimal | None] = mapped_column(Cents)
    took: Mapped[timedelta | None]
    seats: Mapped[int] = mapped_column()
    size: Mapped[float] = mapped_column(default=1.5e-12)
    rate: Mapped[Decimal] = mapped_column(sa.Numeric(8, 2), default=Decimal("2.5"))
    paid_at: Mapped[datetime | None] = mapped_column(sa.DateTime(True))
    due: Mapped[date | None]
    double: Mapped[int] = column_property(seats * 2)


@dataclass(frozen=True)
class LineData:
    id: int
    price: Decimal


@dataclass(frozen=True)
class LineCreate(Spec[LineRow]):
    price: Decimal
    took: timedelta
    seats: int
    tenant: str = "a"


class Lines(Repository[LineRow, LineData, int]):
    pass


class Priced(BaseModel):
    most: Annotated[Decimal | None, max_(LineRow.price)]


Seats = NewType("Seats", int)


@pytest.fixture
async def lines(any_tables: WithTables) -> AsyncIterator[Lines]:
    async with any_tables(LineRow) as db:
        made = Lines(db)
        await made.batch_create(
            [LineCreate(Decimal("9.99"), timedelta(hours=1), 2), LineCreate(Decimal("0.01"), timedelta(hours=2), 3)]
        )
        yield made


def one(annotation: Any) -> type[Any]:
    """Give a data class of one figure."""
    return make_dataclass("Figure", [("value", annotation)], frozen=True)


COARSE = sa.func.coalesce(LineRow.price, None, type_=Cents())


@pytest.mark.parametrize(
    "annotation, value",
    [
        (Annotated[Decimal | None, max_(LineRow.price)], Decimal("9.99")),
        (Annotated[Decimal | None, min_(LineRow.price)], Decimal("0.01")),
        (Annotated[Decimal, sum_(LineRow.price)], Decimal(10)),
        (Annotated[Decimal | None, sum_(LineRow.price)], Decimal(10)),
        (Annotated[Decimal, sum_(LineRow.rebate)], Decimal(0)),
        (Annotated[Decimal | None, avg(LineRow.price)], Decimal(5)),
        (Annotated[Any, avg(LineRow.price)], Decimal(5)),
        (Annotated[Decimal | None, max_(COARSE)], Decimal("9.99")),
        (Annotated[Decimal | None, max_(LineRow.price).filter(LineRow.seats == 3)], Decimal("0.01")),
        (Annotated[int, sum_(LineRow.seats)], 5),
        (Annotated[Seats, sum_(LineRow.seats)], 5),
        (Annotated[Seats | None, max_(LineRow.seats)], 3),
        (Annotated[float | None, avg(LineRow.seats)], 2.5),
        (Annotated[int | float, sum_(LineRow.seats)], 5.0),
        (Annotated[timedelta | None, max_(LineRow.took)], timedelta(hours=2)),
        (Annotated[float | None, max_(LineRow.size)], 1.5e-12),
        (Annotated[float, sum_(LineRow.rate)], 5.0),
        (Annotated[Decimal, sum_(LineRow.rate)], Decimal("5.00")),
        (Annotated[Decimal | None, avg(LineRow.seats)], Decimal("2.5")),
        (Annotated[Decimal, sum_(LineRow.seats)], Decimal(5)),
        (Annotated[Decimal | None, max_(LineRow.seats)], Decimal(3)),
        (Annotated[Decimal | None, max_(LineRow.rate)], Decimal("2.50")),
        (Annotated[Seats, count()], 2),
    ],
)
async def test_a_figure_is_what_the_columns_values_are(lines: Lines, annotation: Any, value: Any) -> None:
    """Whatever the field says of its type: nobody sees what is stored."""
    [found] = await lines.aggregate(into=one(annotation))
    assert (found.value, type(found.value)) == (value, type(value))
    [grouped] = await lines.aggregate(
        into=make_dataclass("Grouped", [("tenant", str), ("value", annotation)], frozen=True), group_by=[LineRow.tenant]
    )
    assert grouped.value == value


async def test_a_figure_of_a_model(lines: Lines) -> None:
    """It is held against the field like that of a data class, though pydantic itself would take more."""
    assert await lines.aggregate(into=Priced) == [Priced(most=Decimal("9.99"))]
    for annotation, complaint in (
        (Annotated[int | None, max_(LineRow.rate)], "write Decimal"),
        (Annotated[Decimal | None, max_(LineRow.size)], "write float"),
        (Annotated[int, sum_(LineRow.size)], "write float"),
        (Annotated[int | None, avg(LineRow.seats)], "write float or Decimal"),
        (Annotated[bool, count()], "write int"),
        (Annotated[date | None, max_(LineRow.paid_at)], "takes no datetime, .*: write datetime"),
        (Annotated[time | None, min_(LineRow.due)], "takes no date, .*: write date"),
    ):
        with pytest.raises(MappingError, match=complaint):
            await lines.aggregate(into=create_model("Figure", value=(annotation, ...)))


DURATIONS = [
    (Annotated[timedelta, sum_(LineRow.took)], timedelta(hours=3)),
    (Annotated[timedelta, sum_(LineRow.took).filter(LineRow.seats > 9)], timedelta()),
    (Annotated[timedelta | None, avg(LineRow.took)], timedelta(hours=1.5)),
]


@pytest.mark.parametrize("annotation, value", DURATIONS)
async def test_figures_of_durations(lines: Lines, annotation: Any, value: timedelta) -> None:
    """SQLite keeps them as points in time, of which there is no sum: that is said."""
    if lines.db.engine.dialect.name == "sqlite":
        with pytest.raises(MappingError, match=r"SQLite has no (sum|avg) of durations"):
            await lines.aggregate(into=one(annotation))
    else:
        [found] = await lines.aggregate(into=one(annotation))
        assert found.value == value


@pytest.mark.parametrize(
    "annotation, complaint",
    [
        (Annotated[str | None, max_(LineRow.seats)], r"Figure\.value .* and the column gives int: write int"),
        (Annotated[bool | None, max_(LineRow.seats)], "and the column gives int"),
        (Annotated[timedelta | None, avg(LineRow.seats)], "and the column gives int"),
        (Annotated[int | None, max_(LineRow.tenant)], "and the column gives str: write str"),
        (Annotated[float | None, max_(LineRow.took)], "and the column gives timedelta"),
        (Annotated[str, sum_(LineRow.seats)], "and the column gives int"),
        (Annotated[str, count()], "and the column gives int: write int"),
        (Annotated[Decimal, count()], "and the column gives int: write int"),
        (Annotated[bool, count()], "and the column gives int: write int"),
        (Annotated[int | None, avg(LineRow.seats)], "is int, and a mean would be rounded: write float or Decimal"),
        (Annotated[int | None, max_(LineRow.rate)], "and the column gives Decimal: write Decimal"),
        (Annotated[int, sum_(LineRow.rate)], "and the column gives Decimal: write Decimal"),
        (Annotated[int | None, max_(LineRow.size)], "and the column gives float: write float"),
        (Annotated[Decimal | None, max_(LineRow.size)], "and the column gives float: write float"),
        (Annotated[Decimal | None, avg(LineRow.size)], "and the column gives float: write float"),
        (Annotated[date | None, max_(LineRow.paid_at)], "and the column gives datetime: write datetime"),
        (Annotated[time | None, max_(LineRow.paid_at)], "and the column gives datetime: write datetime"),
        (Annotated[datetime | None, min_(LineRow.due)], "and the column gives date: write date"),
    ],
)
async def test_a_field_of_another_type_is_refused(lines: Lines, annotation: Any, complaint: str) -> None:
    """Before anything is sent: its value would be no such thing, or rounded, or the database could not make it one."""
    with pytest.raises(MappingError, match=complaint):
        await lines.aggregate(into=one(annotation))


@dataclass(frozen=True)
class ByDouble:
    double: int
    lines: Annotated[int, count()]


async def test_a_group_by_a_column_property(lines: Lines) -> None:
    assert await lines.aggregate(into=ByDouble, group_by=[LineRow.double]) == [ByDouble(4, 1), ByDouble(6, 1)]


async def test_money_is_exact_on_sqlite_too(lines: Lines) -> None:
    """By the digits that the column keeps, as the rows themselves are read."""
    async with lines.db.begin_session() as db_sess:
        await db_sess.execute(sa.update(LineRow).values(rate=Decimal("123456.91")))
    [most] = await lines.aggregate(into=one(Annotated[Decimal | None, max_(LineRow.rate)]))
    [total] = await lines.aggregate(into=one(Annotated[Decimal, sum_(LineRow.rate)]))
    assert (most.value, total.value) == (Decimal("123456.91"), Decimal("246913.82"))


class WideRow(Base):
    __tablename__ = "figure_wides"

    id: Mapped[int] = mapped_column(primary_key=True)
    wide: Mapped[int] = mapped_column(sa.BigInteger)


@dataclass(frozen=True)
class WideCreate(Spec[WideRow]):
    wide: int


@dataclass(frozen=True)
class WideData:
    id: int
    wide: int


class Wides(Repository[WideRow, WideData, int]): ...


@pytest.mark.parametrize("of", [WideRow.wide, WideRow.wide * 2, WideRow.wide + WideRow.wide, WideRow.wide * -2])
@pytest.mark.parametrize("figure", [sum_, max_, min_])
@pytest.mark.parametrize("is_grouped", [True, False])
async def test_a_whole_number_past_64_bits_is_an_error(
    any_tables: WithTables, of: Any, figure: Any, is_grouped: bool
) -> None:
    """None that fits is given in its place, which SQLite would do."""
    async with any_tables(WideRow) as db:
        wides = Wides(db)
        await wides.batch_create([WideCreate(2**62 + 5), WideCreate(2**62 + 5)])
        fields: list[Any] = [("value", Annotated[int | None, figure(of)])]
        key = [("wide", int)] if is_grouped else []
        into, group_by = make_dataclass("Wide", [*key, *fields], frozen=True), [WideRow.wide] if is_grouped else []
        if of is WideRow.wide and figure is not sum_:
            [found] = await wides.aggregate(into=into, group_by=group_by)
            assert found.value == 2**62 + 5
            return
        with pytest.raises(InvalidValue, match=r"64 bits|declare a wider one"):
            await wides.aggregate(into=into, group_by=group_by)


async def test_whole_numbers_that_fit_are_exact(any_tables: WithTables) -> None:
    """Up to the last one; what a function gives as a float (SQLite's round) is an integer all the same."""
    async with any_tables(WideRow) as db:
        wides = Wides(db)
        assert (await wides.aggregate(into=one(Annotated[int, sum_(WideRow.wide * 2)])))[0].value == 0
        await wides.batch_create([WideCreate(2**62), WideCreate(2**62 - 1)])
        expected = {sum_(WideRow.wide): 2**63 - 1, max_(WideRow.wide - 1): 2**62 - 1, min_(WideRow.wide - 2**62): -1}
        rounded = sa.func.round(WideRow.id, type_=sa.Integer)
        for marker, value in {**expected, sum_(rounded): 3, max_(rounded): 2}.items():
            [found] = await wides.aggregate(into=one(Annotated[int | None, marker]))
            assert (found.value, type(found.value)) == (value, int)


async def test_what_the_error_says_to_write_is_taken(any_tables: WithTables) -> None:
    async with any_tables(WideRow) as db:
        wides = Wides(db)
        await wides.batch_create([WideCreate(2**62), WideCreate(2**62)])
        [found] = await wides.aggregate(into=one(Annotated[float, sum_(sa.cast(WideRow.wide, sa.Float))]))
        assert found.value == 2.0**63
