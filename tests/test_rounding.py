"""A value is compared as what it is, however a column rounds what is written: no row is found, sent or lost by that."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from columns import Cents
from rowsmith import (
    UNSET,
    Condition,
    Conflict,
    CursorBackwardPagination,
    CursorForwardPagination,
    Database,
    EntityAlreadyExists,
    InvalidValue,
    NoPagination,
    OptionalState,
    Patch,
    Repository,
    ScopeMismatch,
    SearchScope,
    Spec,
    Unset,
)
from rowsmith.filters import Filter, NumberFilter
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import VERBS, Does, VerbCall, answered
from support import count_statements

WRITERS = [verb for verb, told in VERBS.items() if told.does in (Does.MAKE, Does.PUT, Does.CHANGE)]


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
class UnpricedCreate(Spec[PriceRow], filled={"price"}):
    id: int


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
    conflict = Conflict([PriceRow.id])


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
        for spec in (PriceCreate(2, D("1.004")), UnpricedCreate(2)):
            for verb in (prices.create, prices.upsert):
                with count_statements(db) as sent, pytest.raises(InvalidValue, match=_UNKEPT):
                    await verb(spec, scope=near)
                assert sent == []
            for many in (prices.batch_create, prices.batch_upsert, prices.load):
                with pytest.raises(InvalidValue, match=_UNKEPT):
                    await many([spec], scope=near)
            for partial in (prices.batch_create_partial, prices.batch_upsert_partial):
                (failure,) = (await partial([spec], scope=near)).failed
                assert isinstance(failure.error, InvalidValue)
        assert await prices.count() == 1
        assert (await prices.create(UnpricedCreate(2), scope=Priced(D("1.0100")))).price == D("1.01")


_UNKEPT = r"PriceRow\.price holds at most 10 digits, 2 of them after the point; no new row could be in a scope of this"


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


UNKEPT: list[tuple[Any, Any, Any, str]] = [
    (postgresql.BIT(3), "101", "10101", "exactly 3 bits"),
    (postgresql.BIT(3), "100", "1", "exactly 3 bits"),
    (postgresql.BIT(3, varying=True), "101", "10101", "at most 3 bits"),
    (postgresql.INTERVAL(fields="DAY"), dt.timedelta(1), dt.timedelta(1, 18_000), "keeps whole days"),
    (postgresql.INTERVAL(fields="DAY TO HOUR"), dt.timedelta(0, 3_600), dt.timedelta(0, 3_601), "keeps whole hours"),
    (postgresql.INTERVAL(fields="minute"), dt.timedelta(0, 60), dt.timedelta(0, 61), "keeps whole minutes"),
    (postgresql.INTERVAL(fields="YEAR TO MONTH"), dt.timedelta(0), dt.timedelta(3), "keeps whole months"),
    (
        postgresql.INTERVAL(fields="SECOND", precision=1),
        dt.timedelta(0, 1),
        dt.timedelta(0, 1, 9),
        "digits of a second",
    ),
    (postgresql.TIME(precision=0), dt.time(1), dt.time(1, 0, 0, 9), "digits of a second"),
    (
        postgresql.TIMESTAMP(precision=3),
        dt.datetime(2024, 1, 1),
        dt.datetime(2024, 1, 1, 0, 0, 0, 9),
        "digits of a sec",
    ),
    (postgresql.DOMAIN("kept_to_tenths", sa.Numeric(5, 1)), D("1.5"), D("1.51"), "1 of them after the point"),
    (Own(5, 1), D("1.5"), D("1.51"), "1 of them after the point"),
    (sa.REAL(), 1.0, 1.00000001, "single precision"),
    (sa.Float(24), 0.5, 0.50000001, "single precision"),
]


def rounded(declared: Any) -> Any:
    """Give a row whose key is of a type, beside another column of it, and a spec, a patch and a repository of it."""

    class Kept(DeclarativeBase):
        pass

    class KeptRow(Kept):
        __tablename__ = "kept"
        id: Mapped[Any] = mapped_column(declared, primary_key=True, autoincrement=False)
        fixed: Mapped[Any] = mapped_column(declared)
        note: Mapped[str]

    @dataclass(frozen=True)
    class KeptCreate(Spec[KeptRow], filled={"fixed"}):
        id: Any
        note: str = "kept"

    @dataclass(frozen=True)
    class KeptPatch(Patch[KeptRow]):
        note: OptionalState[str] = OptionalState.nop()
        fixed: OptionalState[Any] = OptionalState.nop()

    @dataclass(frozen=True)
    class Fixed(SearchScope):
        value: Any

        def to_conditions(self) -> Sequence[Condition]:
            return [KeptRow.fixed == self.value]

    class KeptRows(Repository[KeptRow, KeptRow, Any]):
        conflict = Conflict([KeptRow.id])

    return KeptRow, KeptCreate, KeptPatch, Fixed, KeptRows


@pytest.mark.filterwarnings("ignore:Type object")  # of domains SQLAlchemy does not say which operators they have
@pytest.mark.parametrize("declared, kept, unkept, words", UNKEPT, ids=lambda part: repr(part)[:60])
@pytest.mark.parametrize("native", [True, False])
async def test_no_type_has_a_key_or_a_scope_be_another_one(
    declared: Any, kept: Any, unkept: Any, words: str, native: bool, with_tables: WithTables
) -> None:
    """Of a value that a column would round, cut or fill up, every verb says so, and no row is made or reached by it."""
    row, create, patch, fixed, repository = rounded(declared)
    async with with_tables(row) as own:
        db = own if native else Database(own.engine, native=False)
        rows, changed = repository(db), patch(OptionalState.update("changed"))
        await rows.create(create(kept), scope=fixed(kept))
        assert await rows.count(fixed(kept)) == 1
        calls = [
            *(rows.get(unkept), rows.find(unkept), rows.exists(id=unkept), rows.update(unkept, changed)),
            *(rows.purge(unkept), rows.batch_get([unkept]), rows.batch_update([unkept], changed)),
            *(rows.batch_update_each({unkept: changed}), rows.batch_purge([unkept])),
            *(verb(create(kept), scope=fixed(unkept)) for verb in (rows.create, rows.upsert)),
            *(verb([create(kept)], scope=fixed(unkept)) for verb in (rows.batch_create, rows.batch_upsert, rows.load)),
        ]
        for call in calls:
            with pytest.raises(InvalidValue, match=words):
                await call
        for condition in (row.id == unkept, row.id.in_([unkept])):
            try:
                assert await rows.count(None, [condition]) == 0
            except InvalidValue as refusal:
                assert words in str(refusal)  # noqa: PT017 - what nothing compares is refused
        (left,) = await rows.search(fixed(kept))
        assert left.note == "kept"


@pytest.mark.parametrize("varying, bits", [(False, "10101"), (False, "1"), (False, "10x"), (True, "10101")])
async def test_bits_are_written_as_they_are(varying: bool, bits: str, with_tables: WithTables) -> None:
    """Or refused by every verb, as a text that is too long is."""
    row, create, patch, fixed, repository = rounded(postgresql.BIT(3, varying=varying))
    async with with_tables(row) as db:
        rows, change = repository(db), patch(fixed=OptionalState.update(bits))
        await rows.create(create("101"), scope=fixed("101"))
        for id in (postgresql.BitString(bits) if "x" not in bits else bits, bits):
            spec = create(id)
            calls = [
                *(rows.create(spec, scope=fixed("101")), rows.upsert(spec, scope=fixed("101"))),
                *(verb([spec], scope=fixed("101")) for verb in (rows.batch_create, rows.batch_upsert, rows.load)),
                *(rows.update("101", change), rows.batch_update(["101"], change)),
                *(rows.batch_update_each({"101": change}), rows.update_where([row.note == "kept"], change)),
            ]
            for call in calls:
                with pytest.raises(InvalidValue, match="bits"):
                    await call
        assert [(str(one.id), str(one.fixed)) for one in await rows.search()] == [("101", "101")]


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


async def test_a_literal_stays_what_it_is(with_tables: WithTables) -> None:
    """It may stand in other conditions, and in the application's own statements."""
    async with with_tables(SinglesRow) as db:
        singles, limit = Singles(db), sa.literal(0.1)
        await singles.batch_create([SinglesCreate(1, 0.1, 0.1)])
        kind = limit.type
        for name in ("real", "short"):
            await singles.count(None, [getattr(SinglesRow, name) == limit])
        assert limit.type is kind


class SinglesRow(Base):
    __tablename__ = "rounded_singles"

    id: Mapped[int] = mapped_column(primary_key=True)
    real: Mapped[float] = mapped_column(sa.REAL)
    short: Mapped[float] = mapped_column(sa.Float(24))


@dataclass(frozen=True)
class SinglesCreate(Spec[SinglesRow], filled={"real", "short"}):
    id: int
    real: float | Unset = UNSET
    short: float | Unset = UNSET


@dataclass(frozen=True)
class SinglesPatch(Patch[SinglesRow]):
    real: OptionalState[float] = OptionalState.nop()
    short: OptionalState[float] = OptionalState.nop()


class SinglesFilter(Filter[SinglesRow]):
    real: NumberFilter | None = None
    short: NumberFilter | None = None


class Singles(Repository[SinglesRow, SinglesRow, int]):
    conflict = Conflict([SinglesRow.id])


@dataclass(frozen=True)
class Under(SearchScope):
    condition: Condition

    def to_conditions(self) -> Sequence[Condition]:
        return [self.condition]


@pytest.mark.parametrize("name", ["real", "short"])
async def test_a_float_of_single_precision_is_compared_with_what_was_written(
    name: str, lane_tables: WithTables
) -> None:
    """0.1 is what the column has for it, by each comparison; what no such float stands for is compared as it is."""
    column: Any = getattr(SinglesRow, name)
    expected: list[tuple[Any, set[int]]] = [
        *((column == 0.1, {1}), (column != 0.1, {2, 3}), (column > 0.1, {2, 3}), (column >= 0.1, {1, 2, 3})),
        *((column < 0.1, set()), (column <= 0.1, {1}), (column == D("0.1"), {1})),
        *((column.in_([0.1, 1]), {1}), (column.in_([1, 0.1]), {1}), (column.not_in([0.1]), {2, 3})),
        *((column.between(0.1, 0.2), {1, 2}), (column.is_not_distinct_from(0.1), {1})),
        (sa.case((column == 0.1, 1), else_=0) == 1, {1}),
        *((SinglesRow.id.in_(sa.select(SinglesRow.id).where(column == 0.1)), {1}), (column == 0.100000001, set())),
        *((column > 0.100000002, {2, 3}), (column / 3 > 0.1, {3}), (column * 0.1 > 0.015, {2, 3}), (column == 16, {3})),
    ]
    async with lane_tables(SinglesRow) as db:
        singles = Singles(db)
        await singles.batch_create([SinglesCreate(1, 0.1, 0.1), SinglesCreate(2, 0.2, 0.2), SinglesCreate(3, 16, 16)])
        for _ in range(2):
            for place, (condition, ids) in enumerate(expected):
                assert {row.id for row in await singles.search(None, [condition])} == ids, place
                assert await singles.count(None, [condition]) == len(ids), place
            for number, ids in ((0.1, {1}), (0.2, {2}), (0.100000001, set[int]())):
                asked = SinglesFilter(**{name: NumberFilter(equals=number)})
                assert {row.id for row in await singles.search(None, asked)} == ids


@pytest.mark.parametrize("name", ["real", "short"])
async def test_a_scope_of_single_precision_sees_what_is_made_in_it(name: str, lane_tables: WithTables) -> None:
    """By every verb; and what leaves it is told from what stays."""
    column: Any = getattr(SinglesRow, name)
    tenth, other = Under(column == 0.1), {"short" if name == "real" else "real": 1.0}
    stay, leave = (SinglesPatch(**{name: OptionalState.update(value)}) for value in (0.1, 0.2))
    async with lane_tables(SinglesRow) as db:
        singles = Singles(db)
        specs = [SinglesCreate(id, **other) for id in range(1, 8)]
        await singles.create(specs[0], scope=tenth)
        await singles.batch_create(specs[1:3], scope=tenth)
        await singles.load(specs[3:4], scope=tenth)
        await singles.upsert(specs[4], scope=tenth)
        await singles.batch_upsert(specs[5:6], scope=tenth)
        await singles.batch_create_partial(specs[6:], scope=tenth)
        assert await singles.count(tenth) == await singles.update_where([column > 0], stay, scope=tenth) == 7
        assert (await singles.get(1, tenth)).id == 1
        with pytest.raises(ScopeMismatch):
            await singles.update(1, leave, scope=tenth)
        wide = Under(sa.or_(column == 0.1, column == 0.3))
        again = SinglesCreate(1, **{**other, name: 0.1})
        for call in (singles.create(again, scope=wide), singles.batch_create([again], scope=wide)):
            with pytest.raises(EntityAlreadyExists):  # the row would have been inside
                await call
        assert (await singles.purge_where([column > 0], scope=tenth)).rows == 7


class Doubled(sa.TypeDecorator[float]):
    """Stores twice the number."""

    impl = sa.REAL
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Any) -> float | None:
        return None if value is None else value * 2


class OwnReal(sa.REAL[float]):
    """A team's own class of floats."""

    cache_ok = True


class OwnSinglesRow(Base):
    __tablename__ = "own_singles"

    id: Mapped[int] = mapped_column(primary_key=True)
    doubled: Mapped[float | None] = mapped_column(Doubled)
    own: Mapped[float | None] = mapped_column(OwnReal)


@dataclass(frozen=True)
class OwnSinglesCreate(Spec[OwnSinglesRow]):
    id: int


class OwnSingles(Repository[OwnSinglesRow, OwnSinglesRow, int]):
    conflict = Conflict([OwnSinglesRow.id])


@pytest.mark.parametrize("name", ["doubled", "own"])
async def test_what_a_teams_own_type_makes_single_is_made_in_no_scope_that_does_not_see_it(
    name: str, lane_tables: WithTables
) -> None:
    """Only the database knows what becomes of 0.1: where it is another number, no verb makes a row of it."""
    column: Any = getattr(OwnSinglesRow, name)
    async with lane_tables(OwnSinglesRow) as db:
        rows, made = OwnSingles(db), 0
        for value in (0.5, 0.1):
            scope = Under(column == value)
            for verb in (rows.create, rows.upsert, rows.batch_create, rows.batch_upsert, rows.load):
                made, spec = made + 1, OwnSinglesCreate(made)
                is_one = verb in (rows.create, rows.upsert)
                with suppress(ScopeMismatch):
                    await verb(spec if is_one else [spec], scope=scope)
            assert await rows.count(scope) in ((5,) if value == 0.5 else (0, 5))
        assert await rows.count() == await rows.count(None, [sa.or_(column == 0.5, column == 0.1)])


async def test_pages_over_what_is_finer_than_a_single(lane_tables: WithTables) -> None:
    """A third of one is of double precision, and so stands in a cursor."""
    orders: list[Any] = [SinglesRow.real, SinglesRow.short, SinglesRow.real / 3, SinglesRow.short / 3]
    async with lane_tables(SinglesRow) as db:
        singles = Singles(db)
        await singles.batch_create([SinglesCreate(id, id / 10, id / 10) for id in range(1, 5)])
        for place, order in enumerate(orders):
            found, cursor = list[int](), None
            for _ in range(4):
                page = await singles.search(None, None, CursorForwardPagination(1, cursor), orders=[order])
                found += [row.id for row in page]
                cursor = page.end_cursor
            assert found == [1, 2, 3, 4], place


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


class Loose(Cents):
    """Makes fractions of cents, too."""

    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value * 100


class FeeRow(Base):
    __tablename__ = "fees"

    id: Mapped[int] = mapped_column(primary_key=True)
    fee: Mapped[Decimal] = mapped_column(Loose, unique=True)


@dataclass(frozen=True)
class FeeCreate(Spec[FeeRow]):
    fee: Decimal


@dataclass(frozen=True)
class FeePatch(Patch[FeeRow]):
    fee: OptionalState[Decimal] = OptionalState.nop()


@dataclass(frozen=True)
class Fee:
    id: int
    fee: Decimal


@dataclass(frozen=True)
class FeesOf(SearchScope):
    fee: Decimal

    def to_conditions(self) -> Sequence[Condition]:
        return [FeeRow.fee == self.fee]


class Fees(Repository[FeeRow, Fee, int]):
    conflict = Conflict([FeeRow.fee])


async def test_no_fraction_is_cut_that_a_type_of_the_teams_makes(with_tables: WithTables) -> None:
    """Money in cents, given as a part of one, is refused in every verb, condition and scope, before it is sent."""
    async with with_tables(FeeRow) as db:
        fees, odd = Fees(db), Decimal("5.679")
        made = await fees.create(FeeCreate(Decimal("5.67")))
        assert made.fee == Decimal("5.67")
        patch = FeePatch(OptionalState.update(odd))
        calls = [
            *(VERBS[verb].call(VerbCall(fees, None, [1], patch, [FeeCreate(odd)])) for verb in WRITERS),
            fees.count(None, [FeeRow.fee == odd]),
            fees.count(None, [FeeRow.fee >= odd]),
            fees.count(FeesOf(odd)),
            fees.purge(1, scope=FeesOf(odd)),
        ]
        with count_statements(db) as sent:
            for call in calls:
                told = await answered(call)
                assert told.error is InvalidValue
                assert "has a type that binds what its column does not take" in str(told.words)
        assert sent == []
        assert (await fees.count(FeesOf(Decimal("5.67")), [FeeRow.fee >= Decimal("5.6")])) == 1
