"""Items of partial batches that need each other: what becomes of the good ones does not depend on a bad one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from columns import Folded
from rowsmith import (
    CheckViolation,
    Condition,
    Database,
    EntityAlreadyExists,
    OptionalState,
    Patch,
    ReferenceNotFound,
    Repository,
    SearchScope,
    Spec,
    StillReferenced,
)
from rowsmith.operations.needs import Needs
from rowsmith.testing import WithTables
from support import count_statements


class Base(DeclarativeBase):
    pass


class NodeRow(Base):
    """A node below another one, which may lead to a third one by its name."""

    __tablename__ = "needing_nodes"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(unique=True)
    parent_id: Mapped[int | None] = mapped_column(sa.ForeignKey("needing_nodes.id"))
    next_name: Mapped[str | None] = mapped_column(sa.ForeignKey("needing_nodes.name"))
    size: Mapped[int] = mapped_column(sa.CheckConstraint("size >= 0"))


@dataclass(frozen=True)
class Node:
    id: int


@dataclass(frozen=True)
class NodeCreate(Spec[NodeRow]):
    id: int
    name: str
    parent_id: int | None = None
    next_name: str | None = None
    size: int = 0


@dataclass(frozen=True)
class NodePatch(Patch[NodeRow]):
    name: OptionalState[str] = OptionalState.nop()
    next_name: OptionalState[str] = OptionalState.nop()
    size: OptionalState[int] = OptionalState.nop()


class Nodes(Repository[NodeRow, Node, int]):
    pass


def node(id: int, parent: int | None = None, following: int | None = None, *, bad: bool = False) -> NodeCreate:
    """Give a spec; a bad one breaks a CHECK."""
    return NodeCreate(id, f"n{id}", parent, None if following is None else f"n{following}", -1 if bad else 0)


THERE, NOWHERE = 8, 9
"""A node that is there before, and one that never is."""

LINKS = st.sampled_from([None, *range(1, 8), THERE, NOWHERE])
BATCHES = st.lists(
    st.builds(node, st.integers(1, 7), LINKS, LINKS, bad=st.sampled_from([False, False, False, True])),
    unique_by=lambda spec: spec.id,
)


def largest(items: Iterable[int], needs: Mapping[int, Collection[int]]) -> set[int]:
    """Give the largest part of some items that has all that each of its items needs."""
    kept = set(items)
    while left := {item for item in kept if not kept.issuperset(needs[item])}:
        kept -= left
    return kept


def needed(spec: NodeCreate) -> set[int]:
    """Give the nodes without which a node cannot be made."""
    links = {spec.parent_id, spec.next_name and int(spec.next_name[1:])}
    return {link for link in links if link is not None} - {THERE}


@pytest.fixture
async def nodes(any_tables: WithTables) -> AsyncIterator[Nodes]:
    async with any_tables(NodeRow) as db:
        yield Nodes(db, resilience=None)


LAW = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.mark.parametrize("is_heard", [False, True], ids=["driver", "sqlalchemy"])
@pytest.mark.parametrize("verb", ["batch_create_partial", "batch_upsert_partial"])
@LAW
@given(specs=BATCHES)
async def test_new_rows_are_written_with_those_they_refer_to(
    nodes: Nodes, verb: str, is_heard: bool, specs: list[NodeCreate]
) -> None:
    """Whatever is bad beside them, circles too: the largest set is, of which no row refers to one that is not there."""
    await nodes.purge_where([], all_rows=True)
    await nodes.create(node(THERE))
    with count_statements(nodes.db_source.db) if is_heard else nullcontext():
        result = await getattr(nodes, verb)(specs)
    good = largest((spec.id for spec in specs if spec.size == 0), {spec.id: needed(spec) for spec in specs})
    assert {specs[item.index].id for item in result.succeeded} == good
    assert {item.id for item in await nodes.search()} == good | {THERE}
    assert len(result.succeeded) + len(result.failed) == len(specs)
    for failure in result.failed:
        assert type(failure.error) is (CheckViolation if specs[failure.index].size else ReferenceNotFound)


@pytest.mark.parametrize("is_heard", [False, True], ids=["driver", "sqlalchemy"])
@LAW
@given(
    parents=st.lists(st.tuples(*[st.sampled_from([None, *range(1, 8)])] * 2), min_size=7, max_size=7),
    ids=st.lists(st.integers(1, 9), unique=True),
)
async def test_rows_are_removed_with_those_that_refer_to_them(
    nodes: Nodes, is_heard: bool, parents: list[Any], ids: list[int]
) -> None:
    """Whatever keeps others of them: the largest set is, to which no row refers that stays."""
    await nodes.purge_where([], all_rows=True)
    await nodes.batch_create([node(id, *links) for id, links in enumerate(parents, 1)])
    with count_statements(nodes.db_source.db) if is_heard else nullcontext():
        result = await nodes.batch_purge_partial(ids)
    referring = {id: {other for other, links in enumerate(parents, 1) if id in links} for id in range(1, 8)}
    gone = largest(set(ids) & referring.keys(), referring)
    assert {ids[item.index] for item in result.succeeded} == gone
    assert {item.id for item in await nodes.search()} == referring.keys() - gone
    kept = [item.error for item in result.failed if ids[item.index] in referring]
    assert all(type(error) is StillReferenced for error in kept)


def renamed(id: int) -> NodePatch:
    return NodePatch(name=OptionalState.update(f"n{id}"))


async def test_names_that_pass_from_row_to_row(nodes: Nodes) -> None:
    """Who leaves a name goes before who takes it, and after none that is bad."""
    await nodes.batch_create([node(id) for id in range(1, 6)])
    bad = NodePatch(size=OptionalState.update(-1))
    moved = {1: renamed(2), 2: renamed(3), 3: renamed(6), 4: renamed(5), 5: bad}
    result = await nodes.batch_update_partial(moved)
    assert [item.index for item in result.succeeded] == [0, 1, 2]
    assert [(item.index, type(item.error)) for item in result.failed] == [(3, EntityAlreadyExists), (4, CheckViolation)]


async def test_a_row_refers_to_the_name_that_another_one_gets(nodes: Nodes) -> None:
    """It is written once the name is there."""
    await nodes.batch_create([node(id) for id in range(1, 4)])
    leading = NodePatch(next_name=OptionalState.update("n7"))
    result = await nodes.batch_update_partial({1: leading, 2: renamed(7), 3: NodePatch(size=OptionalState.update(-1))})
    assert [item.index for item in result.succeeded] == [0, 1]


class SeatRow(Base):
    """A place in a queue, which two may exchange in one statement."""

    __tablename__ = "needing_seats"
    __table_args__ = (sa.UniqueConstraint("place", deferrable=True), sa.CheckConstraint("place > 0"))
    id: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[int]


@dataclass(frozen=True)
class Seat:
    id: int
    place: int


@dataclass(frozen=True)
class SeatCreate(Spec[SeatRow]):
    id: int
    place: int


@dataclass(frozen=True)
class SeatPatch(Patch[SeatRow]):
    place: OptionalState[Any] = OptionalState.nop()


class Seats(Repository[SeatRow, Seat, int]):
    pass


@pytest.mark.parametrize("verb", ["batch_update_partial", "batch_upsert_partial"])
async def test_rows_exchange_their_places_beside_a_bad_one(with_tables: WithTables, verb: str) -> None:
    """A circle of them goes together; one that wants the place of a row that stays does not."""
    async with with_tables(SeatRow) as db:
        seats = Seats(db, resilience=None)
        await seats.batch_create([SeatCreate(id, id) for id in range(1, 8)])
        places = {1: 7, 2: 6, 3: 1, 4: 5, 5: -1, 6: 2, 7: 3}
        if verb == "batch_update_partial":
            given: Any = {id: SeatPatch(OptionalState.update(place)) for id, place in places.items()}
        else:
            given = [SeatCreate(id, place) for id, place in places.items()]
        result = await getattr(seats, verb)(given)
        assert [(item.index, type(item.error)) for item in result.failed] == [
            (3, EntityAlreadyExists),
            (4, CheckViolation),
        ]
        assert {seat.id: seat.place for seat in await seats.search()} == {**places, 4: 4, 5: 5}


class LateRow(Base):
    """A place in a queue, of which COMMIT sees that nobody else has it."""

    __tablename__ = "needing_late_seats"
    __table_args__ = (sa.UniqueConstraint("place", deferrable=True, initially="DEFERRED"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[int]
    before: Mapped[int | None] = mapped_column(sa.ForeignKey("needing_late_seats.id"))


@dataclass(frozen=True)
class LateCreate(Spec[LateRow]):
    id: int
    place: int
    before: int | None = None


class LateSeats(Repository[LateRow, Seat, int]):
    pass


@pytest.mark.parametrize(
    "places",
    [{2: 6, 4: 8, 9: 7}, {4: 8, 5: 9, 6: 6, 9: 3}, {1: 3, 3: 6, 4: 8, 9: 7}],
    ids=["a later row's", "an earlier row's", "of several in a row"],
)
@pytest.mark.parametrize("is_native", [True, False], ids=["native", "sqlalchemy"])
async def test_a_new_row_takes_the_place_that_another_one_leaves(
    with_tables: WithTables, is_native: bool, places: dict[int, int]
) -> None:
    """Beside a bad one, where it is seen at COMMIT: only the last of these wants a place of a row that stays."""
    async with with_tables(LateRow) as plain:
        seats = LateSeats(Database(plain.engine, native=is_native), resilience=None)
        await seats.batch_create([LateCreate(3, 3), LateCreate(4, 6), LateCreate(5, 7)])
        specs = [LateCreate(id, place) for id, place in places.items()]
        result = await seats.batch_upsert_partial(specs)
        assert [(item.index, type(item.error)) for item in result.failed] == [(len(specs) - 1, EntityAlreadyExists)]
        assert await seats.count() == 3 + sum(item.data.inserted for item in result.succeeded)


async def test_a_new_row_that_refers_to_one_that_takes_a_place(with_tables: WithTables) -> None:
    """It comes behind that, as that comes behind the row that leaves it."""
    async with with_tables(LateRow) as db:
        seats = LateSeats(db, resilience=None)
        await seats.batch_create([LateCreate(4, 6), LateCreate(5, 7)])
        specs = [LateCreate(1, 1, before=2), LateCreate(2, 6), LateCreate(4, 8), LateCreate(9, 7)]
        result = await seats.batch_upsert_partial(specs)
        assert [item.index for item in result.failed] == [3]


async def test_what_sql_makes_is_known_to_the_database_alone(with_tables: WithTables) -> None:
    """A patch with an expression needs nobody, as far as can be told, and is written all the same."""
    async with with_tables(SeatRow) as db:
        seats = Seats(db, resilience=None)
        await seats.batch_create([SeatCreate(id, id) for id in range(1, 4)])
        moved: Any = {id: SeatPatch(OptionalState.expression(lambda: SeatRow.place + 10)) for id in (1, 2)}
        result = await seats.batch_update_partial({**moved, 3: SeatPatch(OptionalState.update(-1))})
        assert [item.data.place for item in result.succeeded] == [11, 12]


@pytest.mark.parametrize("verb", ["batch_create_partial", "batch_upsert_partial"])
async def test_a_long_chain_below_a_bad_row_costs_few_statements(any_tables: WithTables, verb: str) -> None:
    """And one of good rows beside a bad one: never as many statements as rows times rows."""
    async with any_tables(NodeRow) as db:
        nodes = Nodes(db, resilience=None)
        for first_is_bad, most in ((False, 200), (True, 1500)):
            await nodes.purge_where([], all_rows=True)
            chain = [node(id, id + 1) for id in range(1, 100)]
            specs = [*chain, node(100, bad=first_is_bad), node(200, bad=True)]
            with count_statements(db) as sent:
                result = await getattr(nodes, verb)(specs)
            assert len(result.succeeded) == (0 if first_is_bad else 100)
            assert len(sent) < most


def test_items_stand_behind_what_they_need() -> None:
    """In their own order where nobody needs another; those that need each other stand together."""
    needs = Needs(7)
    needs.link([(0, "a"), (2, "b"), (4, "c"), (6, "nowhere")], [(4, "a"), (4, "b"), (2, "c"), (5, "d")])
    assert needs.units(range(7)) == [[2, 4], [0], [1], [3], [5], [6]]
    assert needs.units([0, 1, 2, 3]) == [[0], [1], [2], [3]]
    assert Needs(3).units([2, 0]) == [[2], [0]]


def test_a_chain_of_any_length_is_put_in_order() -> None:
    """Without a word about recursion."""
    needs, size = Needs(20_000), 20_000
    needs.link([(item, item + 1) for item in range(size)], [(item, item) for item in range(size)])
    assert needs.units(range(size)) == [[item] for item in reversed(range(size))]


class FoldedRow(Base):
    __tablename__ = "needing_folded"
    key: Mapped[str] = mapped_column(Folded, primary_key=True)
    up: Mapped[str | None] = mapped_column(Folded, sa.ForeignKey("needing_folded.key"))
    size: Mapped[int] = mapped_column(sa.CheckConstraint("size >= 0"))


@dataclass(frozen=True)
class FoldedData:
    key: str


@dataclass(frozen=True)
class FoldedCreate(Spec[FoldedRow]):
    key: str
    up: str | None = None
    size: int = 0


class Foldeds(Repository[FoldedRow, FoldedData, str]):
    pass


async def test_a_key_that_the_database_folds_is_known_by_its_equal(any_tables: WithTables) -> None:
    """What refers to a key in other letters needs its row all the same."""
    async with any_tables(FoldedRow) as db:
        folded = Foldeds(db, resilience=None)
        specs = [FoldedCreate("a", "B"), FoldedCreate("b", "A"), FoldedCreate("c", size=-1)]
        for verb in (folded.batch_create_partial, folded.batch_upsert_partial):
            result: Any = await verb(specs)
            assert [item.index for item in result.succeeded] == [0, 1]
            assert len((await folded.batch_purge_partial(["A", "B"])).succeeded) == 2


class PlaceRow(Base):
    """A place of a tenant's, in one table; towns have a part in another one."""

    __tablename__ = "needing_places"
    __table_args__ = (
        sa.UniqueConstraint("tenant", "id"),
        sa.ForeignKeyConstraint(["tenant", "near_id"], ["needing_places.tenant", "needing_places.id"]),
        sa.CheckConstraint("size >= 0"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(default="place")
    tenant: Mapped[str]
    near_id: Mapped[int | None]
    size: Mapped[int] = mapped_column(server_default="0")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "place"}


class TownRow(PlaceRow):
    __tablename__ = "needing_towns"
    id: Mapped[int] = mapped_column(sa.ForeignKey("needing_places.id"), primary_key=True)
    capital_id: Mapped[int | None] = mapped_column(sa.ForeignKey("needing_places.id"))
    __mapper_args__ = {"polymorphic_identity": "town", "inherit_condition": id == PlaceRow.id}


@dataclass(frozen=True)
class Place:
    id: int


@dataclass(frozen=True)
class TownCreate(Spec[TownRow]):
    id: int
    tenant: str
    near_id: int | None = None
    capital_id: int | None = None


class Places(Repository[PlaceRow, Place, int]):
    pass


class Towns(Repository[TownRow, Place, int]):
    pass


async def test_rows_in_several_tables_are_removed_with_those_that_refer_to_them(any_tables: WithTables) -> None:
    """Whichever of its tables the reference stands in: 1 and 2 in a circle, 3 below them, 4 kept by 5."""
    async with any_tables(PlaceRow, TownRow) as db:
        towns = Towns(db, resilience=None)
        await towns.create(TownCreate(4, "a"))
        await towns.create(TownCreate(5, "a", None, 4))
        for verb in (towns.batch_purge_partial, Places(db, resilience=None).batch_purge_partial):
            for spec in (TownCreate(1, "a"), TownCreate(2, "a", 1), TownCreate(3, "a", None, 2)):
                await towns.create(spec)
            async with db.begin_session() as session:
                await session.execute(CIRCLE)
            result: Any = await verb([1, 2, 3, 4])
            assert [item.index for item in result.succeeded] == [0, 1, 2]
            assert [type(item.error) for item in result.failed] == [StillReferenced]


CIRCLE = sa.update(TownRow.__table__).where(TownRow.__table__.c.id == 1).values(capital_id=2)


@dataclass(frozen=True)
class OfTenant(SearchScope):
    tenant: str

    def to_conditions(self) -> Sequence[Condition]:
        return [LotRow.tenant == self.tenant]


class LotRow(Base):
    """A lot of a tenant's, beside another one of the same."""

    __tablename__ = "needing_lots"
    __table_args__ = (
        sa.ForeignKeyConstraint(["tenant", "beside_id"], ["needing_lots.tenant", "needing_lots.id"]),
        sa.CheckConstraint("size >= 0"),
    )
    tenant: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    beside_id: Mapped[int | None]
    size: Mapped[int] = mapped_column(server_default="0")


@dataclass(frozen=True)
class Lot:
    id: int


@dataclass(frozen=True)
class LotCreate(Spec[LotRow], filled={"tenant"}):
    id: int
    beside_id: int | None = None


@dataclass(frozen=True)
class SizedLot(Spec[LotRow], filled={"tenant"}):
    id: int
    size: int
    beside_id: int | None = None


class Lots(Repository[LotRow, Lot, Any]):
    pass


@pytest.mark.parametrize("verb", ["batch_create_partial", "batch_upsert_partial"])
async def test_specs_that_set_different_fields_refer_to_each_other(any_tables: WithTables, verb: str) -> None:
    """In one statement or several, under a scope that gives a part of the key."""
    async with any_tables(LotRow) as db:
        lots, a = Lots(db, resilience=None), OfTenant("a")
        specs = [LotCreate(1, 3), SizedLot(2, 5, 9), SizedLot(3, 5, 4), LotCreate(4), LotCreate(5, 2), SizedLot(6, -1)]
        result = await getattr(lots, verb)(specs, scope=a)
        assert [item.index for item in result.succeeded] == [0, 2, 3]
        assert [(item.index, type(item.error)) for item in result.failed] == [
            (1, ReferenceNotFound),
            (4, ReferenceNotFound),
            (5, CheckViolation),
        ]
        assert len((await lots.batch_purge_partial([("a", 3), ("a", 4), ("a", 1)], scope=a)).succeeded) == 3


class GroupRow(Base):
    """A group, with members that may be lent to another one."""

    __tablename__ = "needing_groups"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(sa.CheckConstraint("size >= 0"), default=0)
    members: Mapped[list[MemberRow]] = relationship(foreign_keys="MemberRow.group_id")


class MemberRow(Base):
    __tablename__ = "needing_members"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    group_id: Mapped[int] = mapped_column(sa.ForeignKey("needing_groups.id"))
    lent_to: Mapped[int | None] = mapped_column(sa.ForeignKey("needing_groups.id"))
    age: Mapped[int] = mapped_column(sa.CheckConstraint("age >= 0"))


@dataclass(frozen=True)
class Group:
    id: int


@dataclass(frozen=True)
class MemberCreate(Spec[MemberRow], filled={"group_id"}):
    id: int
    lent_to: int | None
    age: int = 1


@dataclass(frozen=True)
class GroupCreate(Spec[GroupRow]):
    id: int
    members: Sequence[MemberCreate] = ()
    size: OptionalState[int] = OptionalState.nop()


class Groups(Repository[GroupRow, Group, int]):
    pass


LENT = [GroupCreate(1, [MemberCreate(1, 2)]), GroupCreate(2)]
TREES: dict[str, tuple[list[GroupCreate], type[Exception]]] = {
    "a bad row": ([*LENT, GroupCreate(3, size=OptionalState.update(-1))], CheckViolation),
    "a bad row below": ([*LENT, GroupCreate(3, [MemberCreate(3, None, -1)])], CheckViolation),
    "a circle": (
        [LENT[0], GroupCreate(2, [MemberCreate(2, 1)]), GroupCreate(3, size=OptionalState.update(-1))],
        CheckViolation,
    ),
    "one that leads nowhere": ([*LENT, GroupCreate(3, [MemberCreate(3, 99)])], ReferenceNotFound),
}


@pytest.mark.parametrize("kind", TREES)
async def test_rows_below_an_item_refer_to_those_of_another_one(any_tables: WithTables, kind: str) -> None:
    """They are made with them, whatever else of the batch is bad."""
    specs, refused = TREES[kind]
    async with any_tables(GroupRow, MemberRow) as db:
        made = await Groups(db, resilience=None).batch_create_partial(specs)
        assert [item.index for item in made.succeeded] == [0, 1]
        assert [(item.index, type(item.error)) for item in made.failed] == [(2, refused)]
