"""What a scope says of related rows: in every form that a condition has, over classes that inherit, in any session."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, relationship
from typing_extensions import override

from rowsmith import (
    PUBLIC,
    AllOf,
    AnyOf,
    Database,
    EmptyScope,
    Expr,
    InvalidFilter,
    Not,
    OptionalState,
    Patch,
    ReferenceNotFound,
    Repository,
    ScopeMismatch,
    count,
    related,
)
from rowsmith.testing import WithTables
from says import Says


class Base(DeclarativeBase):
    pass


class UserRow(Base):
    __tablename__ = "seen_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[int]
    boss_id: Mapped[int | None] = mapped_column(sa.ForeignKey("seen_users.id"))
    boss: Mapped[UserRow | None] = relationship(remote_side=[id])
    reports: Mapped[list[UserRow]] = relationship(viewonly=True)
    badges: Mapped[list[BadgeRow]] = relationship(back_populates="user")


class BadgeRow(Base):
    __tablename__ = "seen_badges"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[int]
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("seen_users.id"))
    user: Mapped[UserRow] = relationship(back_populates="badges")


@dataclass(frozen=True)
class Leaf:
    id: int


@dataclass(frozen=True)
class User:
    id: int
    boss: Leaf | None


@dataclass(frozen=True)
class Badge:
    id: int
    user: Leaf | None


class Users(Repository[UserRow, User, int]):
    pass


class Badges(Repository[BadgeRow, Badge, int]):
    pass


class LoadedUsers(Repository[UserRow, User, int]):
    loads = (UserRow.boss,)

    @override
    def to_data(self, row: UserRow) -> User:
        return User(row.id, None if row.boss is None else Leaf(row.boss.id))


async def filled(db: Database, *rows: Base) -> Database:
    async with db.begin_session() as db_sess:
        for row in rows:
            db_sess.add(row)
            await db_sess.flush()
    return db


@pytest.fixture
async def users(any_tables: WithTables) -> AsyncIterator[Database]:
    """User 1 is tenant 2's and the boss of 2, who is tenant 1's and has a badge of each."""
    async with any_tables(UserRow, BadgeRow) as db:
        yield await filled(
            db,
            *(UserRow(id=1, tenant=2), UserRow(id=2, tenant=1, boss_id=1)),
            *(BadgeRow(id=1, tenant=1, user_id=2), BadgeRow(id=2, tenant=2, user_id=2)),
        )


MINE: dict[str, Callable[[], sa.ColumnElement[bool]]] = {
    "column": lambda: UserRow.tenant == 1,
    "related": lambda: related(UserRow.badges, BadgeRow.tenant == 1),
    "select": lambda: sa.exists(sa.select(BadgeRow.id).where(BadgeRow.user_id == UserRow.id, BadgeRow.tenant == 1)),
    "any": lambda: UserRow.badges.any(BadgeRow.tenant == 1),
    "any of has": lambda: UserRow.badges.any(BadgeRow.user.has(UserRow.tenant == 1)),
    "no any": lambda: ~UserRow.reports.any(UserRow.tenant == 1),
    "exists": lambda: sa.exists().where(BadgeRow.user_id == UserRow.id, BadgeRow.tenant == 1),
    "text": lambda: sa.type_coerce(sa.text("seen_users.tenant = 1"), sa.Boolean),
    "literal_column": lambda: sa.literal_column("seen_users.tenant", sa.Integer) == 1,
    "among": lambda: UserRow.id.in_(sa.select(BadgeRow.user_id)),
    "several": lambda: sa.and_(UserRow.id > 0, UserRow.badges.any(BadgeRow.tenant == 1)),
}
"""Conditions that hold for user 2 and not for user 1."""


@pytest.mark.parametrize("form", MINE)
@pytest.mark.parametrize("kind", [Users, LoadedUsers])
async def test_conditions_of_every_form_speak_of_the_related_row(users: Database, kind: Any, form: str) -> None:
    """They are asked of the related row, not of the one beside it, by which the call is limited, too."""
    shown: Repository[UserRow, User, int] = kind(users, resilience=None)
    scope = Says(MINE[form]())
    assert [*await shown.search(scope)] == [User(2, None)]
    assert await shown.get(2, scope) == User(2, None)
    assert await shown.batch_get([2], scope=scope) == [User(2, None)]
    assert [each async for each in shown.stream(scope)] == [User(2, None)]
    assert await shown.count(scope, [related(UserRow.boss)]) == 0
    assert await shown.count(None, [related(UserRow.boss)]) == 1


other = aliased(BadgeRow)
FOREIGN: dict[str, Callable[[], sa.ColumnElement[bool]]] = {
    "alias": lambda: sa.exists(sa.select(other.id).where(other.user_id == UserRow.id, other.tenant == 2)),
    "related": lambda: related(UserRow.badges, BadgeRow.tenant == 2),
    "select": lambda: sa.exists(sa.select(BadgeRow.id).where(BadgeRow.user_id == UserRow.id, BadgeRow.tenant == 2)),
    "two": lambda: sa.exists(
        sa.select(BadgeRow.id, other.id).where(
            BadgeRow.user_id == UserRow.id, BadgeRow.tenant == 2, other.id == BadgeRow.id
        )
    ),
    "number": lambda: (
        sa.select(sa.func.count(BadgeRow.id))
        .where(BadgeRow.user_id == UserRow.id, BadgeRow.tenant == 2)
        .scalar_subquery()
        > 0
    ),
    "text": lambda: sa.type_coerce(sa.text("id = 2"), sa.Boolean),
}
"""Conditions that hold for user 2, over the table of badges, which is searched."""


@pytest.mark.parametrize("form", FOREIGN)
async def test_conditions_over_the_table_that_is_searched(users: Database, form: str) -> None:
    """What is said of one class does not know which class a call is about."""
    badges = Badges(users, resilience=None)
    for said, seen in ((FOREIGN[form](), Leaf(2)), (sa.not_(FOREIGN[form]()), None)):
        scope = Says(BadgeRow.tenant == 1, {UserRow: [said]})
        assert [*await badges.search(scope)] == [Badge(1, seen)]
        for into, found in ((Badge, Badge(1, seen)), (Leaf, Leaf(1))):
            page = await badges.search(scope, [related(BadgeRow.user, UserRow.id > 0)], into=into)
            assert [*page] == ([] if seen is None else [found])


class NodeRow(Base):
    """Loads the row above of itself."""

    __tablename__ = "seen_nodes"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[int]
    up_id: Mapped[int | None] = mapped_column(sa.ForeignKey("seen_nodes.id"))
    up: Mapped[NodeRow | None] = relationship(remote_side=[id], lazy="joined", join_depth=1)


class Nodes(Repository[NodeRow]):
    pass


class Bosses(Repository[UserRow, User, int]):
    loads = ((UserRow.boss, UserRow.reports),)
    to_data = LoadedUsers.to_data


@pytest.mark.usefixtures("little_to_collect")
async def test_what_another_scope_has_read_in_the_session(any_tables: WithTables) -> None:
    """A call gives in a unit of work, and in a session that somebody else owns, what it gives by itself.

    Or it says that a row of it is held which shows another scope something else.
    """

    def ups(rows: Any) -> list[tuple[int, int | None]]:
        return [(row.id, row.up and row.up.id) for row in rows]

    async def both(db: Database) -> None:
        nodes, one = Nodes(db), Says(NodeRow.tenant == 1)
        kept = [*await nodes.search(orders=[NodeRow.id])]
        for read in (lambda: nodes.search(one), lambda: nodes.get(2, one), lambda: anext(aiter(nodes.stream(one)))):
            with pytest.raises(ScopeMismatch, match="whose up were loaded for another scope"):
                await read()
            assert ups(kept) == [(1, None), (2, 1)]
        kept.clear()  # of which the collector may not know yet
        assert ups(await nodes.search(one)) == ups([await nodes.get(2, one)]) == [(2, None)]
        assert ups([each async for each in nodes.stream(one)]) == [(2, None)]
        assert ups(await nodes.search(orders=[NodeRow.id])) == [(1, None), (2, 1)]
        assert ups([each async for each in nodes.stream(orders=[NodeRow.id])]) == [(1, None), (2, 1)]
        assert ups([each async for each in nodes.stream(one)]) == [(2, None)]

    async with any_tables(NodeRow) as db:
        await filled(db, NodeRow(id=1, tenant=2), NodeRow(id=2, tenant=1, up_id=1))
        async with db.unit_of_work():
            await both(db)
        async with db.unit_of_work() as unit:
            _ = unit.session
            await both(db)
        async with AsyncSession(db.engine) as db_sess:
            await both(Database.from_session(db_sess))


async def test_what_nobody_keeps_is_read_anew_too(users: Database) -> None:
    """Rows that data was made of may be there still, as the collector comes when it likes."""
    bosses, scope = Bosses(users, resilience=None), Says(UserRow.tenant == 1)
    gc.disable()
    try:
        async with users.unit_of_work():
            await bosses.search()
            assert [*await bosses.search(scope)] == [User(2, None)]
            assert [*await bosses.search(None, [UserRow.id == 2])] == [User(2, Leaf(1))]
    finally:
        gc.enable()


class ItemRow(Base):
    __tablename__ = "seen_items"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[int]
    kind: Mapped[str]
    in_id: Mapped[int | None] = mapped_column(sa.ForeignKey("seen_items.id"))
    parts: Mapped[list[ItemRow]] = relationship(foreign_keys=[in_id], order_by="ItemRow.id")

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "item"}


class BoxRow(ItemRow):
    """Kept in two tables."""

    __tablename__ = "seen_boxes"

    id: Mapped[int] = mapped_column(sa.ForeignKey("seen_items.id"), primary_key=True)

    __mapper_args__ = {"polymorphic_identity": "box"}


class AnimalRow(Base):
    __tablename__ = "seen_animals"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[int]
    kind: Mapped[str]
    in_id: Mapped[int | None] = mapped_column(sa.ForeignKey("seen_animals.id"))
    parts: Mapped[list[AnimalRow]] = relationship(foreign_keys=[in_id], order_by="AnimalRow.id")

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class DogRow(AnimalRow):
    __mapper_args__ = {"polymorphic_identity": "dog"}


class CatRow(AnimalRow):
    __mapper_args__ = {"polymorphic_identity": "cat"}


@dataclass(frozen=True)
class Parts:
    id: int
    parts: tuple[Leaf, ...]


@dataclass(frozen=True)
class BoxPatch(Patch[BoxRow]):
    in_id: OptionalState[int | None] = OptionalState.nop()


@dataclass(frozen=True)
class DogPatch(Patch[DogRow]):
    in_id: OptionalState[int | None] = OptionalState.nop()


class Boxes(Repository[BoxRow, Parts, int]):
    pass


class Dogs(Repository[DogRow, Parts, int]):
    pass


async def test_a_class_above_that_of_the_scope(any_tables: WithTables) -> None:
    """Its rows are kept in a table of the scope's class, and inside of the scope, or not shown."""
    async with any_tables(ItemRow, BoxRow) as db:
        await filled(
            db,
            *(BoxRow(id=1, tenant=1), BoxRow(id=2, tenant=2, in_id=1), BoxRow(id=3, tenant=1, in_id=1)),
            *(ItemRow(id=4, tenant=2, in_id=1), ItemRow(id=5, tenant=1, in_id=1)),
        )
        boxes, scope = Boxes(db, resilience=None), Says(BoxRow.tenant == 1)
        assert await boxes.get(1, scope) == Parts(1, (Leaf(3), Leaf(5)))
        found = [await boxes.count(scope, [related(BoxRow.parts, ItemRow.id == id)]) for id in (2, 3, 4, 5)]
        assert found == [0, 1, 0, 1]
        for outside in (2, 4):
            with pytest.raises(ReferenceNotFound):
                await boxes.update(3, BoxPatch(OptionalState.update(outside)), scope=scope)
        assert (await boxes.update(3, BoxPatch(OptionalState.update(5)), scope=scope)).id == 3
        told = Says(BoxRow.tenant == 1, {ItemRow: [ItemRow.tenant == 2]})
        assert await boxes.get(1, told) == Parts(1, (Leaf(4),))
        assert await boxes.get(1) == Parts(1, (Leaf(2), Leaf(4), Leaf(5)))


async def test_classes_beside_that_of_the_scope(any_tables: WithTables) -> None:
    """In one table its conditions hold for them, too, unless it says something else of them."""
    async with any_tables(AnimalRow) as db:
        await filled(
            db,
            *(DogRow(id=1, tenant=1), DogRow(id=2, tenant=2, in_id=1), DogRow(id=3, tenant=1, in_id=1)),
            *(CatRow(id=4, tenant=2, in_id=1), AnimalRow(id=5, tenant=1, in_id=1)),
        )
        dogs, own = Dogs(db, resilience=None), DogRow.tenant == 1
        for scope, seen in (
            (Says(own), (3, 5)),
            (Says(own, {AnimalRow: [AnimalRow.tenant == 1]}), (3, 5)),
            (Says(own, {CatRow: [CatRow.tenant == 1]}), (3, 5)),
            (Says(own, {CatRow: PUBLIC}), (3, 4, 5)),
        ):
            assert await dogs.get(1, scope) == Parts(1, tuple(map(Leaf, seen)))
            for id in (2, 3, 4, 5):
                found = await dogs.exists(scope, [related(DogRow.parts, AnimalRow.id == id)])
                assert found is (id in seen)
        for outside in (2, 4):
            with pytest.raises(ReferenceNotFound):
                await dogs.update(3, DogPatch(OptionalState.update(outside)), scope=Says(own))
        assert (await dogs.update(3, DogPatch(OptionalState.update(5)), scope=Says(own))).id == 3


ASKS = related(UserRow.boss, UserRow.tenant == 2)


@dataclass(frozen=True)
class Asked:
    id: int
    asks: Annotated[bool, Expr(ASKS)]


@dataclass(frozen=True)
class Figures:
    number: Annotated[int, count().filter(ASKS)]


@dataclass(frozen=True)
class Grouped:
    asks: Annotated[bool, Expr(ASKS)]
    number: Annotated[int, count()]


async def test_steps_outside_of_filters(users: Database) -> None:
    """Computed fields, figures, groups and orders ask about no other rows than filters do."""
    shown, one = Users(users, resilience=None), Says(UserRow.tenant == 1)
    assert [*await shown.search(one, into=Asked)] == [Asked(2, asks=False)]
    assert [*await shown.search(None, [UserRow.id == 2], into=Asked)] == [Asked(2, asks=True)]
    assert await shown.aggregate(one, into=Figures) == [Figures(0)]
    assert await shown.aggregate(into=Figures) == [Figures(1)]
    assert await shown.aggregate(one, group_by=[ASKS], into=Grouped) == [Grouped(asks=False, number=1)]
    mine = Says(UserRow.tenant == 1)
    async with users.begin_session() as db_sess:
        db_sess.add(UserRow(id=3, tenant=1))
    first = sa.case((ASKS, 0), else_=1)
    assert [each.id for each in await shown.search(mine, orders=[first, UserRow.id.desc()])] == [3, 2]
    assert [each.id for each in await shown.search(None, [UserRow.tenant == 1], orders=[first, UserRow.id.desc()])] == [
        2,
        3,
    ]


@dataclass(frozen=True)
class BadgePatch(Patch[BadgeRow]):
    tenant: OptionalState[int] = OptionalState.nop()


@pytest.mark.parametrize("form", MINE)
async def test_patches_under_conditions_of_every_form(users: Database, form: str) -> None:
    """What is said of related rows holds for the steps of a patch's expression, whatever form it has."""
    badges = Badges(users, resilience=None)

    def told(inside: int, outside: int) -> BadgePatch:
        return BadgePatch(OptionalState.expression(lambda: sa.case((related(BadgeRow.user), inside), else_=outside)))

    for mine, tenant in ((MINE[form](), 8), (sa.not_(MINE[form]()), 9)):
        scope = Says(BadgeRow.id > 0, {UserRow: [mine]})
        assert (await badges.batch_update_each({1: told(1, 1), 2: told(8, 9)}, scope=scope)).missing == []
        assert await badges.count(None, [BadgeRow.id == 2, BadgeRow.tenant == tenant]) == 1


async def test_patches_of_rows_in_several_tables(any_tables: WithTables) -> None:
    """Of such rows, too, an expression asks about those inside alone."""
    async with any_tables(ItemRow, BoxRow) as db:
        await filled(
            db,
            *(BoxRow(id=1, tenant=1), BoxRow(id=2, tenant=2, in_id=1), BoxRow(id=3, tenant=1)),
        )
        boxes, told = Boxes(db, resilience=None), sa.case((related(BoxRow.parts, ItemRow.id == 2), 2), else_=3)
        patch = BoxPatch(OptionalState.expression(lambda: told))
        for scope, led in ((Says(BoxRow.tenant == 1), 3), (None, 2), (Says(BoxRow.tenant == 1), 3)):
            for write in (
                boxes.update(1, patch, scope=scope),
                boxes.batch_update([1], patch, scope=scope),
                boxes.update_where([BoxRow.id == 1], patch, scope=scope),
            ):
                await write
                assert await boxes.count(None, [BoxRow.id == 1, BoxRow.in_id == led]) == 1


async def test_steps_within_functions_and_selects(users: Database) -> None:
    """A step is limited wherever it can be, and else refused with what to write."""
    shown, one = Users(users, resilience=None), Says(UserRow.tenant == 1)
    for inside in (
        sa.type_coerce(sa.func.coalesce(ASKS, False), sa.Boolean),
        sa.case((ASKS, sa.true()), else_=sa.false()),
        sa.cast(ASKS, sa.Integer) == 1,
        UserRow.id.in_(sa.select(UserRow.id).where(ASKS)),
    ):
        assert await shown.count(one, [inside]) == 0
        assert await shown.count(None, [inside]) == 1
    within = sa.select(UserRow.id).where(ASKS).subquery()
    for closed in (UserRow.id.in_(sa.select(within.c.id)), UserRow.boss.has(ASKS)):
        with pytest.raises(InvalidFilter, match="stands where no scope can limit it"):
            await shown.count(one, [closed])


async def test_scopes_that_say_all_of_others_together(users: Database) -> None:
    """What parts say together may be everything; a scope by itself that says so is wrong."""
    one, two = (Says(BadgeRow.tenant == tenant, {UserRow: [UserRow.tenant == tenant]}) for tenant in (1, 2))
    badges = Badges(users, resilience=None)
    together = AnyOf(AllOf(one, BadgeRow.id < 2), Not(one))
    assert [*await badges.search(together)] == [Badge(1, Leaf(2)), Badge(2, Leaf(2))]
    assert [*await badges.search(AnyOf(one, two))] == [Badge(1, Leaf(2)), Badge(2, Leaf(2))]
    assert [*await badges.search(two)] == [Badge(2, None)]
    wrong = Says(BadgeRow.tenant == 2, {UserRow: [sa.literal(True)]})
    for scope in (wrong, AnyOf(one, wrong), AllOf(one, Not(wrong)), AnyOf(one, AllOf(two, wrong))):
        with pytest.raises(EmptyScope):
            await badges.search(scope)
