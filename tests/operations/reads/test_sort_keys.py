"""Pages over every column that can be sorted by: exact, whatever a type makes in Python of what is stored."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from decimal import Decimal
from types import new_class
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, UserDefinedType

from rowsmith import (
    CursorBackwardPagination,
    CursorForwardPagination,
    InvalidFilter,
    MappingError,
    NoPagination,
    Repository,
)
from rowsmith.testing import WithTables
from support import count_statements


class Blank(TypeDecorator[str]):
    """Text that is None where it is blank."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str:
        return value or ""

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        return value or None


class Written(TypeDecorator[Any]):
    """JSON kept as text, None as well."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> str:
        return json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Any) -> Any:
        return None if value is None else json.loads(value)


class Guid(TypeDecorator[uuid.UUID]):
    """SQLAlchemy's recipe: the database's own UUID where it has one."""

    impl = sa.Uuid()
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return uuid.UUID(value) if isinstance(value, str) else value


class OnlyLoaded(TypeDecorator[Any]):
    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        return dialect.type_descriptor(postgresql.INET() if dialect.name == "postgresql" else sa.Text())


class Doubled(sa.Integer):
    """A class of a team's with processors of its own."""

    def bind_processor(self, dialect: Any) -> Any:
        return lambda value: None if value is None else value * 2

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        return lambda value: None if value is None else value // 2


class Backwards(UserDefinedType[str]):
    """A type with SQL around its values."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "VARCHAR(20)"

    def bind_expression(self, bindparam: Any) -> Any:
        return sa.func.replace(bindparam, "a", "z")

    def column_expression(self, column: Any) -> Any:
        return sa.func.replace(column, "z", "a")


class Base(DeclarativeBase):
    pass


class OddRow(Base):
    __tablename__ = "odd_rows"
    id: Mapped[int] = mapped_column(primary_key=True)
    blank: Mapped[str | None] = mapped_column(Blank)
    written: Mapped[Any] = mapped_column(Written)
    guid: Mapped[uuid.UUID | None] = mapped_column(Guid)
    loaded: Mapped[Any] = mapped_column(OnlyLoaded, nullable=True)
    doubled: Mapped[int | None] = mapped_column(Doubled)
    backwards: Mapped[str | None] = mapped_column(Backwards)
    rough: Mapped[float | None] = mapped_column(sa.Numeric(20, 4, asdecimal=False))
    shown: Mapped[Any] = mapped_column(sa.Float(asdecimal=True), nullable=True)
    price: Mapped[Decimal | None] = mapped_column(sa.Numeric(20, 4))
    made_at: Mapped[Any] = mapped_column(sa.DateTime, server_default=sa.func.current_timestamp())
    zoned: Mapped[Any] = mapped_column(sa.DateTime(True), nullable=True)
    wide: Mapped[Any] = mapped_column(sa.Integer().with_variant(sa.BigInteger(), "postgresql"), nullable=True)
    pickled: Mapped[Any] = mapped_column(sa.PickleType, nullable=True)
    flag: Mapped[Any] = mapped_column(sa.Boolean, nullable=True)


@dataclass(frozen=True)
class OddData:
    id: int


@dataclass(frozen=True)
class WholeOdd:
    id: int
    blank: str | None
    rough: float | None
    price: Decimal | None
    made_at: Any


class Odds(Repository[OddRow, OddData, int]):
    pass


ODD: list[dict[str, Any]] = [
    {
        "id": number,
        "blank": (None, "Dr", None, "Sir", None, "Dr", None)[number],
        "written": (None, {"a": 1}, None, [1], "x", None, 0)[number],
        "guid": (None, *map(uuid.UUID, (f"{one:032x}" for one in (3, 1, 1, 2**127, 2**128 - 1, 3))))[number],
        "loaded": (None, "10.0.0.9", "10.0.0.10", "9.1.1.1", None, "10.0.0.9", "1.1.1.1")[number],
        "doubled": (None, 3, 3, -1, 0, 2, None)[number],
        "backwards": ("a", "b", "zz", None, "a", "ab", "b")[number],
        "rough": (1e15 + 0.1, 1e15 + 0.2, None, 0.1, 0.1, 3, -1)[number],
        "shown": (0.1, 1 / 3, 1 / 3 + 1e-12, None, 1 / 3, 0.1, 2)[number],
        "price": (Decimal("0.1"), Decimal("0.3"), Decimal("0.3"), None, Decimal(7), Decimal("0.1"), Decimal(-2))[
            number
        ],
        "pickled": (None, [1], {"a": 1}, "x", None, [1], 3)[number],
        "wide": (2**20, 3, 3, None, 1, -5, 3)[number],
        "flag": (None, True, False, True, False, None, True)[number],
    }
    for number in range(7)
]
COLUMNS = [name for name in OddRow.__table__.columns.keys() if name != "id"]  # noqa: SIM118 - not a mapping


async def pages(rows: Repository[Any, Any, int], orders: list[Any], size: int, into: Any = None) -> list[int]:
    """Give the ids of all pages, one after the other."""
    found, after = list[int](), None
    for _ in range(30):
        page = await rows.search(None, None, CursorForwardPagination(size, after), orders=orders, into=into)
        found += [item.id for item in page.items]
        if not page.has_next_page:
            return found
        after = page.end_cursor
    raise AssertionError(f"the pages never end: {found}")


async def pages_back(rows: Repository[Any, Any, int], orders: list[Any], size: int) -> list[int]:
    found, before = list[int](), None
    for _ in range(30):
        page = await rows.search(None, None, CursorBackwardPagination(size, before), orders=orders)
        found = [item.id for item in page.items] + found
        if not page.has_previous_page:
            return found
        before = page.start_cursor
    raise AssertionError(f"the pages never end: {found}")


async def check(rows: Repository[Any, Any, int], column: Any, into: Any = None) -> None:
    """Hold pages in every direction against the whole."""
    for order in (column.asc(), column.desc().nulls_last()):
        whole = [item.id for item in await rows.search(orders=[order])]
        for size in (1, 2):
            assert await pages(rows, [order], size) == whole, (str(order), size)
        assert await pages_back(rows, [order], 2) == whole, str(order)
        if into is not None:
            assert await pages(rows, [order], 2, into) == whole, str(order)


async def test_the_pages_are_the_whole_over_every_odd_type(any_tables: WithTables) -> None:
    """None that is stored as text, rounded numbers, SQL around values, ties in a time that the server wrote."""
    async with any_tables(OddRow) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(OddRow.__table__), ODD)  # type: ignore[arg-type]
            if db.engine.dialect.name == "sqlite":  # more digits than the type has, as another program may write them
                await db_sess.execute(sa.text("UPDATE odd_rows SET price = 0.1 + 0.2 WHERE id IN (1, 2)"))
        for name in COLUMNS:
            await check(Odds(db), getattr(OddRow, name), WholeOdd)


def keyed(kind: Any) -> tuple[type[Any], type[Any]]:
    """Make a row whose key is of a type, and its repository."""

    class KeyedBase(DeclarativeBase):
        pass

    row = type("KeyedRow", (KeyedBase,), {"__tablename__": "keyed_rows", "id": sa.Column(kind, primary_key=True)})
    return row, new_class("Keyed", (Repository[row, KeyData, Any],))  # type: ignore[valid-type]


@dataclass(frozen=True)
class KeyData:
    id: Any


KEYS = [
    (Guid(), [uuid.UUID(int=number) for number in (5, 1, 2**127)]),
    (OnlyLoaded(), ["10.0.0.9", "10.0.0.10", "9.1.1.1"]),
    (Doubled(), [3, -1, 7]),
]


@pytest.mark.parametrize("kind, ids", KEYS, ids=["Guid", "OnlyLoaded", "Doubled"])
async def test_the_pages_are_the_whole_over_keys_of_odd_types(
    any_tables: WithTables, kind: Any, ids: list[Any]
) -> None:
    """The key is the last part of every cursor."""
    row, repository = keyed(kind)
    async with any_tables(row) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(row), [{"id": id} for id in ids])
        rows = repository(db)
        whole = [item.id for item in await rows.search(orders=[row.id])]
        assert len(whole) == len(ids)
        for size in (1, 2):
            assert await pages(rows, [row.id], size) == whole
            assert await pages_back(rows, [row.id], size) == whole


class OnlyRow(Base):
    """What only PostgreSQL can sort."""

    __tablename__ = "only_rows"
    id: Mapped[int] = mapped_column(primary_key=True)
    document: Mapped[Any] = mapped_column(postgresql.JSONB, nullable=True)
    tags: Mapped[Any] = mapped_column(postgresql.ARRAY(sa.Text), nullable=True)
    span: Mapped[Any] = mapped_column(postgresql.INT4RANGE, nullable=True)
    spans: Mapped[Any] = mapped_column(postgresql.INT4MULTIRANGE, nullable=True)
    address: Mapped[Any] = mapped_column(postgresql.INET, nullable=True)
    bits: Mapped[Any] = mapped_column(postgresql.BIT(3), nullable=True)
    lasts: Mapped[Any] = mapped_column(sa.Interval, nullable=True)
    seen_at: Mapped[Any] = mapped_column(sa.DateTime(True), nullable=True)
    day: Mapped[Any] = mapped_column(sa.Date, nullable=True)
    lexemes: Mapped[Any] = mapped_column(postgresql.TSVECTOR, nullable=True)
    exact: Mapped[Any] = mapped_column(sa.Numeric(asdecimal=False), nullable=True)


class Onlies(Repository[OnlyRow, OddData, int]):
    pass


ONLY = """
INSERT INTO only_rows VALUES
(1, '{"a": 1}', '{b,"c,d"}', '[1,3)', '{[1,3)}', '10.0.0.9/8', B'101', '1 month', 'infinity', 'infinity', 'a b', 1),
(2, '[1, 2]', '{}', 'empty', '{}', '10.0.0.9', B'001', '30 days', '-infinity', '9999-12-31', 'b', 1e30),
(3, 'null', '{b,NULL}', '[1,4)', '{[1,3),[5,6)}', '::1', B'101', '1 year', '2024-01-01', '-infinity', '', 'NaN'),
(4, NULL, NULL, NULL, NULL, NULL, NULL, '365 days', 'infinity', '9999-12-31', NULL, 1234567890123456.7891),
(5, '{"a": 1.0}', '{b,"c,d"}', '[1,3)', '{[1,3)}', '10.0.0.9', B'111', '-1 s', NULL, NULL, 'a', 1234567890123456.7892)
"""


@pytest.mark.parametrize("name", [name for name in OnlyRow.__table__.columns.keys() if name != "id"])  # noqa: SIM118
async def test_the_pages_are_the_whole_over_what_postgresql_alone_sorts(with_tables: WithTables, name: str) -> None:
    """Documents, arrays, ranges, addresses, bits, months, the ends of time."""
    async with with_tables(OnlyRow) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.text(ONLY.replace(":", "\\:")))
        await check(Onlies(db), getattr(OnlyRow, name))


class DocBase(DeclarativeBase):
    pass


class DocRow(DocBase):
    __tablename__ = "sorted_docs"
    id: Mapped[int] = mapped_column(primary_key=True)
    doc: Mapped[Any | None] = mapped_column(sa.JSON)
    name: Mapped[str | None]


OF_NO_ORDER: dict[str, Any] = {
    "each as an order": sa.tuple_(DocRow.name, DocRow.id),
    "random": sa.func.random(),
    "gen_random_uuid": DocRow.name + sa.cast(sa.func.gen_random_uuid(), sa.Text),
    "now": sa.func.now() - sa.func.now(),
    "current_date": sa.select(sa.func.current_date()).scalar_subquery(),
    "window": sa.func.row_number().over(order_by=DocRow.name),
    "aggregate": sa.func.max(DocRow.name).desc(),
    "JSONB": sa.func.to_jsonb(DocRow.name),
    "place": sa.literal_column(" 1"),
    "no value": sa.null(),
    "no value that rows": sa.true().desc(),
    "no value that": sa.false(),
}


async def test_what_has_no_order_is_refused(any_tables: WithTables) -> None:
    """Before anything is sent, with what to write; with or without a page."""
    async with any_tables(DocRow) as db:
        docs = made_for(db)
        for told, order in OF_NO_ORDER.items():
            for pagination in (CursorForwardPagination(2), NoPagination()):
                with count_statements(db) as sent, pytest.raises(InvalidFilter, match=told):
                    await docs.search(None, None, pagination, orders=[order])
                assert sent == []


async def test_what_python_has_in_part_is_refused_where_its_type_is_not_told(with_tables: WithTables) -> None:
    """Python has no months and no infinite day; with the type told the pages are the whole."""
    async with with_tables(OnlyRow) as db:
        async with db.begin_session() as db_sess:
            await db_sess.execute(sa.text(ONLY.replace(":", "\\:")))
        rows = Onlies(db)
        of_day, of_time = sa.func.date(OnlyRow.seen_at), sa.func.justify_interval(OnlyRow.lasts)
        for order in (of_day, of_day.desc().nulls_last(), of_time):
            told = "type_coerce(..., Interval)" if order is of_time else "type_coerce(..., Date)"
            with pytest.raises(MappingError, match=re.escape(told)):
                _ = (await rows.search(None, None, CursorForwardPagination(1), orders=[order])).end_cursor
        await check(rows, sa.func.date(OnlyRow.seen_at, type_=sa.Date()))
        await check(rows, sa.type_coerce(of_time, sa.Interval()))
        ordinary = [sa.func.date(OnlyRow.seen_at - sa.func.make_interval(1))]
        page = await rows.search(None, [OnlyRow.id == 3], CursorForwardPagination(1), orders=ordinary)
        assert page.end_cursor


async def test_json_is_sorted_where_the_database_has_an_order_of_it(any_tables: WithTables) -> None:
    """By a member, or as JSONB; what only PostgreSQL knows to have none is told likewise."""
    async with any_tables(DocRow) as db:
        docs, member = made_for(db), DocRow.doc["k"].as_string()
        async with db.begin_session() as session:
            session.add_all(DocRow(id=id, doc={"k": str(id % 2)}, name=None) for id in range(4))
        page = await docs.search(None, None, CursorForwardPagination(3), orders=[member])
        assert [doc.id for doc in page] == [0, 2, 1]
        if db.engine.dialect.name == "postgresql":
            for order in (DocRow.doc, DocRow.doc["k"], sa.func.point(DocRow.id, DocRow.id)):
                with pytest.raises(InvalidFilter):
                    await docs.search(orders=[order])
            orders = [sa.cast(DocRow.doc, postgresql.JSONB)]
            page = await docs.search(None, None, CursorForwardPagination(3), orders=orders)
            rest = await docs.search(None, None, CursorForwardPagination(3, page.end_cursor), orders=orders)
            assert [doc.id for doc in (*page, *rest)] == [0, 2, 1, 3]
            built = sa.func.jsonb_build_array(DocRow.id)
            for told in (
                sa.type_coerce(built, postgresql.JSONB),
                sa.type_coerce(sa.func.jsonb_array_length(built), sa.Integer),
                sa.func.jsonb_array_length(built, type_=sa.Integer()),
                sa.func.jsonb_typeof(built, type_=sa.Text()),
                sa.func.lower(sa.func.jsonb_extract_path_text(built, "0"), type_=sa.Text()),
            ):
                await check(docs, told)


def made_for(db: Any) -> Any:
    class Docs(Repository[DocRow]):
        pass

    return Docs(db)
