"""A value is compared as what it is, however a column rounds what is written: no row is found, sent or lost by that."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    Condition,
    CursorBackwardPagination,
    CursorForwardPagination,
    EntityAlreadyExists,
    InvalidValue,
    NoPagination,
    OptionalState,
    Patch,
    Repository,
    ScopeMismatch,
    SearchScope,
    Spec,
)
from rowsmith.filters import Filter, NumberFilter
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class PriceRow(Base):
    __tablename__ = "prices"

    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[Decimal] = mapped_column(sa.Numeric(10, 2))
    lasts: Mapped[dt.timedelta] = mapped_column(
        sa.Interval(second_precision=0), default=lambda: dt.timedelta(seconds=1)
    )


class Bare(sa.TypeDecorator[Decimal]):
    """Says nothing of its own about values."""

    impl = sa.Numeric(10, 2)
    cache_ok = True


class Own(sa.Numeric[Any]):
    """A team's own class of numbers."""

    cache_ok = True


class KindsRow(Base):
    __tablename__ = "kinds_of_prices"

    id: Mapped[int] = mapped_column(primary_key=True)
    bare: Mapped[Decimal] = mapped_column(Bare)
    own: Mapped[Decimal] = mapped_column(Own(10, 2))
    varied: Mapped[Decimal] = mapped_column(sa.Numeric(10, 2).with_variant(sa.Numeric(10, 4), "sqlite"))


class TimesRow(Base):
    """What PostgreSQL alone has."""

    __tablename__ = "times"

    id: Mapped[int] = mapped_column(primary_key=True)
    prices: Mapped[list[Decimal]] = mapped_column(postgresql.ARRAY(sa.Numeric(10, 2)))
    at: Mapped[dt.datetime] = mapped_column(postgresql.TIMESTAMP(precision=0))
    daily: Mapped[dt.time] = mapped_column(postgresql.TIME(precision=0))
    lasts: Mapped[dt.timedelta] = mapped_column(postgresql.INTERVAL(precision=0))


class KeyRow(Base):
    __tablename__ = "price_keys"

    price: Mapped[Decimal] = mapped_column(sa.Numeric(10, 2), primary_key=True)
    note: Mapped[str]


class RealRow(Base):
    __tablename__ = "real_keys"

    real: Mapped[float] = mapped_column(sa.REAL, primary_key=True)
    note: Mapped[str]


@dataclass(frozen=True)
class Price:
    id: int
    price: Decimal


@dataclass(frozen=True)
class PriceCreate(Spec[PriceRow]):
    id: int
    price: Decimal


@dataclass(frozen=True)
class PricePatch(Patch[PriceRow]):
    price: OptionalState[Decimal]


class PriceFilter(Filter[PriceRow]):
    price: NumberFilter | None = None


@dataclass(frozen=True)
class Priced(SearchScope):
    price: Decimal

    def to_conditions(self) -> Sequence[Condition]:
        return [PriceRow.price == self.price]


class Prices(Repository[PriceRow, Price, int]):
    pass


D = Decimal
CONDITIONS: list[tuple[Any, set[int]]] = [
    (PriceRow.price >= D("1.004"), {2, 3}),
    (PriceRow.price > D("1.996"), {2, 3}),
    (PriceRow.price <= D("1.996"), {1}),
    (PriceRow.price < D("1.001"), {1}),
    (PriceRow.price == D("1.001"), set()),
    (PriceRow.price != D("1.001"), {1, 2, 3}),
    (PriceRow.price.in_([D("1.001"), D(2)]), {2}),
    (PriceRow.price.between(D("1.004"), D("2.996")), {2}),
    (PriceRow.price >= 1.004, {2, 3}),
    (PriceRow.price * D("1.004") > D("2.007"), {2, 3}),
    (sa.not_(PriceRow.price >= D("1.004")), {1}),
    (PriceRow.lasts > dt.timedelta(milliseconds=1_200), set()),
    (PriceRow.lasts > dt.timedelta(milliseconds=600), {1, 2, 3}),
]


async def test_conditions_compare_what_was_given(lane_tables: WithTables) -> None:
    """Whether the same comparison was made before with a value that the column can hold, or not."""
    async with lane_tables(PriceRow) as db:
        prices = Prices(db)
        await prices.batch_create([PriceCreate(id, D(id)) for id in (1, 2, 3)])
        for _ in range(2):
            for place, (condition, expected) in enumerate(CONDITIONS):
                assert {price.id for price in await prices.search(None, [condition])} == expected, place
                assert await prices.count(None, [condition]) == len(expected), place
            assert [price.id for price in await prices.search(None, [PriceRow.price >= D("1.00")])] == [1, 2, 3]
        assert (await prices.purge_where([PriceRow.price >= D("1.004"), PriceRow.price < D("1.9")])).rows == 0
        with pytest.raises(InvalidValue, match="holds at most 10 digits, 2 of them after the point"):
            await prices.search(None, PriceFilter(price=NumberFilter(gte=D("1.004"))))
        found = await prices.search(None, PriceFilter(price=NumberFilter(gte=D("1.0000"))))
        assert [price.id for price in found] == [1, 2, 3]


async def test_a_scope_is_no_other_ones(lane_tables: WithTables) -> None:
    """It sees no row that is only near, and none is made in it that would be another's as it is stored."""
    async with lane_tables(PriceRow) as db:
        prices, near = Prices(db), Priced(D("1.004"))
        await prices.create(PriceCreate(1, D(1)))
        assert list(await prices.search(near)) == []
        assert await prices.find(1, scope=near) is None
        patch = PricePatch(OptionalState.update(D("1.004")))
        assert await prices.update_where([PriceRow.id == 1], patch, scope=near) == 0
        for verb in (prices.create, prices.upsert):
            with pytest.raises(ScopeMismatch):
                await verb(PriceCreate(2, D("1.004")), scope=near)
        assert await prices.count() == 1


async def test_pages_over_what_is_finer_than_its_type(lane_tables: WithTables) -> None:
    """The quotient of two columns is of the column's type to SQLAlchemy, and has twenty digits."""
    orders: list[Any] = [
        PriceRow.price / 3,
        (PriceRow.price / 3).desc(),
        1 / PriceRow.price,
        -PriceRow.price / 3,
        PriceRow.price * 100 / PriceRow.id / 7,
        sa.case((PriceRow.id > 3, PriceRow.price / 3), else_=PriceRow.price),
    ]
    async with lane_tables(PriceRow) as db:
        prices = Prices(db)
        await prices.batch_create([PriceCreate(id, D(price)) for id, price in enumerate((1, 2, 4, 5, 7, 8), 1)])
        for place, order in enumerate(orders):
            whole = [price.id for price in await prices.search(None, None, NoPagination(), orders=[order])]
            for size in (1, 2):
                found, cursor = list[int](), None
                for _ in range(len(whole)):
                    page = await prices.search(None, None, CursorForwardPagination(size, cursor), orders=[order])
                    found += [price.id for price in page]
                    cursor = page.end_cursor
                    if not page.has_next_page:
                        break
                assert found == whole, place
            last = await prices.search(None, None, CursorBackwardPagination(2), orders=[order])
            assert [price.id for price in last] == whole[-2:], place


@dataclass(frozen=True)
class TimesCreate(Spec[TimesRow]):
    id: int
    prices: list[Decimal]
    at: dt.datetime
    daily: dt.time
    lasts: dt.timedelta


class TimesRepository(Repository[TimesRow, TimesRow, int]):
    pass


async def test_times_and_arrays_are_compared_likewise(with_tables: WithTables) -> None:
    """To the microsecond, and item by item."""
    at, daily = dt.datetime(2024, 1, 1, 10), dt.time(10)
    async with with_tables(TimesRow) as db:
        rows = TimesRepository(db)
        await rows.create(TimesCreate(1, [D(1)], at, daily, dt.timedelta(seconds=1)))
        none: list[Any] = [
            TimesRow.prices.contains([D("1.001")]),  # type: ignore[attr-defined]
            TimesRow.at == at.replace(microsecond=300_000),
            TimesRow.daily == daily.replace(microsecond=300_000),
            TimesRow.lasts == dt.timedelta(milliseconds=1_200),
        ]
        one: list[Any] = [
            TimesRow.prices.contains([D("1.000")]),  # type: ignore[attr-defined]
            TimesRow.at < at.replace(microsecond=300_000),
            TimesRow.daily < daily.replace(microsecond=300_000),
            TimesRow.lasts > dt.timedelta(milliseconds=600),
        ]
        for _ in range(2):
            assert [await rows.count(None, [condition]) for condition in none] == [0] * len(none)
            assert [await rows.count(None, [condition]) for condition in one] == [1] * len(one)


@pytest.mark.filterwarnings("ignore:Type object")  # of intervals SQLAlchemy does not say which operators they have
async def test_pages_over_a_part_of_a_time_that_lasts(with_tables: WithTables) -> None:
    """A seventh of whole seconds is none, and stands in a cursor as it is."""
    async with with_tables(TimesRow) as db:
        rows = TimesRepository(db)
        for id in range(1, 7):
            lasts = dt.timedelta(seconds=id)
            await rows.create(TimesCreate(id, [], dt.datetime(2024, 1, 1), dt.time(10), lasts))
        found, cursor = list[int](), None
        for _ in range(6):
            page = await rows.search(None, None, CursorForwardPagination(1, cursor), orders=[TimesRow.lasts / 7])
            found += [row.id for row in page]
            cursor = page.end_cursor
        assert found == [1, 2, 3, 4, 5, 6]


@dataclass(frozen=True)
class KeyCreate(Spec[KeyRow]):
    price: Decimal
    note: str


@dataclass(frozen=True)
class KeyPatch(Patch[KeyRow]):
    note: OptionalState[str]


class Keys(Repository[KeyRow, KeyRow, Decimal]):
    pass


@dataclass(frozen=True)
class RealCreate(Spec[RealRow]):
    real: float
    note: str


@dataclass(frozen=True)
class RealPatch(Patch[RealRow]):
    note: OptionalState[str]


class Reals(Repository[RealRow, RealRow, float]):
    pass


async def test_a_key_is_no_other_one(lane_tables: WithTables) -> None:
    """One that the column would round names no row: every verb says so."""
    async with lane_tables(KeyRow) as db:
        keys, near, patch = Keys(db), D("1.004"), KeyPatch(OptionalState.update("changed"))
        await keys.create(KeyCreate(D(1), "kept"))
        calls = [
            *(keys.get(near), keys.find(near), keys.exists(id=near), keys.update(near, patch), keys.purge(near)),
            *(keys.batch_get([near]), keys.batch_update([near], patch), keys.batch_update_each({near: patch})),
            keys.batch_purge([near]),
        ]
        for call in calls:
            with pytest.raises(InvalidValue, match="2 of them after the point"):
                await call
        assert (await keys.get(D("1.00"))).note == "kept"


async def test_keys_that_are_rounded_are_written_in_batches(lane_tables: WithTables) -> None:
    """As one by one: rows are told apart by their keys, in the order of the input, wherever those are rounded."""
    async with lane_tables(KeyRow) as db:
        keys = Keys(db)
        made = await keys.batch_create([KeyCreate(D("3.004"), "a"), KeyCreate(D("2.005"), "b"), KeyCreate(D(1), "c")])
        assert [(row.price, row.note) for row in made] == [(D("3.00"), "a"), (D("2.01"), "b"), (D("1.00"), "c")]
        specs = [KeyCreate(D("4.005"), "d"), KeyCreate(D("2.009"), "taken"), KeyCreate(D(5), "e")]
        partial = await keys.batch_create_partial(specs)
        assert [success.data.price for success in partial.succeeded] == [D("4.01"), D("5.00")]
        assert [(failure.index, type(failure.error)) for failure in partial.failed] == [(1, EntityAlreadyExists)]


async def test_a_float_of_single_precision_is_found_by_what_was_written(lane_tables: WithTables) -> None:
    """By every verb alike."""
    async with lane_tables(RealRow) as db:
        reals, patch = Reals(db), RealPatch(OptionalState.update("changed"))
        await reals.create(RealCreate(0.1, "made"))
        assert (await reals.get(0.1)).note == "made"
        assert len(await reals.batch_get([0.1])) == 1
        assert (await reals.update(0.1, patch)).note == "changed"
        assert len((await reals.batch_update([0.1], patch)).succeeded) == 1
        assert len((await reals.batch_update_each({0.1: patch})).succeeded) == 1
        assert not (await reals.upsert(RealCreate(0.1, "put"))).inserted
        assert (await reals.purge(0.1)).note == "put"


@dataclass(frozen=True)
class KindsCreate(Spec[KindsRow]):
    bare: Decimal
    own: Decimal
    varied: Decimal


class Kinds(Repository[KindsRow, KindsRow, int]):
    pass


@pytest.mark.parametrize("name", ["bare", "own", "varied"])
async def test_nor_is_a_value_rounded_by_types_that_stand_for_others(name: str, lane_tables: WithTables) -> None:
    """It is compared as it is, or refused."""
    column: Any = getattr(KindsRow, name)
    async with lane_tables(KindsRow) as db:
        kinds = Kinds(db)
        await kinds.create(KindsCreate(D(1), D(1), D(1)))
        for condition, expected in ((column >= D("1.004"), 0), (column > D("0.996"), 1), (column == D("1.000"), 1)):
            try:
                assert await kinds.count(None, [condition]) == expected
            except InvalidValue:
                assert name == "own"
