"""What a relationship asks holds in nested data, whatever its form."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy import ForeignKey, ForeignKeyConstraint, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, foreign, mapped_column, relationship, remote

from rowsmith import Count, Database, Expr, MappingError, Repository, related
from rowsmith.mapping import row_info
from rowsmith.mapping.layout import layout_of
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


art_tags = sa.Table(
    "rel_art_tags",
    Base.metadata,
    sa.Column("art_id", ForeignKey("rel_arts.id"), primary_key=True),
    sa.Column("tag_id", ForeignKey("rel_tags.id"), primary_key=True),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("is_shown", sa.Boolean, nullable=False),
)


class ArtTagRow(Base):
    __table__ = art_tags


class TagRow(Base):
    __tablename__ = "rel_tags"

    id: Mapped[int] = mapped_column(primary_key=True)
    is_live: Mapped[bool]


class CardRow(Base):
    __tablename__ = "rel_cards"

    id: Mapped[int] = mapped_column(primary_key=True)
    is_open: Mapped[bool]
    least: Mapped[int]

    published: Mapped[list[ArtRow]] = relationship(
        primaryjoin="and_(CardRow.id == foreign(ArtRow.card_id), ArtRow.is_published)", viewonly=True
    )
    hidden: Mapped[list[ArtRow]] = relationship(
        primaryjoin="and_(CardRow.id == foreign(ArtRow.card_id), ~ArtRow.is_published)", viewonly=True
    )
    long: Mapped[list[ArtRow]] = relationship(
        primaryjoin="and_(CardRow.id == foreign(ArtRow.card_id), func.length(ArtRow.name) > 1)", viewonly=True
    )
    while_open: Mapped[list[ArtRow]] = relationship(
        primaryjoin="and_(CardRow.id == foreign(ArtRow.card_id), CardRow.is_open)", viewonly=True
    )
    named: Mapped[list[ArtRow]] = relationship(
        primaryjoin="and_(CardRow.id == foreign(ArtRow.card_id), or_(ArtRow.name == 'a', ArtRow.name == 'ccc'))",
        viewonly=True,
    )
    no_null: Mapped[list[ArtRow]] = relationship(
        primaryjoin="and_(CardRow.id == foreign(ArtRow.card_id), ArtRow.next_id.is_not(None))", viewonly=True
    )
    at_least: Mapped[list[ArtRow]] = relationship(
        primaryjoin=lambda: CardRow.least <= foreign(ArtRow.id), viewonly=True, order_by=lambda: ArtRow.id.desc()
    )
    best: Mapped[ArtRow | None] = relationship(
        primaryjoin="and_(CardRow.id == foreign(ArtRow.card_id), ArtRow.is_published)", viewonly=True, uselist=False
    )


class ArtRow(Base):
    __tablename__ = "rel_arts"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    card_id: Mapped[int] = mapped_column(ForeignKey("rel_cards.id"))
    is_published: Mapped[bool]
    next_id: Mapped[int | None] = mapped_column(ForeignKey("rel_arts.id"))
    path: Mapped[str]

    card: Mapped[CardRow] = relationship(viewonly=True)
    open_card: Mapped[CardRow | None] = relationship(
        primaryjoin="and_(ArtRow.card_id == CardRow.id, CardRow.is_open)", viewonly=True
    )
    tags: Mapped[list[TagRow]] = relationship(secondary=art_tags, order_by=art_tags.c.place.desc(), viewonly=True)
    live_tags: Mapped[list[TagRow]] = relationship(
        secondary=art_tags,
        primaryjoin=lambda: sa.and_(ArtRow.id == art_tags.c.art_id, art_tags.c.is_shown),
        secondaryjoin=lambda: sa.and_(TagRow.id == art_tags.c.tag_id, TagRow.is_live),
        order_by=lambda: [art_tags.c.place, TagRow.id],
        viewonly=True,
    )
    before: Mapped[list[ArtRow]] = relationship(
        primaryjoin=lambda: sa.and_(ArtRow.id == foreign(remote(ArtRow.next_id)), remote(ArtRow.is_published)),
        viewonly=True,
    )
    below: Mapped[list[ArtRow]] = relationship(
        primaryjoin=lambda: remote(foreign(ArtRow.path)).like(ArtRow.path.concat("/%")),
        order_by=lambda: ArtRow.path,
        viewonly=True,
    )
    following: Mapped[ArtRow | None] = relationship(
        primaryjoin=lambda: sa.and_(ArtRow.next_id == remote(ArtRow.id), remote(ArtRow.is_published)),
        foreign_keys=lambda: ArtRow.next_id,
        viewonly=True,
    )
    namesake: Mapped[ArtRow | None] = relationship(
        primaryjoin=lambda: foreign(ArtRow.path) == remote(ArtRow.name), viewonly=True
    )


newest = aliased(ArtRow, sa.select(ArtRow).where(ArtRow.is_published).subquery())
CardRow.shown = relationship(newest, primaryjoin=lambda: CardRow.id == foreign(newest.card_id), viewonly=True)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Art:
    name: str


@dataclass(frozen=True)
class Tag:
    id: int


@dataclass(frozen=True)
class Card:
    id: int


@dataclass(frozen=True)
class CardWithAll:
    published: tuple[Art, ...]
    hidden: tuple[Art, ...]
    long: tuple[Art, ...]
    while_open: tuple[Art, ...]
    named: tuple[Art, ...]
    no_null: tuple[Art, ...]
    at_least: tuple[Art, ...]
    best: Art | None
    shown: tuple[Art, ...]


@dataclass(frozen=True)
class ArtWithAll:
    card: Card
    open_card: Card | None
    tags: tuple[Tag, ...]
    live_tags: tuple[Tag, ...]
    before: tuple[Art, ...]
    below: tuple[Art, ...]
    following: Art | None
    namesake: Art | None


class CardRepository(Repository[CardRow, Card, int]):
    pass


class ArtRepository(Repository[ArtRow, Art, int]):
    pass


def arts(*names: str) -> tuple[Art, ...]:
    return tuple(map(Art, names))


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    async with any_tables(CardRow, ArtRow, TagRow, ArtTagRow) as db:
        async with db.begin_session() as session:
            cards = [{"id": 1, "is_open": True, "least": 2}, {"id": 2, "is_open": False, "least": 9}]
            await session.execute(sa.insert(CardRow), cards)
            columns = ("id", "name", "card_id", "is_published", "next_id", "path")
            for values in (
                (1, "a", 1, True, None, "x"),
                (2, "bb", 1, False, 1, "x/y"),
                (3, "ccc", 1, True, 1, "x/y/z"),
                (4, "dd", 2, True, 2, "a"),
                (5, "a", 2, False, 3, "q"),
            ):
                await session.execute(sa.insert(ArtRow), dict(zip(columns, values, strict=True)))
            await session.execute(sa.insert(TagRow), [{"id": n, "is_live": n != 3} for n in (1, 2, 3, 4)])
            links = [(1, 1, 5, True), (1, 2, 7, True), (1, 3, 6, True), (1, 4, 1, False), (2, 2, 1, True)]
            names = ("art_id", "tag_id", "place", "is_shown")
            await session.execute(sa.insert(ArtTagRow), [dict(zip(names, link, strict=True)) for link in links])
        yield db


async def test_the_whole_condition_of_a_collection_holds(db: Database) -> None:
    """A bare boolean, its opposite, a function, an OR, a condition on the parent, an inequality: no child is astray."""
    first, second = (await CardRepository(db).search(into=CardWithAll)).items
    assert first == CardWithAll(
        published=arts("a", "ccc"),
        hidden=arts("bb"),
        long=arts("bb", "ccc"),
        while_open=arts("a", "bb", "ccc"),
        named=arts("a", "ccc"),
        no_null=arts("bb", "ccc"),
        at_least=arts("a", "dd", "ccc", "bb"),
        best=Art("a"),
        shown=arts("a", "ccc"),
    )
    assert second == CardWithAll(
        (*arts("dd"),), arts("a"), arts("dd"), (), arts("a"), arts("dd", "a"), (), Art("dd"), arts("dd")
    )


async def test_the_whole_condition_of_other_relationships_holds(db: Database) -> None:
    """Conditions of a table between, its order, marks of what is remote, and a reference to the same table."""
    found = {art.id: art.all for art in (await ArtRepository(db).search(into=Numbered)).items}
    page = (await ArtRepository(db).search(orders=[ArtRow.id], into=ArtWithAll)).items
    assert found == {1: "a", 2: "bb", 3: "ccc", 4: "dd", 5: "a"}
    one, two, _, four, five = page
    assert one == ArtWithAll(
        Card(1), Card(1), (Tag(2), Tag(3), Tag(1), Tag(4)), (Tag(1), Tag(2)), arts("ccc"), arts("bb", "ccc"), None, None
    )
    assert two == ArtWithAll(Card(1), Card(1), (Tag(2),), (Tag(2),), arts("dd"), arts("ccc"), Art("a"), None)
    assert (four.card, four.open_card, four.following) == (Card(2), None, None)
    assert four.namesake == Art("a")  # two rows have the name: the first one by the key, and one row of data
    assert (five.following, five.below) == (Art("ccc"), ())


@dataclass(frozen=True)
class Numbered:
    id: int
    all: Annotated[str, Expr(ArtRow.name)]


@dataclass(frozen=True)
class ArtInOpenCard:
    name: str
    open_card: Card | None


async def test_a_further_condition_loses_no_row(db: Database) -> None:
    """A row whose related one does not qualify is there, and counted; its field is None."""
    arts = ArtRepository(db)
    assert await arts.get(4, into=ArtInOpenCard) == ArtInOpenCard("dd", None)
    page = await arts.search(orders=[ArtRow.id], count=Count.EXACT, into=ArtInOpenCard)
    assert page.total_count == len(page.items)
    assert [art.open_card for art in page.items] == [Card(1), Card(1), Card(1), None, None]


def test_a_further_condition_asks_for_an_optional_field() -> None:
    """A key that is NOT NULL says nothing where the relationship asks for more."""

    @dataclass(frozen=True)
    class Wrong:
        open_card: Card

    with pytest.raises(MappingError, match=r"may lead to no row: write Card \| None"):
        layout_of(row_info(ArtRow), Wrong)


class PlaceBase(DeclarativeBase):
    pass


class PlaceRow(PlaceBase):
    __tablename__ = "rel_places"
    __table_args__ = (UniqueConstraint("house"), UniqueConstraint("room"))

    house: Mapped[int] = mapped_column(primary_key=True)
    room: Mapped[int] = mapped_column(primary_key=True)


class StaffRow(PlaceBase):
    __tablename__ = "rel_staff"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "staff"}


class BossRow(StaffRow):
    __mapper_args__ = {"polymorphic_identity": "boss"}


class ChairRow(PlaceBase):
    __tablename__ = "rel_chairs"
    __table_args__ = (ForeignKeyConstraint(["house", "room"], ["rel_places.house", "rel_places.room"]),)

    id: Mapped[int] = mapped_column(primary_key=True)
    house: Mapped[int] = mapped_column()
    room: Mapped[int] = mapped_column()
    other_house: Mapped[int] = mapped_column(ForeignKey("rel_places.house"))
    other_room: Mapped[int] = mapped_column(ForeignKey("rel_places.room"))
    boss_id: Mapped[int] = mapped_column(ForeignKey("rel_staff.id"))

    place: Mapped[PlaceRow] = relationship(foreign_keys=[house, room], viewonly=True)
    other: Mapped[PlaceRow | None] = relationship(
        primaryjoin="and_(ChairRow.other_house == PlaceRow.house, ChairRow.other_room == PlaceRow.room)",
        foreign_keys=[other_house, other_room],
        viewonly=True,
    )
    boss: Mapped[BossRow | None] = relationship(viewonly=True)


@dataclass(frozen=True)
class Place:
    room: int


@dataclass(frozen=True)
class Boss:
    id: int


@dataclass(frozen=True)
class Chair:
    place: Place
    other: Place | None
    boss: Boss | None


class ChairRepository(Repository[ChairRow, Chair, int]):
    pass


async def test_what_no_single_foreign_key_promises_may_be_absent(any_tables: WithTables) -> None:
    """Two keys of one column each promise no row with both; a key to a shared table promises no row of one class."""
    async with any_tables(PlaceRow, StaffRow, ChairRow) as db:
        async with db.begin_session() as session:
            await session.execute(sa.insert(PlaceRow), [{"house": 1, "room": 1}, {"house": 2, "room": 2}])
            await session.execute(sa.insert(StaffRow), [{"id": 1, "kind": "staff"}])
            chair = {"house": 1, "room": 1, "other_house": 1, "other_room": 2, "boss_id": 1}
            await session.execute(sa.insert(ChairRow), [{"id": 1, **chair}])
        assert await ChairRepository(db).get(1) == Chair(Place(1), None, None)

    for name, kind in (("other", Place), ("boss", Boss)):
        wrong: Any = dataclass(frozen=True)(type("Wrong", (), {"__annotations__": {name: kind}}))
        with pytest.raises(MappingError, match="may lead to no row"):
            layout_of(row_info(ChairRow), wrong)


class TypeRow(PlaceBase):
    __tablename__ = "rel_types"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column()
    label: Mapped[str]

    __table_args__ = (
        sa.Index("ix_rel_types_code", code.desc(), unique=True),
        sa.Index("ix_rel_types_label", "label", unique=True, sqlite_where=sa.text("code > 'b'")),
    )


class TypedRow(PlaceBase):
    __tablename__ = "rel_typed"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str]
    label: Mapped[str]

    by_code: Mapped[TypeRow | None] = relationship(
        primaryjoin=lambda: foreign(TypedRow.code) == TypeRow.code, viewonly=True
    )
    by_label: Mapped[TypeRow | None] = relationship(
        primaryjoin=lambda: foreign(TypedRow.label) == TypeRow.label, viewonly=True
    )


@dataclass(frozen=True)
class Type:
    id: int


@dataclass(frozen=True)
class Typed:
    by_code: Type | None
    by_label: Type | None


class TypedRepository(Repository[TypedRow, Typed, int]):
    pass


async def test_a_row_is_joined_where_its_key_is_unique_in_any_direction(any_tables: WithTables) -> None:
    """By a descending unique index too; not by one that is partial, in either database: several rows may have it."""
    layout = layout_of(row_info(TypedRow), Typed)
    assert [join.relationship.key for join in layout.joins] == ["by_code"]
    assert len(layout.collections) == 1
    async with any_tables(TypeRow, TypedRow) as db:
        async with db.begin_session() as session:
            types = [{"id": 1, "code": "c", "label": "x"}, {"id": 2, "code": "d", "label": "y"}]
            await session.execute(sa.insert(TypeRow), types)
            await session.execute(sa.insert(TypedRow), [{"id": 1, "code": "d", "label": "x"}])
        assert await TypedRepository(db).get(1) == Typed(Type(2), Type(1))


async def test_related_says_what_a_chain_of_relationships_means(db: Database) -> None:
    """In scopes and conditions of one's own, each step of ``related`` speaks of its own row, come back or not."""
    arts = ArtRepository(db)

    async def found(*conditions: sa.ColumnElement[bool]) -> list[int]:
        return [art.id for art in (await arts.search(None, conditions, orders=[ArtRow.id], into=Numbered)).items]

    assert await found(related(ArtRow.open_card)) == [1, 2, 3]
    assert await found(related(ArtRow.following, ArtRow.name == "a")) == [2, 3]
    assert await found(related(ArtRow.card, related(CardRow.published, related(ArtRow.before)))) == [1, 2, 3]
    assert await found(related(ArtRow.card, related(CardRow.published, ArtRow.name == "dd"))) == [4, 5]
    assert await found(related(ArtRow.live_tags, TagRow.id == 1)) == [1]
    assert await found(~related(ArtRow.tags)) == [3, 4, 5]
    as_text = sa.literal_column("rel_arts.name = 'a' OR false", sa.Boolean)
    assert await found(related(ArtRow.following, as_text)) == [2, 3]
    by_any = ArtRow.tags.any(TagRow.id == ArtRow.id)
    assert await found(related(ArtRow.following, by_any)) == [2, 3]
    shown: Any = CardRow.shown  # type: ignore[attr-defined]
    assert await found(related(ArtRow.card, related(shown, ArtRow.name == "dd"))) == [4, 5]
