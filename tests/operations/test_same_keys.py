"""Keys that the database holds to be equal and Python does not: a row is found by all that find it singly."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from columns import Folded
from rowsmith import (
    CheckViolation,
    Conflict,
    Database,
    EntityNotFound,
    InvalidValue,
    MappingError,
    NextValue,
    OptionalState,
    Patch,
    Repository,
    SoftDelete,
    Spec,
    StaleVersion,
)
from rowsmith.testing import WithTables, tables


class Base(DeclarativeBase):
    pass


@dataclass(frozen=True)
class World:
    """A repository whose key has a type, a key as it may be given, and others that find the same row."""

    repository: Any
    spec: Any
    patch: Any
    row: Any
    first: Any
    others: tuple[Any, ...]
    absent: Any
    only_in: str | None = None

    def is_in(self, database: str) -> bool:
        """Say whether a database has the type."""
        return self.only_in in (None, database)

    def note(self, text: str) -> Any:
        """Give the patch that writes a note."""
        return self.patch(note=OptionalState.update(text))


def world(name: str, kind: Any, first: Any, others: tuple[Any, ...], absent: Any, only_in: str | None = None) -> Any:
    """Make a row with a key of a type, and what belongs to it."""

    class Registry(DeclarativeBase):
        pass

    class OddRow(Registry):
        __tablename__ = f"odd_{name}"
        id: Mapped[Any] = mapped_column(kind, primary_key=True)
        note: Mapped[str | None]
        is_deleted: Mapped[bool] = mapped_column(default=False)
        version: Mapped[int] = mapped_column()
        __mapper_args__ = {"version_id_col": version}

    @dataclass(frozen=True)
    class OddData:
        id: Any
        note: str | None
        version: int

    @dataclass(frozen=True)
    class OddCreate(Spec[OddRow]):
        id: Any
        note: str | None = None

    @dataclass(frozen=True)
    class OddPatch(Patch[OddRow]):
        note: OptionalState[str] = OptionalState.nop()

    class Odds(Repository[OddRow, OddData, Any]):
        soft_delete = SoftDelete(OddRow.is_deleted, deleted=True, restored=False)

    return pytest.param(World(Odds, OddCreate, OddPatch, OddRow, first, others, absent, only_in), id=name)


CAPITALS = "ABCDEF00-0000-4000-8000-00000000000A"
NOCASE = sa.String(20, "NOCASE")
WORLDS = [
    world("char", sa.CHAR(4), "eu", ("eu  ", "eu "), "us", "database"),
    world("folded", Folded(), "Eu", ("EU", "eu"), "us"),
    world(
        "uuid", sa.Uuid(as_uuid=False), CAPITALS, (CAPITALS.lower(), CAPITALS.replace("-", "")), str(uuid.UUID(int=1))
    ),
    world(
        "inet",
        postgresql.INET(),
        "10.0.0.1/32",
        ("10.0.0.1", IPv4Address("10.0.0.1"), IPv4Interface("10.0.0.1/32")),
        "10.0.0.2",
        "database",
    ),
    world("cased", NOCASE, "Eu", ("EU", "eu"), "us", "sqlite_database"),
    world("blob", sa.LargeBinary(), bytearray(b"eu"), (b"eu", memoryview(b"eu")), b"us"),
    world("numeric", sa.Numeric(10, 2), 1.5, (), 2),
]


PLACED = [
    pytest.param((world.values[0], database), id=f"{world.id}-{database}")
    for world in WORLDS
    for database in ("database", "sqlite_database")
    if world.values[0].is_in(database)
]


@pytest.fixture(params=PLACED)
def placed(request: pytest.FixtureRequest) -> tuple[World, Database]:
    """Give each world on each database that has its type."""
    odd, database = request.param
    return odd, request.getfixturevalue(database)


@pytest.fixture
async def there(placed: tuple[World, Database]) -> AsyncIterator[tuple[World, Any]]:
    """Give a world and its repository, whose table has one row, written as the first key has it."""
    odd, database = placed
    async with tables(database, odd.row) as db:
        made = odd.repository(db)
        await made.create(odd.spec(odd.first))
        yield odd, made


@pytest.fixture
def odd(there: tuple[World, Any]) -> World:
    return there[0]


@pytest.fixture
def odds(there: tuple[World, Any]) -> Any:
    return there[1]


async def test_a_batch_finds_what_a_single_call_finds(odd: World, odds: Any) -> None:
    """In whatever form the key is given, more than once too; absent ones are told as they were given."""
    one = await odds.get(odd.first)
    for key in (odd.first, *odd.others):
        assert await odds.get(key) == one
        assert await odds.batch_get([key]) == [one]
    assert await odds.batch_get([odd.first, *odd.others]) == [one] * (1 + len(odd.others))
    with pytest.raises(EntityNotFound) as caught:
        await odds.batch_get([odd.absent, *odd.others, odd.first])
    assert caught.value.missing == (odd.absent,)


async def test_a_batch_changes_what_it_finds_and_reports_it_under_the_id_that_was_given(odd: World, odds: Any) -> None:
    """Each verb over ids, those that do each item for itself too."""
    for place, key in enumerate((odd.first, *odd.others)):
        found = await odds.batch_update([odd.absent, key], odd.note(f"{place}"))
        assert ([data.note for data in found.succeeded], found.missing) == ([f"{place}"], [odd.absent])
        assert (await odds.batch_update([key], odd.patch())).missing == []
        for verb in (odds.batch_delete, odds.batch_restore):
            found = await verb([key, odd.absent])
            assert (len(found.succeeded), found.missing) == (1, [odd.absent])
        if isinstance(key, (bytearray, memoryview)):
            continue  # no key of a mapping
        found = await odds.batch_update_each({odd.absent: odd.note("x"), key: odd.note("each")})
        assert ([data.note for data in found.succeeded], found.missing) == (["each"], [odd.absent])
        part = await odds.batch_update_partial({odd.absent: odd.note("x"), key: odd.note("part")})
        assert [(item.index, item.data.note) for item in part.succeeded] == [(1, "part")]
        assert [(item.index, item.error.missing) for item in part.failed] == [(0, (odd.absent,))]


async def test_a_batch_removes_what_it_finds(odd: World, odds: Any) -> None:
    """The row is gone, and said to be, whatever form its key was given in."""
    for key in (odd.first, *odd.others):
        found = await odds.batch_purge([odd.absent, key])
        assert (len(found.succeeded), found.missing) == (1, [odd.absent])
        assert await odds.count() == 0
        await odds.batch_create([odd.spec(key)])
        part = await odds.batch_purge_partial([key, odd.absent])
        assert ([item.index for item in part.succeeded], [item.index for item in part.failed]) == ([0], [1])
        assert await odds.count() == 0
        await odds.create(odd.spec(key))


async def test_an_upsert_tells_each_row_by_its_own_spec(odd: World, odds: Any) -> None:
    """The ones that are there and the new ones, in input order."""
    for key in (odd.first, *odd.others):
        both = (await odds.batch_upsert([odd.spec(odd.absent, "new"), odd.spec(key, "old")])).succeeded
        assert [(item.inserted, item.data.note) for item in both] == [(True, "new"), (False, "old")]
        kept = Conflict(update=False)
        both = (await odds.batch_upsert([odd.spec(key, "x"), odd.spec(odd.absent, "y")], conflict=kept)).succeeded
        assert [(item.inserted, item.data.note) for item in both] == [(False, "old"), (False, "new")]
        assert not (await odds.upsert(odd.spec(key, "one"))).inserted
        await odds.purge(odd.absent)


async def test_two_ids_that_are_one_key_are_refused(odd: World, odds: Any) -> None:
    """Python tells them apart, the database does not: nothing is written, in a unit of work either; both are named."""
    for key in odd.others:
        ids = [odd.absent, odd.first, key]
        for work in (
            odds.batch_update(ids, odd.note("twice")),
            odds.batch_delete(ids),
            odds.batch_purge(ids),
            odds.batch_upsert([odd.spec(odd.absent, "x"), odd.spec(odd.first, "twice"), odd.spec(key, "twice")]),
        ):
            with pytest.raises(InvalidValue, match=r"index 2 .* index 1") as caught:
                await work
            assert caught.value.index == 2
    assert (await odds.get(odd.first)).note is None


async def test_of_two_ids_that_are_one_key_a_partial_form_takes_the_first(odd: World, odds: Any) -> None:
    """The other fails by itself, as it does among others that fail, whatever version is expected."""
    for key in odd.others if isinstance(odd.first, Hashable) else ():
        version = (await odds.get(odd.first)).version
        patches = {odd.first: odd.note("first"), odd.absent: odd.note("x"), key: odd.note("second")}
        with pytest.raises(InvalidValue, match="the id at index 2 has the key of the one at index 0"):
            await odds.batch_update_each(patches)
        for versions in (None, {odd.first: version + 1, odd.absent: 1, key: version + 1}):
            part = await odds.batch_update_partial(patches, expected_versions=versions)
            assert [(item.index, item.data.note) for item in part.succeeded] == [(0, "first")]
            assert [(item.index, type(item.error)) for item in part.failed] == [(1, EntityNotFound), (2, InvalidValue)]
            assert "the id at index 2 has the key of the one at index 0" in str(part.failed[1].error)
            assert (await odds.get(odd.first)).note == "first"
        part = await odds.batch_purge_partial([odd.first, odd.absent, key])
        assert [(item.index, type(item.error)) for item in part.failed] == [(1, EntityNotFound), (2, InvalidValue)]
        await odds.create(odd.spec(odd.first))


class LabelRow(Base):
    __tablename__ = "folded_labels"
    __table_args__ = (sa.CheckConstraint("number < 100", name="ck_folded_labels_number"),)
    name: Mapped[str] = mapped_column(Folded(), primary_key=True)
    number: Mapped[int]


@dataclass(frozen=True)
class Label:
    name: str
    number: int


@dataclass(frozen=True)
class LabelCreate(Spec[LabelRow]):
    name: str
    number: int


@dataclass(frozen=True)
class LabelPatch(Patch[LabelRow]):
    number: OptionalState[int]


class Labels(Repository[LabelRow, Label, str]):
    pass


async def test_other_failures_hide_no_key_that_stands_twice(any_tables: WithTables) -> None:
    """They are looked for in halves, in which none of two ids is the other."""
    async with any_tables(LabelRow) as db:
        labels = Labels(db)
        await labels.batch_create([LabelCreate("eu", 1), LabelCreate("us", 2), LabelCreate("asia", 3)])
        numbers = {"Eu": 5, "us": 200, "asia": 7, "EU": 6}
        patches = {name: LabelPatch(OptionalState.update(number)) for name, number in numbers.items()}
        part = await labels.batch_update_partial(patches)
        assert [(item.index, item.data.number) for item in part.succeeded] == [(0, 5), (2, 7)]
        assert [(item.index, type(item.error)) for item in part.failed] == [(1, CheckViolation), (3, InvalidValue)]
        with pytest.raises(InvalidValue, match="the spec at index 1 has the key of the one at index 0"):
            await labels.batch_upsert([LabelCreate("Eu", 8), LabelCreate("EU", 9)])


async def test_versions_are_told_by_the_ids_that_were_given(odd: World, odds: Any) -> None:
    """The right one is taken, a stale one named."""
    for key in (odd.first, *odd.others):
        if not isinstance(key, (bytearray, memoryview)):
            version = (await odds.get(key)).version
            assert (await odds.batch_update([key], odd.note("x"), expected_versions={key: version})).missing == []
            with pytest.raises(StaleVersion) as caught:
                await odds.batch_update([key], odd.note("x"), expected_versions={key: version})
            assert caught.value.stale == (key,)
            part = await odds.batch_update_partial({key: odd.note("x")}, expected_versions={key: version})
            assert isinstance(part.failed[0].error, StaleVersion)


async def test_an_object_of_a_session_stays_in_step(odd: World, odds: Any) -> None:
    """It is held by the key as the database has it."""
    async with odds.db.unit_of_work() as unit:
        held = (await unit.session.scalars(sa.select(odd.row))).one()
        for place, key in enumerate((odd.first, *odd.others)):
            await odds.update(key, odd.note(f"one {place}"))
            assert held.note == f"one {place}"
            await odds.batch_update([key], odd.note(f"batch {place}"))
            assert held.note == f"batch {place}"


class ParentRow(Base):
    __tablename__ = "odd_parents"
    id: Mapped[str] = mapped_column(Folded, primary_key=True)
    children: Mapped[list[ChildRow]] = relationship()


class ChildRow(Base):
    __tablename__ = "odd_children"
    __table_args__ = (sa.UniqueConstraint("parent_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[str] = mapped_column(Folded, sa.ForeignKey("odd_parents.id"))
    number: Mapped[int]


@dataclass(frozen=True)
class ChildData:
    parent_id: str
    number: int


@dataclass(frozen=True)
class ParentCreate(Spec[ParentRow]):
    id: str


@dataclass(frozen=True)
class ParentData:
    id: str
    children: tuple[ChildData, ...]


@dataclass(frozen=True)
class ChildCreate(Spec[ChildRow], filled={"number"}):
    parent_id: str


class Parents(Repository[ParentRow, ParentData, str]):
    pass


class Children(Repository[ChildRow, ChildData, int]):
    next_value = NextValue(ChildRow.number, within=ChildRow.parent_id)


async def test_rows_are_numbered_within_the_parent_that_is_meant(any_tables: WithTables) -> None:
    """However it is written; the parent's data has them all."""
    async with any_tables(ParentRow, ChildRow) as db:
        parents, children = Parents(db), Children(db)
        assert await parents.create(ParentCreate("Eu")) == ParentData("eu", ())
        await parents.create(ParentCreate("Us"))
        made = await children.batch_create([ChildCreate(name) for name in ("EU", "eu", "US", "Eu")])
        assert [child.number for child in made] == [1, 2, 1, 3]
        assert (await children.create(ChildCreate("eU"))).number == 4
        assert len((await parents.get("EU")).children) == 4
        part = await children.batch_create_partial([ChildCreate("EU"), ChildCreate("none")])
        assert [item.index for item in part.succeeded] in ([0], [])


class LiarBase(DeclarativeBase):
    pass


class LiarRow(LiarBase):
    """Says that its key is a text; a migration has made it a char(9), whose blanks PostgreSQL does not compare."""

    __tablename__ = "same_key_liars"
    code: Mapped[str] = mapped_column(primary_key=True)
    note: Mapped[str]


@dataclass(frozen=True)
class LiarData:
    code: str
    note: str


@dataclass(frozen=True)
class LiarPatch(Patch[LiarRow]):
    note: OptionalState[str]


class Liars(Repository[LiarRow, LiarData, str]): ...


@pytest.mark.parametrize("is_native", [True, False])
async def test_the_mapping_may_not_know_what_is_equal(with_tables: WithTables, is_native: bool) -> None:
    """Rows that come back under keys which nobody asked for are given for those by which they were found."""
    async with with_tables(LiarRow) as db:
        async with db.begin_session() as session:
            await session.execute(sa.text("ALTER TABLE same_key_liars ALTER code TYPE char(9)"))
            await session.execute(sa.text("INSERT INTO same_key_liars VALUES ('a', 'x'), ('b', 'y'), ('c', 'z')"))
        liars = Liars(db if is_native else Database(db.engine, native=False))
        a, b = "a".ljust(9), "b".ljust(9)
        assert await liars.batch_get(["b", "a"]) == [LiarData(b, "y"), LiarData(a, "x")]
        assert await liars.batch_get(["b", a, "a"]) == [LiarData(b, "y"), LiarData(a, "x"), LiarData(a, "x")]
        with pytest.raises(EntityNotFound) as absent:
            await liars.batch_get(["b", "d"])
        assert absent.value.missing == ("d",)
        patch = LiarPatch(OptionalState.update("new"))
        for done in (
            await liars.batch_update(["b", "d", "a"], patch),
            await liars.batch_update_each({"b": patch, "d": patch, "a": patch}),
        ):
            assert (done.succeeded, done.missing) == ([LiarData(b, "new"), LiarData(a, "new")], ["d"])
        with pytest.raises(InvalidValue, match="index 1 has the key of the one at index 0"):
            await liars.batch_update(["a", "a "], patch)
        with pytest.raises(MappingError, match="another type or collation than the mapping says"):
            await liars.batch_purge(["a", "b"])
        assert await liars.count() == 3
