"""Rows of a table between (``secondary``) that is mapped to a class: a step goes over those inside the scope alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, relationship
from typing_extensions import override

from rowsmith import (
    PUBLIC,
    AnyOf,
    Condition,
    Conflict,
    Count,
    Database,
    Expr,
    MappingError,
    NoPagination,
    Not,
    OptionalState,
    Patch,
    Repository,
    SearchScope,
    SoftDelete,
    Spec,
    Unscoped,
    count,
    related,
)
from rowsmith.filters import Filter, NumberFilter, Related, StringFilter
from rowsmith.sql import as_sql
from rowsmith.testing import WithTables
from rowsmith.testing.contract.verbs import VERBS, Does, VerbCall, answer
from says import Says
from support import count_statements, share


class Base(DeclarativeBase):
    pass


class UserRow(Base):
    """Everybody's; ``boss`` and ``friends`` are users, too."""

    __tablename__ = "between_users"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    boss_id: Mapped[int | None] = mapped_column(sa.ForeignKey("between_users.id"))
    boss: Mapped[UserRow | None] = relationship(remote_side=[id], viewonly=True)
    reports: Mapped[list[UserRow]] = relationship(viewonly=True)
    friends: Mapped[list[UserRow]] = relationship(
        secondary="between_friendships",
        primaryjoin="UserRow.id == FriendshipRow.from_id",
        secondaryjoin="UserRow.id == FriendshipRow.to_id",
        viewonly=True,
    )
    groups: Mapped[list[GroupRow]] = relationship(secondary="between_memberships", viewonly=True)


class FriendshipRow(Base):
    __tablename__ = "between_friendships"

    from_id: Mapped[int] = mapped_column(sa.ForeignKey("between_users.id"), primary_key=True)
    to_id: Mapped[int] = mapped_column(sa.ForeignKey("between_users.id"), primary_key=True)
    tenant: Mapped[str]


class GroupRow(Base):
    __tablename__ = "between_groups"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str]
    title: Mapped[str] = mapped_column(server_default="")
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(timezone=True))
    users: Mapped[list[UserRow]] = relationship(
        secondary="between_memberships", order_by="desc(MembershipRow.rank)", viewonly=True
    )
    head: Mapped[UserRow | None] = relationship(
        secondary="between_memberships",
        secondaryjoin="and_(UserRow.id == MembershipRow.user_id, MembershipRow.rank == 0)",
        uselist=False,
        viewonly=True,
    )
    memberships: Mapped[list[MembershipRow]] = relationship(viewonly=True)


class MembershipRow(Base):
    __tablename__ = "between_memberships"

    group_id: Mapped[int] = mapped_column(sa.ForeignKey("between_groups.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("between_users.id"), primary_key=True)
    tenant: Mapped[str]
    rank: Mapped[int] = mapped_column(server_default="1")
    group: Mapped[GroupRow] = relationship(viewonly=True)
    user: Mapped[UserRow] = relationship(viewonly=True)


class NoteRow(Base):
    """The same table as another class has it."""

    __table__ = MembershipRow.__table__
    __mapper_args__ = {"include_properties": ["group_id", "user_id", "rank"]}

    rank: Mapped[int]


GROUP: Any = GroupRow
COMPUTED = {"has_bob": related(GroupRow.users, UserRow.name == "bob")}
for name, asked in COMPUTED.items():
    setattr(GROUP, name, column_property(asked, deferred=True))

TABLES = (UserRow, GroupRow, MembershipRow, FriendshipRow)


@dataclass(frozen=True)
class Leaf:
    id: int


@dataclass(frozen=True)
class User:
    id: int
    boss: Leaf | None
    friends: tuple[Leaf, ...]
    groups: tuple[Leaf, ...]


@dataclass(frozen=True)
class Group:
    id: int
    head: Leaf | None
    users: tuple[User, ...]


@dataclass(frozen=True)
class Around:
    """A user by what leads over its friends to their groups."""

    id: int
    friends: tuple[Friend, ...]


@dataclass(frozen=True)
class Friend:
    id: int
    groups: tuple[Leaf, ...]


@dataclass(frozen=True)
class GroupCreate(Spec[GroupRow], filled={"tenant"}):
    id: int


@dataclass(frozen=True)
class GroupPatch(Patch[GroupRow]):
    title: OptionalState[str] = OptionalState.nop()


class UserFilter(Filter[UserRow]):
    name: StringFilter | None = None
    friends: Related[UserFilter] | None = None
    groups: Related[GroupFilter] | None = None


class GroupFilter(Filter[GroupRow]):
    id: NumberFilter | None = None
    users: Related[UserFilter] | None = None


class Groups(Repository[GroupRow, Group, int]):
    conflict = Conflict([GroupRow.id])
    soft_delete = SoftDelete(GroupRow.deleted_at)


class Loaded(Repository[GroupRow, Group, int]):
    """The same data, made of whole rows."""

    conflict = Conflict([GroupRow.id])
    soft_delete = SoftDelete(GroupRow.deleted_at)
    loads = (
        *(GroupRow.head, GroupRow.users, (GroupRow.users, UserRow.boss)),
        *((GroupRow.users, UserRow.friends), (GroupRow.users, UserRow.groups), (GroupRow.users, UserRow.reports)),
    )

    @override
    def to_data(self, row: GroupRow) -> Group:
        return Group(
            row.id,
            _leaf(row.head),
            tuple(User(each.id, _leaf(each.boss), _leaves(each.friends), _leaves(each.groups)) for each in row.users),
        )


def _leaf(row: UserRow | None) -> Leaf | None:
    return None if row is None else Leaf(row.id)


def _leaves(rows: Sequence[Any]) -> tuple[Leaf, ...]:
    return tuple(Leaf(id) for id in sorted(row.id for row in rows))


class Users(Repository[UserRow, Around, int]):
    pass


class LoadedUsers(Repository[UserRow, Around, int]):
    loads = ((UserRow.friends, UserRow.groups),)

    @override
    def to_data(self, row: UserRow) -> Around:
        friends = sorted(row.friends, key=lambda friend: friend.id)
        return Around(row.id, tuple(Friend(friend.id, _leaves(friend.groups)) for friend in friends))


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    """Ann (1) and Bob (2), who is her boss and a friend of b's; in group 1 a has Ann and Cid (3), and b has Bob.

    Group 2 is a's, and only b has anybody there: Ann, and Bob as its head.
    """
    async with any_tables(*TABLES) as db:
        async with db.begin_session() as db_sess:
            for row in (UserRow(id=2, name="bob"), UserRow(id=1, name="ann", boss_id=2), UserRow(id=3, name="cid")):
                db_sess.add(row)
                await db_sess.flush()
            db_sess.add_all([GroupRow(id=1, tenant="a"), GroupRow(id=2, tenant="a")])
            await db_sess.flush()
            for group, user, tenant, rank in (
                (1, 1, "a", 1),
                (1, 2, "b", 2),
                (1, 3, "a", 3),
                (2, 1, "b", 1),
                (2, 2, "b", 0),
            ):
                db_sess.add(MembershipRow(group_id=group, user_id=user, tenant=tenant, rank=rank))
            for start, end, tenant in ((1, 2, "b"), (1, 3, "a"), (3, 1, "a"), (2, 1, "b")):
                db_sess.add(FriendshipRow(from_id=start, to_id=end, tenant=tenant))
        yield db


def _of(tenant: str, **others: Any) -> dict[type[Any], Sequence[Condition]]:
    return {
        UserRow: PUBLIC,
        MembershipRow: [MembershipRow.tenant == tenant],
        FriendshipRow: [FriendshipRow.tenant == tenant],
    }


OWN = GroupRow.tenant == "a"
A, C, SILENT = Says(OWN, _of("a")), Says(OWN, _of("c")), Says(OWN, {UserRow: PUBLIC})
memberships = sa.select(MembershipRow.user_id).where(MembershipRow.tenant == "a")
ASKING = Says(
    OWN,
    {
        MembershipRow: [sa.tuple_(MembershipRow.group_id, MembershipRow.tenant).in_([(1, "a"), (2, "a")])],
        FriendshipRow: [sa.type_coerce(sa.text("between_friendships.tenant = 'a'"), sa.Boolean)],
    },
)
DEEP = Says(
    OWN,
    {
        MembershipRow: [MembershipRow.user_id.in_(memberships), MembershipRow.group.has(GroupRow.id == 1)],
        FriendshipRow: [FriendshipRow.tenant == "a"],
        NoteRow: [NoteRow.rank != 2],
    },
)
"""Of memberships it asks by subqueries over the same tables, and about both classes that they are mapped to."""
BOTH = Says(
    OWN, {**_of("b"), MembershipRow: [MembershipRow.tenant > ""], FriendshipRow: PUBLIC, NoteRow: [NoteRow.rank > 1]}
)

ANN = User(1, Leaf(2), (Leaf(3),), (Leaf(1),))
CID = User(3, None, (Leaf(1),), (Leaf(1),))
SEEN = {1: Group(1, None, (CID, ANN)), 2: Group(2, None, ())}
NONE = {1: Group(1, None, ()), 2: Group(2, None, ())}
ANN_, BOB_ = User(1, Leaf(2), (Leaf(2), Leaf(3)), (Leaf(1), Leaf(2))), User(2, None, (Leaf(1),), (Leaf(1), Leaf(2)))
ALL = {1: Group(1, None, (CID, BOB_, ANN_)), 2: Group(2, Leaf(2), (ANN_, BOB_))}
FEW = {1: Group(1, None, (CID, User(2, None, (Leaf(1),), (Leaf(1),)))), 2: Group(2, None, ())}
SCOPES: dict[str, tuple[SearchScope | None, dict[int, Group]]] = {
    "of": (A, SEEN),
    "asking": (ASKING, SEEN),
    "deep": (DEEP, SEEN),
    "none": (C, NONE),
    "any": (AnyOf(A, C), SEEN),
    "both": (BOTH, FEW),
    "not": (Not(Says(GroupRow.tenant == "b", _of("b"))), SEEN),
    "silent": (SILENT, ALL),
    "no": (None, ALL),
    "unscoped": (Unscoped(reason="a test"), ALL),
}


@pytest.fixture(params=["nested", "loaded"])
def groups(db: Database, request: pytest.FixtureRequest) -> Repository[GroupRow, Group, int]:
    kind: Any = {"nested": Groups, "loaded": Loaded}[request.param]
    made: Repository[GroupRow, Group, int] = kind(db, resilience=None)
    return made


@pytest.mark.parametrize("name", share(SCOPES))
async def test_data_comes_over_rows_inside(groups: Groups, name: str) -> None:
    """Whichever way data is read, however deep; nothing of one step limits another."""
    scope, shown = SCOPES[name]
    assert {id: await groups.get(id, scope) for id in shown} == shown
    page = await groups.search(scope, pagination=NoPagination(), count=Count.EXACT)
    assert ({each.id: each for each in page}, page.total_count) == (shown, len(shown))
    assert await groups.batch_get([*shown], scope=scope) == [*shown.values()]
    assert {each.id: each async for each in groups.stream(scope)} == shown
    assert await groups.first(scope, orders=[GroupRow.id]) == shown[1]


async def test_one_session_after_the_other(groups: Groups, db: Database) -> None:
    """What a session has read under one scope is neither shown under another one, nor kept from it."""
    for session in (None, db.begin_session()):
        if session is None:
            for scope, shown in (*SCOPES.values(), *SCOPES.values()):
                assert {id: await groups.get(id, scope) for id in shown} == shown
            continue
        async with session:
            for scope, shown in (*SCOPES.values(), *reversed(SCOPES.values())):
                assert {id: await groups.get(id, scope) for id in shown} == shown


@pytest.mark.parametrize("verb", share(VERBS))
async def test_no_verb_shows_more(groups: Groups, verb: str) -> None:
    """What a write gives shows no more than a read, whichever verb it is."""
    does = VERBS[verb].does
    if does is Does.UNMARK:
        await groups.delete(1)
    spec = GroupCreate(1 if does is Does.PUT else 6)
    outcome = await answer(verb, VerbCall(groups, A, [1], GroupPatch(OptionalState.update("new")), [spec]))
    assert (outcome.error, outcome.number) == (None, 1)
    assert not [other for other in ("User(id=2", "friends=(Leaf(id=2") if other in str(outcome.rows)]


@pytest.mark.parametrize("kind", [Users, LoadedUsers])
async def test_a_relationship_to_its_own_class(db: Database, kind: Any) -> None:
    """Its table between is known by its own rows, also in steps below."""
    users: Repository[UserRow, Around, int] = kind(db, resilience=None)
    mine = Says(UserRow.id > 0, _of("a"))
    assert await users.get(1, mine) == Around(1, (Friend(3, (Leaf(1),)),))
    assert await users.get(2, mine) == Around(2, ())
    assert await users.get(1) == Around(1, (Friend(2, (Leaf(1), Leaf(2))), Friend(3, (Leaf(1),))))
    assert [each.id for each in await users.search(mine, [related(UserRow.friends)], orders=[UserRow.id])] == [1, 3]
    twice = related(UserRow.friends, related(UserRow.friends, UserRow.id == 2))
    assert (await users.count(mine, [twice]), await users.count(None, [twice])) == (0, 2)
    assert await users.count(mine, [related(UserRow.friends, related(UserRow.friends, UserRow.id == 1))]) == 1


async def test_filters_go_over_rows_inside(db: Database) -> None:
    """Nobody is found by rows between that are another's, in filters, conditions and what is computed."""
    groups = Groups(db, resilience=None)

    async def found(filters: Any, scope: SearchScope | None) -> list[int]:
        page = await groups.search(scope, filters, orders=[GroupRow.id], count=Count.EXACT)
        assert page.total_count == len(page) == await groups.count(scope, filters)
        assert await groups.exists(scope, filters) is bool(len(page))
        return [each.id for each in page]

    bob = GroupFilter.model_validate({"users": {"exists": {"name": {"equals": "bob"}}}})
    ann = GroupFilter.model_validate({"users": {"exists": {"name": {"equals": "ann"}}}})
    nobody = GroupFilter.model_validate({"users": {"none": {}}})
    friend = GroupFilter.model_validate({"users": {"exists": {"friends": {"exists": {"name": {"equals": "bob"}}}}}})
    around = GroupFilter.model_validate({"users": {"exists": {"groups": {"exists": {"id": {"equals": 2}}}}}})
    for scope in (A, ASKING, DEEP, AnyOf(A, C), A):
        assert await found(bob, scope) == []
        assert await found(ann, scope) == [1]
        assert await found(nobody, scope) == [2]
        assert await found(friend, scope) == await found(around, scope) == []
        assert await found([related(GroupRow.users, UserRow.name == "bob")], scope) == []
        assert await found([GROUP.has_bob], scope) == []
        assert await found([related(GroupRow.head)], scope) == []
        for all_of_it in (SILENT, None):
            assert await found(bob, all_of_it) == await found(ann, all_of_it) == [1, 2]
            assert await found(friend, all_of_it) == await found(around, all_of_it) == [1, 2]
            assert await found(nobody, all_of_it) == []
            assert await found([GROUP.has_bob], all_of_it) == [1, 2]
            assert await found([related(GroupRow.head)], all_of_it) == [2]
    assert await found(bob, BOTH) == [1]


@dataclass(frozen=True)
class Told:
    id: int
    has_bob: bool
    computed: Annotated[bool, Expr(related(GroupRow.users, UserRow.name == "bob"))]
    head: Leaf | None


@dataclass(frozen=True)
class Figures:
    has_bob: bool
    number: Annotated[int, count()]
    bobs: Annotated[int, count().filter(GROUP.has_bob)]


async def test_what_is_computed_goes_over_rows_inside(db: Database) -> None:
    """So do computed fields, nested or not, figures, groups, orders, and what a patch writes."""
    groups, users = Groups(db, resilience=None), Users(db, resilience=None)
    for scope, bob, head in ((A, False, None), (SILENT, True, Leaf(2)), (None, True, Leaf(2)), (A, False, None)):
        assert await groups.get(2, scope, into=Told) == Told(2, bob, computed=bob, head=head)
        by = await groups.aggregate(scope, group_by=[GROUP.has_bob], into=Figures)
        assert by == [Figures(bob, 2, 2 * bob)]
        orders: list[Any] = [sa.case((related(GroupRow.head), 0), else_=1), GroupRow.id]
        assert (await groups.search(scope, orders=orders)).items[0].id == (2 if bob else 1)
        told = sa.case((related(GroupRow.users, UserRow.name == "bob"), "yes"), else_="no")
        await groups.update(2, GroupPatch(OptionalState.expression(partial(as_sql, told))), scope=scope)
        assert await groups.exists(None, [GroupRow.id == 2, GroupRow.title == ("yes" if bob else "no")])
    mine = Says(UserRow.id > 0, {**_of("a"), GroupRow: PUBLIC})
    for scope, shown in ((mine, (Told(1, False, computed=False, head=None),)), (None, None)):
        nested = await users.get(1, scope, into=WithGroups)
        assert nested.groups == (
            shown or (Told(1, True, computed=True, head=None), Told(2, True, computed=True, head=Leaf(2)))
        )


@dataclass(frozen=True)
class WithGroups:
    groups: tuple[Told, ...]


class Computed(Repository[GroupRow]):
    loads = (GROUP.has_bob,)


async def test_whole_rows_with_what_is_computed(db: Database) -> None:
    """They are refused as where it leads to rows of which the scope says something."""
    async with db.begin_session():
        with pytest.raises(MappingError, match=r"has_bob asks about MembershipRow, of which the scope says something"):
            await Computed(db).get(1, A)
        assert cast("Any", await Computed(db).get(1, SILENT)).has_bob


class Members(Repository[MembershipRow]):
    pass


@dataclass(frozen=True)
class Member:
    user_id: int
    group: Group


async def test_the_row_of_the_call_itself(db: Database) -> None:
    """Of rows of the searched class the scope's own conditions hold between, too."""
    members, scope = Members(db, resilience=None), Says(MembershipRow.tenant == "a")
    page = await members.search(scope, orders=[MembershipRow.user_id], into=Member)
    assert [(each.user_id, [user.id for user in each.group.users]) for each in page] == [(1, [3, 1]), (3, [3, 1])]
    bob = related(MembershipRow.group, related(GroupRow.users, UserRow.name == "bob"))
    assert (await members.count(scope, [bob]), await members.count(None, [bob])) == (0, 5)


async def test_without_a_word_the_statements_stay(groups: Groups, db: Database) -> None:
    """Their number is the same under every scope, and nothing is asked of a class of which one says nothing."""
    told = list[list[str]]()
    for scope in (None, SILENT, A):
        with count_statements(db) as sent:
            await groups.search(scope, [GroupRow.id > 0])
        told.append([*sent])
    assert len({len(each) for each in told}) == 1
    assert ["EXISTS" in " ".join(each) for each in told] == [False, False, True]
