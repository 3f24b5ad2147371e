"""Rows that SQLAlchemy itself reads again: they show of related rows what their scope lets be seen, and no others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import ForeignKey, event
from sqlalchemy.ext.asyncio import AsyncAttrs, AsyncSession
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    ORMExecuteState,
    foreign,
    mapped_column,
    relationship,
    selectinload,
    with_loader_criteria,
)

from rowsmith import Database, Repository, ScopeMismatch, SearchScope
from rowsmith.testing import WithTables
from says import Says
from support import share


class Base(AsyncAttrs, DeclarativeBase):
    pass


class TagRow(Base):
    __tablename__ = "refreshed_tags"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    user_id: Mapped[int] = mapped_column(ForeignKey("refreshed_users.id"))


class UserRow(Base):
    __tablename__ = "refreshed_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    group_id: Mapped[int | None] = mapped_column(ForeignKey("refreshed_groups.id"))
    tags: Mapped[list[TagRow]] = relationship(order_by=TagRow.id)


class LabelledRow(Base):
    __table__ = UserRow.__table__

    tags: Mapped[list[TagRow]] = relationship(order_by=TagRow.id, lazy="selectin", viewonly=True)


def users(lazy: Any) -> Any:
    """What leads to a group's users, loaded by the mapping in one way or another."""
    return relationship(UserRow, order_by=UserRow.id, lazy=lazy, viewonly=True)


class GroupRow(Base):
    __tablename__ = "refreshed_groups"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    about: Mapped[str] = mapped_column(server_default="much", deferred=True)
    boss_id: Mapped[int | None]
    users: Mapped[list[UserRow]] = relationship(order_by=UserRow.id, cascade="all")
    boss: Mapped[UserRow | None] = relationship(
        primaryjoin=lambda: foreign(GroupRow.boss_id) == UserRow.id, viewonly=True
    )


class EagerRow(Base):
    __table__ = GroupRow.__table__

    joined: Mapped[list[UserRow]] = users("joined")
    selectin: Mapped[list[UserRow]] = users("selectin")
    subquery: Mapped[list[UserRow]] = users("subquery")
    immediate: Mapped[list[UserRow]] = users("immediate")
    boss: Mapped[UserRow | None] = relationship(
        primaryjoin=lambda: foreign(EagerRow.__table__.c.boss_id) == UserRow.id, viewonly=True, lazy="selectin"
    )


class DeepRow(Base):
    __table__ = GroupRow.__table__

    users: Mapped[list[LabelledRow]] = relationship(
        LabelledRow, order_by=lambda: LabelledRow.__table__.c.id, lazy="selectin", viewonly=True
    )


class PersonRow(Base):
    __tablename__ = "refreshed_people"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    boss_id: Mapped[int | None] = mapped_column(ForeignKey("refreshed_people.id"))
    boss: Mapped[PersonRow | None] = relationship(
        remote_side=lambda: PersonRow.id, lazy="selectin", back_populates="team", join_depth=3
    )
    team: Mapped[list[PersonRow]] = relationship(
        back_populates="boss", lazy="selectin", order_by=lambda: PersonRow.id, join_depth=3
    )


class Groups(Repository[GroupRow]):
    loads = [GroupRow.users, (GroupRow.users, UserRow.tags), GroupRow.boss, GroupRow.about]


class Bare(Repository[GroupRow]):
    loads = [GroupRow.users]


class Eager(Repository[EagerRow]): ...


class Deep(Repository[DeepRow]): ...


class People(Repository[PersonRow]): ...


class Teams(Repository[PersonRow]):
    loads = [(PersonRow.team, PersonRow.boss), (PersonRow.boss, PersonRow.team)]


TABLES = (TagRow, UserRow, GroupRow, PersonRow)
pytestmark = pytest.mark.usefixtures("little_to_collect")


def of(tenant: str, row: Any = GroupRow) -> SearchScope:
    """Everybody's groups, and a tenant's users and tags."""
    said = {each: [each.__table__.c.tenant == tenant] for each in (UserRow, LabelledRow, TagRow)}
    return Says(row.__table__.c.id > 0, said)


A, B = of("a"), of("b")


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    async with any_tables(*TABLES) as db:
        async with db.begin_session() as session:
            await session.execute(sa.insert(GroupRow), [{"id": 1, "name": "one", "boss_id": 2}])
            members = [{"id": 1, "tenant": "a", "group_id": 1}, {"id": 2, "tenant": "b", "group_id": 1}]
            await session.execute(sa.insert(UserRow), members)
            await session.execute(sa.insert(TagRow), [{"id": n, "tenant": "ab"[n % 2], "user_id": 1} for n in (3, 4)])
            people = [{"id": 1, "tenant": "a", "boss_id": None}, {"id": 2, "tenant": "a", "boss_id": 1}]
            await session.execute(sa.insert(PersonRow), [*people, {"id": 3, "tenant": "b", "boss_id": 1}])
        yield db


def ids(found: Any) -> Any:
    return found and ([each.id for each in found] if hasattr(found, "append") else found.id)


def shown(row: Any) -> dict[str, Any]:
    """What a row has loaded of related ones, by their ids."""
    names = sa.inspect(row).mapper.relationships.keys()
    return {name: ids(row.__dict__[name]) for name in names if name in row.__dict__}


Again = Callable[[AsyncSession, Any], Awaitable[object]]


async def _refresh(session: AsyncSession, row: Any) -> None:
    await session.refresh(row)


async def _names(session: AsyncSession, row: Any) -> None:
    await session.refresh(row, [*shown(row)])


async def _columns_too(session: AsyncSession, row: Any) -> None:
    await session.refresh(row, ["name", *shown(row)])


async def _rollback(session: AsyncSession, row: Any) -> None:
    await session.rollback()
    await session.refresh(row)


async def _commit(session: AsyncSession, row: Any) -> None:
    await session.commit()
    session.expire(row)
    await session.refresh(row)


async def _savepoint(session: AsyncSession, row: Any) -> None:
    inner = await session.begin_nested()
    row.name = "other"
    await session.flush()
    await inner.rollback()
    assert await row.awaitable_attrs.name == "one"


async def _expire(session: AsyncSession, row: Any) -> None:
    session.expire(row)
    assert await row.awaitable_attrs.name == "one"


async def _get(session: AsyncSession, row: Any) -> None:
    session.expire_all()
    assert await session.get(row.__class__, 1) is row


async def _touch(session: AsyncSession, row: Any) -> None:
    names = [*shown(row)]
    session.expire(row)
    for name in names:
        await getattr(row.awaitable_attrs, name)


async def _forget(session: AsyncSession, row: Any) -> None:
    names = [*shown(row)]
    session.expire(row, names)
    for name in names:
        await getattr(row.awaitable_attrs, name)


async def _twice(session: AsyncSession, row: Any) -> None:
    for again in (_refresh, _touch, _expire, _refresh):
        await again(session, row)


async def _locked(session: AsyncSession, row: Any) -> None:
    await session.refresh(row, with_for_update={"of": [sa.inspect(row).mapper.local_table]})


WHOLLY: dict[str, Again] = {
    "refresh": _refresh,
    "names": _names,
    "columns too": _columns_too,
    "rollback": _rollback,
    "commit": _commit,
    "touch": _touch,
    "forget": _forget,
    "twice": _twice,
    "locked": _locked,
}
PARTLY: dict[str, Again] = {"savepoint": _savepoint, "expire": _expire, "get": _get}
"""Ways in which SQLAlchemy may leave some of it unloaded."""


@pytest.mark.parametrize(
    "is_own, whose, way, seen",
    share(
        product(
            [True, False],
            [(Groups, GroupRow), (Eager, EagerRow)],
            [*WHOLLY, *PARTLY],
            [("a", None, [1]), ("b", 2, [2])],
        ),
        3,
    ),
)
async def test_what_is_read_again_stays_within_the_scope(
    db: Database, way: str, whose: tuple[Any, Any], seen: tuple[str, int | None, list[int]], is_own: bool
) -> None:
    """Whatever loads it, whether the repository or the mapping says that it is loaded, in whosever session."""
    (groups, row), (tenant, boss, members) = whose, seen
    async with db.begin_session() if is_own else AsyncSession(db.engine) as session:
        source = db if is_own else Database.from_session(session)
        everybody = (await session.scalars(sa.select(UserRow))).all()  # which the session has objects of
        found = await groups(source).get(1, of(tenant, row))
        before = shown(found)
        assert before == {name: boss if name == "boss" else members for name in before}
        assert before
        await (WHOLLY | PARTLY)[way](session, found)
        if way in PARTLY:
            assert shown(found) == {name: value for name, value in before.items() if name in shown(found)}
        else:
            assert shown(found) == before
        for name in before:  # what is not loaded comes within the scope, too
            assert ids(await getattr(found.awaitable_attrs, name)) == before[name]
        assert len(everybody) == 2


@pytest.mark.parametrize("way", sorted(WHOLLY))
@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["there", "elsewhere"])
async def test_what_the_mapping_loads_below(db: Database, way: str, is_elsewhere: bool) -> None:
    """It is within the scope as well, or is not loaded."""
    async with db.begin_session() as session:
        row = await Deep(db).get(1, of("a", DeepRow))
        assert ids(row.users[0].tags) == [4]
        if not is_elsewhere:
            await WHOLLY[way](session, row)
        session.expunge_all()
    if is_elsewhere:
        async with AsyncSession(db.engine) as other:
            other.add(row)
            await WHOLLY[way](other, row)
    assert shown(row) == {"users": [1]}
    assert shown(row.users[0]) in ({"tags": [4]}, {})


async def test_what_has_come_meanwhile_is_there(db: Database) -> None:
    """With all that is loaded below, and no other scope is shown it by the same object."""
    async with db.begin_session() as session:
        row = await Groups(db).get(1, A)
        await session.execute(sa.insert(UserRow), [{"id": n, "tenant": "ab"[n % 2], "group_id": 1} for n in (10, 11)])
        await session.execute(sa.insert(TagRow), [{"id": n, "tenant": "ab"[n % 2], "user_id": 10} for n in (10, 11)])
        await session.refresh(row)
        assert {user.id: ids(user.tags) for user in row.users} == {1: [4], 10: [10]}
        await session.refresh(row.users[1])
        assert ids(row.users[1].tags) == [10]
        with pytest.raises(ScopeMismatch):
            await Groups(db).get(1, B)
        assert (row.about, shown(row)) == ("much", {"users": [1, 10], "boss": None})


async def test_a_nested_unit_undone_loads_what_is_below(db: Database) -> None:
    """As it was read at first."""
    async with db.begin_session() as session:
        row = await Groups(db).get(1, A)
        with pytest.raises(ZeroDivisionError):
            async with db.unit_of_work():
                session.expire(row)
                row.users.append(UserRow(id=1 // 0)) if (await row.awaitable_attrs.users) else None
        assert ids(row.users[0].tags) == [4]
        assert shown(row)["users"] == [1]


async def test_what_is_set_and_not_written_stays(db: Database) -> None:
    """Where what is refreshed is something else."""
    async with db.begin_session() as session:
        row = await Groups(db).get(1, A)
        with session.no_autoflush:
            row.name = "set"
            await session.refresh(row, ["users"])
            assert (row.name, ids(row.users)) == ("set", [1])


@pytest.mark.parametrize("groups, row", [(Groups, GroupRow), (Eager, EagerRow)], ids=["loads", "mapping"])
@pytest.mark.parametrize("way", sorted(WHOLLY))
async def test_in_another_session(db: Database, groups: Any, row: Any, way: str) -> None:
    """There, too, it shows what it was read with, whichever objects that session has."""
    async with db.begin_session() as session:
        found = await groups(db).get(1, of("a", row))
        before = shown(found)
        session.expunge_all()
    async with AsyncSession(db.engine) as session:
        session.add(found)
        everybody = (await session.scalars(sa.select(UserRow))).all()
        await WHOLLY[way](session, found)
        assert shown(found) == before
        assert len(everybody) == 2


async def test_listeners_of_the_application_are_heard(db: Database) -> None:
    """What they say of all statements holds of these as well, and the session's ``info`` is as they left it."""
    heard = list[bool]()

    def hear(state: ORMExecuteState) -> None:
        heard.append(state.is_column_load)
        state.statement = state.statement.options(with_loader_criteria(UserRow, UserRow.id != 1))

    def hear_only(state: ORMExecuteState) -> None:
        heard.append(state.is_column_load)

    async with AsyncSession(db.engine, info={"mine": 1}) as session:
        event.listen(session.sync_session, "do_orm_execute", hear)
        row = await Groups(Database.from_session(session)).get(1, A)
        event.listen(session.sync_session, "do_orm_execute", hear_only)
        del heard[:]
        await session.refresh(row)
        assert ids(row.users) == []
        assert heard[:2] == [True, True]
        assert session.info["mine"] == 1


async def test_what_is_read_for_everybody_in_the_end(db: Database) -> None:
    """What an object was shown before, and has no more, does not hold for it."""
    async with db.begin_session() as session:
        row = await Bare(db).get(1, A)
        session.expire(row)
        assert await Bare(db).get(1) is row
        for again in (_refresh, _touch, _names):
            await again(session, row)
            assert ids(row.users) == [1, 2]


async def test_what_an_application_reads_itself_is_its_own(db: Database) -> None:
    """It may have an object show what it likes, until that is read again as it was given."""
    async with db.begin_session() as session:
        row = await Bare(db).get(1, A)
        await session.scalars(
            sa.select(GroupRow).options(selectinload(GroupRow.users)).execution_options(populate_existing=True)
        )
        assert ids(row.users) == [1, 2]
        await session.refresh(row)
        assert ids(row.users) == [1]


async def test_sessions_that_show_nothing_under_a_scope_are_let_be(db: Database) -> None:
    """Nobody listens to their statements, and SQLAlchemy reads again as it does."""
    async with db.begin_session() as session:
        for row in (await Groups(db).get(1), await Eager(db).get(1)):
            before = shown(row)
            await session.refresh(row)
            assert shown(row) == before
            assert 2 in (before.get("users") or before["joined"])
        assert not session.sync_session.dispatch.do_orm_execute


@pytest.mark.parametrize("way", sorted(WHOLLY.keys() - {"twice"}))
@pytest.mark.parametrize("people", [People, Teams])
@pytest.mark.parametrize("scope, team", [(None, [2, 3]), (Says(PersonRow.tenant == "a"), [2])], ids=["none", "a"])
async def test_rows_of_one_class_that_lead_to_each_other(
    db: Database, way: str, people: Any, scope: SearchScope | None, team: list[int]
) -> None:
    """They are refreshed as SQLAlchemy alone refreshes them, and within the scope if there is one."""
    async with AsyncSession(db.engine) as session:
        row = await people(Database.from_session(session)).get(1, scope)
        if way == "columns too":
            await session.refresh(row, ["tenant", "team", "boss"])
        else:
            await WHOLLY[way](session, row)
        assert (ids(row.team), row.boss) == (team, None)
        below = row.team[0]
        await session.refresh(below)
        if scope is None or way not in {"forget", "touch"}:  # what loads itself loads nothing below
            assert (ids(below.team), below.boss) == ([], row)
