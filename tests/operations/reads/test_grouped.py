"""What rows cannot be grouped by, and what has no different values, is refused before anything is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, UserDefinedType

from rowsmith import Database, Expr, InvalidFilter, MappingError, Repository, count
from rowsmith.testing import WithTables, tables
from support import count_statements


class Base(DeclarativeBase):
    pass


class Wrapped(TypeDecorator[Any]):
    impl = sa.JSON
    cache_ok = True


class Point(UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "point"


class CardRow(Base):
    __tablename__ = "grouped_cards"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    doc: Mapped[Any] = mapped_column(sa.JSON)
    wrapped: Mapped[Any] = mapped_column(Wrapped)
    binary: Mapped[Any] = mapped_column(postgresql.JSONB)
    docs: Mapped[list[Any]] = mapped_column(postgresql.ARRAY(sa.JSON))
    path: Mapped[Any] = mapped_column(postgresql.JSONPATH)
    place: Mapped[Any] = mapped_column(Point)


@dataclass(frozen=True)
class Card:
    id: int
    name: str


class Cards(Repository[CardRow, Card, int]): ...


@dataclass(frozen=True)
class Number:
    cards: Annotated[int, count()]


@pytest.fixture
async def cards(with_tables: WithTables) -> AsyncIterator[Cards]:
    async with with_tables(CardRow) as db:
        async with db.begin_session() as session:
            for id, name in enumerate(("a", "a", "b"), 1):
                doc = {"of": name}
                values = {"doc": doc, "wrapped": doc, "binary": doc, "docs": [doc], "path": "$.of"}
                await session.execute(
                    sa.insert(CardRow).values(id=id, name=name, place=sa.text("'(1,2)'::point"), **values)
                )
        yield Cards(db)


NO_EQUALITY = (
    r"group_by is JSON, of which PostgreSQL has no equality: group by Row\.doc\['member'\]\.as_string\(\), or cast"
)


@pytest.mark.parametrize(
    "key, told",
    [
        (CardRow.doc, NO_EQUALITY),
        (CardRow.wrapped, NO_EQUALITY),
        (CardRow.doc["of"], NO_EQUALITY),
        (CardRow.docs, "group_by is of a type that PostgreSQL has no equality of"),
        (CardRow.path, "group_by is of a type that PostgreSQL has no equality of"),
        (sa.func.count(CardRow.id), r"group_by is an aggregate, .* as in Annotated\[int, count\(\)\]"),
        (sa.func.max(CardRow.id) + 1, "group_by is an aggregate"),
        (sa.func.row_number().over(order_by=CardRow.id), "group_by is a window function"),
        (sa.literal_column("1"), "group_by is a number, which SQL takes for a place"),
    ],
)
async def test_what_rows_cannot_be_grouped_by(cards: Cards, key: Any, told: str) -> None:
    """The error says what to write instead, alone and beside what rows are grouped by."""
    for keys in ([key], [CardRow.name, key], [lambda: key]):
        with count_statements(cards.db) as sent, pytest.raises(InvalidFilter, match=told):
            await cards.aggregate(into=Number, group_by=keys)
        assert not sent


@dataclass(frozen=True)
class ByDocument:
    of: Annotated[Any, Expr(sa.cast(CardRow.doc, postgresql.JSONB))]
    cards: Annotated[int, count()]


@dataclass(frozen=True)
class ByMember:
    of: Annotated[str | None, Expr(CardRow.doc["of"].as_string())]
    cards: Annotated[int, count()]


@dataclass(frozen=True)
class ByBinary:
    binary: Any
    cards: Annotated[int, count()]


async def test_what_the_errors_say_to_write(cards: Cards) -> None:
    """A member of the document, the document as JSONB, and a column of that."""
    by_document = sa.cast(CardRow.doc, postgresql.JSONB)
    groups = [({"of": "a"}, 2), ({"of": "b"}, 1)]
    assert await cards.aggregate(into=ByDocument, group_by=[by_document]) == [ByDocument(*one) for one in groups]
    assert await cards.aggregate(into=ByBinary, group_by=[CardRow.binary]) == [ByBinary(*one) for one in groups]
    by_member = CardRow.doc["of"].as_string()
    assert await cards.aggregate(into=ByMember, group_by=[by_member]) == [ByMember("a", 2), ByMember("b", 1)]


@dataclass(frozen=True)
class Documents:
    documents: Annotated[int, count(CardRow.doc, distinct=True)]


@dataclass(frozen=True)
class Binaries:
    documents: Annotated[int, count(sa.cast(CardRow.doc, postgresql.JSONB), distinct=True)]


async def test_what_has_no_different_values(cards: Cards) -> None:
    """Those of JSON are counted as JSONB."""
    with count_statements(cards.db) as sent, pytest.raises(MappingError, match=r"Documents\.documents .* JSONB\)"):
        await cards.aggregate(into=Documents)
    assert not sent
    assert await cards.aggregate(into=Binaries) == [Binaries(2)]


async def test_orders_over_arrays_of_documents(cards: Cards) -> None:
    """They are refused as those over documents are."""
    with pytest.raises(InvalidFilter, match="an order is of a type that PostgreSQL has no order of"):
        await cards.search(orders=[CardRow.docs])


async def test_a_type_that_only_the_database_knows(cards: Cards) -> None:
    """What the server says of one without equality, or without an order, is said in words about that."""
    lengths = await cards.aggregate(into=Number, group_by=[sa.func.json_array_length(sa.func.to_json(CardRow.docs))])
    assert lengths == [Number(3)]
    for call in (
        cards.aggregate(into=Number, group_by=[CardRow.place]),
        cards.aggregate(into=Number, group_by=[sa.func.to_json(CardRow.name)]),
        cards.search(orders=[CardRow.place]),
    ):
        with pytest.raises(InvalidFilter, match=r"sorted or grouped by .* no order and no equality: cast it"):
            await call


class LiteBase(DeclarativeBase):
    pass


class NoteRow(LiteBase):
    __tablename__ = "grouped_notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    doc: Mapped[Any] = mapped_column(sa.JSON)


@dataclass(frozen=True)
class ByDoc:
    doc: Any
    notes: Annotated[int, count()]


async def test_sqlite_has_an_equality_of_what_is_in_the_file(sqlite_database: Database) -> None:
    """There a document is text, and may be grouped by."""
    async with tables(sqlite_database, NoteRow) as db:
        async with db.begin_session() as session:
            await session.execute(sa.insert(NoteRow), [{"id": id, "doc": {"a": 1}} for id in (1, 2)])

        class Notes(Repository[NoteRow]): ...

        assert await Notes(db).aggregate(into=ByDoc, group_by=[NoteRow.doc]) == [ByDoc({"a": 1}, 2)]
