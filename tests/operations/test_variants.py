"""Types that are others on some databases, and numbers that a database cannot keep: one answer in every lane."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from rowsmith import (
    Conflict,
    EntityAlreadyExists,
    Expr,
    InvalidValue,
    OptionalState,
    Patch,
    Repository,
    SearchScope,
    Spec,
    TriState,
    max_,
    min_,
)
from rowsmith.database import Database
from rowsmith.filters import DateTimeFilter, Filter, NumberFilter, UUIDFilter
from rowsmith.testing import WithTables, tables


class Loaded(TypeDecorator[Any]):
    """JSON where the database has it, by the dialect."""

    impl = sa.JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        return dialect.type_descriptor(postgresql.JSONB() if dialect.name == "postgresql" else sa.JSON())


class Worded(TypeDecorator[Any]):
    """A decorator that makes nothing of its values, over a type with a variant."""

    impl = sa.JSON().with_variant(sa.ARRAY(sa.Text), "postgresql")
    cache_ok = True


class Base(DeclarativeBase):
    pass


class VariedRow(Base):
    __tablename__ = "varied_rows"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    wide: Mapped[int] = mapped_column(sa.Integer().with_variant(sa.BigInteger(), "postgresql", "sqlite"))
    at: Mapped[Any] = mapped_column(
        sa.DateTime().with_variant(sa.DateTime(timezone=True), "postgresql", "sqlite"), nullable=True
    )
    text: Mapped[Any] = mapped_column(sa.String(3).with_variant(sa.Text(), "postgresql", "sqlite"), nullable=True)
    document: Mapped[Any] = mapped_column(
        sa.Text().with_variant(postgresql.JSONB(), "postgresql").with_variant(sa.JSON(), "sqlite"), nullable=True
    )
    loaded: Mapped[Any] = mapped_column(Loaded, nullable=True)
    key: Mapped[Any] = mapped_column(sa.String(36).with_variant(sa.Uuid(), "postgresql", "sqlite"), nullable=True)
    text_key: Mapped[Any] = mapped_column(
        sa.Uuid(as_uuid=False).with_variant(sa.Uuid(), "postgresql", "sqlite"), nullable=True
    )


SEVEN = UUID(int=7)
NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)


@dataclass(frozen=True)
class VariedCreate(Spec[VariedRow]):
    id: int
    wide: int = 2**40
    at: Any = NOON
    text: Any = "longer"
    document: Any = None
    loaded: Any = None
    key: Any = SEVEN
    text_key: Any = SEVEN


@dataclass(frozen=True)
class VariedData:
    id: int
    wide: int
    at: Any
    text: Any
    document: Any
    loaded: Any
    key: Any
    text_key: Any


@dataclass(frozen=True)
class VariedPatch(Patch[VariedRow]):
    wide: OptionalState[int]


class VariedFilter(Filter[VariedRow]):
    wide: NumberFilter | None = None
    at: DateTimeFilter | None = None
    key: UUIDFilter | None = None
    text_key: UUIDFilter | None = None


class Varieds(Repository[VariedRow, VariedData, int]):
    pass


async def test_the_dialects_type_decides(any_tables: WithTables) -> None:
    """Wider numbers, zoned times, longer texts; None is NULL in each form, JSON by a variant or not."""
    async with any_tables(VariedRow) as db:
        rows = Varieds(db)
        await rows.create(VariedCreate(1))
        await rows.batch_create([VariedCreate(2), VariedCreate(3)])
        await rows.upsert(VariedCreate(4))
        await rows.batch_upsert([VariedCreate(5), VariedCreate(6)])
        found = await rows.search(orders=[VariedRow.id])
        assert list(found) == [
            VariedData(number, 2**40, NOON, "longer", None, None, SEVEN, SEVEN) for number in range(1, 7)
        ]
        assert await rows.count(None, [VariedRow.document.is_(None), sa.column("loaded").is_(None)]) == 6
        same = UUIDFilter(equals=SEVEN)
        wanted = VariedFilter(wide=NumberFilter(equals=2**40), at=DateTimeFilter(equals=NOON), key=same, text_key=same)
        assert await rows.count(None, wanted) == 6
        patch = VariedPatch(OptionalState.update(2**41))
        assert (await rows.update(1, patch)).wide == 2**41
        assert [item.wide for item in (await rows.batch_update_each({2: patch, 3: patch})).succeeded] == [2**41] * 2
        for call in (rows.create(VariedCreate(7, wide=2**70)), rows.batch_create([VariedCreate(7, wide=2**70)])):
            with pytest.raises(InvalidValue, match="wide holds integers"):
                await call


class ListedRow(Base):
    __tablename__ = "listed_rows"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    numbers: Mapped[Any] = mapped_column(sa.ARRAY(sa.Integer).with_variant(sa.JSON(), "sqlite"), nullable=True)
    words: Mapped[Any] = mapped_column(sa.JSON().with_variant(sa.ARRAY(sa.String), "postgresql"), nullable=True)
    nested: Mapped[Any] = mapped_column(
        sa.ARRAY(sa.BigInteger().with_variant(sa.Integer(), "postgresql")), nullable=True
    )
    text: Mapped[Any] = mapped_column(Worded, nullable=True)


@dataclass(frozen=True)
class ListedCreate(Spec[ListedRow]):
    id: int
    numbers: Any = None
    words: Any = None
    nested: Any = None
    text: Any = None


@dataclass(frozen=True)
class ListedPatch(Patch[ListedRow]):
    numbers: TriState[Any] = TriState.nop()
    words: TriState[Any] = TriState.nop()
    nested: TriState[Any] = TriState.nop()
    text: TriState[Any] = TriState.nop()


@dataclass(frozen=True)
class ListedData:
    id: int
    numbers: Any
    words: Any
    nested: Any
    text: Any


class Listeds(Repository[ListedRow, ListedData, int]):
    pass


MISTAKEN: list[tuple[str, Any, str]] = [
    *(("numbers", value, "give a list") for value in ("12", "", {"1": 1}, 5)),
    *(("numbers", value, "holds integers") for value in (["1"], [1, "2"], ["x"], [2**40])),
    *(("words", value, "give a list") for value in ("red", {"a": 1}, 5)),
    *(("words", value, "holds text") for value in ([1], ["a", 2])),
    ("nested", [2**40], "holds integers"),
    ("text", "red", "give a list"),
    ("text", {"a": 1}, "give a list"),
]


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("name, value, words", MISTAKEN)
async def test_what_the_databases_own_type_cannot_hold_is_refused(
    with_tables: WithTables, native: bool, name: str, value: Any, words: str
) -> None:
    """By every verb that writes, with column and index: another variant could hold it, and it would be made a list."""
    async with with_tables(ListedRow) as made:
        rows = Listeds(Database(made.engine, native=native))
        await rows.create(ListedCreate(1))
        spec = ListedCreate(2, **{name: value})
        patch = ListedPatch(**{name: TriState.update(value)})
        alone = [
            rows.create(spec),
            rows.upsert(spec),
            rows.update(1, patch),
            rows.batch_update([1], patch),
            rows.update_where([ListedRow.id == 1], patch),
        ]
        many = [
            rows.batch_create([ListedCreate(3), spec]),
            rows.load([ListedCreate(3), spec]),
            rows.batch_upsert([ListedCreate(3), spec]),
            rows.batch_update_each({0: ListedPatch(), 1: patch}),
        ]
        for call in (*alone, *many):
            with pytest.raises(InvalidValue, match=rf"ListedRow\.{name} .*{words}") as caught:
                await call
            assert call in alone or "at index 1" in str(caught.value)
        partials: list[Any] = [
            await rows.batch_create_partial([spec]),
            await rows.batch_upsert_partial([spec]),
            await rows.batch_update_partial({1: patch}),
        ]
        for partial in partials:
            assert (partial.succeeded, partial.failed[0].index) == ([], 0)
            assert f"ListedRow.{name}" in str(partial.failed[0].error)
        assert list(await rows.search()) == [ListedData(1, None, None, None, None)]


async def test_what_the_databases_own_type_holds_is_kept(with_tables: WithTables) -> None:
    """As it was given, in whatever form it is written."""
    async with with_tables(ListedRow) as db:
        rows = Listeds(db)
        given: dict[str, Any] = {"numbers": [1, None], "words": ["a", ""], "nested": [[1], [2]], "text": ["a"]}
        await rows.create(ListedCreate(1, **given))
        await rows.batch_create([ListedCreate(2, **given), ListedCreate(3)])
        await rows.load([ListedCreate(4, **given)])
        await rows.batch_upsert([ListedCreate(5, **given)])
        await rows.batch_update_each(
            {3: ListedPatch(**{name: TriState.update(value) for name, value in given.items()})}
        )
        assert list(await rows.search(orders=[ListedRow.id])) == [ListedData(id, **given) for id in range(1, 6)]


class PriceRow(Base):
    __tablename__ = "exact_prices"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    price: Mapped[Decimal] = mapped_column(sa.Numeric(20, 4))


@dataclass(frozen=True)
class PriceCreate(Spec[PriceRow]):
    id: int
    price: Decimal


@dataclass(frozen=True)
class PricePatch(Patch[PriceRow]):
    price: OptionalState[Decimal]


@dataclass(frozen=True)
class PriceData:
    price: Decimal


class PriceFilter(Filter[PriceRow]):
    price: NumberFilter | None = None


class Prices(Repository[PriceRow, PriceData, int]):
    pass


FINE = Decimal("1234567890123456.7891")


async def test_postgresql_keeps_every_digit(with_tables: WithTables) -> None:
    """What is written is read."""
    async with with_tables(PriceRow) as db:
        prices = Prices(db)
        assert (await prices.create(PriceCreate(1, FINE))).price == FINE
        assert await prices.count(None, PriceFilter(price=NumberFilter(equals=FINE))) == 1


async def test_sqlite_refuses_what_it_would_change(sqlite_database: Database) -> None:
    """It keeps floats: a number that comes back is kept, rounded as elsewhere; no other is, nor is it compared."""
    async with tables(sqlite_database, PriceRow) as db:
        prices = Prices(db)
        assert (await prices.create(PriceCreate(1, Decimal("0.12345")))).price == Decimal("0.1235")
        assert (await prices.create(PriceCreate(2, Decimal("123456789.1234")))).price == Decimal("123456789.1234")
        patch = PricePatch(OptionalState.update(FINE))
        refused = [
            prices.create(PriceCreate(3, FINE)),
            prices.batch_create([PriceCreate(3, Decimal(1)), PriceCreate(4, FINE)]),
            prices.upsert(PriceCreate(3, FINE)),
            prices.load([PriceCreate(3, FINE)]),
            prices.update(1, patch),
            prices.batch_update([1], patch),
            prices.batch_update_each({1: patch}),
            prices.update_where([PriceRow.id == 1], patch),
        ]
        for call in refused:
            with pytest.raises(InvalidValue, match=r"PriceRow\.price") as caught:
                await call
            assert "7891" not in str(caught.value)
        with pytest.raises(InvalidValue):
            await prices.count(None, PriceFilter(price=NumberFilter(equals=FINE)))
        assert await prices.count() == 2


class Shelved(sa.Uuid[Any]):
    """A class that says itself how its values are stored."""

    cache_ok = True

    def bind_processor(self, dialect: Any) -> Any:
        def store(value: Any) -> str:
            return f"urn:uuid:{value}"

        return store


class TagRow(Base):
    __tablename__ = "tags_by_uuid"
    id: Mapped[str] = mapped_column(sa.Uuid(as_uuid=False), primary_key=True)
    other: Mapped[str | None] = mapped_column(sa.UUID(as_uuid=False), unique=True)
    count: Mapped[int] = mapped_column(default=0)


@dataclass(frozen=True)
class TagCreate(Spec[TagRow]):
    id: str
    other: str | None = None


@dataclass(frozen=True)
class TagPatch(Patch[TagRow]):
    other: TriState[str]


@dataclass(frozen=True)
class TagData:
    id: str
    other: str | None


class Tags(Repository[TagRow, TagData, str]):
    pass


@dataclass(frozen=True)
class OtherScope(SearchScope):
    """The rows of one other."""

    other: str

    def to_conditions(self) -> list[Any]:
        return [TagRow.other == self.other]


A, B, C, D = (f"abcdef00-0000-4000-8000-00000000000{letter}" for letter in "abcd")


async def test_a_uuid_as_text_is_one_in_every_form(any_tables: WithTables) -> None:
    """In capitals or without hyphens: it is found, told and refused as the same, by whatever verb."""
    async with any_tables(TagRow) as db:
        tags = Tags(db)
        assert await tags.create(TagCreate(A.upper())) == TagData(A, None)
        made = await tags.batch_create([TagCreate(B.upper()), TagCreate(C.upper(), A.upper())])
        assert made == [TagData(B, None), TagData(C, A)]
        assert await tags.load([TagCreate(D.upper())]) == 1
        for form in (A, A.upper(), A.replace("-", "")):
            assert await tags.find(form) == TagData(A, None)
            assert await tags.batch_get([form]) == [TagData(A, None)]
            assert not (await tags.upsert(TagCreate(form))).inserted
            assert [one.inserted for one in (await tags.batch_upsert([TagCreate(form)])).succeeded] == [False]
            assert list(await tags.search(None, [TagRow.other == form])) == [TagData(C, A)]
            assert list(await tags.search(OtherScope(form))) == [TagData(C, A)]
            for call in (tags.create(TagCreate(form)), tags.batch_create([TagCreate(form)])):
                with pytest.raises(EntityAlreadyExists):
                    await call
        patch = TagPatch(TriState.update(B.upper()))
        assert (await tags.update(A.upper(), patch)).other == B
        patch = TagPatch(TriState.update(D.upper()))
        assert (await tags.batch_update_each({A.upper(): patch})).succeeded == [TagData(A, D)]
        assert (await tags.create(TagCreate(str(SEVEN), C.upper()), scope=OtherScope(C.upper()))).other == C
        assert await tags.purge(D.upper()) == TagData(D, None)


async def test_what_sqlite_had_of_a_uuid_is_found(sqlite_database: Database) -> None:
    """As SQLAlchemy has always written it there: small letters without hyphens; a class of one's own says it itself."""
    async with tables(sqlite_database, TagRow) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.text("INSERT INTO tags_by_uuid VALUES (:id, NULL, 0)"), {"id": A.replace("-", "")})
            assert await Tags(db).get(A.upper()) == TagData(A, None)
            stored = await db_sess.scalar(
                sa.select(sa.func.lower(sa.literal(A, Shelved(as_uuid=False)), type_=sa.Text))
            )
        assert stored == f"urn:uuid:{A}"


class EndRow(Base):
    __tablename__ = "ends_of_time"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[dt.datetime] = mapped_column(sa.DateTime(timezone=True))


@dataclass(frozen=True)
class EndCreate(Spec[EndRow]):
    id: int
    at: dt.datetime


@dataclass(frozen=True)
class EndData:
    id: int
    at: dt.datetime


class Ends(Repository[EndRow, EndData, int]):
    pass


async def test_the_ends_of_time_have_a_zone(with_tables: WithTables) -> None:
    """In whatever way ``infinity`` is read; and what was read is infinity when it is written and asked for."""
    async with with_tables(EndRow) as db:
        ends = Ends(db)
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.text("INSERT INTO ends_of_time VALUES (1, 'infinity'), (2, '-infinity')"))
        last, first = dt.datetime.max.replace(tzinfo=dt.UTC), dt.datetime.min.replace(tzinfo=dt.UTC)
        assert [await ends.get(1), await ends.get(2)] == [EndData(1, last), EndData(2, first)]
        assert await ends.batch_get([2, 1]) == [EndData(2, first), EndData(1, last)]
        assert [item async for item in ends.stream(orders=[EndRow.id])] == [EndData(1, last), EndData(2, first)]
        assert await ends.batch_create([EndCreate(3, last)]) == [EndData(3, last)]
        assert (await ends.batch_upsert([EndCreate(4, last)])).succeeded[0].data == EndData(4, last)
        infinite = sa.func.isfinite(EndRow.at).is_(False)
        assert [item.id for item in await ends.search(None, [infinite], orders=[EndRow.id])] == [1, 2, 3, 4]
        assert await ends.count(None, [EndRow.at == last]) == 3


@dataclass(frozen=True)
class EndsOf:
    first: Annotated[dt.datetime | None, min_(EndRow.at)]
    last: Annotated[dt.datetime | None, max_(sa.func.coalesce(EndRow.at, sa.func.now()))]


@dataclass(frozen=True)
class EndAsked:
    id: int
    at: Annotated[dt.datetime, Expr(sa.func.coalesce(EndRow.at, sa.func.now()))]


@pytest.mark.parametrize("native", [True, False])
async def test_the_ends_of_time_have_a_zone_on_an_engine_that_was_used_before(
    with_tables: WithTables, native: bool
) -> None:
    """Whatever its dialect has made of the columns' types by then, in rows, expressions and aggregates."""
    last, first = dt.datetime.max.replace(tzinfo=dt.UTC), dt.datetime.min.replace(tzinfo=dt.UTC)
    async with with_tables(EndRow) as made:
        engine = create_async_engine(made.engine.url)
        try:
            async with engine.begin() as connection:
                await connection.run_sync(EndRow.metadata.tables["ends_of_time"].create, checkfirst=True)
                table = EndRow.__table__
                await connection.execute(sa.insert(table).returning(table), [{"id": 1, "at": last}])
                await connection.execute(sa.select(table))
            ends = Ends(Database(engine, native=native))
            assert await ends.create(EndCreate(2, first)) == EndData(2, first)
            assert [await ends.get(1), await ends.get(2)] == [EndData(1, last), EndData(2, first)]
            assert list(await ends.search(orders=[EndRow.id])) == [EndData(1, last), EndData(2, first)]
            assert await ends.get(1, into=EndAsked) == EndAsked(1, last)
            assert await ends.aggregate(into=EndsOf) == [EndsOf(first, last)]
        finally:
            await engine.dispose()


class ManyEndsRow(Base):
    __tablename__ = "many_ends"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ats: Mapped[Any] = mapped_column(sa.ARRAY(sa.DateTime(timezone=True)))


@dataclass(frozen=True)
class ManyEndsCreate(Spec[ManyEndsRow]):
    id: int
    ats: Any


@dataclass(frozen=True)
class ManyEndsPatch(Patch[ManyEndsRow]):
    ats: OptionalState[Any] = OptionalState.nop()


class ManyEnds(Repository[ManyEndsRow, ManyEndsRow, int]):
    conflict = Conflict([ManyEndsRow.id])


async def test_the_ends_of_time_are_the_same_in_arrays_of_every_lane(with_tables: WithTables) -> None:
    """Whether an array goes as one or as text, and whatever zone the first and the last moment are told in."""
    east = dt.timezone(dt.timedelta(hours=5))
    first, last = dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC)
    given = [first, first.astimezone(east), first + dt.timedelta(microseconds=1), None, last]
    async with with_tables(ManyEndsRow) as db:
        ends = ManyEnds(db)
        await ends.create(ManyEndsCreate(1, given))
        await ends.batch_create([ManyEndsCreate(2, given), ManyEndsCreate(3, [])])
        await ends.load([ManyEndsCreate(4, given), ManyEndsCreate(5, [])])
        await ends.batch_upsert([ManyEndsCreate(6, given), ManyEndsCreate(5, given)])
        await ends.batch_update_each({3: ManyEndsPatch(OptionalState.update(given))})
        async with db.begin_readonly_session() as db_sess:
            stored = [tuple(row) for row in await db_sess.execute(sa.text("SELECT DISTINCT ats::text FROM many_ends"))]
        assert stored == [('{-infinity,-infinity,"0001-01-01 00:00:00.000001+00",NULL,infinity}',)]


class SpanRow(Base):
    __tablename__ = "spans"

    id: Mapped[int] = mapped_column(primary_key=True)
    one: Mapped[Any] = mapped_column(postgresql.TSTZRANGE)
    many: Mapped[Any] = mapped_column(postgresql.TSTZMULTIRANGE)
    local: Mapped[Any] = mapped_column(postgresql.TSRANGE)


@dataclass(frozen=True)
class SpanData:
    id: int
    one: Any
    many: Any
    local: Any


class Spans(Repository[SpanRow, SpanData, int]):
    pass


@pytest.mark.parametrize("native", [True, False])
async def test_the_ends_of_ranges_have_a_zone(with_tables: WithTables, native: bool) -> None:
    """As points in time themselves have, in ranges and in several of them; those of local times have none."""
    async with with_tables(SpanRow) as made:
        spans = Spans(Database(made.engine, native=native))
        async with made.begin_session() as db_sess:
            await db_sess.execute(
                sa.text(
                    "INSERT INTO spans VALUES (2, 'empty', '{}', '(,)'), "
                    "(1, '[2020-01-01,infinity)', '{[2020-01-01,infinity)}', '[2020-01-01,infinity)')"
                )
            )
        for span in (await spans.get(1), (await spans.batch_get([1]))[0]):
            last = dt.datetime.max.replace(tzinfo=dt.UTC)
            assert (span.one.upper, span.one.lower.tzinfo) == (last, dt.UTC)
            assert span.many[0].upper == last
            assert span.local.upper == dt.datetime.max
        empty = await spans.get(2)
        assert empty.one.empty
        assert (list(empty.many), empty.local.lower) == ([], None)


class Marked(TypeDecorator[Any]):
    """Documents with a mark, None as well."""

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return {"value": value}

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else (value["value"], "marked")


class Kept(TypeDecorator[Any]):
    """Documents that are nothing where they are None."""

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value and {"value": value}


class MarkedRow(Base):
    __tablename__ = "marked_rows"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    marked: Mapped[Any] = mapped_column(Marked, nullable=True)
    kept: Mapped[Any] = mapped_column(Kept, nullable=True)


@dataclass(frozen=True)
class MarkedCreate(Spec[MarkedRow]):
    id: int
    marked: Any = None
    kept: Any = None


@dataclass(frozen=True)
class MarkedPatch(Patch[MarkedRow]):
    marked: TriState[Any] = TriState.nullify()


@dataclass(frozen=True)
class MarkedData:
    marked: Any
    kept: Any


class Markeds(Repository[MarkedRow, MarkedData, int]):
    pass


async def test_what_a_type_makes_of_none_is_stored(any_tables: WithTables) -> None:
    """A JSON column's decorator is asked about None in every form of a write; what it leaves None is NULL."""
    async with any_tables(MarkedRow) as db:
        rows = Markeds(db)
        await rows.create(MarkedCreate(1))
        await rows.batch_create([MarkedCreate(2), MarkedCreate(3, 1, 1)])
        await rows.upsert(MarkedCreate(4))
        await rows.batch_upsert([MarkedCreate(5), MarkedCreate(6)])
        await rows.load([MarkedCreate(7)])
        await rows.update(1, MarkedPatch())
        await rows.batch_update([2], MarkedPatch())
        await rows.batch_update_each({3: MarkedPatch(), 4: MarkedPatch()})
        found = list(await rows.search(orders=[MarkedRow.id]))
        assert [item.marked for item in found] == [(None, "marked")] * 7
        assert await rows.count(None, [MarkedRow.kept.is_(sa.null())]) == 6


class FeeRow(Base):
    __tablename__ = "fees"

    id: Mapped[int] = mapped_column(primary_key=True)
    fee: Mapped[str | None] = mapped_column(postgresql.MONEY)


@dataclass(frozen=True)
class FeeCreate(Spec[FeeRow]):
    id: int


@dataclass(frozen=True)
class FeeData:
    id: int
    fee: str | None


class Fees(Repository[FeeRow, FeeData, int]):
    pass


# Of MONEY SQLAlchemy does not say which operators it has, and warns of that.
@pytest.mark.filterwarnings("ignore:Type object .* does not refer to an OperatorClass")
async def test_a_column_that_copy_cannot_take_may_be_left_out(with_tables: WithTables) -> None:
    """COPY sends every column that comes back, so that one of such a type has the batch go another way."""
    async with with_tables(FeeRow) as db:
        fees = Fees(db)
        assert await fees.create(FeeCreate(1)) == FeeData(1, None)
        assert await fees.batch_create([FeeCreate(3), FeeCreate(2)]) == [FeeData(3, None), FeeData(2, None)]
