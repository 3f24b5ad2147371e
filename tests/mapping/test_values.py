"""What a column can hold: odd values are refused before anything is sent, and what passes comes back as it went."""

from __future__ import annotations

import datetime as dt
import inspect
import math
import sys
import uuid
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.dialects.postgresql.ranges import MultiRange
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Conflict, InvalidValue, OptionalState, Patch, Repository, Spec, TriState
from rowsmith.filters import JSONFilter
from rowsmith.mapping import row_info
from rowsmith.mapping.types import column_type
from rowsmith.mapping.writes import storable
from rowsmith.pagination.fingerprint import stable_text
from rowsmith.testing import WithTables
from support import count_statements
from tenants import WIDE_VALUES, Colour, WideCreate, WideRepository, WideRow


class Broken(dt.tzinfo):
    """A time zone whose own code raises."""

    def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
        raise ValueError("of the team's")

    def dst(self, _: dt.datetime | None) -> None: ...

    def tzname(self, _: dt.datetime | None) -> None: ...


RELEASED = memoryview(b"x")
RELEASED.release()
SECRET = 987654321987654321
UTC = dt.UTC
ODD: dict[str, list[Any]] = {
    "small": [2**15, -(2**15) - 1, 1.0, "1", True],
    "normal": [2**31, -(2**31) - 1, SECRET, 1.5, Decimal(1), True, b"1"],
    "big": [2**63, -(2**63) - 1, 10**30],
    "ratio": [math.nan, math.inf, -math.inf, Decimal("sNaN"), 10**400, Decimal("1e-400"), "1.0", True],
    "price": [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal(100000000), Decimal("1e50"), 1e9, "1"],
    "flag": [1, 0, "true"],
    "label": ["a\x00", "\ud800", "x" * 11, 5, b"x"],
    "colour": ["red", "RED", "green", 1],
    "document": [math.nan, {"a": math.inf}, {1: 2}, "\x00", {"\x00": 1}, [{"a": ["\ud800"]}], {1, 2}, Decimal(1)],
    "key": ["not-a-uuid", str(uuid.UUID(int=1)), 5],
    "seen_at": [
        *(dt.datetime(2024, 1, 1), dt.date(2024, 1, 1), "2024-01-01", 0),
        dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=1))),
        dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-1))),
        dt.datetime(2024, 1, 1, tzinfo=Broken()),
    ],
    "local_time": [
        dt.datetime(2024, 1, 1, tzinfo=UTC),
        dt.datetime(2024, 1, 1, tzinfo=Broken()),
        dt.date(2024, 1, 1),
        dt.datetime.min,
        dt.datetime.max,
    ],
    "day": [dt.datetime(2024, 1, 1), "2024-01-01", dt.date.min, dt.date.max],
    "clock": [dt.time(1, tzinfo=UTC), "01:00"],
    "span": [5, "1 day"],
    "blob": ["text", 5, memoryview(b"abcd")[::2], RELEASED],
}


@dataclass(frozen=True)
class WidePatch(Patch[WideRow]):
    seen_at: TriState[Any] = TriState.nop()
    blob: TriState[Any] = TriState.nop()


def test_every_kind_of_column_is_covered() -> None:
    """The odd values below name each column of the wide row but its key."""
    assert set(ODD) == set(WIDE_VALUES) == set(row_info(WideRow).columns) - {"id"}


async def test_odd_values_are_refused_before_anything_is_written(any_tables: WithTables) -> None:
    """The same typed error on both backends, not one statement sent, and the message quotes no value."""
    async with any_tables(WideRow) as db:
        wide = WideRepository(db)
        with count_statements(db) as sent:
            for name, values in ODD.items():
                for value in values:
                    with pytest.raises(InvalidValue, match=f"WideRow.{name} ") as caught:
                        await wide.create(WideCreate(**{name: value}))
                    assert str(SECRET) not in str(caught.value)
        assert sent == []


async def test_what_only_the_driver_refuses_is_refused_as_a_value(any_tables: WithTables) -> None:
    """Of a type that nobody here knows; on SQLite it raises errors of Python's own."""
    async with any_tables(WideRow) as db:
        wide = WideRepository(db)
        for value, column in ((memoryview(b"abcd")[::2], WideRow.blob), (2**70, WideRow.big)):
            with pytest.raises(InvalidValue) as refused:
                await wide.count(None, [sa.literal(value, sa.types.NullType()) == column])
            assert refused.value.__cause__ is None


async def test_odd_values_are_refused_by_every_verb(any_tables: WithTables) -> None:
    """By batches and changes, too; a partial form says it of the item."""
    async with any_tables(WideRow) as db:
        wide = WideRepository(db)
        made = await wide.create(WideCreate())
        for odd in ({"blob": memoryview(b"abcd")[::2]}, {"seen_at": dt.datetime(2024, 1, 1, tzinfo=Broken())}):
            patch: Any = WidePatch(**{name: TriState.update(value) for name, value in odd.items()})
            with count_statements(db) as sent:
                for call in (
                    lambda odd=odd: wide.batch_create([WideCreate(), WideCreate(**odd)]),
                    lambda odd=odd: wide.load([WideCreate(), WideCreate(**odd)]),
                    lambda odd=odd: wide.upsert(WideCreate(**odd)),
                    lambda patch=patch: wide.update(made.id, patch),
                    lambda patch=patch: wide.batch_update([made.id], patch),
                    lambda patch=patch: wide.batch_update_each({made.id: patch}),
                    lambda patch=patch: wide.update_where([WideRow.id == made.id], patch),
                ):
                    with pytest.raises(InvalidValue, match=f"WideRow.{next(iter(odd))} "):
                        await call()
                report = await wide.batch_create_partial([WideCreate(**odd)])
            assert [statement for statement in sent if not statement.startswith(("SAVEPOINT", "RELEASE"))] == []
            assert [type(failure.error) for failure in report.failed] == [InvalidValue]


async def test_what_fits_comes_back_equal(any_tables: WithTables) -> None:
    """Every kind of value, at its limits, is read back equal on both backends."""
    async with any_tables(WideRow) as db:
        wide = WideRepository(db)
        made = await wide.create(WideCreate(**WIDE_VALUES))
        for data in (made, await wide.get(made.id)):
            assert {name: getattr(data, name) for name in WIDE_VALUES} == WIDE_VALUES
        assert made.seen_at is not None
        assert made.seen_at.tzinfo is not None
        nothing = await wide.create(WideCreate())
        assert all(getattr(nothing, name) is None for name in WIDE_VALUES)


async def test_odd_values_as_a_key_and_in_conditions(any_tables: WithTables) -> None:
    """A key, a condition or an IN list with a value of no use is refused before anything is sent."""
    async with any_tables(WideRow) as db:
        wide = WideRepository(db)
        with count_statements(db) as sent:
            for key in ("not-a-uuid", 5, None, "\x00", (uuid.UUID(int=1),)):
                for call in (wide.get, wide.find, wide.purge, lambda id: wide.batch_get([id])):
                    with pytest.raises(InvalidValue):
                        await call(key)  # type: ignore[operator]
            for condition in (
                WideRow.normal == 2**31,
                WideRow.normal.in_([1, 2**31]),
                WideRow.big > 2**63,
                WideRow.ratio.in_([math.nan]),
                WideRow.ratio < math.inf,
                WideRow.price == Decimal("NaN"),
                WideRow.price > Decimal("1e9"),
                WideRow.label == "\x00",
                WideRow.label.contains("\ud800"),
                sa.or_(WideRow.flag, sa.not_(WideRow.label.like("\x00"))),
                WideRow.key == "not-a-uuid",
                WideRow.seen_at > dt.datetime(2024, 1, 1),
                WideRow.seen_at == dt.datetime(2024, 1, 1, tzinfo=Broken()),
                WideRow.blob == memoryview(b"abcd")[::2],
                WideRow.blob.in_([RELEASED]),
                sa.exists().where(WideRow.label == "\x00"),
            ):
                for call in (wide.search, wide.count, wide.exists):
                    with pytest.raises(InvalidValue):
                        await call(None, [condition])
        assert sent == []


async def test_a_question_may_be_longer_than_its_column(any_tables: WithTables) -> None:
    """A longer text than the column holds is asked for in vain, without an error; an enum's member by its name."""
    async with any_tables(WideRow) as db:
        wide = WideRepository(db)
        for condition in (WideRow.label == "x" * 11, WideRow.colour == "RED"):
            assert await wide.count(None, [condition]) == 0


async def test_json_null_and_sql_null(any_tables: WithTables) -> None:
    """None is SQL NULL; the JSON literal is JSON.NULL, said out loud; both read back as None."""
    async with any_tables(WideRow) as db:
        wide = WideRepository(db)
        await wide.create(WideCreate(document=None))
        literal = await wide.create(WideCreate(document=sa.JSON.NULL))
        assert literal.document is None
        assert await wide.count(None, [WideRow.document.is_(sa.null())]) == 1
        for document in (0, "", [], {}, False, "null", [None]):
            assert (await wide.create(WideCreate(document=document))).document == document


class PostgresBase(DeclarativeBase):
    pass


class PostgresRow(PostgresBase):
    __tablename__ = "postgres_kinds"

    id: Mapped[int] = mapped_column(primary_key=True)
    names: Mapped[list[str] | None] = mapped_column(sa.ARRAY(sa.String(3)))
    grid: Mapped[list[list[int]] | None] = mapped_column(sa.ARRAY(sa.Integer, dimensions=2))
    document: Mapped[Any | None] = mapped_column(postgresql.JSONB)
    colours: Mapped[list[Colour] | None] = mapped_column(sa.ARRAY(sa.Enum(Colour, name="colour")))
    singles: Mapped[list[float] | None] = mapped_column(sa.ARRAY(sa.REAL))


class PostgresRepository(Repository[PostgresRow]):
    pass


@pytest.mark.parametrize(
    "name, good, bad",
    [
        ("names", ["abc", None, "é"], [["abcd"], ["\x00"], "abc", [1], {"abc"}]),
        ("grid", [[1, 2], [3, 4]], [[[2**31]], [["1"]]]),
        ("document", {"a": [None, {"b": "c"}]}, [{"a": "\x00"}, math.nan]),
        ("colours", [Colour.RED, None], [["RED"], [1]]),
        ("singles", [0.5, None], [[0.5, 1e-50], [1e39]]),
    ],
)
async def test_kinds_that_only_postgresql_has(with_tables: WithTables, name: str, good: Any, bad: list[Any]) -> None:
    """Arrays, of enums and of arrays too, and JSONB: each element is held to the element's type."""
    info = row_info(PostgresRow)
    for value in bad:
        with pytest.raises(InvalidValue, match=name):
            storable(info, name, value)
    async with with_tables(PostgresRow) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(PostgresRow).values(id=1, **{name: storable(info, name, good)}))
        assert getattr(await PostgresRepository(db).get(1), name) == good


@given(st.decimals(allow_nan=False, allow_infinity=False), st.integers(1, 40), st.integers(0, 10))
def test_a_numeric_column_holds_what_rounds_into_it(value: Decimal, precision: int, scale: int) -> None:
    """The law: NUMERIC(p, s) holds exactly what is below 10 ** (p - s) once rounded half away from zero."""
    import decimal

    exact = decimal.Context(prec=2000, rounding=decimal.ROUND_HALF_UP, Emax=10**6, Emin=-(10**6))
    check = column_type(sa.Numeric(precision, scale)).check
    if not math.isfinite(value):
        assert check(value) is not None
        return
    rounded = exact.quantize(value, Decimal((0, (1,), -scale)))
    fits = abs(rounded) < exact.power(10, precision - scale)
    assert (check(value) is None) == fits


SINGLES = [0.0, 1e-50, 2.0**-150, 7.1e-46, 1e-40, 0.1, 3.4028235e38, 3.4028235677973366e38, 1e39, 1e308]


@given(st.floats() | st.sampled_from(SINGLES), st.booleans())
def test_a_single_holds_what_rounding_makes_neither_0_nor_infinite(value: float, falls: bool) -> None:
    """The law, for one value and for a column of them; a Double holds all that is finite."""
    value = -value if falls else value
    (single,) = array("f", [value])
    fits = math.isfinite(single) and (value == 0 or single != 0)
    for kind in (sa.REAL(), sa.Float(24), sa.Float(1)):
        record = column_type(kind)
        assert (record.check(value) is None) == fits
        assert record.quick.fits is not None
        assert record.quick.fits([0.0, value, 1.5]) == fits
    for kind in (sa.Double(), sa.Double(24), sa.Float(), sa.Float(25)):
        assert (column_type(kind).check(value) is None) == math.isfinite(value)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(6, 17))
def test_a_single_keeps_itself_and_its_shortest_text(single: float, digits: int) -> None:
    """The law: one number of each length of text at most is kept by a column, beside the float itself."""
    keeps = column_type(sa.REAL()).beside.keeps
    assert keeps is not None
    assert keeps(single) is None
    shortest = next(
        text for text in (f"{single:.{size}g}" for size in range(1, 10)) if array("f", [float(text)])[0] == single
    )
    assert keeps(float(shortest)) is keeps(Decimal(shortest)) is None
    longer = float(f"{single:.{digits}g}")
    if longer not in (single, float(shortest)) and array("f", [longer])[0] == single:
        assert keeps(longer) is not None


class SinglesRow(PostgresBase):
    __tablename__ = "singles"

    id: Mapped[int] = mapped_column(primary_key=True)
    single: Mapped[Any] = mapped_column(sa.REAL)
    short: Mapped[Any] = mapped_column(sa.Float(24))


@dataclass(frozen=True)
class SinglesCreate(Spec[SinglesRow]):
    id: int = 1
    single: Any = 0.0
    short: Any = 0.0


@dataclass(frozen=True)
class SinglesPatch(Patch[SinglesRow]):
    single: OptionalState[Any] = OptionalState.nop()
    short: OptionalState[Any] = OptionalState.nop()


class Singles(Repository[SinglesRow, SinglesRow, int]):
    conflict = Conflict([SinglesRow.id])


@pytest.mark.parametrize("value", [1e-50, -7e-46, 1e39, Decimal("1e-50"), Decimal("1e-400"), 10**39], ids=str)
async def test_what_a_single_would_keep_as_0_or_not_at_all(any_tables: WithTables, value: Any) -> None:
    """Is refused by every verb, for one row and for many, before anything is sent."""
    async with any_tables(SinglesRow) as db:
        singles = Singles(db)
        await singles.create(SinglesCreate())
        for name in ("single", "short"):
            spec, patch = SinglesCreate(2, **{name: value}), SinglesPatch(**{name: OptionalState.update(value)})
            calls: list[Any] = [
                *(singles.create(spec), singles.update(1, patch), singles.upsert(spec)),
                *(
                    verb([SinglesCreate(3), spec])
                    for verb in (singles.batch_create, singles.load, singles.batch_upsert)
                ),
                *(singles.batch_update([1], patch), singles.batch_update_each({1: patch})),
                singles.update_where([SinglesRow.id == 1], patch),
            ]
            with count_statements(db) as sent:
                for call in calls:
                    with pytest.raises(InvalidValue, match=f"SinglesRow.{name} "):
                        await call
            assert [statement for statement in sent if "SAVEPOINT" not in statement] == []
        (row,) = (await singles.search()).items
        assert (row.single, row.short) == (0.0, 0.0)


@given(st.integers())
def test_integers(value: int) -> None:
    """Each width holds exactly its two's complement range."""
    for kind, bits in ((sa.SmallInteger(), 16), (sa.Integer(), 32), (sa.BigInteger(), 64)):
        assert (column_type(kind).check(value) is None) == (-(2 ** (bits - 1)) <= value < 2 ** (bits - 1))


@given(st.text(st.characters()))
def test_text(value: str) -> None:
    """Text is what UTF-8 can say, without NUL."""
    possible = "\x00" not in value and not any(0xD800 <= ord(char) <= 0xDFFF for char in value)
    assert (column_type(sa.Text()).check(value) is None) == possible


def test_json_is_bounded_in_depth() -> None:
    """A structure that contains itself, or is nested without end, is refused rather than followed."""
    circle: list[Any] = []
    circle.append(circle)
    for value in (circle, [circle, circle]):
        assert column_type(sa.JSON()).check(value) == "holds JSON nested at most 200 deep"


@pytest.mark.parametrize("around", [lambda value: [value], lambda value: {"a": value}])
def test_json_as_deep_as_it_may_be_fits_into_any_stack(around: Callable[[Any], Any]) -> None:
    """A document is looked at, and told from others, without calls in calls: the application has its own already."""
    value = reduce(lambda inner, _: around(inner), range(200), 1)
    with deep_in_a_stack(60):
        assert column_type(sa.JSON()).check(value) is None
        assert len(stable_text(value)) > 1_000
        assert JSONFilter(contains=value).contains is not None


@contextmanager
def deep_in_a_stack(left: int) -> Iterator[None]:
    """Leave no more than so many calls in calls."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + left)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def test_an_array_has_as_many_dimensions_as_postgresql_gives_one() -> None:
    """One that contains itself is refused, too."""
    circle: list[Any] = []
    circle.append(circle)
    check = column_type(postgresql.ARRAY(sa.Integer)).check
    assert check([[[[[[1, None]]]]]]) is None
    for value in ([[[[[[[1]]]]]]], circle):
        assert check(value) == "is an array that has at most 6 dimensions"
    for value in ([[1], [2, 3]], [[1], 2], [[1], None], [[[1]], [[1, 2]]], [[[1], [2]], [[1]]]):
        assert check(value) == "is an array that has parts of several lengths: PostgreSQL has none"
    for value in ([[]], [[], []], [[[]]], [[[], []], [[], []]], ([], ())):
        assert str(check(value)).endswith("which PostgreSQL takes for no parts at all: give []")
    for value in ([], [None], [[1, None], [2, 3]], [[[1]], [[2]]], ((1, 2), [3, 4])):
        assert check(value) is None


def test_types_of_unknown_kind_accept_everything() -> None:
    """A type of a team's own checks its values itself."""

    class Own(sa.types.TypeDecorator[Any]):
        impl = sa.Integer
        cache_ok = True

        def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
            return value

    for kind in (Own(), postgresql.MACADDR8()):
        assert column_type(kind).check(object()) is None
        assert column_type(kind).operand(object()) is None


def test_a_decorator_that_makes_nothing_of_values_holds_what_it_wraps() -> None:
    """Integer would be given 1.9, which the driver cuts to 1; of one that reads otherwise the same."""

    class Bare(sa.types.TypeDecorator[Any]):
        impl = sa.Integer
        cache_ok = True

    class Reading(Bare):
        def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
            return value

    for kind in (Bare(), Reading()):
        record = column_type(kind)
        for value in (1.9, True, "1", [1], Decimal(1)):
            assert "holds integers" in str(record.check(value))
            assert "holds integers" in str(record.operand(value))
        assert (record.check(7), record.quick.fits and record.quick.fits([7])) == (None, True)


NAIVE, AWARE = dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
BOUNDS: dict[tuple[Any, Any], tuple[list[Any], list[Any]]] = {
    (postgresql.INT4RANGE, postgresql.INT4MULTIRANGE): ([1, -(2**31)], [1.5, True, "1", 2**31, Decimal(1)]),
    (postgresql.INT8RANGE, postgresql.INT8MULTIRANGE): ([2**40], [2**63, 1.0, False]),
    (postgresql.NUMRANGE, postgresql.NUMMULTIRANGE): ([1, Decimal("1.5")], ["1", True]),
    (postgresql.DATERANGE, postgresql.DATEMULTIRANGE): ([dt.date(2024, 1, 1)], [NAIVE, AWARE, "2024-01-01"]),
    (postgresql.TSRANGE, postgresql.TSMULTIRANGE): ([NAIVE], [AWARE, dt.date(2024, 1, 1)]),
    (postgresql.TSTZRANGE, postgresql.TSTZMULTIRANGE): ([AWARE], [NAIVE, dt.date(2024, 1, 1)]),
}


@pytest.mark.parametrize("kinds", BOUNDS, ids=lambda kinds: kinds[0].__name__)
def test_the_bounds_of_ranges_are_values_of_their_members(kinds: tuple[Any, Any]) -> None:
    """The driver would cut 1.5 to 1, and a point in time to its day; where a range may stand one may be compared."""
    one, several = (column_type(kind()) for kind in kinds)
    right, wrong = BOUNDS[kinds]
    for end in right:
        for span in (Range(end), Range(None, end), Range(end, end, bounds="[]"), Range(empty=True), Range()):
            assert (one.check(span), one.operand(span), several.check([span])) == (None, None, None)
            assert one.quick.fits is not None
            assert one.quick.fits([span])
    for end in wrong:
        for span in (Range(end), Range(None, end), Range(right[0], end)):
            assert "is a range that " in str(one.check(span))
            assert "is a range that " in str(one.operand(span))
            assert "is a range that " in str(several.check([Range(right[0]), span]))
            assert "is a range that " in str(several.operand([Range(right[0]), span]))
            assert "is a range that " in str(several.operand(span))
            assert one.quick.fits is not None
            assert not one.quick.fits([span])


def test_ranges_that_are_none() -> None:
    """One upside down, several where one is meant, one where several are, and the ends of one."""
    one, several = column_type(postgresql.INT4RANGE()), column_type(postgresql.INT4MULTIRANGE())
    assert one.check(Range(5, 1)) == "holds ranges: the lower bound of this one is above its upper one"
    assert several.check([Range(5, 1)]) == one.check(Range(5, 1))
    for span in ((1, 2), [1, 2], [Range(1, 2)]):
        assert "give a Range, not a list of its ends" in str(one.check(span))
    for span in (Range(1, 2), "x", {1}, 5):
        assert "give a list of Range" in str(several.check(span))
    for span in ([(1, 2)], [Range(1, 2), [3, 4]], ["[1,2)"]):
        assert "give each as a Range" in str(several.check(span))
    assert several.check(MultiRange([Range(1, 2)])) is None
    for beside in (MultiRange([Range(1, 2)]), [Range(1, 2)], Range(1, 2), 5):
        assert several.operand(beside) is None


def test_plain_enums() -> None:
    """An enum of names holds those, and an unhashable value is no crash."""
    check = column_type(sa.Enum("a", "b")).check
    assert check("a") is None
    assert check("c") == check(["a"]) == "holds one of ['a', 'b']"


async def test_full_seconds_equal_a_server_default_on_sqlite(sqlite_database: Any) -> None:
    """SQLite compares times as text: what Python writes and CURRENT_TIMESTAMP must be written alike."""
    from rowsmith.testing import tables

    async with tables(sqlite_database, WideRow) as db:
        wide = WideRepository(db)
        noon = dt.datetime(2024, 1, 1, 12, tzinfo=UTC)
        async with db.begin_session() as db_sess:
            await db_sess.execute(
                sa.text("INSERT INTO wide (id, seen_at) VALUES (:id, datetime('2024-01-01 12:00:00'))"),
                {"id": uuid.UUID(int=1).hex},
            )
        await wide.create(WideCreate(seen_at=noon))
        await wide.create(WideCreate(seen_at=noon + dt.timedelta(microseconds=1)))
        assert await wide.count(None, [WideRow.seen_at == noon]) == 2
        assert await wide.count(None, [WideRow.seen_at > noon]) == 1


@pytest.mark.parametrize("hours", [-12, 0, 14])
async def test_aware_times_come_back_equal(any_tables: WithTables, hours: int) -> None:
    """Whatever the offset, the point in time is the same afterwards, and it sorts as a point in time."""
    async with any_tables(WideRow) as db:
        wide = WideRepository(db)
        zone = dt.timezone(dt.timedelta(hours=hours))
        early = dt.datetime(2024, 1, 1, tzinfo=zone)
        late = dt.datetime(2024, 1, 1, 0, 0, 1, tzinfo=zone).astimezone(UTC)
        for moment in (late, early):
            assert (await wide.create(WideCreate(seen_at=moment))).seen_at == moment
        page = await wide.search(orders=[WideRow.seen_at])
        assert [item.seen_at for item in page.items] == [early, late]
