"""Repositories: everything is checked when the class is made, and every method does what it says."""

from __future__ import annotations

import datetime as dt
import types
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pydantic
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from rowsmith import (
    BatchQuerier,
    Creator,
    Database,
    DBSource,
    EntityAlreadyExists,
    EntityNotFound,
    InvalidFilter,
    InvalidValue,
    MappingError,
    OptionalState,
    Patch,
    Querier,
    Repository,
    SoftDelete,
    Spec,
    Unscoped,
)
from rowsmith.testing import WithTables
from tenants import (
    Base,
    DomainScope,
    GroupCreate,
    GroupData,
    GroupId,
    GroupNameTaken,
    GroupNotFound,
    GroupPatch,
    GroupRepository,
    GroupRow,
    MemberCreate,
    MemberData,
    MemberRepository,
    MemberRow,
    groups_in,
)


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


async def test_the_life_of_an_entity(groups: GroupRepository) -> None:
    """Create, get, find, update, delete, restore and purge, one after the other, give the same entity on."""
    made = await groups.create(GroupCreate("a", "new", 1))
    assert await groups.get(made.id) == await groups.find(made.id) == made
    renamed = await groups.update(made.id, GroupPatch(name=OptionalState.update("newer")))
    assert renamed.name == "newer"
    assert await groups.delete(made.id) == renamed
    assert await groups.find(made.id) is None
    assert await groups.restore(made.id) == renamed
    assert await groups.purge(made.id) == renamed
    assert await groups.find(made.id) is None


async def test_data_is_never_a_row(groups: GroupRepository) -> None:
    """What leaves is the data class, frozen, with exactly its fields."""
    made = await groups.get(GroupId(1))
    assert type(made) is GroupData
    with pytest.raises(AttributeError):
        made.name = "x"  # type: ignore[misc]


async def test_batch_get(groups: GroupRepository) -> None:
    """The keys' order, one item a key, twice where a key stands twice; nothing for nothing."""
    ids = [GroupId(3), GroupId(1), GroupId(3)]
    assert [item.id for item in await groups.batch_get(ids)] == [3, 1, 3]
    assert await groups.batch_get([]) == []
    with pytest.raises(GroupNotFound) as caught:
        await groups.batch_get([GroupId(9), GroupId(1), GroupId(4), GroupId(9)])
    assert caught.value.missing == (9, 4, 9)
    with pytest.raises(InvalidValue):
        await groups.batch_get([GroupId(1), GroupId(2**31)])


async def test_forty_thousand_keys(groups: GroupRepository) -> None:
    """As many keys as one likes: an array parameter on PostgreSQL, chunks on SQLite."""
    with pytest.raises(EntityNotFound) as caught:
        await groups.batch_get([GroupId(id) for id in range(1, 40_001)])
    assert len(caught.value.missing) == 40_000 - 3


async def test_composite_keys(groups: GroupRepository) -> None:
    """A tuple is the id of a composite key, in every method."""
    members = MemberRepository(groups.db)
    for group, email in [(1, "x"), (1, "y"), (2, "x")]:
        await members.create(MemberCreate(group, email))
    assert await members.get((1, "y")) == MemberData(1, "y", 1)
    assert await members.find((2, "y")) is None
    assert [item.group_id for item in await members.batch_get([(2, "x"), (1, "x")])] == [2, 1]
    with pytest.raises(EntityNotFound) as caught:
        await members.batch_get([(2, "y"), (1, "x")])
    assert caught.value.missing == ((2, "y"),)
    await members.purge((1, "x"))
    assert await members.count() == 2


async def test_domain_errors(groups: GroupRepository) -> None:
    """not_found and violations make the domain's own errors, with code and facts."""
    with pytest.raises(GroupNotFound) as absent:
        await groups.get(GroupId(99))
    assert absent.value.error_code == "group_get_not-found"
    with pytest.raises(GroupNameTaken) as taken:
        await groups.create(GroupCreate("a", "one"))
    assert taken.value.facts.constraint == "uq_groups_live"
    assert isinstance(taken.value, EntityAlreadyExists)


async def test_conditions_in_code(groups: GroupRepository) -> None:
    """Filters may be conditions, as expressions or callables; what is none is refused."""
    assert await groups.count(None, [GroupRow.name == "one", lambda: GroupRow.domain_name == "a"]) == 1
    wrong: Any
    for wrong in ([True], ["name = 'one'"], [sa.text("1 = 1")], [None]):
        with pytest.raises(InvalidFilter):
            await groups.count(None, wrong)
    with pytest.raises(InvalidFilter, match="exists"):
        await groups.count(None, [MemberRow.weight == 1])


def test_what_a_class_must_name() -> None:
    """A repository without a row says what to write, when it is made into an object."""

    class Nameless(Repository[Any, Any, Any]):
        pass

    with pytest.raises(MappingError, match=r"Repository\[GroupRow, GroupData, GroupId\]"):
        Nameless(Database.from_url("sqlite://"))


def test_a_field_that_is_no_column() -> None:
    """The message names both classes, the field and the nearest column, when the class is made."""

    @dataclass(frozen=True)
    class WrongData:
        id: int
        nmae: str

    with pytest.raises(MappingError, match=r"WrongData.nmae is no column of GroupRow; did you mean 'name'\?"):

        class WrongRepository(Repository[GroupRow, WrongData, int]):
            pass

    for make in (Querier, BatchQuerier, Creator):
        with pytest.raises(MappingError, match=r"WrongData\.nmae"):
            make(GroupRow, into=WrongData)


def test_data_that_is_no_data_class() -> None:
    """A plain class cannot be filled, and says so."""
    with pytest.raises(MappingError, match="str is no data class"):

        class WrongRepository(Repository[GroupRow, str, int]):
            pass


def test_a_misspelt_constraint() -> None:
    """It would silently give the general error; a foreign key of another table, or of PostgreSQL's naming, is fine."""
    with pytest.raises(
        MappingError, match=r"'uq_group_live', no constraint of groups; did you mean 'uq_groups_live'\?"
    ):

        class WrongRepository(Repository[GroupRow, GroupData, int]):
            violations = {"uq_group_live": GroupNameTaken}

    class RightRepository(Repository[GroupRow, GroupData, int]):
        violations = {
            "fk_members_group": GroupNameTaken,
            "groups_pkey": GroupNameTaken,
            "something_of_a_table_not_imported_yet": GroupNameTaken,
        }

    assert set(RightRepository.entity.violations) == set(RightRepository.violations)


@pytest.mark.parametrize(
    "rule, wrong, words",
    [
        ("soft_delete", GroupRow.deleted_at, r"SoftDelete\(GroupRow.deleted_at\)"),
        ("soft_delete", SoftDelete, r"the class SoftDelete: write soft_delete = SoftDelete\("),
        ("soft_delete", {}, "dict"),
        ("conflict", [GroupRow.name], r"list: write conflict = Conflict\("),
        ("conflict", "uq_groups_live", r"Conflict\("),
        ("next_value", GroupRow.id, r"NextValue\("),
        ("scope_required", "no", "True"),
        ("scope_required", None, "True"),
        ("domain", GroupRow, "the class GroupRow"),
        ("violations", [("uq_groups_live", GroupNameTaken)], "list"),
        ("violations", 5, "int"),
    ],
)
def test_a_rule_of_another_kind(rule: str, wrong: Any, words: str) -> None:
    """What a class or an operation object is told of its row is told what to write instead."""
    with pytest.raises(MappingError, match=f"^{rule} is .*{words}"):
        types.new_class("Wrong", (Repository[GroupRow, GroupData, int],), {}, lambda body: body.update({rule: wrong}))
    with pytest.raises(MappingError, match=f"^{rule} is .*{words}"):
        Creator(GroupRow, **{rule: wrong})


def test_a_misspelt_rule(database: Database) -> None:
    """Of an operation object or a source, which would go by the general one in silence."""
    for make in (lambda **rules: Creator(GroupRow, **rules), lambda **rules: DBSource(database, GroupRow, **rules)):
        with pytest.raises(MappingError, match="there is no rule 'not_fond'; did you mean 'not_found'"):
            make(not_fond=GroupNotFound)


def test_soft_deletion_of_another_row() -> None:
    """A mark on another table would join it to every read."""
    with pytest.raises(MappingError, match="no column of MemberRow"):

        class WrongRepository(Repository[MemberRow, MemberData, Any]):
            soft_delete = SoftDelete(GroupRow.deleted_at)


TRow = TypeVar("TRow")
TData = TypeVar("TData")
TId = TypeVar("TId")


def test_bases_of_a_teams_own() -> None:
    """A generic base passes its arguments on, whatever their order and number, and its rules are inherited."""

    class AppRepository(Repository[TRow, TData, TId], Generic[TId, TRow, TData]):
        scope_required = True

    class GroupsOnly(Repository[GroupRow, TData, GroupId], Generic[TData]):
        not_found = GroupNotFound

    class First(AppRepository[GroupId, GroupRow, GroupData]):
        pass

    class Second(GroupsOnly[GroupData]):
        pass

    class Third(Second):
        domain = "team"

    for made in (First, Second, Third):
        assert (made.entity.info.row, made.entity.shape.into) == (GroupRow, GroupData)
    assert First.entity.scope_required
    assert Third.entity.not_found is GroupNotFound
    assert Third.entity.domain == "team"


@dataclass(frozen=True, kw_only=True)
class KeywordData:
    name: str
    id: GroupId


@dataclass(frozen=True, slots=True)
class SlotsData(Generic[TData]):
    name: TData
    id: int


class ModelData(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)

    name: str
    id: int
    created_at: dt.datetime


class AliasData(pydantic.BaseModel):
    id: int
    label: str = pydantic.Field(validation_alias="name", default="")
    name: str = pydantic.Field(alias="the_name")


async def test_kinds_of_data(groups: GroupRepository) -> None:
    """Keyword-only, slotted and generic dataclasses, and pydantic models, by name in any order."""
    async with groups.db.begin_session() as db_sess:
        assert await Querier(GroupRow, into=KeywordData).query(db_sess, 1) == KeywordData(id=GroupId(1), name="one")
        assert await Querier(GroupRow, into=SlotsData).query(db_sess, 1) == SlotsData("one", 1)
        model = await Querier(GroupRow, into=ModelData).query(db_sess, 1)
        assert (model.id, model.name, model.created_at.tzinfo is not None) == (1, "one", True)


async def test_two_repositories_on_one_row(groups: GroupRepository) -> None:
    """Each has its own data and rules; neither knows of the other."""

    class NameRepository(Repository[GroupRow, KeywordData, GroupId]):
        pass

    names = NameRepository(groups.db)
    assert await names.count() == 4
    assert await groups.count() == 3
    assert await names.get(GroupId(4)) == KeywordData(id=GroupId(4), name="gone")


async def test_a_repository_without_the_base_class(groups: GroupRepository) -> None:
    """The same operation objects and sessions, assembled by hand."""

    class OwnRepository:
        def __init__(self, db: Database) -> None:
            self._db = db
            self._source: DBSource[GroupRow, GroupData, GroupId] = groups.db_source
            self._querier = Querier(GroupRow, into=GroupData, not_found=GroupNotFound)

        async def rename(self, id: GroupId, name: str) -> GroupData:
            async with self._db.unit_of_work() as unit:
                before = await self._querier.query(unit.session, id, scope=DomainScope("a"))
                patch = GroupPatch(name=OptionalState.update(name))
                return await self._source.write(self._source.updater.update, before.id, patch)

    own = OwnRepository(groups.db)
    assert (await own.rename(GroupId(1), "renamed")).name == "renamed"
    with pytest.raises(GroupNotFound):
        await own.rename(GroupId(3), "x")


async def test_methods_of_a_repositorys_own(groups: GroupRepository) -> None:
    """A private method opens a session and uses whatever SQL it likes, inside a unit of work too."""

    class SizedRepository(GroupRepository):
        async def total(self) -> int:
            async with self.db.begin_readonly_session() as db_sess:
                return await db_sess.scalar(sa.select(sa.func.sum(GroupRow.size))) or 0

    sized = SizedRepository(groups.db)
    async with groups.db.unit_of_work():
        await sized.create(GroupCreate("a", "big", 41))
        assert await sized.total() == 41


class BossRow(Base):
    """A row with relationships in a circle; only the columns matter here."""

    __tablename__ = "bosses"

    id: Mapped[int] = mapped_column(primary_key=True)
    deputy_id: Mapped[int | None] = mapped_column(sa.ForeignKey("bosses.id"))
    deputy: Mapped[BossRow | None] = relationship(remote_side=[id])


@dataclass(frozen=True)
class BossCreate(Spec[BossRow]):
    deputy_id: int | None = None


@dataclass(frozen=True)
class BossPatch(Patch[BossRow]):
    deputy_id: OptionalState[int | None] = OptionalState.nop()


class BossRepository(Repository[BossRow]):
    pass


async def test_a_repository_of_rows(any_tables: WithTables) -> None:
    """Without a data class the detached ORM object comes back, its columns loaded."""
    async with any_tables(BossRow) as db:
        bosses = BossRepository(db)
        first = await bosses.create(BossCreate())
        second = await bosses.create(BossCreate(first.id))
        assert (second.id, second.deputy_id) == (2, 1)
        moved = await bosses.update(1, BossPatch(deputy_id=OptionalState.update(2)), scope=Unscoped("test"))
        assert moved.deputy_id == 2
        assert await bosses.exists(None, [BossRow.deputy.has(BossRow.id == 2)])


@pytest.mark.parametrize("given", [{"name": "x"}, object(), None])
async def test_what_is_no_spec_is_refused(any_tables: WithTables, given: Any) -> None:
    """A dict or a stranger's object is no allow-list: create says what to write instead."""
    async with groups_in(any_tables) as groups:
        with pytest.raises(MappingError, match=r"a class that inherits Spec\[GroupRow\]"):
            await groups.create(given)
