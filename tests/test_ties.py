"""A subquery inside another one that names the row: it is about that row, or it is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, relationship

from rowsmith import (
    Condition,
    EntityNotFound,
    ExistenceCheck,
    Expr,
    InvalidFilter,
    InvalidValue,
    MappingError,
    OptionalState,
    SearchScope,
    count,
)
from rowsmith.operations import make_entity
from rowsmith.testing import WithTables
from rowsmith.ties import loose_ties
from tenants import DomainRow, GroupRow, ThingPatch, ThingRepository, ThingRow
from verbs import VERBS, Number, stored, things_in, world_of


class Base(DeclarativeBase):
    pass


class BedRow(Base):
    __tablename__ = "beds"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    garden_id: Mapped[int] = mapped_column(sa.ForeignKey("gardens.id"))
    garden: Mapped[GardenRow] = relationship(back_populates="beds")


class GardenRow(Base):
    __tablename__ = "gardens"

    id: Mapped[int] = mapped_column(primary_key=True)
    beds: Mapped[list[BedRow]] = relationship(back_populates="garden")
    plants: Mapped[list[PlantRow]] = relationship()


class PlantRow(Base):
    __tablename__ = "plants"

    id: Mapped[int] = mapped_column(primary_key=True)
    garden_id: Mapped[int] = mapped_column(sa.ForeignKey("gardens.id"))
    owner: Mapped[str]


OTHER, SECOND = aliased(BedRow), aliased(GardenRow)
TIE = PlantRow.owner == BedRow.tenant
PLANT = sa.exists().where(PlantRow.garden_id == GardenRow.id, TIE)
PLANTS = sa.select(PlantRow.id).where(TIE)
MINE = sa.select(BedRow.id).where(BedRow.tenant == "a")


def garden(*conditions: Any) -> Any:
    """Give the condition that a bed's garden satisfies some more."""
    return sa.exists().where(GardenRow.id == BedRow.garden_id, *conditions)


LOOSE: dict[str, Any] = {
    "exists in exists": garden(PLANT),
    "the outer one names no row": sa.exists().where(GardenRow.id == 1, PLANT),
    "its columns name the row": garden(sa.exists(sa.select(BedRow.id).where(TIE))),
    "tied to the row alone": garden(PLANT.correlate(BedRow)),
    "tied to what is around it alone": garden(PLANT.correlate(GardenRow)),
    "in": garden(GardenRow.id.in_(PLANTS)),
    "in, over nothing else": garden(GardenRow.id.in_(MINE)),
    "scalar": garden(PLANTS.with_only_columns(sa.func.count()).scalar_subquery() > 0),
    "union": garden(GardenRow.id.in_(sa.union(PLANTS, sa.select(PlantRow.id)))),
    "union in exists": garden(sa.exists(sa.union(PLANTS, sa.select(PlantRow.id)).subquery().select())),
    "join": garden(sa.exists(sa.select(PlantRow.id).join(SECOND, SECOND.id == PlantRow.garden_id).where(TIE))),
    "from a subquery": sa.exists(sa.select(sa.literal(1)).select_from(PLANTS.subquery())),
    "from a cte": sa.exists(sa.select(sa.literal(1)).select_from(PLANTS.cte())),
    "lateral": sa.exists(sa.select(sa.literal(1)).select_from(GardenRow, PLANTS.lateral())),
    "over a relationship": BedRow.garden.has(PLANT),
    "an alias, two levels down": sa.exists().where(
        OTHER.id == BedRow.id, sa.exists().where(GardenRow.id == 1, sa.exists().where(PlantRow.owner == OTHER.tenant))
    ),
    "what is around, two levels down": garden(
        sa.exists().where(PlantRow.garden_id == 1, sa.exists().where(SECOND.id == GardenRow.id))
    ),
    "negated": ~garden(~PLANT),
    "in a case": sa.case((garden(PLANT), 1), else_=0) == 1,
    "an exists over the row's own table": sa.exists().where(BedRow.tenant == "a"),
    "the same, as a select": MINE.exists(),
    "the same, in a subquery": sa.exists(MINE.subquery().select()),
    "the same, in a cte": sa.exists().where(MINE.cte().c.id > 3),
    "the same, in a union": sa.union(sa.select(PlantRow.id), MINE).exists(),
    "the same, in a cte of a union": sa.exists(sa.union(sa.select(PlantRow.id), MINE).cte().select()),
    "the same, two levels down": ~sa.exists().where(PlantRow.id.in_(sa.select(MINE.cte().c.id))),
    "a number of the row's own table": sa.select(sa.func.count()).where(BedRow.tenant == "a").scalar_subquery() > 0,
}
TIED: dict[str, Any] = {
    "one level": garden(),
    "all named": garden(PLANT.correlate(BedRow, GardenRow)),
    "all but what is its own": garden(PLANT.correlate_except(PlantRow)),
    "another alias": garden(sa.exists().where(PlantRow.owner == OTHER.tenant, OTHER.id == 1)),
    "nothing": garden(PLANT.correlate(None)),
    "from said": garden(sa.exists().select_from(BedRow).where(TIE)),
    "joined": garden(sa.exists(sa.select(PlantRow.id).join(BedRow, TIE))),
    "in ON": garden(sa.exists(sa.select(sa.literal(1)).select_from(sa.join(PlantRow, SECOND, TIE)))),
    "its own rows": BedRow.id.in_(MINE),
    "its own rows, from a subquery": BedRow.id.in_(sa.select(MINE.subquery().c.id)),
    "its own rows, from a cte": BedRow.id.in_(sa.select(MINE.cte().c.id)),
    "a cte that is tied outside of it": sa.exists().where(MINE.cte().c.id == BedRow.id),
    "a cte whose rows are said": sa.exists(sa.select(BedRow.id).select_from(BedRow).cte().select()),
    "a cte of others": sa.exists(sa.select(PlantRow.id).cte().select()),
    "the greatest": sa.select(sa.func.max(BedRow.id)).scalar_subquery() == BedRow.id,
    "its own rows, said": MINE.correlate(None).exists(),
    "a union": GardenRow.id.in_(sa.union(PLANTS, sa.select(PlantRow.id))),
    "a tied subquery": sa.exists(sa.select(sa.literal(1)).select_from(PLANTS.correlate(BedRow).subquery())),
    "over relationships": BedRow.garden.has(GardenRow.plants.any(TIE)),
    "over relationships and back": BedRow.garden.has(GardenRow.beds.any(BedRow.tenant == "a")),
}


@pytest.mark.parametrize("condition", LOOSE.values(), ids=LOOSE)
def test_what_may_be_meant_of_the_row_and_is_about_any_is_found(condition: Any) -> None:
    """The complaint says what to write."""
    complaint = loose_ties(condition, [BedRow.__table__])
    assert complaint is not None
    assert "correlate(" in complaint
    assert "aliased(" in complaint


@pytest.mark.parametrize("condition", TIED.values(), ids=TIED)
def test_what_says_which_rows_it_is_about_is_taken(condition: Any) -> None:
    """By the level that it is on, by correlation, by a FROM, a join or an alias."""
    assert loose_ties(condition, [BedRow.__table__]) is None


TENANTS_OF = sa.exists().where(GroupRow.domain_name == DomainRow.name, GroupRow.name == ThingRow.tenant)


@dataclass(frozen=True)
class Through(SearchScope):
    """The things of the tenants that stand in a domain."""

    inner: Any
    domain: str = "x"

    def to_conditions(self) -> Sequence[Condition]:
        return [sa.exists().where(DomainRow.name == self.domain, self.inner)]


LOOSELY, TIGHTLY = Through(TENANTS_OF), Through(TENANTS_OF.correlate(ThingRow, DomainRow))


@pytest.fixture
async def things(any_tables: WithTables) -> AsyncIterator[ThingRepository]:
    """The things of the register; tenant a stands in domain x, tenant b in y."""
    async with things_in(any_tables) as made, any_tables(DomainRow, GroupRow):
        async with made.db.begin_session() as db_sess:
            await db_sess.execute(sa.insert(DomainRow), [{"name": "x"}, {"name": "y"}])
            groups = [{"domain_name": "x", "name": "a"}, {"domain_name": "y", "name": "b"}]
            await db_sess.execute(sa.insert(GroupRow), groups)
        yield made


@pytest.mark.parametrize("name", VERBS)
async def test_no_verb_takes_a_scope_that_lets_all_through_as_soon_as_one_is_inside(
    things: ThingRepository, name: str
) -> None:
    """It is refused before anything is sent, with what to write instead."""
    before = await stored(things)
    for id in (1, 3, 5):
        with pytest.raises(InvalidFilter, match=r"write \.correlate"):
            await VERBS[name].call(world_of(things), id, LOOSELY)
    assert await stored(things) == before


@pytest.mark.parametrize("name", [name for name, verb in VERBS.items() if not verb.makes])
async def test_every_verb_keeps_to_a_scope_that_is_tied_over_two_levels(things: ThingRepository, name: str) -> None:
    """Another tenant's row is as if absent and stays; one's own is reached."""
    before = await stored(things)
    others = {id: row for id, row in before.items() if row[1] != "a"}
    try:
        found = await VERBS[name].call(world_of(things), 3, TIGHTLY)
    except EntityNotFound:
        found = None
    assert "name 3" not in repr(found)
    assert await stored(things) == before
    id = 4 if "restore" in name else 1
    mine = await VERBS[name].call(world_of(things), id, TIGHTLY)
    assert "name" in repr(mine) or await stored(things) != before or mine in (True, 1, [Number(1)])
    assert {id: row for id, row in (await stored(things)).items() if id in others} == others


async def test_filters_and_orders_keep_to_the_row_as_well(things: ThingRepository) -> None:
    """Wherever a condition or an expression is given to a verb."""
    (loose,), scope = LOOSELY.to_conditions(), TIGHTLY
    number = sa.select(sa.func.count()).where(DomainRow.name == "x", TENANTS_OF).scalar_subquery()
    for call in (
        lambda: things.search(scope, [loose]),
        lambda: things.search(scope, [sa.or_(ThingRow.id < 0, ~loose)]),
        lambda: things.search(scope, orders=[number]),
        lambda: things.count(scope, [lambda: loose]),
        lambda: things.update_where([loose], ThingPatch(uses=OptionalState.update(1)), scope=scope),
        lambda: things.purge_where([loose], scope=scope),
        lambda: things.aggregate(scope, into=Number, group_by=[number]),
    ):
        with pytest.raises(InvalidFilter, match="any row of things"):
            await call()


async def test_an_existence_check_keeps_to_its_own_rows(things: ThingRepository) -> None:
    """Two levels below its domain any domain would do."""

    @dataclass(frozen=True)
    class Checked(Through):
        def existence_checks(self) -> Sequence[ExistenceCheck]:
            inner = sa.exists().where(ThingRow.tenant == GroupRow.name, ThingRow.name == DomainRow.name)
            there = sa.and_(DomainRow.name == "y", sa.exists().where(GroupRow.domain_name == "y", inner))
            return [ExistenceCheck(there, EntityNotFound)]

    with pytest.raises(InvalidFilter, match="any row of domains"):
        await things.count(Checked(TIGHTLY.inner))


async def test_a_patch_keeps_to_the_row_that_it_changes(things: ThingRepository) -> None:
    """An expression that is written is refused alike, in each form of an update; one level down it is tied."""
    number = sa.select(sa.func.count())
    loose = ThingPatch(
        uses=OptionalState[int].expression(lambda: number.where(*LOOSELY.to_conditions()).scalar_subquery())
    )
    for call in (
        lambda: things.update(1, loose, scope=TIGHTLY),
        lambda: things.batch_update([1], loose, scope=TIGHTLY),
        lambda: things.batch_update_each({1: loose}, scope=TIGHTLY),
    ):
        with pytest.raises(InvalidValue, match="any row of things"):
            await call()
    near = number.where(GroupRow.name == ThingRow.tenant).scalar_subquery()
    assert (
        await things.update(1, ThingPatch(uses=OptionalState[int].expression(lambda: near)), scope=TIGHTLY)
    ).uses == 1


(IS_MINE,) = LOOSELY.to_conditions()


@dataclass(frozen=True)
class Marked:
    id: int
    is_mine: Annotated[bool, Expr(IS_MINE)]


@dataclass(frozen=True)
class Figures:
    mine: Annotated[int, count().filter(IS_MINE)]


def test_a_computed_field_keeps_to_its_row() -> None:
    """It is refused when the data class is read."""
    with pytest.raises(MappingError, match="any row of things"):
        make_entity(ThingRow, Marked)


async def test_an_aggregate_counts_rows_that_are_meant(things: ThingRepository) -> None:
    """In the conditions of FILTER, too."""
    with pytest.raises(MappingError, match="any row of things"):
        await things.aggregate(TIGHTLY, into=Figures)
