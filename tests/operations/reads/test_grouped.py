"""What rows are grouped by; what they cannot be grouped by, and what has no different values, is refused beforehand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from pydantic import create_model
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, relationship
from sqlalchemy.types import TypeDecorator, UserDefinedType
from typing_extensions import override

from rowsmith import (
    Condition,
    Database,
    Expr,
    InvalidFilter,
    MappingError,
    Repository,
    SearchScope,
    count,
    max_,
    related,
)
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


class AnyBase(DeclarativeBase):
    pass


class AnimalRow(AnyBase):
    __tablename__ = "grouped_animals"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[int]
    kind: Mapped[str]
    in_id: Mapped[int | None] = mapped_column(sa.ForeignKey("grouped_animals.id"))
    dog: Mapped[DogRow | None] = relationship(remote_side=[id], viewonly=True)
    pups: Mapped[list[PupRow]] = relationship(viewonly=True)

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class DogRow(AnimalRow):
    __mapper_args__ = {"polymorphic_identity": "dog"}


class PupRow(DogRow):
    __mapper_args__ = {"polymorphic_identity": "pup"}


class Animals(Repository[AnimalRow]): ...


@dataclass(frozen=True)
class Mine(SearchScope):
    """Tenant 1's; of dogs it says something by a comparison, a list and a subquery."""

    dogs: Sequence[Condition]

    @override
    def to_conditions(self) -> Sequence[Condition]:
        return [AnimalRow.tenant == 1]

    @override
    def to_related(self) -> Mapping[type[Any], Sequence[Condition]]:
        return {DogRow: self.dogs}


other = aliased(AnimalRow)


@pytest.fixture
async def animals(any_tables: WithTables) -> AsyncIterator[Animals]:
    """Dog 1 has animal 3 and pup 4 in it, dog 2, of another tenant, animal 5."""
    async with any_tables(AnimalRow) as db:
        async with db.begin_session() as session:
            session.add_all([DogRow(id=1, tenant=1), DogRow(id=2, tenant=2)])
            await session.flush()
            session.add_all([AnimalRow(id=3, tenant=1, in_id=1), PupRow(id=4, tenant=1, in_id=1)])
            session.add(AnimalRow(id=5, tenant=1, in_id=2))
        yield Animals(db, resilience=None)


SCOPES: dict[str, Mine | None] = {
    "none": None,
    "comparison": Mine([DogRow.tenant == 1]),
    "list": Mine([DogRow.tenant.in_([1])]),
    "subquery": Mine([DogRow.id.in_(sa.select(other.id).where(other.tenant.in_([1])))]),
}


def grouped_by(field: Any) -> type[Any]:
    """Give a data class of a field and the number of rows in its group."""
    return make_dataclass("By", [("key", Annotated[Any, Expr(field)]), ("rows", Annotated[int, count()])], frozen=True)


async def numbers(animals: Animals, scope: SearchScope | None, field: Any, *keys: Any) -> list[tuple[Any, int]]:
    found: list[Any] = await animals.aggregate(scope, [AnimalRow.tenant == 1], into=grouped_by(field), group_by=keys)
    return [(each.key, each.rows) for each in found]


@pytest.mark.parametrize("name", SCOPES)
async def test_groups_by_steps_to_a_class_that_shares_its_table(animals: Animals, name: str) -> None:
    """What says of which class related rows are is one expression wherever the key stands, and so is the scope."""
    scope, out, inside = SCOPES[name], *((1, 3) if name == "none" else (2, 2))
    in_dog, with_pups = related(AnimalRow.dog), related(AnimalRow.pups)
    for _ in range(2):
        assert await numbers(animals, scope, in_dog, in_dog) == [(False, out), (True, inside)]
        assert await numbers(animals, scope, sa.not_(in_dog), sa.not_(in_dog)) == [(False, inside), (True, out)]
        assert await numbers(animals, scope, with_pups, with_pups) == [(False, 3), (True, 1)]
        both = await numbers(animals, scope, with_pups, in_dog, with_pups)
        assert both == [*([] if name == "none" else [(False, 1)]), (True, 1), (False, inside)]


async def test_figures_that_are_made_of_keys(animals: Animals) -> None:
    """A key inside of a figure's expression is the same one, with values of its own in each call."""
    in_dog = related(AnimalRow.dog, DogRow.tenant == 1)
    for scope in SCOPES.values():
        for yes, no in (("in", "out"), ("a", "b")):
            told = await numbers(animals, scope, sa.case((in_dog, yes), else_=no), in_dog)
            assert told == [(no, 2), (yes, 2)]
    for least, told in ((1, [("no", 1), ("yes", 3)]), (2, [("no", 3), ("yes", 1)]), (3, [("no", 4)])):
        key = sa.func.coalesce(AnimalRow.in_id, 0) >= least
        assert await numbers(animals, None, sa.case((key, "yes"), else_="no"), key) == told


async def test_steps_that_are_written_twice(animals: Animals) -> None:
    """They are the same key, though each has an alias of its own; two of different steps are two."""

    def step() -> sa.ColumnElement[bool]:
        return related(AnimalRow.dog, DogRow.tenant.in_([1, 3]), DogRow.id == 1)

    for scope in SCOPES.values():
        assert await numbers(animals, scope, step(), step(), AnimalRow.tenant) == [(False, 2), (True, 2)]
        assert await numbers(animals, scope, sa.case((step(), 1), else_=0), step()) == [(0, 2), (1, 2)]
    with pytest.raises(MappingError, match="asks about a single row"):
        await numbers(animals, None, related(AnimalRow.dog, DogRow.id == 1), related(AnimalRow.dog, DogRow.id == 2))
    orders: list[Any] = [related(AnimalRow.pups), related(AnimalRow.dog), AnimalRow.id]
    with pytest.raises(InvalidFilter, match="is given twice"):
        await animals.search(orders=[*orders, related(AnimalRow.pups)])
    assert [each.id for each in await animals.search(None, [AnimalRow.tenant == 1], orders=orders)] == [3, 4, 5, 1]


def siblings(*conditions: Any) -> Any:
    return sa.select(sa.func.count(other.id)).where(*conditions).scalar_subquery()


ABOUT_A_ROW: dict[str, Any] = {
    "step": related(AnimalRow.dog),
    "no step": sa.not_(related(AnimalRow.dog)),
    "value": siblings(other.in_id == AnimalRow.id),
    "exists": sa.exists().where(other.in_id == AnimalRow.id),
    "any": AnimalRow.pups.any(),
    "in": AnimalRow.in_id.in_(sa.select(other.id)) | (siblings() > 1),
    "case": sa.case((related(AnimalRow.dog), 1), else_=0),
    "function": sa.func.coalesce(siblings(other.in_id == AnimalRow.id), 0),
    "beside an aggregate": sa.func.count(AnimalRow.id) + siblings(other.in_id == AnimalRow.id),
    "several levels": siblings(
        sa.exists(sa.select(sa.literal(1)).where(AnimalRow.id == other.id).correlate(other, AnimalRow))
    ),
    "in a window": sa.func.sum(siblings(other.in_id == AnimalRow.id)).over(),
}
"""Expressions of a row that stand in no aggregate."""


@pytest.mark.parametrize("name", ABOUT_A_ROW)
async def test_a_subquery_about_a_row_is_no_figure(animals: Animals, name: str) -> None:
    """Of whichever row a database might take; what to write instead is said before anything is sent."""
    field, untold = ABOUT_A_ROW[name], r"By\.key .* (asks about a single row|is neither grouped by nor aggregated)"
    for scope in SCOPES.values():
        for keys in ([], [AnimalRow.kind]):
            with count_statements(animals.db) as sent, pytest.raises(MappingError, match=untold):
                await numbers(animals, scope, field, *keys)
            assert not sent


@pytest.mark.parametrize("into", ["data class", "model"])
async def test_what_to_write_for_a_subquery_about_a_row(animals: Animals, into: str) -> None:
    """The error names the field, and the figures that it tells of are there."""
    step = related(AnimalRow.dog, DogRow.tenant == 1)

    def made(field: Any, kind: Any) -> Any:
        annotation: Any = Annotated[kind, field]
        if into == "model":
            return create_model("Figure", value=(annotation, ...))
        return make_dataclass("Figure", [("value", annotation)], frozen=True)

    words = (
        r"Figure\.value \(of AnimalRow\) has a subquery that asks about a single row, and a group is of many: group by "
        r"the columns of the row that it names, or write an aggregate around it, as in count\(\)\.filter\(related"
    )
    field: Any
    for field in (Expr(step), Expr(lambda: step)):
        with pytest.raises(MappingError, match=words):
            await animals.aggregate(into=made(field, bool))
    most = max_(siblings(other.in_id == AnimalRow.id))
    for field, kind, value in ((count().filter(step), int, 2), (most, int | None, 2)):
        [figure] = await animals.aggregate(into=made(field, kind))
        assert figure.value == value


async def test_subqueries_that_are_of_a_group(animals: Animals) -> None:
    """One that names no column of the row, or those alone that are grouped by, is a figure."""
    assert await numbers(animals, None, siblings(other.tenant == 2)) == [(1, 4)]
    assert await numbers(animals, None, sa.exists(sa.select(other.id).where(other.tenant == 3))) == [(False, 4)]
    by_kind = siblings(other.kind == AnimalRow.kind)
    assert await numbers(animals, None, by_kind, AnimalRow.kind) == [(2, 2), (2, 1), (1, 1)]
    assert await numbers(animals, None, sa.func.coalesce(by_kind, 0) + 1, AnimalRow.kind) == [(3, 2), (3, 1), (2, 1)]
    of_dogs = siblings(other.in_id == AnimalRow.id, other.tenant == AnimalRow.tenant)
    assert await numbers(animals, None, of_dogs, AnimalRow.id) == [(2, 1), (0, 1), (0, 1), (0, 1)]
    share = sa.select(sa.func.max(AnimalRow.id) + sa.func.max(other.id)).where(other.id < 3).scalar_subquery()
    assert await numbers(animals, None, share, AnimalRow.kind) == [(7, 2), (3, 1), (6, 1)]


@pytest.mark.parametrize(
    "field",
    [
        sa.func.length(AnimalRow.kind),
        sa.func.coalesce(AnimalRow.in_id, 0),
        sa.func.upper(sa.func.lower(AnimalRow.kind)),
        sa.func.sum(AnimalRow.id).over(),
        sa.func.count(AnimalRow.id).filter(AnimalRow.id > 1).over(),
        sa.func.max(AnimalRow.id, 1),
    ],
)
async def test_a_function_of_a_row_is_no_figure(animals: Animals, field: Any) -> None:
    """One that makes a value of those of one row is no aggregate, nor is a window of rows."""
    with count_statements(animals.db) as sent, pytest.raises(MappingError, match="neither grouped by nor aggregated"):
        await numbers(animals, None, field, AnimalRow.tenant)
    with pytest.raises(MappingError, match="neither grouped by nor aggregated"):
        await numbers(animals, None, AnimalRow.kind, AnimalRow.id)
    assert not sent


async def test_functions_of_what_is_of_a_group(animals: Animals) -> None:
    """Around aggregates and keys they are figures, and so are windows over groups."""
    assert await numbers(animals, None, sa.func.coalesce(sa.func.max(AnimalRow.in_id), 0)) == [(2, 4)]
    assert await numbers(animals, None, sa.func.upper(AnimalRow.kind), AnimalRow.kind) == [
        *(("ANIMAL", 2), ("DOG", 1), ("PUP", 1)),
    ]
    assert await numbers(animals, None, sa.func.upper(AnimalRow.kind), AnimalRow.id) == [
        *(("DOG", 1), ("ANIMAL", 1), ("PUP", 1), ("ANIMAL", 1)),
    ]
    total = sa.func.sum(sa.func.count(AnimalRow.id)).over()
    assert await numbers(animals, None, total, AnimalRow.kind) == [(4, 2), (4, 1), (4, 1)]
