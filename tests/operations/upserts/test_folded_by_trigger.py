"""Keys that a trigger of the database writes otherwise than they are given, as one that folds the case of a name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import Conflict, Database, InvalidValue, Repository, Spec
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


class UserRow(Base):
    __tablename__ = "folded_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    badge: Mapped[int | None] = mapped_column(unique=True)


@dataclass(frozen=True)
class UserData:
    email: str
    name: str


@dataclass(frozen=True)
class UserCreate(Spec[UserRow]):
    email: str
    name: str
    badge: int | None = None


class Users(Repository[UserRow, UserData, int]):
    conflict = Conflict([UserRow.email])


@pytest.fixture(params=["native", "sqlalchemy"])
async def users(request: pytest.FixtureRequest, with_tables: WithTables) -> AsyncIterator[Users]:
    async with with_tables(UserRow) as db:
        async with db.engine.begin() as connection:
            await connection.exec_driver_sql(
                "CREATE FUNCTION fold_email() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "NEW.email := lower(NEW.email); NEW.badge := NEW.badge % 10; RETURN NEW; END $$"
            )
            await connection.exec_driver_sql(
                "CREATE TRIGGER fold BEFORE INSERT OR UPDATE ON folded_users FOR EACH ROW EXECUTE FUNCTION fold_email()"
            )
        try:
            yield Users(Database(db.engine, native=request.param == "native"))
        finally:
            async with db.engine.begin() as connection:
                await connection.exec_driver_sql("DROP FUNCTION fold_email() CASCADE")


TWICE = [UserCreate("Ann@x", "first"), UserCreate("bob@x", "bob"), UserCreate("ann@X", "second")]


async def test_a_batch_with_a_key_twice_is_refused(users: Users) -> None:
    with pytest.raises(InvalidValue, match="give each key once"):
        await users.batch_upsert(TWICE)
    assert not await users.search()


async def test_each_spec_of_a_partial_batch_stands_for_itself(users: Users) -> None:
    """One whose key stands before fails, as it does where Python sees that."""
    result = await users.batch_upsert_partial(TWICE)
    assert [(each.data.data, each.data.inserted) for each in result.succeeded] == [
        (UserData("ann@x", "first"), True),
        (UserData("bob@x", "bob"), True),
    ]
    [failure] = result.failed
    assert failure.index == 2
    assert isinstance(failure.error, InvalidValue)
    assert await users.count() == 2


@pytest.mark.parametrize("badges", [(7, 8, 17), (7, 17, 27)])
async def test_keys_that_only_the_trigger_makes_one(users: Users, badges: tuple[int, ...]) -> None:
    """Neither Python nor the database can tell before they are written, so the first of them is, and no other."""
    made = [UserCreate(f"{badge}", f"{badge}", badge) for badge in badges]
    by_badge = Conflict([UserRow.badge])
    with pytest.raises(InvalidValue, match=r"key of the one at index 0|two of the specs have one key"):
        await users.batch_upsert(made, conflict=by_badge)
    assert not await users.search()
    result = await users.batch_upsert_partial(made, conflict=by_badge)
    first = [badge for badge in badges if badge < 10]
    assert [each.data.data.name for each in result.succeeded] == [f"{badge}" for badge in first]
    assert {type(each.error) for each in result.failed} == {InvalidValue}
    assert await users.count() == len(first)


@pytest.mark.parametrize("verb", ["upsert", "batch_upsert", "batch_upsert_partial"])
async def test_a_row_that_is_there_is_changed(users: Users, verb: str) -> None:
    await users.batch_create([UserCreate("ANN@x", "a"), UserCreate("Bob@x", "b")])
    if verb == "upsert":
        made = [await users.upsert(UserCreate("aNN@x", "c"))]
    else:
        result = await getattr(users, verb)([UserCreate("aNN@x", "c"), UserCreate("BOB@x", "d"), UserCreate("E", "e")])
        made = (
            [getattr(each, "data", each) for each in result.succeeded] if verb.endswith("partial") else result.succeeded
        )
    expected = [(UserData("ann@x", "c"), False), (UserData("bob@x", "d"), False), (UserData("e", "e"), True)]
    assert [(each.data, each.inserted) for each in made] == expected[: len(made)]
    assert await users.count() == (2 if verb == "upsert" else 3)


class HeapRow(Base):
    __tablename__ = "heaps"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    up: Mapped[int | None]
    size: Mapped[int]


@dataclass(frozen=True)
class HeapCreate(Spec[HeapRow]):
    id: int
    up: int | None
    size: int


class Heaps(Repository[HeapRow]):
    pass


PUSH = (
    "CREATE FUNCTION push() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN UPDATE heaps SET size = NEW.size + 100 WHERE up = NEW.id; RETURN NEW; END $$"
)


async def test_a_trigger_that_changes_other_rows_of_the_batch(with_tables: WithTables) -> None:
    """PostgreSQL takes that for one key given twice: the rows go one by one, and no spec is blamed."""
    async with with_tables(HeapRow) as db:
        async with db.engine.begin() as connection:
            await connection.exec_driver_sql(PUSH)
            await connection.exec_driver_sql(
                "CREATE TRIGGER push BEFORE UPDATE OF size ON heaps FOR EACH ROW EXECUTE FUNCTION push()"
            )
        try:
            heaps = Heaps(db, resilience=None)
            await heaps.batch_create([HeapCreate(1, None, 0), HeapCreate(2, 1, 0)])
            specs = [HeapCreate(1, None, 6), HeapCreate(2, 1, 5), HeapCreate(3, 1, 7)]
            made = await heaps.batch_upsert(specs)
            assert [(each.data.size, each.inserted) for each in made.succeeded] == [(6, False), (5, False), (106, True)]
            assert [heap.size for heap in await heaps.search(orders=[HeapRow.id])] == [6, 5, 106]
        finally:
            async with db.engine.begin() as connection:
                await connection.exec_driver_sql("DROP FUNCTION push() CASCADE")
