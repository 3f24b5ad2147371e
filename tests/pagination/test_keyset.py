"""The keyset law: the union of the pages is the unpaged result, once each, both ways, for every page size."""

from __future__ import annotations

import enum
import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import DateTime, Index, Integer, Numeric, String, TypeDecorator, event, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith.orders import Order, OrderTerm, order_terms
from rowsmith.pagination import (
    CursorBackwardPagination,
    CursorCodec,
    CursorForwardPagination,
    CursorPagination,
    after,
    fetch_limit,
    fingerprint,
    window,
)

EXAMPLES = int(os.environ.get("ROWSMITH_EXAMPLES", "40"))
CODEC = CursorCodec(["secret"])


class Base(DeclarativeBase):
    pass


class Colour(enum.Enum):
    RED = "r"
    GREEN = "g"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class LevelType(TypeDecorator[Level]):
    """A team's own type: an enum that the database keeps as a number."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: Level | None, dialect: Any) -> int | None:
        return None if value is None else value.value

    def process_result_value(self, value: int | None, dialect: Any) -> Level | None:
        return None if value is None else Level(value)


class ThingRow(Base):
    """One column of every kind that a cursor carries, and a composite primary key."""

    __tablename__ = "keyset_things"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    score: Mapped[int]
    rank: Mapped[int | None]
    name: Mapped[str]
    note: Mapped[str | None]
    weight: Mapped[float | None]
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    flag: Mapped[bool]
    seen: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    made: Mapped[datetime]
    day: Mapped[date | None]
    at: Mapped[time | None]
    took: Mapped[timedelta | None]
    code: Mapped[UUID | None]
    raw: Mapped[bytes | None]
    colour: Mapped[Colour | None]
    level: Mapped[Level] = mapped_column(LevelType)


TEXTS = st.sampled_from(["", "a", "A", "b", "ab", "é", "日本", "o'x", "%_\\"])
INTS = st.sampled_from([-1, 0, 1, 2, 2**31 - 1])
FLOATS = st.sampled_from([-1.5, 0.0, 0.1, 1e300, float("inf")])
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
MOMENTS = st.sampled_from([NOON, NOON + timedelta(microseconds=1), NOON - timedelta(days=9999)])
TIMES = MOMENTS.map(lambda moment: moment.replace(tzinfo=None))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "score": INTS,
    "rank": st.none() | INTS,
    "name": TEXTS,
    "note": st.none() | TEXTS,
    "weight": st.none() | FLOATS,
    "price": st.none() | st.sampled_from([Decimal("-0.10"), Decimal("0.10"), Decimal("99999999.99")]),
    "flag": st.booleans(),
    "seen": st.none() | MOMENTS,
    "made": TIMES,
    "day": st.none() | TIMES.map(datetime.date),
    "at": st.none() | TIMES.map(datetime.time),
    "took": st.none() | st.sampled_from([timedelta(0), timedelta(microseconds=1), timedelta(days=-1, seconds=5)]),
    "code": st.none() | st.sampled_from([UUID(int=0), UUID(int=2**127), UUID(int=2**128 - 1)]),
    "raw": st.none() | st.sampled_from([b"", b"\0", b"\xff", b"ab"]),
    "colour": st.none() | st.sampled_from(Colour),
    "level": st.sampled_from(Level),
}
EXPRESSIONS = [
    *(getattr(ThingRow, name) for name in VALUES),
    ThingRow.tenant,
    ThingRow.number,
    func.lower(ThingRow.name),
    ThingRow.rank % 2,
    func.coalesce(ThingRow.note, "a"),
]


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Few rows, fewer values: nearly every draw has ties."""
    keys = st.tuples(st.sampled_from(["t1", "t2", "T2"]), st.integers(-3, 3))
    return [
        {"tenant": tenant, "number": number} | draw(st.fixed_dictionaries(VALUES))
        for tenant, number in draw(st.lists(keys, unique=True, max_size=9))
    ]


@st.composite
def orders(draw: st.DrawFn) -> list[Order]:
    chosen = draw(st.lists(st.sampled_from(range(len(EXPRESSIONS))), unique=True, max_size=4))
    return [_modified(draw, EXPRESSIONS[index]) for index in chosen]


def _modified(draw: st.DrawFn, expression: Any) -> Any:
    directed = draw(st.sampled_from([expression, expression.asc(), expression.desc()]))
    return draw(st.sampled_from([directed, directed.nulls_first(), directed.nulls_last()]))


@pytest.fixture
async def engine(any_tables: Any) -> AsyncIterator[AsyncEngine]:
    async with any_tables(ThingRow) as db:
        yield db.engine


async def read(connection: AsyncConnection, terms: Sequence[OrderTerm], *where: Any, limit: int | None = None) -> Any:
    columns = [term.expression.label(f"key_{index}") for index, term in enumerate(terms)]
    clauses = [term.clause() for term in terms]
    return (await connection.execute(select(*columns).where(*where).order_by(*clauses).limit(limit))).all()


async def fetch(connection: AsyncConnection, terms: Sequence[OrderTerm], pagination: CursorPagination) -> Any:
    """Read one page; gives its key values, the cursor to go on with, and whether there is more that way."""
    backward = isinstance(pagination, CursorBackwardPagination)
    cursor = pagination.before if isinstance(pagination, CursorBackwardPagination) else pagination.after
    mark = fingerprint(terms)
    direction = [term.reversed() for term in terms] if backward else terms
    where = [] if cursor is None else [after(direction, CODEC.decode(cursor, terms, mark))]
    cut = window(pagination, await read(connection, direction, *where, limit=fetch_limit(pagination)))
    more = cut.has_previous_page if backward else cut.has_next_page
    edge = cut.rows[0 if backward else -1] if cut.rows else None
    return list(cut.rows), None if edge is None else CODEC.encode(tuple(edge), terms, mark), more


async def walk(connection: AsyncConnection, terms: Sequence[OrderTerm], size: int, *, backward: bool) -> list[Any]:
    """Read page after page; a walk that never ends stops at a hundred rows."""
    found: list[Any] = []
    cursor, more = None, True
    while more and len(found) < 100:
        page = CursorBackwardPagination(size, cursor) if backward else CursorForwardPagination(size, cursor)
        rows, cursor, more = await fetch(connection, terms, page)
        found = rows + found if backward else found + rows
    return found


@pytest.mark.filterwarnings("ignore:Dialect sqlite.*Decimal")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=tables(), given_orders=orders())
async def test_the_pages_are_the_whole(
    engine: AsyncEngine, rows: list[dict[str, Any]], given_orders: list[Order]
) -> None:
    """The union of the pages equals the unpaged result, once each, in order, both ways, for every page size."""
    terms = order_terms(given_orders, tuple(ThingRow.__table__.primary_key))
    async with engine.connect() as connection:
        if rows:
            await connection.execute(insert(ThingRow), rows)
        whole = list(await read(connection, terms))
        assert len(whole) == len(rows)
        for size in range(1, len(rows) + 2):
            assert await walk(connection, terms, size, backward=False) == whole
            assert await walk(connection, terms, size, backward=True) == whole
        await connection.rollback()


async def test_nulls_stand_where_postgresql_puts_them(engine: AsyncEngine) -> None:
    """Without a word about NULLs they come last ascending and first descending, on every backend."""
    plain = dict.fromkeys(VALUES) | {"score": 0, "name": "", "flag": True, "level": Level.LOW}
    rows = [
        plain | {"tenant": "t", "number": n, "rank": rank, "made": NOON.replace(tzinfo=None)}
        for n, rank in enumerate([5, None])
    ]
    async with engine.connect() as connection:
        await connection.execute(insert(ThingRow), rows)
        for order, expected in [(ThingRow.rank, [5, None]), (ThingRow.rank.desc(), [None, 5])]:
            terms = order_terms([order], tuple(ThingRow.__table__.primary_key))
            assert [row[0] for row in await read(connection, terms)] == expected
        await connection.rollback()


PREDICATES: list[tuple[list[Order], tuple[Any, ...], str]] = [
    ([], ("t", 1), "(T.tenant, T.number) > (:p1, :p2)"),
    ([ThingRow.score.desc()], (1, "t", 1), "(T.score, T.tenant, T.number) < (:p1, :p2, :p3)"),
    (
        [ThingRow.score, ThingRow.name.desc()],
        (1, "x", "t", 1),
        "T.score >= :p1 AND (T.score > :p1 OR T.score = :p1 AND (T.name, T.tenant, T.number) < (:p2, :p3, :p4))",
    ),
    (
        [ThingRow.rank],
        (1, "t", 1),
        "T.rank > :p1 OR T.rank IS NULL OR T.rank = :p1 AND (T.tenant, T.number) > (:p2, :p3)",
    ),
    ([ThingRow.rank], (None, "t", 1), "T.rank IS NULL AND (T.tenant, T.number) > (:p1, :p2)"),
    (
        [ThingRow.rank.desc()],
        (1, "t", 1),
        "T.rank <= :p1 AND (T.rank < :p1 OR T.rank = :p1 AND (T.tenant, T.number) < (:p2, :p3))",
    ),
    (
        [ThingRow.rank.desc()],
        (None, "t", 1),
        "T.rank IS NOT NULL OR T.rank IS NULL AND (T.tenant, T.number) < (:p1, :p2)",
    ),
    (
        [ThingRow.tenant, ThingRow.number, ThingRow.rank],
        ("t", 1, None),
        "(T.tenant, T.number) >= (:p1, :p2) AND ((T.tenant, T.number) > (:p1, :p2) OR false)",
    ),
]


@pytest.mark.parametrize("given_orders, values, expected", PREDICATES)
def test_the_predicate(given_orders: list[Order], values: tuple[Any, ...], expected: str) -> None:
    """Row values where directions agree and NULL is ruled out; elsewhere the expanded form, a bound in front."""
    sql = str(after(order_terms(given_orders, tuple(ThingRow.__table__.primary_key)), values))
    assert sql.replace("keyset_things", "T").replace(":param_", ":p") == expected


def test_every_term_has_its_value() -> None:
    """A value too few or too many is a mistake of the caller, never a wider page."""
    with pytest.raises(ValueError, match="zip"):
        after(order_terms([], tuple(ThingRow.__table__.primary_key)), ("t",))


class DeepRow(Base):
    __tablename__ = "keyset_deep"
    id: Mapped[int] = mapped_column(primary_key=True)
    grade: Mapped[int]
    name: Mapped[str] = mapped_column(String(20))
    note: Mapped[int | None]
    __table_args__ = (Index("ix_keyset_deep", "grade", "name", "id"), Index("ix_keyset_deep_note", "note", "id"))


FILL = "insert into keyset_deep select n, n % 10, 'n' || n, nullif(n, 7) from generate_series(1, 20000) n"
DEEP = [
    ([DeepRow.grade, DeepRow.name], (9, "n5", 5), "ROW(grade, name, id) > ROW('9'::bigint, 'n5'::text, '5'::bigint)"),
    ([DeepRow.grade.desc(), DeepRow.name.desc()], (1, "n5", 5), "ROW(grade, name, id) < ROW("),
    ([DeepRow.id], (19_000,), "id > '19000'::bigint"),
    ([DeepRow.note.desc()], (50, 50), "note <= '50'::bigint"),
    ([DeepRow.grade, DeepRow.id.desc()], (9, 19_999), "grade >= '9'::bigint"),
]


@pytest.mark.parametrize("given_orders, values, condition", DEEP)
async def test_postgresql_starts_from_the_index(
    with_tables: Any, given_orders: list[Order], values: tuple[Any, ...], condition: str
) -> None:
    """A page far down starts at the cursor, found by the index, with the parameters as they are sent."""
    terms = order_terms(given_orders, tuple(DeepRow.__table__.primary_key))
    page = select(DeepRow.id).where(after(terms, values)).order_by(*(term.clause() for term in terms)).limit(10)
    async with with_tables(DeepRow) as db, db.engine.connect() as connection:
        await connection.execute(text(FILL))
        await connection.execute(text("analyze keyset_deep"))
        event.listen(connection.sync_connection, "before_cursor_execute", _explained, retval=True)
        plan = "\n".join((await connection.execute(page)).scalars())
        await connection.rollback()
    assert condition in plan.partition("Index Cond:")[2].splitlines()[0], plan


def _explained(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> tuple[str, Any]:
    return f"explain (analyze, costs off) {statement}", parameters
