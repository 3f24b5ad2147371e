"""What a team's type binds is held against what its column holds, as a plain column's value is.

The driver would take much of it for something else without a word: a datetime for its day, a list for its only member.
"""

from __future__ import annotations

import datetime as dt
import enum
import io
import ipaddress
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine

from rowsmith import Condition, Conflict, InvalidValue, OptionalState, Patch, Repository, SearchScope, Spec
from rowsmith.mapping.types import column_type
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import VERBS, Does, VerbCall, answered
from support import count_statements

D = Decimal
NOON = dt.datetime(2024, 5, 1, 12)
MIDNIGHT = dt.datetime(2024, 5, 1)
IN_ZONE = NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=5)))
LAST = dt.datetime.max
SEVEN = uuid.UUID(int=7)
WRITERS = [verb for verb, told in VERBS.items() if told.does in (Does.MAKE, Does.PUT, Does.CHANGE)]
TAKES_NOT = "has a type that binds what its column does not take: it "
"""How each refusal begins."""


class Colour(enum.Enum):
    RED = "r"


class Size(enum.IntEnum):
    ONE = 1


class Span:
    """What the driver takes for a duration, without its months."""

    months, days, seconds, microseconds = 1, 2, 3, 4


@dataclass(frozen=True)
class Made:
    """A value of a team's own, of which its type makes another one."""

    bound: Any

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "secret"


class Makes(TypeDecorator[Any]):
    """Binds what it is told to."""

    impl = sa.String
    cache_ok = True

    def __init__(self, over: TypeEngine[Any]) -> None:
        super().__init__()
        self.over = over
        self.impl = self.impl_instance = over  # type: ignore[assignment]

    def process_bind_param(self, value: Made | None, dialect: Any) -> Any:
        return None if value is None else value.bound


class Kept:
    """A class of rows with a value of some type, and what is there for it."""

    def __init__(self, declared: TypeEngine[Any]) -> None:
        class Base(DeclarativeBase):
            pass

        class KeptRow(Base):
            __tablename__ = "kept"
            id: Mapped[int] = mapped_column(primary_key=True)
            value: Mapped[Any] = mapped_column(declared, nullable=True)

        @dataclass(frozen=True)
        class KeptCreate(Spec[KeptRow]):
            id: int
            value: Any

        @dataclass(frozen=True)
        class KeptPatch(Patch[KeptRow]):
            value: OptionalState[Any] = OptionalState.nop()

        @dataclass(frozen=True)
        class KeptAlone:
            id: int

        class Rows(Repository[KeptRow, KeptAlone, int]):
            conflict = Conflict([KeptRow.id])

        @dataclass(frozen=True)
        class Under(SearchScope):
            value: Any

            def to_conditions(self) -> Sequence[Condition]:
                return [KeptRow.value == self.value]

        self.row, self.rows, self.under = KeptRow, Rows, Under
        self.create: Any = KeptCreate
        self.patch: Any = KeptPatch
        self.value: Any = KeptRow.value


EVERYWHERE: list[tuple[TypeEngine[Any], Any, str]] = [
    (sa.Date(), NOON, "holds dates"),
    (sa.Date(), IN_ZONE.replace(hour=0), "holds dates"),
    (sa.Date(), "2024-05-01", "holds dates"),
    (sa.DateTime(), IN_ZONE, "holds local times"),
    (sa.DateTime(True), NOON, "holds points in time"),
    (sa.DateTime(True), NOON.date(), "holds points in time"),
    (sa.Time(), IN_ZONE.timetz(), "holds times of day"),
    (sa.Time(), NOON, "holds times of day"),
    (sa.Time(True), NOON.time(), "holds times of day"),
    (sa.Interval(), 5, "holds durations"),
    (sa.Interval(), Span(), "holds durations"),
    (sa.Integer(), 1.9, "holds integers"),
    (sa.Integer(), Fraction(3, 2), "holds integers"),
    (sa.Integer(), D("NaN"), "holds integers"),
    (sa.Integer(), float("inf"), "holds integers"),
    (sa.Integer(), "12", "holds integers"),
    (sa.Integer(), [12], "holds integers"),
    (sa.SmallInteger(), 70_000, "holds integers"),
    (sa.Numeric(8, 2), D("NaN"), "holds finite numbers"),
    (sa.Numeric(8, 2), "NaN", "holds finite numbers"),
    (sa.Numeric(8, 2), float("inf"), "holds finite numbers"),
    (sa.Numeric(8, 2), "many", "holds numbers"),
    (sa.Double(), float("nan"), "holds finite numbers"),
    (sa.Double(), D("1E-400"), "holds floats"),
    (sa.Double(), "1.5", "holds numbers"),
    (sa.Text(), "a\0b", "cannot hold a NUL"),
    (sa.Text(), "\ud800", "cannot hold a lone surrogate"),
    (sa.Text(), 5, "holds text"),
    (sa.Boolean(), 2, "holds booleans"),
    (sa.Uuid(), 7, "holds UUIDs"),
    (sa.LargeBinary(), "abc", "holds bytes"),
    (sa.JSON(), float("nan"), "holds finite numbers"),
    (sa.JSON(), {"a": ["\0"]}, "cannot hold a NUL"),
    (sa.JSON(), {1: "a", "1": "b"}, "holds JSON"),
]
"""A type, what a team's type above it binds, and what is said of it, on every database."""

ONLY_WRITTEN: list[tuple[TypeEngine[Any], Any, str]] = [
    (sa.Date(), dt.date.max, "holds neither end"),
    (sa.DateTime(), LAST, "holds neither end"),
    (sa.REAL(), 1e300, "holds floats of single precision"),
    (sa.REAL(), 1e-60, "holds floats of single precision"),
    (sa.String(5), "blank ", "holds at most 5"),
    (sa.Enum(Colour), "r", "holds members of Colour"),
    (sa.Enum("a", "b", name="letters"), "c", "holds one of"),
]
"""The same of what a plain column may be compared with, too."""

ON_POSTGRESQL: list[tuple[TypeEngine[Any], Any, str]] = [
    (sa.ARRAY(sa.Integer), [1.9], "is an array that holds integers"),
    (sa.ARRAY(sa.Integer), {1: 2}, "holds arrays"),
    (sa.ARRAY(sa.Integer), b"ab", "holds arrays"),
    (sa.ARRAY(sa.Text), "abc", "holds arrays"),
    (sa.ARRAY(sa.Text), {"a", 1}, "is an array that holds text"),
    (sa.ARRAY(sa.Date), [NOON], "is an array that holds dates"),
    (sa.ARRAY(sa.DateTime(True)), [NOON], "is an array that holds points"),
    (sa.ARRAY(sa.DateTime), [LAST], "is an array that holds neither end"),
    (sa.ARRAY(sa.Numeric(8, 2)), [D("NaN")], "is an array that holds finite"),
    (sa.ARRAY(Makes(sa.Date())), [Made(NOON)], f"is an array that {TAKES_NOT}holds dates"),
    (pg.INT4RANGE(), pg.Range(1.5, 3), "is a range that holds integers"),
    (pg.INT4RANGE(), asyncpg.Range(1.5, 3), "is a range that holds integers"),
    (pg.DATERANGE(), pg.Range(NOON, None), "is a range that holds dates"),
    (pg.INT4MULTIRANGE(), [pg.Range(1.5, 3)], "is a range that holds integers"),
    (pg.INET(), (1,), "holds addresses"),
    (pg.BIT(3), "10", "holds exactly 3 bits"),
    (pg.JSONB(), {"a": float("nan")}, "holds finite numbers"),
]
"""The same of types that PostgreSQL alone has."""


async def refuses(tables: WithTables, over: TypeEngine[Any], bound: Any, words: str, *, compares: bool) -> None:
    """Write and compare what a team's type binds, in every way; each is refused before anything is sent."""
    plain = words.startswith("is an array that has a type")
    kept, odd = Kept(over if plain else Makes(over)), bound if plain else Made(bound)
    async with tables(kept.row) as db:
        rows = kept.rows(db)
        await rows.create(kept.create(1, None))
        patch, spec = kept.patch(OptionalState.update(odd)), kept.create(2, odd)
        calls = [VERBS[verb].call(VerbCall(rows, None, [1], patch, [spec])) for verb in WRITERS]
        if compares:
            calls += [
                rows.count(None, [kept.value == odd]),
                rows.count(None, [kept.value.in_([odd])]),
                rows.count(None, [kept.value >= odd]),
                rows.count(kept.under(odd)),
                rows.purge(1, scope=kept.under(odd)),
            ]
        with count_statements(db) as sent:
            for call in calls:
                told = await answered(call)
                assert told.error is InvalidValue
                assert f"{words if plain else TAKES_NOT + words}" in str(told.words)
                assert "secret" not in str(told.words)
            with pytest.raises(InvalidValue) as caught:
                await rows.batch_create([kept.create(3, None), spec])
        assert (caught.value.index, caught.value.facts.columns, sent) == (1, ("value",), [])
        assert await rows.count() == 1


@pytest.mark.parametrize("over, bound, words", EVERYWHERE)
async def test_what_would_be_another_value_is_refused(
    lane_tables: WithTables, over: TypeEngine[Any], bound: Any, words: str
) -> None:
    """In every verb, condition and scope, in every lane; the column is named, and the value is not."""
    await refuses(lane_tables, over, bound, words, compares=True)


@pytest.mark.parametrize("over, bound, words", ONLY_WRITTEN)
async def test_what_no_column_holds_is_not_written(
    lane_tables: WithTables, over: TypeEngine[Any], bound: Any, words: str
) -> None:
    """As in a plain column, which may be compared with it."""
    await refuses(lane_tables, over, bound, words, compares=False)


@pytest.mark.parametrize("over, bound, words", ON_POSTGRESQL)
async def test_nor_is_it_in_types_of_postgresql_alone(
    with_tables: WithTables, over: TypeEngine[Any], bound: Any, words: str
) -> None:
    """Of arrays each item is looked at, of ranges each bound."""
    await refuses(with_tables, over, bound, words, compares=True)


EXACT: list[tuple[TypeEngine[Any], Any, Any]] = [
    (sa.Date(), MIDNIGHT, MIDNIGHT.date()),
    (sa.Integer(), True, 1),
    (sa.Integer(), 2.0, 2),
    (sa.Integer(), Size.ONE, 1),
    (sa.Numeric(8, 2), 3, D(3)),
    (sa.Numeric(8, 2), "1.5", D("1.50")),
    (sa.Numeric(8, 2), True, D(1)),
    (sa.Double(), D("0.5"), 0.5),
    (sa.Double(), True, 1.0),
    (sa.Double(), Fraction(1, 2), 0.5),
    (sa.Double(), float("inf"), float("inf")),
    (sa.REAL(), 0.5, 0.5),
    (sa.Boolean(), 1, True),
    (sa.Enum(Colour), "RED", Colour.RED),
    (sa.LargeBinary(), bytearray(b"x"), b"x"),
    (sa.LargeBinary(), memoryview(b"x"), b"x"),
    (sa.JSON(), {1: (1, None), Size.ONE.name: Size.ONE}, {"1": [1, None], "ONE": 1}),
    (sa.DateTime(True), LAST.replace(tzinfo=dt.UTC), LAST.replace(tzinfo=dt.UTC)),
]
"""A type, what a team's type above it binds, and what is stored: the same, though a plain column would not take it."""

EXACT_ON_POSTGRESQL: list[tuple[TypeEngine[Any], Any, Any]] = [
    (sa.DateTime(), NOON.date(), MIDNIGHT),
    (sa.Numeric(), D("Infinity"), D("Infinity")),
    (sa.Uuid(), str(SEVEN), SEVEN),
    (sa.Uuid(as_uuid=False), SEVEN, str(SEVEN)),
    (sa.ARRAY(sa.Integer), {1}, [1]),
    (sa.ARRAY(sa.Integer), [2.0, True, None, D(3)], [2, 1, None, 3]),
    (sa.ARRAY(sa.Integer), [[2.0], [True]], [[2], [1]]),
    (sa.ARRAY(sa.Numeric), ["1.5"], [D("1.5")]),
    (sa.ARRAY(sa.Date), (MIDNIGHT,), [MIDNIGHT.date()]),
    (pg.INT4RANGE(), asyncpg.Range(1, 3), pg.Range(1, 3)),
    (pg.INT4RANGE(), pg.Range(1.0, 3.0), pg.Range(1, 3)),
    (pg.INET(), 1, ipaddress.ip_address("0.0.0.1")),
    (pg.INET(), b"\1\2\3\4", ipaddress.ip_address("1.2.3.4")),
    (pg.JSONB(), {"a": 1}, {"a": 1}),
]


async def takes(tables: WithTables, over: TypeEngine[Any], bound: Any, stored: Any) -> None:
    """Write what a team's type binds one by one and in batches, and read what is stored."""
    kept, exact = Kept(Makes(over)), Made(bound)
    async with tables(kept.row) as db:
        rows = kept.rows(db)
        await rows.create(kept.create(1, exact))
        await rows.batch_create([kept.create(2, exact), kept.create(3, None)])
        await rows.update(3, kept.patch(OptionalState.update(exact)))
        await rows.upsert(kept.create(4, exact))
        await rows.batch_upsert([kept.create(5, exact), kept.create(6, None)])
        await rows.batch_update_each({6: kept.patch(OptionalState.update(exact))})
        if not isinstance(over, sa.JSON) or isinstance(over, pg.JSONB):  # which PostgreSQL does not compare
            assert await rows.count(None, [kept.value == exact]) == 6
            assert await rows.count(kept.under(exact)) == 6
        async with db.begin_session() as session:
            values = (await session.execute(sa.select(sa.type_coerce(kept.value, over)))).scalars().all()
        assert values == [stored] * 6
        assert all(isinstance(value, type(stored)) for value in values)


@pytest.mark.parametrize("over, bound, stored", EXACT)
async def test_what_the_driver_takes_as_it_is_stays_good(
    lane_tables: WithTables, over: TypeEngine[Any], bound: Any, stored: Any
) -> None:
    """Types of teams rely on it, where a plain column asks for a value of its own class."""
    await takes(lane_tables, over, bound, stored)


@pytest.mark.parametrize("over, bound, stored", EXACT_ON_POSTGRESQL)
async def test_so_it_does_in_types_of_postgresql(
    with_tables: WithTables, over: TypeEngine[Any], bound: Any, stored: Any
) -> None:
    """Whose driver takes values of more classes than SQLite's."""
    await takes(with_tables, over, bound, stored)


ROUNDED: list[tuple[TypeEngine[Any], Any, Any]] = [
    (sa.Numeric(8, 2), D("1.005"), D("1.01")),
    (pg.TIMESTAMP(precision=3), NOON.replace(microsecond=1499), NOON.replace(microsecond=1000)),
    (pg.TIME(precision=3), NOON.replace(microsecond=1499).time(), NOON.replace(microsecond=1000).time()),
    (pg.INTERVAL(fields="DAY"), dt.timedelta(1, 5), dt.timedelta(1)),
]


@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.parametrize("over, finer, stored", ROUNDED)
async def test_what_a_type_rounds_is_what_a_plain_column_rounds(
    with_tables: WithTables, over: TypeEngine[Any], finer: Any, stored: Any, *, is_own: bool
) -> None:
    """It is stored rounded, compared as it is, and made in no scope of its own."""
    kept = Kept(Makes(over) if is_own else over)
    given, rounded = (Made(finer), Made(stored)) if is_own else (finer, stored)
    async with with_tables(kept.row) as db:
        rows = kept.rows(db)
        await rows.create(kept.create(1, given))
        for _ in range(2):
            assert await rows.count(None, [kept.value == given]) == 0
            assert await rows.count(None, [kept.value.in_([given])]) == 0
            assert await rows.count(None, [kept.value == rounded]) == 1
            assert await rows.count(kept.under(rounded)) == 1
        with pytest.raises(InvalidValue, match="no new row could be in a scope of this value"):
            await rows.create(kept.create(2, given), scope=kept.under(given))


class Named(TypeDecorator[Any]):
    """Binds a datetime as a key of dates."""

    impl = sa.Date
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return dt.datetime.combine(dt.date(2024, 5, 1), dt.time(value))


class KeyBase(DeclarativeBase):
    pass


class HourRow(KeyBase):
    __tablename__ = "hours"

    id: Mapped[Any] = mapped_column(Named, primary_key=True)


class Hours(Repository[HourRow, HourRow, Any]):
    pass


async def test_a_key_that_would_be_another_names_no_row(lane_tables: WithTables) -> None:
    """A moment of a day is not that day's row, by whatever verb it is asked for."""
    async with lane_tables(HourRow) as db:
        hours = Hours(db)
        async with db.begin_session() as session:
            await session.execute(sa.insert(HourRow), [{"id": 0}])
        for call in (hours.get(7), hours.batch_get([7]), hours.purge(7), hours.batch_purge([7])):
            told = await answered(call)
            assert told.error is InvalidValue
            assert f"HourRow.id {TAKES_NOT}holds dates" in str(told.words)
        assert await hours.count() == 1


class Cipher(TypeDecorator[str]):
    """Wrapped in SQL, which takes a text and gives bytes."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value

    def bind_expression(self, bindparam: Any) -> Any:
        return sa.func.convert_to(sa.type_coerce(bindparam, sa.Text), "UTF8")

    def column_expression(self, column: Any) -> Any:
        return sa.func.convert_from(column, "UTF8", type_=sa.Text)


class Guid(TypeDecorator[uuid.UUID]):
    """SQLAlchemy's recipe for UUIDs on every database."""

    impl = sa.CHAR
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        return dialect.type_descriptor(pg.UUID() if dialect.name == "postgresql" else sa.CHAR(32))

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value if value is None or dialect.name == "postgresql" else value.hex

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value if value is None or isinstance(value, uuid.UUID) else uuid.UUID(value)


class Driven(TypeDecorator[Any]):
    """Makes what the driver takes by itself."""

    impl = sa.Date
    cache_ok = True

    def bind_processor(self, dialect: Any) -> Any:
        def bind(value: Any) -> Any:
            return None if value is None else value.bound

        return bind


class Fails(TypeDecorator[Any]):
    """Takes nothing."""

    impl = sa.Date
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        raise StopIteration(value)


class Above(Makes):
    """Stands above another decorator, which has the last word."""

    cache_ok = True


def test_each_way_in_which_a_type_binds_is_seen() -> None:
    """By a processor, above others, in variants, for a database; what has SQL around it, and what fails, is let be."""
    assert "holds dates" in str(column_type(Driven()).check(Made(NOON)))
    assert "holds dates" in str(column_type(Above(Makes(sa.Date()))).check(Made(Made(NOON))))
    assert "holds dates" in str(column_type(Makes(sa.Text().with_variant(sa.Date(), "postgresql"))).check(Made(NOON)))
    assert "holds UUIDs" in str(column_type(Guid()).check(b"no"))
    for kind, value in ((Guid(), SEVEN), (Cipher(), "text"), (Fails(), NOON), (Makes(sa.Date()), Made(None))):
        assert column_type(kind).check(value) is column_type(kind).operand(value) is None


class Contents(TypeDecorator[bytes]):
    """Reads a file."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value and value.read()


async def test_what_can_be_read_once_is_bound_once(lane_tables: WithTables) -> None:
    """A file that was looked at would be stored as an empty one."""
    kept = Kept(Contents())
    async with lane_tables(kept.row) as db:
        rows = kept.rows(db)
        await rows.create(kept.create(1, io.BytesIO(b"abc")))
        await rows.batch_create([kept.create(2, io.BytesIO(b"abc"))])
        assert await rows.count(None, [kept.value == io.BytesIO(b"abc")]) == 2


async def test_what_the_driver_or_the_server_refuses_is_left_to_them(with_tables: WithTables) -> None:
    """Nothing is stored of what is too long, or too large, or no value to any driver."""
    for over, bound in ((sa.String(3), "long"), (sa.Numeric(3, 1), D(1000)), (sa.Integer(), object())):
        kept, odd = Kept(Makes(over)), Made(bound)
        assert column_type(kept.value.type).check(odd) is None
        async with with_tables(kept.row) as db:
            for call in (kept.rows(db).create(kept.create(1, odd)), kept.rows(db).batch_create([kept.create(1, odd)])):
                told = await answered(call)
                assert told.error is InvalidValue
                assert "KeptRow.value holds a value that its type does not take" in str(told.words)


@pytest.mark.parametrize("kind", [Guid(), Cipher()])
async def test_recipes_of_sqlalchemys_work(with_tables: WithTables, kind: TypeEngine[Any]) -> None:
    """What they bind fits where it goes, whatever type the column is said to be of."""
    kept, value = Kept(kind), SEVEN if isinstance(kind, Guid) else "text"
    async with with_tables(kept.row) as db:
        rows = kept.rows(db)
        await rows.create(kept.create(1, value))
        await rows.batch_create([kept.create(2, value)])
        assert await rows.count(None, [kept.value == value]) == 2


async def test_a_domain_holds_what_the_type_that_it_is_of_holds(with_tables: WithTables) -> None:
    """The driver would cut a fraction for it, too; what it takes as it is stays good."""
    kept = Kept(pg.DOMAIN("whole", sa.Integer))
    async with with_tables(kept.row) as db:
        rows = kept.rows(db)
        for odd in (1.9, D("NaN"), 2**31):
            for call in (rows.create(kept.create(1, odd)), rows.batch_create([kept.create(1, odd)])):
                told = await answered(call)
                assert told.error is InvalidValue
                assert "holds integers from" in str(told.words)
        await rows.batch_create([kept.create(1, 2.0), kept.create(2, True), kept.create(3, 7)])
        assert await rows.count() == 3


async def test_a_range_of_asyncpgs_is_one_too(with_tables: WithTables) -> None:
    """A plain column takes it, and cut its ends."""
    kept = Kept(pg.INT4RANGE())
    async with with_tables(kept.row) as db:
        rows = kept.rows(db)
        await rows.batch_create([kept.create(1, asyncpg.Range(1, 3))])
        for call in (rows.create(kept.create(2, odd := asyncpg.Range(1.5, 3))), rows.count(None, [kept.value == odd])):
            assert (await answered(call)).error is InvalidValue


class First(TypeDecorator[Any]):
    """Binds the first of a tuple."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Bind that."""
        return None if value is None else value[0]


class FirstRow(KeyBase):
    __tablename__ = "bound_firsts"

    id: Mapped[int] = mapped_column(primary_key=True)
    first: Mapped[Any] = mapped_column(First)


class Firsts(Repository[FirstRow, FirstRow, int]):
    pass


async def test_a_plan_does_not_let_through_what_the_first_call_refused(lane_tables: WithTables) -> None:
    """Each value is looked at, a tuple too, whatever other one was asked for before."""
    async with lane_tables(FirstRow) as db:
        firsts = Firsts(db, resilience=None)
        async with db.begin_session() as db_sess:
            db_sess.add(FirstRow(id=1, first=(1,)))
        for value, is_good in (((1.5,), False), ((1,), True), ((1.5,), False)):
            for condition in (
                FirstRow.first.between(value, value),
                sa.or_(FirstRow.first == value, FirstRow.first == (9,)),
                FirstRow.first.is_not_distinct_from(value),
                FirstRow.first.in_([value, (9,)]),
                FirstRow.first == value,
            ):
                for ask in (firsts.count, firsts.search, firsts.exists):
                    if is_good:
                        assert await ask(None, [condition])
                    else:
                        with pytest.raises(InvalidValue):
                            await ask(None, [condition])
