"""Cursors that nobody was given, behind a valid tag (no keys, a forger): a page or InvalidCursor, on both databases."""

from __future__ import annotations

import datetime as dt
import enum
import math
import os
import random
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import CursorBackwardPagination, CursorForwardPagination, InvalidCursor, InvalidValue, Repository, Spec
from rowsmith.operations import make_entity
from rowsmith.operations.reads.search import as_query, prepare
from rowsmith.orders import order_terms
from rowsmith.pagination import CursorCodec, fingerprint
from rowsmith.scope import NO_LIMITS
from rowsmith.testing import WithTables

FORGERIES = int(os.environ.get("ROWSMITH_FUZZ_CURSORS", "100"))


class Colour(enum.Enum):
    RED = 1


class Even(sa.types.TypeDecorator[int]):
    """A type that binds even numbers only."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Any) -> int | None:
        assert value is None or value % 2 == 0
        return value


class Base(DeclarativeBase):
    pass


class SortedRow(Base):
    __tablename__ = "sorted_rows"
    id: Mapped[int] = mapped_column(primary_key=True)
    big: Mapped[int] = mapped_column(sa.BigInteger)
    price: Mapped[Decimal] = mapped_column(sa.Numeric(8, 2))
    ratio: Mapped[float]
    name: Mapped[str] = mapped_column(sa.String(5))
    token: Mapped[uuid.UUID]
    text_token: Mapped[str] = mapped_column(sa.Uuid(as_uuid=False))
    seen_at: Mapped[dt.datetime] = mapped_column(sa.DateTime(True))
    local: Mapped[dt.datetime] = mapped_column(sa.DateTime(False))
    day: Mapped[dt.date]
    clock: Mapped[dt.time]
    span: Mapped[dt.timedelta]
    blob: Mapped[bytes]
    is_on: Mapped[bool]
    colour: Mapped[Colour]
    even: Mapped[int] = mapped_column(Even)


@dataclass(frozen=True)
class SortedData:
    id: int


@dataclass(frozen=True)
class SortedCreate(Spec[SortedRow]):
    id: int
    big: int = 1
    price: Decimal = Decimal(1)
    ratio: float = 1.0
    name: str = "x"
    token: uuid.UUID = uuid.UUID(int=1)
    text_token: str = str(uuid.UUID(int=1))
    seen_at: dt.datetime = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    local: dt.datetime = dt.datetime(2024, 1, 1)
    day: dt.date = dt.date(2024, 1, 1)
    clock: dt.time = dt.time(1)
    span: dt.timedelta = dt.timedelta(1)
    blob: bytes = b"x"
    is_on: bool = True
    colour: Colour = Colour.RED
    even: int = 2


class Sorteds(Repository[SortedRow, SortedData, int]):
    pass


EAST, WEST = dt.timezone(dt.timedelta(hours=23, minutes=59)), dt.timezone(-dt.timedelta(hours=23, minutes=59))
VALUES: list[Any] = [
    *(0, 3, -(2**63), 2**63 - 1, 2**31, True, 0.0, 1e308, -math.inf, math.nan, "", "x" * 500, "1", "RED", "e\u0301"),
    *map(Decimal, ("0", "1e131071", "-1e131071", "1e-131071", "NaN", "Infinity", "0.123456789012345678901")),
    *(dt.datetime.min, dt.datetime.max, dt.datetime.min.replace(tzinfo=EAST), dt.datetime.max.replace(tzinfo=WEST)),
    *(dt.datetime.max.replace(tzinfo=dt.UTC), dt.datetime(2024, 1, 1, tzinfo=EAST), dt.date.min, dt.date.max),
    *(dt.time.min, dt.time.max, dt.time(1, tzinfo=EAST), dt.timedelta.min, dt.timedelta.max, dt.timedelta(0)),
    *(uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), b"", b"\xff" * 100, None),
]
COLUMNS = [getattr(SortedRow, name) for name in SortedCreate.__dataclass_fields__ if name != "id"]
ORDERS: list[Any] = [
    *COLUMNS,
    *(column.desc() for column in COLUMNS),
    *(sa.func.lower(SortedRow.name), sa.func.coalesce(SortedRow.big, 0), sa.func.abs(SortedRow.price)),
    *(SortedRow.big + 1, sa.func.date_trunc("day", SortedRow.seen_at), SortedRow.id.desc()),
]


def forged(orders: list[Any], values: list[Any]) -> str:
    """The cursor of a search by these orders with any values, as everybody can make one where there are no keys."""
    search = prepare(make_entity(SortedRow, SortedData), NO_LIMITS, DefaultDialect(), as_query(None, None, orders))
    kinds = [sa.literal(value).type for value in values]
    loose = order_terms([sa.func.anything(place, type_=kind) for place, kind in enumerate(kinds)], ())
    return CursorCodec().encode(values, loose, fingerprint(search.terms, search.conditions))


async def test_a_forged_cursor_is_a_place_or_none(any_tables: WithTables) -> None:
    """Whatever value stands in it, of whatever type, for whatever column."""
    async with any_tables(SortedRow) as db:
        rows, refused, taken = Sorteds(db), 0, 0
        await rows.batch_create([SortedCreate(1), SortedCreate(2)])
        draw = random.Random(58)
        known = [order for order in ORDERS if db.engine.dialect.name == "postgresql" or "date_trunc" not in str(order)]
        for number in range(max(FORGERIES * 5, len(known) * 4)):
            first = known[number % len(known)]
            others = [column for column in COLUMNS if column.key not in str(first)]
            orders = [first, *draw.sample(others, draw.choice([0, 0, 1]))]
            values = [draw.choice(VALUES) for _ in orders] + [draw.choice([1, 1, 1, 2**63 - 1, *VALUES])]
            cursor = forged(orders, values)
            page = draw.choice([CursorForwardPagination(first=1, after=cursor), CursorBackwardPagination(1, cursor)])
            try:
                await rows.search(None, None, page, orders=orders)
            except InvalidCursor as exc:
                refused += exc.error_code == "sorted_search_invalid-cursor"
            else:
                taken += 1
        assert refused
        assert taken


@pytest.mark.parametrize(
    "order, value",
    [
        (sa.func.lower(SortedRow.name), 5),
        (sa.func.lower(SortedRow.name), dt.date.min),
        (SortedRow.seen_at, dt.datetime.max.replace(tzinfo=WEST)),
        (SortedRow.text_token, "no uuid"),
        (SortedRow.even, "three"),
    ],
)
async def test_a_value_that_the_database_does_not_take(with_tables: WithTables, order: Any, value: Any) -> None:
    """Of another type than a function gives, past the end of time, none of its type: a bad cursor, and no fault."""
    async with with_tables(SortedRow) as db:
        with pytest.raises(InvalidCursor) as caught:
            await Sorteds(db).search(
                None, None, CursorForwardPagination(first=1, after=forged([order], [value, 1])), orders=[order]
            )
        assert caught.value.__context__ is None


class Unread(sa.types.TypeDecorator[str]):
    impl = sa.String
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Any) -> str:
        raise RuntimeError(value)


class UnreadRow(Base):
    __tablename__ = "unread_rows"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Unread)


@dataclass(frozen=True)
class UnreadData:
    id: int
    name: str


class Unreads(Repository[UnreadRow, UnreadData, int]):
    pass


async def test_a_bad_row_is_not_the_cursors_fault(any_tables: WithTables) -> None:
    """A stored value that cannot be read is the row's, on the second page as on the first."""
    async with any_tables(UnreadRow) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.text("INSERT INTO unread_rows VALUES (1, 'a'), (2, 'b')"))
        terms = order_terms([], tuple(UnreadRow.__table__.primary_key))  # type: ignore[arg-type]
        cursor = CursorCodec().encode([1], terms, fingerprint(terms))
        with pytest.raises(InvalidValue, match="stored") as caught:
            await Unreads(db).search(None, None, CursorForwardPagination(first=1, after=cursor))
        assert caught.value.is_stored
