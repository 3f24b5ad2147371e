"""Values on their way to asyncpg: every type of PostgreSQL's that the mapping knows, in every lane."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from rowsmith import BatchCreator, BatchUpdater, Creator, InvalidValue, Patch, Spec, TriState
from rowsmith.operations.arrays.wire import folded
from rowsmith.testing import WithTables


class Mood(enum.Enum):
    GOOD = "g"
    BAD = "b"


class Cents(TypeDecorator[Decimal]):
    """Decimals stored as whole numbers, None as minus one."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Any) -> int:
        return -1 if value is None else int(value * 100)

    def process_result_value(self, value: int | None, dialect: Any) -> Decimal | None:
        return None if value is None or value < 0 else Decimal(value) / 100


class Tags(TypeDecorator[frozenset[str]]):
    """Sets stored as arrays."""

    impl = ARRAY(sa.Text)
    cache_ok = True

    def process_bind_param(self, value: frozenset[str] | None, dialect: Any) -> list[str] | None:
        return None if value is None else sorted(value)

    def process_result_value(self, value: Any, dialect: Any) -> frozenset[str] | None:
        return None if value is None else frozenset(value)


class Settings(TypeDecorator[dict[str, Any]]):
    """Documents with a mark of the version that wrote them."""

    impl = JSONB
    cache_ok = True

    def process_bind_param(self, value: dict[str, Any] | None, dialect: Any) -> dict[str, Any]:
        return {"version": 1, "value": value}

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value["value"]


class Base(DeclarativeBase):
    pass


class TypesRow(Base):
    __tablename__ = "types"
    id: Mapped[int] = mapped_column(primary_key=True)
    mood: Mapped[Any] = mapped_column(sa.Enum(Mood, name="mood"), nullable=True)
    moods: Mapped[Any] = mapped_column(ARRAY(sa.Enum(Mood, name="mood")), nullable=True)
    loose: Mapped[Any] = mapped_column(sa.Enum(Mood, native_enum=False, length=10), nullable=True)
    document: Mapped[Any] = mapped_column(JSONB, nullable=True)
    plain: Mapped[Any] = mapped_column(sa.JSON, nullable=True)
    words: Mapped[Any] = mapped_column(ARRAY(sa.Text), nullable=True)
    grid: Mapped[Any] = mapped_column(ARRAY(sa.Integer, dimensions=2), nullable=True)
    keys: Mapped[Any] = mapped_column(ARRAY(sa.Uuid), nullable=True)
    blobs: Mapped[Any] = mapped_column(ARRAY(sa.LargeBinary), nullable=True)
    times: Mapped[Any] = mapped_column(ARRAY(sa.DateTime(True)), nullable=True)
    cents: Mapped[Any] = mapped_column(Cents, nullable=True)
    tags: Mapped[Any] = mapped_column(Tags, nullable=True)
    settings: Mapped[Any] = mapped_column(Settings, nullable=True)
    price: Mapped[Any] = mapped_column(sa.Numeric(8, 2), nullable=True)
    exact: Mapped[Any] = mapped_column(sa.Numeric, nullable=True)
    rough: Mapped[Any] = mapped_column(sa.REAL, nullable=True)
    text_key: Mapped[Any] = mapped_column(sa.Uuid(as_uuid=False), nullable=True)
    code: Mapped[Any] = mapped_column(sa.CHAR(4), nullable=True)
    span: Mapped[Any] = mapped_column(sa.Interval, nullable=True)
    clock: Mapped[Any] = mapped_column(sa.Time(True), nullable=True)
    blob: Mapped[Any] = mapped_column(sa.LargeBinary, nullable=True)


COLUMNS = [name for name in TypesRow.__table__.columns.keys() if name != "id"]  # noqa: SIM118 - not a mapping


@dataclass(frozen=True)
class Types:
    mood: Any
    moods: Any
    loose: Any
    document: Any
    plain: Any
    words: Any
    grid: Any
    keys: Any
    blobs: Any
    times: Any
    cents: Any
    tags: Any
    settings: Any
    price: Any
    exact: Any
    rough: Any
    text_key: Any
    code: Any
    span: Any
    clock: Any
    blob: Any


@dataclass(frozen=True)
class TypesCreate(Spec[TypesRow]):
    mood: Any = None
    moods: Any = None
    loose: Any = None
    document: Any = None
    plain: Any = None
    words: Any = None
    grid: Any = None
    keys: Any = None
    blobs: Any = None
    times: Any = None
    cents: Any = None
    tags: Any = None
    settings: Any = None
    price: Any = None
    exact: Any = None
    rough: Any = None
    text_key: Any = None
    code: Any = None
    span: Any = None
    clock: Any = None
    blob: Any = None


text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['a"b', "\\", "{}", "NULL", "null", "a,b", " ", "", "'", "\n\t"]
)
numbers = st.integers(-(2**31), 2**31 - 1)
moments = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC))
json = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda part: st.lists(part, max_size=3) | st.dictionaries(text, part, max_size=3),
)
grids = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=1, max_size=3)
)
specs = st.builds(
    TypesCreate,
    mood=st.none() | st.sampled_from(Mood),
    moods=st.none() | st.lists(st.none() | st.sampled_from(Mood), max_size=3),
    loose=st.none() | st.sampled_from(Mood),
    document=json,
    plain=json,
    words=st.none() | st.lists(st.none() | text, max_size=4),
    grid=st.none() | grids,
    keys=st.none() | st.lists(st.uuids(), max_size=2),
    blobs=st.none() | st.lists(st.binary(max_size=4), max_size=2),
    times=st.none() | st.lists(moments, max_size=2),
    cents=st.none() | st.integers(0, 9999).map(lambda value: Decimal(value) / 100),
    tags=st.none() | st.frozensets(text, max_size=3),
    settings=st.none() | st.dictionaries(text, numbers, max_size=2),
    price=st.none() | st.decimals(-1000, 1000, places=3),
    exact=st.none()
    | st.decimals(allow_nan=False, allow_infinity=False).filter(lambda value: abs(value.adjusted()) < 100),
    rough=st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False),
    text_key=st.none() | st.uuids().map(str),
    code=st.none() | st.text("abc", max_size=4),
    span=st.none() | st.timedeltas(dt.timedelta(-9), dt.timedelta(9)),
    clock=st.none() | st.times(timezones=st.just(dt.UTC)),
    blob=st.none() | st.binary(max_size=8),
)


@pytest.fixture
async def db_sess(with_tables: WithTables) -> AsyncIterator[AsyncSession]:
    """A session on an empty table."""
    async with with_tables(TypesRow) as db, db.begin_session() as made:
        yield made


async def held(db_sess: AsyncSession) -> list[tuple[Any, ...]]:
    """What the table holds, as text, so that nothing of the driver's or SQLAlchemy's stands between."""
    columns = [sa.cast(getattr(TypesRow, name), sa.Text) for name in COLUMNS]
    return [tuple(row) for row in await db_sess.execute(sa.select(*columns).order_by(TypesRow.id))]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(batch=st.lists(specs, min_size=1, max_size=4))
async def test_every_lane_stores_what_a_single_create_stores(db_sess: AsyncSession, batch: list[TypesCreate]) -> None:
    """Random rows of every type: COPY and arrays store the same, byte for byte, and give the same back."""
    one, many = Creator(TypesRow, into=Types), BatchCreator(TypesRow, into=Types)
    async with db_sess.begin_nested() as example:
        expected = [await one.create(db_sess, spec) for spec in batch]
        wanted = await held(db_sess)
        await db_sess.execute(sa.delete(TypesRow))
        assert await many.create(db_sess, batch) == expected
        assert await held(db_sess) == wanted
        await db_sess.execute(sa.delete(TypesRow))
        assert await many.load(db_sess, batch) == len(batch)
        assert await held(db_sess) == wanted
        await example.rollback()


async def test_what_a_type_makes_wrongly_is_told_without_the_value(db_sess: AsyncSession) -> None:
    """A TypeDecorator that hands over something else than its column holds: a typed error, in every lane."""

    @dataclass(frozen=True)
    class Nothing:
        blob: Any

    spec = TypesCreate(tags=frozenset({"ok"}), cents=Decimal(10**12))
    for into in (Types, Nothing):
        async with db_sess.begin_nested() as example:
            with pytest.raises(InvalidValue) as caught:
                await BatchCreator(TypesRow, into=into).create(db_sess, [spec])
            assert str(10**14) not in str(caught.value)
            await example.rollback()


async def test_a_wrong_value_of_many_is_told_by_its_index(db_sess: AsyncSession) -> None:
    """Also where the values of a column travel folded, of which the driver does not say which one it refuses."""
    specs = [TypesCreate(cents=Decimal(10**12 if place == 77 else place)) for place in range(120)]
    async with db_sess.begin_nested() as example:
        with pytest.raises(InvalidValue, match="index 77"):
            await BatchCreator(TypesRow, into=Types).create(db_sess, specs)
        await example.rollback()


async def test_a_wrong_value_of_many_patches_is_told_by_its_index(db_sess: AsyncSession) -> None:
    """Also where SQLAlchemy sends the values folded."""

    @dataclass(frozen=True)
    class TypesPatch(Patch[TypesRow]):
        cents: TriState[Decimal] = TriState.nop()

    await BatchCreator(TypesRow, into=Types).create(db_sess, [TypesCreate() for _ in range(120)])
    ids = list(await db_sess.scalars(sa.select(TypesRow.id).order_by(TypesRow.id)))
    sums = [Decimal(10**12 if place == 77 else place) for place in range(120)]
    patches = {id_: TypesPatch(TriState.update(cents)) for id_, cents in zip(ids, sums, strict=True)}
    async with db_sess.begin_nested() as example:
        with pytest.raises(InvalidValue, match="index 77"):
            await BatchUpdater(TypesRow, into=Types).update_each(db_sess, patches)
        await example.rollback()
    patches[ids[77]] = TypesPatch(TriState.nullify())
    changed = (await BatchUpdater(TypesRow, into=Types).update_each(db_sess, patches)).succeeded
    assert [row.cents for row in changed] == [*sums[:77], None, *sums[78:]]


async def test_values_that_travel_folded_keep_their_order(db_sess: AsyncSession) -> None:
    """The rows of a batch are told apart by it."""
    specs = [TypesCreate(cents=None if place % 5 == 0 else Decimal(place)) for place in range(120)]
    made = await BatchCreator(TypesRow, into=Types).create(db_sess, specs)
    assert [row.cents for row in made] == [spec.cents for spec in specs]


def test_an_array_is_folded_into_rows_of_equal_length() -> None:
    """Whatever has no divisors stays as it is."""
    assert folded(list(range(96))) == [list(range(start, start + 12)) for start in range(0, 96, 12)]
    assert folded(list(range(97))) == list(range(97))


@pytest.mark.parametrize("odd", [["a"], ("a",), {"a": 1}, Mood.GOOD, memoryview(b"a")])
def test_what_may_be_an_array_itself_is_not_folded(odd: object) -> None:
    """Asyncpg would not look whether it is one."""
    items = ["a"] * 99 + [odd]
    assert folded(items) is items
