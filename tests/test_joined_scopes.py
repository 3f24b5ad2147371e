"""What a scope says of rows that are kept in several tables: of each row itself, never of any with any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    Condition,
    Conflict,
    EntityNotFound,
    ExistenceCheck,
    Expr,
    InvalidFilter,
    MappingError,
    NextValue,
    ReferenceNotFound,
    Repository,
    SearchScope,
    Spec,
)
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class AnimalRow(Base):
    __tablename__ = "owned_animals"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    kind: Mapped[str]


class CatRow(AnimalRow):
    __tablename__ = "owned_cats"
    __mapper_args__ = {"polymorphic_identity": "cat"}

    id: Mapped[int] = mapped_column(sa.ForeignKey("owned_animals.id"), primary_key=True)
    lives: Mapped[int]


class ToyRow(Base):
    __tablename__ = "owned_toys"

    id: Mapped[int] = mapped_column(primary_key=True)
    cat: Mapped[int] = mapped_column(sa.ForeignKey("owned_cats.id"))
    number: Mapped[int | None]
    tenant: Mapped[str]
    label: Mapped[str | None] = mapped_column(unique=True)


@dataclass(frozen=True)
class Cat:
    id: int
    tenant: str


@dataclass(frozen=True)
class CatCreate(Spec[CatRow]):
    tenant: str
    lives: int


@dataclass(frozen=True)
class Toy:
    id: int
    cat: int


@dataclass(frozen=True)
class ToyCreate(Spec[ToyRow], filled={"number", "tenant"}):
    cat: int


@dataclass(frozen=True)
class LabelledCreate(ToyCreate):
    label: str


class NoSuchCat(EntityNotFound):
    pass


@dataclass(frozen=True)
class OfTenant(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [ToyRow.tenant == self.tenant]


@dataclass(frozen=True)
class ByAnimals(OfTenant):
    def to_related(self) -> Mapping[type, Sequence[Condition]]:
        return {AnimalRow: [AnimalRow.tenant == self.tenant]}


@dataclass(frozen=True)
class ByCats(OfTenant):
    def to_related(self) -> Mapping[type, Sequence[Condition]]:
        return {CatRow: [CatRow.tenant == self.tenant, CatRow.lives > 0]}


@dataclass(frozen=True)
class WithCat(OfTenant):
    lives: int

    def existence_checks(self) -> Sequence[ExistenceCheck]:
        there = sa.and_(CatRow.lives == self.lives, CatRow.tenant == self.tenant)
        return [ExistenceCheck(there, NoSuchCat)]


@dataclass(frozen=True)
class ByExists(SearchScope):
    way: str

    def to_conditions(self) -> Sequence[Condition]:
        asked = sa.select(sa.literal(1)).where(CatRow.id == ToyRow.cat, CatRow.tenant == "a")
        by_hand = sa.select(sa.literal(1)).where(CatRow.id == ToyRow.cat, AnimalRow.id == CatRow.id)
        ways = {
            "apart": asked,
            "joined": asked.select_from(CatRow),
            "by hand": by_hand.where(AnimalRow.tenant == "a"),
        }
        return [ways[self.way].correlate(ToyRow).exists()]


class Cats(Repository[CatRow, Cat, int]):
    pass


class Toys(Repository[ToyRow, Toy, int]):
    next_value = NextValue(ToyRow.number, within=ToyRow.cat)
    scope_required = True


class Labelled(Toys):
    conflict = Conflict(columns=[ToyRow.label])


@pytest.mark.parametrize("kind", [ByAnimals, ByCats])
async def test_a_parent_in_several_tables_is_inside_with_all_of_them(kind: Any, lane_tables: WithTables) -> None:
    """However many rows of the tenant there are beside it; and so the numbers of another tenant's are left alone."""
    async with lane_tables(AnimalRow, CatRow, ToyRow) as db:
        cats, toys, a = Cats(db), Toys(db), kind("a")
        mine, theirs = await cats.create(CatCreate("a", 9)), await cats.create(CatCreate("b", 9))
        for call in (
            toys.create(ToyCreate(theirs.id), scope=a),
            toys.batch_create([ToyCreate(theirs.id)], scope=a),
            toys.load([ToyCreate(theirs.id)], scope=a),
        ):
            with pytest.raises(ReferenceNotFound):
                await call
        partial = await toys.batch_create_partial([ToyCreate(theirs.id), ToyCreate(mine.id)], scope=a)
        assert [failure.index for failure in partial.failed] == [0]
        assert (await toys.create(ToyCreate(mine.id), scope=a)).cat == mine.id


async def test_what_must_be_there_is_one_row(lane_tables: WithTables) -> None:
    """Not one table's row of a tenant and another one's of another."""
    async with lane_tables(AnimalRow, CatRow, ToyRow) as db:
        cats, toys = Cats(db), Toys(db)
        for cat in (CatCreate("a", 1), CatCreate("b", 2)):
            await cats.create(cat)
        assert list(await toys.search(WithCat("a", 1))) == []
        for lives in (2, 3):
            with pytest.raises(NoSuchCat):
                await toys.search(WithCat("a", lives))


async def test_a_subquery_joins_the_tables_that_it_reads(lane_tables: WithTables) -> None:
    """SQLAlchemy would let any row of one go with any of the other."""
    async with lane_tables(AnimalRow, CatRow, ToyRow) as db:
        cats, toys = Cats(db), Toys(db)
        mine, theirs = await cats.create(CatCreate("a", 1)), await cats.create(CatCreate("b", 1))
        for cat, tenant in ((mine, "a"), (theirs, "b")):
            await toys.create(ToyCreate(cat.id), scope=ByAnimals(tenant))
        with pytest.raises(InvalidFilter, match=r"the tables of CatRow without joining them.*select_from\(CatRow\)"):
            await toys.search(ByExists("apart"))
        for way in ("joined", "by hand"):
            assert [toy.cat for toy in await toys.search(ByExists(way))] == [mine.id]


async def test_no_upsert_goes_past_a_numbering(lane_tables: WithTables) -> None:
    """It would count nothing, and ask for no parent: it says what to call."""
    async with lane_tables(AnimalRow, CatRow, ToyRow) as db:
        toys, spec = Labelled(db), LabelledCreate(1, "mouse")
        for call in (
            toys.upsert(spec, scope=ByAnimals("a")),
            toys.batch_upsert([spec], scope=ByAnimals("a")),
            toys.batch_upsert_partial([spec], scope=ByAnimals("a")),
        ):
            with pytest.raises(MappingError, match="ToyRow is numbered within a parent"):
                await call


@dataclass(frozen=True)
class Most:
    value: Annotated[int | None, Expr(sa.func.max(ToyRow.id))]


@dataclass(frozen=True)
class Placed:
    value: Annotated[int, Expr(sa.func.row_number().over(order_by=ToyRow.id))]


@pytest.mark.parametrize("into", [Most, Placed])
async def test_a_computed_field_is_of_one_row(into: Any, lane_tables: WithTables) -> None:
    """An aggregate made a row of none, so that an absent one was found; a window's values are a page's own."""
    async with lane_tables(AnimalRow, CatRow, ToyRow) as db:
        with pytest.raises(MappingError, match="which is of many rows"):
            await Toys(db).get(1, ByAnimals("a"), into=into)
