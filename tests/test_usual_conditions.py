"""Conditions as applications write them: each is answered as SQLAlchemy alone has it answered, none is refused."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from rowsmith import Database, Repository
from rowsmith.testing import WithTables

NOW = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
LOCAL = dt.datetime(2024, 5, 1, 12)
DAY = dt.date(2024, 5, 1)
HOUR = dt.timedelta(hours=1)
TOKEN = uuid.UUID(int=1)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Base(DeclarativeBase):
    pass


class Sample(Base):
    """A column of each type that both databases have."""

    __tablename__ = "samples"
    id: Mapped[int] = mapped_column(primary_key=True)
    big: Mapped[int] = mapped_column(sa.BigInteger)
    name: Mapped[str]
    short: Mapped[str] = mapped_column(sa.String(5))
    ratio: Mapped[float]
    exact: Mapped[Decimal] = mapped_column(sa.Numeric(9, 2))
    flag: Mapped[bool]
    moment: Mapped[dt.datetime] = mapped_column(sa.DateTime(True))
    local: Mapped[dt.datetime]
    day: Mapped[dt.date]
    hour: Mapped[dt.time]
    span: Mapped[dt.timedelta]
    token: Mapped[uuid.UUID]
    colour: Mapped[Colour]
    shade: Mapped[Colour] = mapped_column(sa.Enum(Colour, native_enum=False))
    document: Mapped[Any] = mapped_column(sa.JSON)
    binary: Mapped[Any] = mapped_column(sa.JSON().with_variant(postgresql.JSONB, "postgresql"))
    blob: Mapped[bytes]
    maybe: Mapped[int | None]


class Special(Base):
    """A column of each of PostgreSQL's own."""

    __tablename__ = "specials"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    flag: Mapped[bool]
    exact: Mapped[Decimal] = mapped_column(sa.Numeric(9, 2))
    moment: Mapped[dt.datetime] = mapped_column(sa.DateTime(True))
    day: Mapped[dt.date]
    span: Mapped[dt.timedelta]
    numbers: Mapped[list[int]] = mapped_column(sa.ARRAY(sa.Integer))
    tags: Mapped[list[str]] = mapped_column(postgresql.ARRAY(sa.Text))
    some: Mapped[Any] = mapped_column(postgresql.INT4RANGE)
    days: Mapped[Any] = mapped_column(postgresql.DATERANGE)
    binary: Mapped[Any] = mapped_column(postgresql.JSONB)
    address: Mapped[Any] = mapped_column(postgresql.INET)
    words: Mapped[Any] = mapped_column(postgresql.TSVECTOR)
    token: Mapped[uuid.UUID]
    token_text: Mapped[str] = mapped_column(sa.Uuid(as_uuid=False))
    colour: Mapped[Colour] = mapped_column(sa.Enum(Colour, name="colour_of_specials"))


S, P = Sample, Special
OTHER, SECOND = aliased(Sample), aliased(Special)

NUMBERS: list[Any] = [
    *(S.id == 1.0, S.id == Decimal(1), S.ratio == 1, S.ratio == Decimal("1.5"), S.exact == 1.5, S.exact == 1),
    *(S.id < S.ratio, S.id == S.exact, S.ratio == S.exact, S.big > S.id, S.big.in_([1, 2**40]), S.ratio.in_([1, 2])),
    *(S.id + 1.5 > 2, S.id * S.exact > 1, S.id / 2 == 0.5, S.id // 2 == 0, S.id % 2 == 1, -S.id < 0),
    *(S.id.between(1, 2.5), S.id.between(0.5, S.ratio), func.abs(S.id) == 1, func.round(S.exact) == 2),
    *(func.coalesce(S.maybe, 0) == 0, func.coalesce(S.maybe, 0.5) == 0.5, func.nullif(S.id, 0) == 1),
    *(S.maybe == None, S.maybe.is_distinct_from(1.5), S.maybe.is_(None), S.id.in_([1, None]), S.id.in_([])),  # noqa: E711
    *(sa.case((S.id == 1, 1), else_=2.5) == 1, sa.case((S.flag, S.id), else_=S.ratio) < 1.5),
    *(sa.case({1: 5}, value=S.id, else_=0) == 5, S.id.op("&")(1) == 1, S.id.bitwise_and(1) == 1),
    *(sa.literal(1) == S.id, sa.literal_column("1") == S.id, sa.literal(1) == 1, sa.bindparam("one", 1) == S.id),
    *(sa.cast(S.exact, sa.Integer) >= 1, sa.cast(S.id, sa.Numeric) == S.id),
]
TEXTS: list[Any] = [
    *(func.length(S.name) == 1, func.lower(S.name) == "a", func.upper(S.name).in_(["A", "B"]), S.name != S.short),
    *(func.coalesce(S.name, S.short) == "a", func.nullif(S.name, "") == "a", func.substr(S.name, 1, 1) == "a"),
    *(func.trim(S.name) != "", func.replace(S.name, "a", "b").startswith("b")),
    *(S.name + S.short == "ab", S.name + "x" == "ax", S.name.concat(S.id) == "a1", S.id.concat("x") == "1x"),
    *(S.name.op("||")("x") == "ax", S.id.op("||")("x") == "1x", S.name == func.lower(S.name)),
    *(S.name.like("a%"), S.name.ilike("A%"), S.name.contains("a", autoescape=True), S.name.in_(["a"])),
    *(sa.cast(S.id, sa.String) == "1", sa.cast(S.id, sa.Text).like("1%"), sa.cast(S.id, sa.String) != S.name),
    *(sa.case((S.id == 1, "a"), else_="b") == "a", sa.case({"a": 1}, value=S.name, else_=0) == 1),
    *(S.colour == Colour.RED, S.colour == "RED", S.colour.in_([Colour.RED, "BLUE"]), S.shade == "RED"),
    *(S.shade == func.upper("red"), sa.cast(S.colour, sa.String) == "RED", sa.cast(S.shade, sa.Text) == "RED"),
]
TRUTHS: list[Any] = [
    *(S.flag, ~S.flag, S.flag == True, S.flag.is_(True), S.flag.is_not(False), S.flag == sa.true()),  # noqa: E712
    *(S.flag == (S.id > 0), (S.id > 0) == (S.name == "a"), (S.id > 0).is_(False), S.flag.in_([True, False])),
    *(sa.or_(S.flag, S.id == 1).is_(True), sa.not_(S.id == 1), sa.false(), sa.cast(S.id, sa.Boolean) == True),  # noqa: E712
]
TIMES: list[Any] = [
    *(
        S.moment == NOW,
        S.moment.between(NOW, NOW),
        S.local >= LOCAL,
        S.day == DAY,
        S.day.in_([DAY]),
        S.hour < dt.time(23),
    ),
    *(S.moment > func.now(), S.day == func.current_date(), S.span == HOUR, S.hour == S.hour, S.day > S.local),
    *(sa.extract("year", S.day) == 2024, sa.extract("year", S.day).in_([2024])),
]
OTHERS: list[Any] = [
    *(S.token == TOKEN, S.token.in_([TOKEN]), S.token == S.token, S.blob == b"x", func.length(S.blob) == 1),
    *(S.document["a"].as_integer() == 3, S.document["a"].as_float() == 3, S.document["t"].as_string() == "x"),
    *(S.document["t"].as_string().in_(["x"]), S.document["yes"].as_boolean(), S.document["yes"].as_boolean().is_(True)),
    *(S.document[("b", "c")].as_integer() == 1, S.document["b"]["c"].as_integer() == S.id, S.document["t"].is_(None)),
    *(S.document["t"].as_string() != S.name, S.document["t"].is_not(None), S.document == None),  # noqa: E711
    *(func.coalesce(S.document["none"].as_string(), "x") == "x", S.document.op("->>")("t") == "x"),
    *(sa.cast(S.document["a"].as_string(), sa.Integer) == 3, S.binary == {"a": 3}, S.binary["a"].as_integer() == 3),
    *(S.binary["a"] == S.binary["a"], S.binary["a"] == {"b": 1}, S.binary["a"].as_integer().between(2, 4)),
    *(sa.tuple_(S.id, S.name) == (1, "a"), sa.tuple_(S.id, S.name).in_([(1, "a")]), sa.tuple_(S.id, S.name) > (0, "")),
]
SUBQUERIES: list[Any] = [
    S.id == sa.select(func.max(OTHER.id)).scalar_subquery(),
    S.ratio >= sa.select(func.avg(OTHER.id)).scalar_subquery(),
    S.exact >= sa.select(OTHER.id).where(OTHER.id == S.id).scalar_subquery(),
    S.id.in_(sa.select(OTHER.id).where(OTHER.name == "a")),
    S.id.in_(sa.select(OTHER.big)),
    S.name.in_(sa.select(func.lower(OTHER.name))),
    sa.exists().where(OTHER.id == S.id, OTHER.document["a"].as_integer() == 3),
    sa.select(func.count()).select_from(OTHER).where(OTHER.id == S.id).scalar_subquery() > 0,
    sa.tuple_(S.id, S.name).in_(sa.select(OTHER.id, OTHER.name)),
]
ON_BOTH = [*NUMBERS, *TEXTS, *TRUTHS, *TIMES, *OTHERS, *SUBQUERIES]

ARRAYS: list[Any] = [
    *(P.numbers == [1, 2], P.numbers == postgresql.array([1, 2]), P.numbers[1] == 1, P.numbers[1] == 1.0),
    *(P.numbers[1:2] == [1, 2], sa.any_(P.numbers) == 1, sa.all_(P.tags) == "a", P.tags.overlap(["a"])),
    *(P.id == sa.any_(P.numbers), P.name == sa.any_(P.tags), P.exact == sa.any_(P.numbers), P.id != sa.all_(P.numbers)),
    *(
        P.id == sa.any_(postgresql.array([1, 2])),
        P.name == sa.any_(postgresql.array(["a"])),
        P.id == func.any(P.numbers),
    ),
    *(func.cardinality(P.numbers) == 2, func.array_position(P.tags, "a") == 1, P.numbers.concat([1]) == [1, 2, 1]),
    *(func.array_to_string(P.tags, ",") == "a", P.tags == func.string_to_array(P.name, ",")),
    *(P.id == sa.any_(sa.literal([1.5, 1.0], sa.ARRAY(sa.Float))), P.numbers.op("||")([3]) == [1, 2, 3]),
]
RANGES: list[Any] = [
    *(P.some == Range(1, 3), P.some.in_([Range(1, 3)]), P.some.contains(1), P.some.contains(P.id)),
    *(P.some.contains(Range(1, 2)), P.some.overlaps(Range(1, 2)), P.days.contains(DAY), P.days.contains(P.day)),
    *(func.lower(P.some) == 1, func.upper(P.days) > DAY, func.isempty(P.some), P.some == func.int4range(1, 3)),
]
DOCUMENTS: list[Any] = [
    *(P.binary.contains({"a": 3}), P.binary.has_key("a"), P.binary["a"] == sa.cast(3, postgresql.JSONB)),
    *(P.binary["a"] == sa.literal(3, postgresql.JSONB), P.binary["a"] == func.to_jsonb(3), P.binary["t"].astext == "x"),
    *(
        P.binary["a"] == func.to_jsonb(P.id),
        P.binary["a"].astext.cast(sa.Integer) == 3,
        P.binary["a"].cast(sa.Integer) == 3,
    ),
    *(P.binary.op("->>")("t") == "x", P.binary.op("@>")({"a": 3}), P.binary.is_distinct_from({"a": 1})),
    *(P.binary.in_([{"a": 3}]), P.binary.concat({"b": 1}) != {"b": 1}, P.binary.delete_path(["a"]) != {"a": 3}),
    *(func.coalesce(P.binary["a"], sa.cast(0, postgresql.JSONB)) == func.to_jsonb(3), P.binary.path_exists("$.a")),
    *(func.jsonb_typeof(P.binary["a"]) == "number", func.jsonb_extract_path_text(P.binary, "t") == "x"),
    *(func.lower(P.binary.op("->>")("t")) == "x", func.coalesce(P.binary.op("->>")("t"), "x") == "x"),
]
SPECIAL_TIMES: list[Any] = [
    *(P.moment - HOUR < NOW, P.moment + P.span > NOW, P.moment - NOW == dt.timedelta(), func.now() - P.moment > HOUR),
    *(P.moment > func.now() - HOUR, P.span + HOUR > HOUR, P.day + 1 > DAY, P.day - DAY == 0),
    *(
        P.moment - P.day == dt.timedelta(hours=12),
        P.day - P.day == 0,
        P.day + HOUR > LOCAL,
        P.day == func.date(P.moment),
    ),
    *(P.day == sa.cast(P.moment, sa.Date), func.date_trunc("day", P.moment) < NOW, func.age(P.moment) > HOUR),
    *(func.timezone("UTC", P.moment) == LOCAL, func.make_interval(0, 0, 0, 1) > HOUR, func.localtime() > dt.time(0)),
    *(sa.extract("epoch", P.moment - NOW) == 0, P.moment > func.now() - sa.literal(HOUR, postgresql.INTERVAL)),
]
SPECIALS: list[Any] = [
    *(P.address == "10.0.0.1", func.host(P.address) == "10.0.0.1", P.address.op("<<")("10.0.0.0/8")),
    *(
        P.words.match("a"),
        P.words.bool_op("@@")(func.to_tsquery("a")),
        func.ts_rank(P.words, func.to_tsquery("a")) > 0.01,
    ),
    *(
        P.token_text == str(TOKEN),
        P.token == P.token_text,
        P.token_text == P.token,
        sa.cast(P.token, sa.Text) != P.name,
    ),
    *(P.colour > Colour.BLUE, P.colour == sa.cast("RED", P.colour.type), sa.cast(P.colour, sa.Text) != P.name),
    *(
        P.name.regexp_match("^a"),
        P.name.collate("C") == "a",
        P.name.op("~*")("A"),
        func.split_part(P.name, "@", 1) == "a",
    ),
    *(func.concat(P.name, P.id) == "a1", func.row(P.id, P.name) == func.row(1, "a"), func.power(P.id, 2) == 1),
    P.id.in_(sa.select(func.unnest(SECOND.numbers))),
]
ON_POSTGRESQL = [*ARRAYS, *RANGES, *DOCUMENTS, *SPECIAL_TIMES, *SPECIALS]


@dataclass(frozen=True)
class Key:
    id: int


class Samples(Repository[Sample, Key, int]):
    pass


class Specials(Repository[Special, Key, int]):
    pass


async def test_usual_conditions_are_answered_on_both_databases(any_tables: WithTables) -> None:
    """Over columns of every type, values, functions, casts, cases, parts of documents, rows and subqueries."""
    document = {"a": 3, "t": "x", "yes": True, "b": {"c": 1}}
    async with any_tables(Sample) as db:
        async with db.begin_session() as session:
            session.add(
                Sample(
                    id=1,
                    big=2**40,
                    name="a",
                    short="b",
                    ratio=1.5,
                    exact=Decimal("1.5"),
                    flag=True,
                    moment=NOW,
                    local=LOCAL,
                    day=DAY,
                    hour=dt.time(12),
                    span=HOUR,
                    token=TOKEN,
                    colour=Colour.RED,
                    shade=Colour.RED,
                    document=document,
                    binary={"a": 3},
                    blob=b"x",
                    maybe=None,
                )
            )
        for lane in (db, Database(db.engine, native=False)):
            await _answers_as_sqlalchemy(Samples(lane, resilience=None), Sample, ON_BOTH)


async def test_conditions_of_postgresqls_own_are_answered(database: Database, with_tables: WithTables) -> None:
    """Over arrays, ranges, documents, intervals, addresses, words and what else it has operators of its own for."""
    async with with_tables(Special) as db:
        async with db.begin_session() as session:
            session.add(
                Special(
                    id=1,
                    name="a",
                    flag=True,
                    exact=Decimal(1),
                    moment=NOW,
                    day=DAY,
                    span=HOUR,
                    numbers=[1, 2],
                    tags=["a"],
                    some=Range(1, 3),
                    binary={"a": 3, "t": "x"},
                    days=Range(DAY, DAY + dt.timedelta(1)),
                    address="10.0.0.1",
                    words=func.to_tsvector("a"),
                    token=TOKEN,
                    token_text=str(TOKEN),
                    colour=Colour.RED,
                )
            )
        for lane in (db, Database(db.engine, native=False)):
            await _answers_as_sqlalchemy(Specials(lane, resilience=None), Special, ON_POSTGRESQL)


async def _answers_as_sqlalchemy(things: Repository[Any, Key, int], row: type[Any], conditions: Iterable[Any]) -> None:
    """Hold a repository's count under each condition against that of SQLAlchemy's own statement."""
    engine = things.db.engine
    async with engine.connect() as connection:
        for condition in conditions:
            counted = sa.select(func.count()).select_from(row).where(condition)
            assert await things.count(None, [condition]) == (await connection.scalar(counted)), str(condition)
