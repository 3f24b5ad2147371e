"""What one call is shown of related rows, no other call of the session changes, nor what its objects are set to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import ForeignKey
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    attribute_keyed_dict,
    mapped_column,
    object_session,
    relationship,
    selectinload,
)

from rowsmith import Database, OptionalState, Patch, Repository, ScopeMismatch, SearchScope, Spec
from rowsmith.testing import WithTables
from says import Says


class Base(DeclarativeBase):
    pass


class UserRow(Base):
    __tablename__ = "own_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    group_id: Mapped[int | None] = mapped_column(ForeignKey("own_groups.id"))


class GroupRow(Base):
    __tablename__ = "own_groups"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    boss_id: Mapped[int | None]
    users: Mapped[list[UserRow]] = relationship(order_by=UserRow.id, cascade="all, delete-orphan")
    boss: Mapped[UserRow | None] = relationship(
        primaryjoin=lambda: sa.orm.foreign(GroupRow.boss_id) == UserRow.id, viewonly=True
    )


@dataclass(frozen=True)
class Group:
    id: int
    users: tuple[int, ...]
    boss: int | None


@dataclass(frozen=True)
class GroupCreate(Spec[GroupRow]):
    id: int
    name: str = "new"


@dataclass(frozen=True)
class GroupPatch(Patch[GroupRow]):
    name: OptionalState[str] = OptionalState.nop()


class Rows(Repository[GroupRow]):
    loads = [GroupRow.users, GroupRow.boss]


class Groups(Repository[GroupRow, Group, int]):
    loads = [GroupRow.users, GroupRow.boss]

    def to_data(self, row: GroupRow) -> Group:
        assert object_session(row) is not None
        return Group(row.id, tuple(user.id for user in row.users), None if row.boss is None else row.boss.id)


TABLES = (UserRow, GroupRow)
pytestmark = pytest.mark.usefixtures("little_to_collect")
WHOLE = (selectinload(GroupRow.users), selectinload(GroupRow.boss))


def of(tenant: str) -> SearchScope:
    """Everybody's groups, and a tenant's users."""
    return Says(GroupRow.id > 0, {UserRow: [UserRow.tenant == tenant]})


A, B = of("a"), of("b")


@pytest.fixture
async def db(any_tables: WithTables) -> AsyncIterator[Database]:
    async with any_tables(*TABLES) as db:
        async with db.begin_session() as session:
            await session.execute(sa.insert(GroupRow), [{"id": 1, "name": "one", "boss_id": 2}])
            users = [{"id": 1, "tenant": "a", "group_id": 1}, {"id": 2, "tenant": "b", "group_id": 1}]
            await session.execute(sa.insert(UserRow), users)
        yield db


def shown(row: GroupRow) -> tuple[list[int], int | None]:
    return [user.id for user in row.users], None if row.boss is None else row.boss.id


Read = Callable[[Any, SearchScope | None], Awaitable[Any]]


async def _stream(groups: Any, scope: SearchScope | None) -> Any:
    (item,) = [item async for item in groups.stream(scope)]
    return item


async def _search(groups: Any, scope: SearchScope | None) -> Any:
    return (await groups.search(scope)).items[0]


async def _update(groups: Any, scope: SearchScope | None) -> Any:
    return await groups.update(1, GroupPatch(OptionalState.update("two")), scope=scope)


async def _batch(groups: Any, scope: SearchScope | None) -> Any:
    return (await groups.batch_update([1], GroupPatch(OptionalState.update("two")), scope=scope)).succeeded[0]


READS: dict[str, Read] = {
    "get": lambda groups, scope: groups.get(1, scope),
    "batch_get": lambda groups, scope: groups.batch_get([1], scope=scope),
    "first": lambda groups, scope: groups.first(scope),
    "search": _search,
    "stream": _stream,
    "update": _update,
    "batch_update": _batch,
}
reads = pytest.mark.parametrize("read", list(READS.values()), ids=list(READS))


@reads
@pytest.mark.parametrize("scope", [A, B, None], ids=["a", "b", "nobody's"])
async def test_data_leaves_objects_as_they_are(db: Database, read: Read, scope: SearchScope | None) -> None:
    """Whoever's data is made, in whichever verb: rows that others were given, and an application's own, stay."""
    async with db.begin_session() as session:
        mine = await session.get_one(GroupRow, 1, options=WHOLE)
        users = mine.users
        await read(Groups(db), scope)
        assert mine.users is users
        assert shown(mine) == ([1, 2], 2)
    async with db.begin_session():
        row = await Rows(db).get(1, A)
        await read(Groups(db), scope)
        assert shown(row) == ([1], None)


@reads
async def test_data_is_what_its_scope_lets_be_seen(db: Database, read: Read) -> None:
    """One after the other, with objects held or not."""
    async with db.begin_session() as session:
        for _ in range(2):
            for scope, expected in ((A, ((1,), None)), (B, ((2,), 2)), (None, ((1, 2), 2))):
                found = await read(Groups(db), scope)
                data = found[0] if isinstance(found, list) else found
                assert (data.users, data.boss) == expected
            await session.get_one(GroupRow, 1, options=WHOLE)


@reads
@pytest.mark.parametrize("one, other", [(A, B), (B, A), (A, None), (None, A)])
async def test_rows_are_given_under_one_scope(
    db: Database, read: Read, one: SearchScope | None, other: SearchScope | None
) -> None:
    """An object cannot show each scope its own: whoever comes second is told, and the first one's stays."""
    async with db.begin_session():
        row = await Rows(db).get(1, one)
        before = shown(row)
        with pytest.raises(ScopeMismatch, match=r"this session has a GroupRow whose (users|boss) were loaded for"):
            async with db.unit_of_work():  # so that what is written goes with it
                await read(Rows(db), other)
        assert shown(row) == before
        assert shown(await Rows(db).get(1, one)) == before
    async with db.begin_session():
        assert shown(await Rows(db).get(1, other)) != before


@reads
async def test_rows_are_given_once_more(db: Database, read: Read) -> None:
    """Under the same scope, or one that says the same, what has come meanwhile is there."""
    async with db.begin_session() as session:
        row = await Rows(db).get(1, A)
        await session.execute(sa.insert(UserRow), [{"id": 3, "tenant": "a", "group_id": 1}])
        await read(Rows(db), of("a"))
        assert shown(row) == ([1, 3], None)


async def test_scopes_that_are_equal_are_the_same_one(db: Database) -> None:
    """Whatever they say at each time."""

    @dataclass(frozen=True)
    class Later(SearchScope):
        tenant: str

        def to_conditions(self) -> Sequence[Any]:
            return [GroupRow.id > 0]

        def to_related(self) -> Any:
            said.append(len(said))
            return {UserRow: [UserRow.tenant == self.tenant, UserRow.id > -1 - len(said)]}

    said = list[int]()
    async with db.begin_session():
        row = await Rows(db).get(1, Later("a"))
        assert row is await Rows(db).get(1, Later("a"))
        with pytest.raises(ScopeMismatch):
            await Rows(db).get(1, Later("b"))


@pytest.mark.parametrize("groups", [Rows, Groups])
async def test_what_is_not_written_yet_stays(db: Database, groups: Any) -> None:
    """A session that does not flush by itself keeps what its objects were set to, whatever is read."""
    async with db.begin_session() as session:
        with session.no_autoflush:
            mine = await session.get_one(GroupRow, 1, options=WHOLE)
            mine.name = "set"
            mine.users.append(UserRow(id=9, tenant="a"))
            for _ in range(2):
                await groups(db).get(1)
                assert mine.name == "set"
                assert [user.id for user in mine.users] == [1, 2, 9]
    async with db.begin_session() as session:
        kept = await session.get_one(GroupRow, 1, options=WHOLE)
        assert (kept.name, [user.id for user in kept.users]) == ("set", [1, 2, 9])


async def test_a_deletion_is_of_all_that_the_application_has(db: Database) -> None:
    """A cascade of its own reaches what it has read, whatever data was made meanwhile."""
    async with db.begin_session() as session:
        mine = await session.get_one(GroupRow, 1, options=WHOLE)
        await Groups(db).get(1, A)
        await session.delete(mine)
    async with db.begin_session() as session:
        assert (await session.scalars(sa.select(UserRow.id))).all() == []


async def test_a_stream_is_left_alone_by_what_is_read_meanwhile(db: Database) -> None:
    """What is written between its rows shows in none that comes later as it did before."""
    async with db.begin_session() as session:
        await session.execute(sa.insert(GroupRow), [{"id": n, "name": "n", "boss_id": 1} for n in range(2, 6)])
        found = list[Group]()
        async for data in Groups(db).stream(A):
            found.append(data)
            assert (await Groups(db).get(1, B)).users == (2,)
            assert shown(await session.get_one(GroupRow, 1, options=WHOLE)) == ([1, 2], 2)
        assert [(data.users, data.boss) for data in found] == [((1,), None), *[((), 1)] * 4]


async def test_what_listens_to_the_session_hears_of_every_statement(db: Database) -> None:
    """Listeners and options of the session hold for rows that data is made of, too."""
    heard = list[bool]()

    def hear(state: sa.orm.ORMExecuteState) -> None:
        heard.append(state.is_select)
        state.statement = state.statement.options(
            sa.orm.with_loader_criteria(UserRow, UserRow.id != 1)  # pyright: ignore[reportArgumentType]
        )

    async with db.begin_session() as session:
        sa.event.listen(session.sync_session, "do_orm_execute", hear)
        assert (await Groups(db).get(1)).users == (2,)
        assert heard


async def test_a_session_of_somebody_else(db: Database) -> None:
    """It is read in the transaction that is open there, flushed before, with its savepoints."""
    async with AsyncSession(db.engine) as session:
        groups = Groups(Database.from_session(session))
        session.add(GroupRow(id=7, name="seven", users=[UserRow(id=7, tenant="a")]))
        assert (await groups.get(7, A)).users == (7,)
        async with session.begin_nested() as inner:
            session.add(UserRow(id=8, tenant="a", group_id=7))
            assert (await groups.get(7, A)).users == (7, 8)
            await inner.rollback()
        assert (await groups.get(7, A)).users == (7,)
        await session.rollback()
    async with db.begin_readonly_session() as session:
        assert (await session.scalars(sa.select(GroupRow.id))).all() == [1]


async def test_data_that_holds_its_row(db: Database) -> None:
    """It shows what it was made of, whoever reads the row once more."""

    @dataclass(frozen=True)
    class Held:
        id: int
        row: Any

    class HeldRows(Repository[GroupRow, Held, int]):
        loads = [GroupRow.users, GroupRow.boss]

        def to_data(self, row: GroupRow) -> Held:
            return Held(row.id, row)

    async with db.begin_session():
        one, other = await HeldRows(db).get(1, A), await HeldRows(db).get(1, B)
        await HeldRows(db).get(1)
        assert (shown(one.row), shown(other.row)) == (([1], None), ([2], 2))


async def test_what_is_undone_shows_rows_what_they_were_shown(db: Database) -> None:
    """A nested unit that is undone has objects read again, each as its own scope lets it be seen."""
    async with db.begin_session() as session:
        await session.execute(sa.insert(GroupRow), [{"id": 2, "name": "two", "boss_id": 1}])
        await session.execute(sa.insert(UserRow), [{"id": n, "tenant": "ab"[n % 2], "group_id": 2} for n in (3, 4)])
        one, two = await Rows(db).get(1, A), await Rows(db).get(2, B)
        before = shown(one), shown(two)
        with pytest.raises(ZeroDivisionError):
            async with db.unit_of_work():
                one.users.append(UserRow(id=9, tenant="a"))
                two.users.clear()
                await session.flush()
                one.name = str(1 // 0)
        assert (shown(one), shown(two)) == before


class ShelfRow(Base):
    __tablename__ = "own_shelves"

    id: Mapped[int] = mapped_column(primary_key=True)
    by_id: Mapped[dict[int, BookRow]] = relationship(collection_class=attribute_keyed_dict("id"))
    as_set: Mapped[set[BookRow]] = relationship(viewonly=True)


class BookRow(Base):
    __tablename__ = "own_books"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    shelf_id: Mapped[int | None] = mapped_column(ForeignKey("own_shelves.id"))


class Shelves(Repository[ShelfRow]):
    loads = [ShelfRow.by_id, ShelfRow.as_set]


@pytest.mark.parametrize("autoflush", [True, False])
async def test_collections_of_every_kind_stay(any_tables: WithTables, autoflush: bool) -> None:
    """Mappings and sets, and what was put into them and is not written yet."""
    scope = Says(ShelfRow.id > 0, {BookRow: [BookRow.tenant == "a"]})
    whole = (selectinload(ShelfRow.by_id), selectinload(ShelfRow.as_set))
    async with any_tables(ShelfRow, BookRow) as db:
        async with db.begin_session() as session:
            session.add(ShelfRow(id=1, by_id={n: BookRow(id=n, tenant="ab"[n % 2]) for n in (1, 2)}))
        async with db.begin_session() as session:
            session.sync_session.autoflush = autoflush
            mine = await session.get_one(ShelfRow, 1, options=whole)
            if not autoflush:
                mine.by_id[3] = BookRow(id=3, tenant="b")
            with pytest.raises(ScopeMismatch, match=r"by_id|as_set"):
                await Shelves(db).get(1, scope)
            assert sorted(mine.by_id) == ([1, 2] if autoflush else [1, 2, 3])
            assert {book.id for book in mine.as_set} == {1, 2}
        async with db.begin_session() as session:
            shelf = await Shelves(db).get(1, scope)
            assert (sorted(shelf.by_id), {book.id for book in shelf.as_set}) == ([2], {2})
            stored = await session.scalars(sa.select(BookRow.id).where(BookRow.shelf_id == 1).order_by(BookRow.id))
            assert stored.all() == ([1, 2] if autoflush else [1, 2, 3])
