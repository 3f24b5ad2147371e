"""Pages over timestamps at the ends of Python's calendar, which asyncpg gives for the infinities and takes for them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from native import lane_of
from rowsmith import (
    CursorBackwardPagination,
    CursorForwardPagination,
    Database,
    InvalidCursor,
    Lock,
    MappingError,
    NoPagination,
    Repository,
)
from rowsmith.orders import order_terms
from rowsmith.pagination.key_values import pack, unpack
from rowsmith.testing import WithTables


class Forever(sa.types.TypeDecorator[Any]):
    """None for what has no end."""

    impl = sa.DateTime(True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value or dt.datetime.max.replace(tzinfo=dt.UTC)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None or value.year == dt.MAXYEAR else value


class OwnTime(sa.DateTime):
    """A class of a team's."""


class Base(DeclarativeBase):
    pass


class SpanRow(Base):
    __tablename__ = "spans"
    id: Mapped[int] = mapped_column(primary_key=True)
    zoned: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(True))
    local: Mapped[dt.datetime | None]
    fine: Mapped[Any] = mapped_column(postgresql.TIMESTAMP(True, 6), nullable=True)
    wrapped: Mapped[Any] = mapped_column(Forever, nullable=True)
    varied: Mapped[Any] = mapped_column(sa.String().with_variant(sa.DateTime(True), "postgresql"), nullable=True)
    own: Mapped[Any] = mapped_column(OwnTime, nullable=True)
    owner_id: Mapped[int | None] = mapped_column(sa.ForeignKey("spans.id"))
    owner: Mapped[SpanRow | None] = relationship(remote_side="SpanRow.id")


class PartRow(Base):
    """A key that has a time in it, as of a table that is partitioned by it."""

    __tablename__ = "parts"
    at: Mapped[dt.datetime] = mapped_column(sa.DateTime(True), primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


@dataclass(frozen=True)
class PartData:
    id: int


class Parts(Repository[PartRow, PartData, tuple[dt.datetime, int]]):
    pass


TIMES = ("zoned", "local", "fine", "wrapped", "varied", "own")


@dataclass(frozen=True)
class SpanId:
    id: int


@dataclass(frozen=True)
class SpanData:
    zoned: dt.datetime | None
    id: int
    local: dt.datetime | None
    fine: Any


class SpanModel(BaseModel):
    id: int
    local: dt.datetime | None
    zoned: dt.datetime | None


@dataclass(frozen=True)
class OwnedSpan:
    id: int
    local: dt.datetime | None
    owner: SpanId | None


class Spans(Repository[SpanRow, SpanData, int]):
    pass


class SpanObjects(Repository[SpanRow]):
    pass


FIRST, LAST = "0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00"
MOMENTS = [
    *("infinity", LAST, "-infinity", FIRST, None, "2024-01-01 00:00:00+00"),
    *("9999-12-31 23:59:59.999998+00", "0001-01-01 00:00:00.000001+00"),
]
"""Both infinities, both ends, what is beside them, NULL, and what is in between."""


async def fill(db: Database, times: int = 2) -> None:
    """Store each moment some times over, in no order, as another program does; of a timestamp the zone is left out."""
    rows = list[str]()
    for number in range(8 * times):
        id, moment = number * 7 % (8 * times + 1), MOMENTS[number % 8]
        told = "NULL" if moment is None else f"'{moment}'"
        rows.append(f"({id}, {'0' if id else 'NULL'}, {', '.join([told] * len(TIMES))})")
    async with db.engine.begin() as connection:
        names = ", ".join(TIMES)
        await connection.exec_driver_sql(f"INSERT INTO spans (id, owner_id, {names}) VALUES {', '.join(rows)}")


async def walked(rows: Any, size: int, *, back: bool = False, **asked: Any) -> list[int]:
    """Give the ids of all pages, in order."""
    found, cursor = list[int](), None
    for _ in range(40):
        mode = CursorBackwardPagination(size, cursor) if back else CursorForwardPagination(size, cursor)
        page = await rows.search(None, None, mode, **asked)
        ids = [item.id for item in page.items]
        found = ids + found if back else found + ids
        if not (page.has_previous_page if back else page.has_next_page):
            return found
        cursor = page.start_cursor if back else page.end_cursor
    raise AssertionError(f"the pages never end: {found}")


async def stored(db: Database, *orders: Any) -> list[int]:
    """Give the ids as PostgreSQL sorts them."""
    async with db.begin_session() as db_sess:
        return list(await db_sess.scalars(sa.select(SpanRow.id).order_by(*orders)))


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("name", TIMES)
async def test_the_pages_are_the_whole_over_both_ends_of_time(with_tables: WithTables, name: str, native: bool) -> None:
    """Each row once, both ways, whatever sizes pages have, with NULLs first and last, from any row on."""
    async with with_tables(SpanRow) as made:
        await fill(made)
        db = Database(made.engine, native=native)
        column: Any = getattr(SpanRow, name)
        for order in (column.asc(), column.desc(), column.asc().nulls_first(), column.desc().nulls_last()):
            whole = await stored(db, order, SpanRow.id.desc() if "DESC" in str(order) else SpanRow.id)
            assert len(whole) == 16
            for rows in (Spans(db), SpanObjects(db)):
                for size in (1, 3):
                    assert await walked(rows, size, orders=[order]) == whole, (str(order), size)
                    assert await walked(rows, size, orders=[order], back=True) == whole, (str(order), size)
            page = await Spans(db).search(orders=[order])
            for place, cursor in enumerate(page.cursors):
                after = CursorForwardPagination(20, cursor)
                rest = await Spans(db).search(None, None, after, orders=[order])
                assert [item.id for item in rest] == whole[place + 1 :], str(order)


@pytest.mark.parametrize("native", [True, False])
async def test_the_pages_are_the_whole_over_several_times(with_tables: WithTables, native: bool) -> None:
    """In all directions, in data that has them or not, of related rows too, with signed cursors, over locked rows."""
    several: list[list[Any]] = [
        [SpanRow.zoned, SpanRow.local],
        [SpanRow.local.desc(), SpanRow.fine],
        [SpanRow.id % 2, SpanRow.zoned.desc(), SpanRow.local],
        [sa.func.coalesce(SpanRow.zoned, SpanRow.fine).desc()],
        [sa.func.date_trunc("microsecond", SpanRow.local, type_=sa.DateTime())],
        [sa.type_coerce(sa.func.date_trunc("microsecond", SpanRow.zoned), sa.DateTime(True)).desc()],
    ]
    async with with_tables(SpanRow) as made:
        await fill(made)
        for keys in (None, ["secret"]):
            db = Database(made.engine, native=native, cursor_keys=keys or ())
            for orders in several:
                down = "DESC" in str(orders[-1])
                whole = await stored(db, *orders, SpanRow.id.desc() if down else SpanRow.id)
                for into in (SpanId, SpanData, SpanModel, OwnedSpan):
                    assert await walked(Spans(db), 3, orders=orders, into=into) == whole
                    assert await walked(Spans(db), 3, orders=orders, into=into, back=True) == whole
                async with db.unit_of_work():
                    assert await walked(Spans(db), 3, orders=orders, lock=Lock()) == whole


@pytest.mark.parametrize("native", [True, False])
async def test_the_pages_are_the_whole_over_a_key_that_has_a_time(with_tables: WithTables, native: bool) -> None:
    """Whatever stands before it in the order."""
    rows = [f"('{moment}', {id})" for id, moment in enumerate(filter(None, MOMENTS * 2))]
    async with with_tables(PartRow) as made:
        async with made.engine.begin() as connection:
            await connection.exec_driver_sql(f"INSERT INTO parts (at, id) VALUES {', '.join(rows)}")
        parts = Parts(Database(made.engine, native=native))
        several: list[list[Any]] = [[], [PartRow.id % 2], [PartRow.at.desc()], [PartRow.id % 3, PartRow.at.desc()]]
        for orders in several:
            whole = [item.id for item in await parts.search(None, None, NoPagination(), orders=orders)]
            assert len(whole) == 14
            for size in (1, 3):
                assert await walked(parts, size, orders=orders) == whole
                assert await walked(parts, size, orders=orders, back=True) == whole


@pytest.mark.of_the_native_lane
async def test_pages_from_an_end_of_time_go_by_the_native_lane(with_tables: WithTables) -> None:
    """As those from any other row: a table may have as many rows that are valid for ever as it likes."""
    async with with_tables(SpanRow) as db:
        await fill(db)
        spans, orders = Spans(db), list[Any]([SpanRow.local, SpanRow.zoned.desc()])
        page = await spans.search(orders=orders)
        before = lane_of(db).taken
        for cursor in page.cursors:
            await spans.search(None, None, CursorForwardPagination(2, cursor), orders=orders)
        assert lane_of(db).taken - before == len(page.cursors) == 16


@pytest.mark.parametrize("settings", [{"TimeZone": "Asia/Kathmandu"}, {"DateStyle": "SQL, DMY", "TimeZone": "-12"}])
async def test_the_ends_of_time_are_those_of_utc_in_any_session(
    with_tables: WithTables, settings: dict[str, str]
) -> None:
    """Neither the zone of a session nor its form of dates has a say."""
    async with with_tables(SpanRow) as made:
        await fill(made)
        db = Database.from_url(made.engine.url, connect_args={"server_settings": settings})
        for name in TIMES:
            order: Any = getattr(SpanRow, name)
            assert await walked(Spans(db), 1, orders=[order]) == await stored(made, order, SpanRow.id)
        await db.dispose()


async def test_an_end_of_time_whose_type_is_not_told_is_refused(with_tables: WithTables) -> None:
    """Nothing says whether it is infinity; what to write stands in the error."""
    async with with_tables(SpanRow) as db:
        await fill(db, 1)
        for name in ("zoned", "local"):
            column: Any = getattr(SpanRow, name)
            at_an_end, orders = [SpanRow.id.in_([0, 7, 5, 3])], [sa.func.date_trunc("microsecond", column)]
            page = await Spans(db).search(None, at_an_end, orders=orders)
            for place in range(4):
                with pytest.raises(MappingError, match=r"type_=DateTime\(timezone=\.\.\.\)"):
                    _ = page.cursors[place]


@pytest.mark.parametrize("text", ["infinity", "", FIRST + " ", "9999-12-31 23:59:59.999999", "2024-01-01 00:00:00+00"])
def test_no_other_text_is_a_place_among_timestamps(text: str) -> None:
    """Whoever forges a cursor can have it start after a point in time, and nothing else."""
    loose = order_terms([sa.func.anything(SpanRow.zoned)], ())
    for column in (SpanRow.zoned, SpanRow.local, SpanRow.fine):
        terms = order_terms([column], ())
        assert unpack(pack([LAST], loose), terms) == (LAST,)
        with pytest.raises(InvalidCursor):
            unpack(pack([text], loose), terms)
    for other in (SpanRow.id, sa.Column("day", sa.Date)):
        with pytest.raises(InvalidCursor):
            unpack(pack([FIRST], loose), order_terms([other], ()))
