"""What a team writes, as both type checkers in strict mode see it; never run, only checked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, NewType, assert_type
from unittest.mock import AsyncMock

from pydantic import BaseModel
from sqlalchemy import DateTime, Table, func
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    AllOf,
    AnyOf,
    BatchQuerier,
    Condition,
    Count,
    Creator,
    CursorForwardPagination,
    Database,
    EntityAlreadyExists,
    EntityNotFound,
    ExistenceCheck,
    Expr,
    Not,
    OptionalState,
    Page,
    Patch,
    Purger,
    Querier,
    Repository,
    SearchScope,
    SoftDelete,
    SoftDeleter,
    Spec,
    Stream,
    TriState,
    UnitOfWork,
    Unscoped,
    Updater,
    Upserted,
    avg,
    count,
    idempotency,
    sum_,
)
from rowsmith.filters import Filter, StringFilter
from rowsmith.testing import FakeDatabase, Refused, RepositoryContract, fake

GroupId = NewType("GroupId", int)


class Base(DeclarativeBase):
    pass


class DomainRow(Base):
    __tablename__ = "domains"

    name: Mapped[str] = mapped_column(primary_key=True)


class GroupRow(Base):
    __tablename__ = "groups"

    id: Mapped[GroupId] = mapped_column(primary_key=True)
    domain_name: Mapped[str]
    name: Mapped[str]
    description: Mapped[str | None]
    size: Mapped[int]
    is_alive: Mapped[bool]
    is_open: Mapped[bool | None]
    deleted_at: Mapped[datetime | None] = mapped_column(DateTime(True))


@dataclass(frozen=True)
class GroupData:
    id: GroupId
    domain_name: str
    name: str


class GroupSummary(BaseModel):
    name: str


@dataclass(frozen=True)
class GroupCard:
    label: Annotated[str, Expr(GroupRow.name)]
    length: Annotated[int, Expr(lambda: func.length(GroupRow.name))]


@dataclass(frozen=True)
class DomainStats:
    domain_name: str
    groups: Annotated[int, count()]
    large: Annotated[int, count().filter(GroupRow.size > 10)]
    people: Annotated[int, sum_(GroupRow.size)]
    mean: Annotated[float | None, avg(lambda: GroupRow.size)]


@dataclass(frozen=True)
class GroupCreate(Spec[GroupRow]):
    domain_name: str
    name: str
    size: int = 0


@dataclass(frozen=True)
class GroupPatch(Patch[GroupRow]):
    name: OptionalState[str] = OptionalState.nop()
    description: TriState[str] = TriState.nop()
    size: OptionalState[int] = OptionalState.nop()


class JsonGroupPatch(BaseModel, Patch[GroupRow]):
    name: OptionalState[str] = OptionalState.nop()


class GroupFilter(Filter[GroupRow]):
    name: StringFilter | None = None


class GroupNotFound(EntityNotFound):
    pass


class GroupNameTaken(EntityAlreadyExists):
    pass


class DomainNotFound(EntityNotFound):
    pass


@dataclass(frozen=True)
class DomainScope(SearchScope):
    domain_name: str

    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.domain_name == self.domain_name, lambda: GroupRow.size >= 0]

    def existence_checks(self) -> Sequence[ExistenceCheck]:
        return [ExistenceCheck(DomainRow.name == self.domain_name, DomainNotFound)]


class GroupRepository(Repository[GroupRow, GroupData, GroupId]):
    not_found = GroupNotFound
    violations = {"uq_groups_domain_name_name": GroupNameTaken}
    soft_delete = SoftDelete(GroupRow.deleted_at)
    scope_required = True


class Groups(ABC):
    @abstractmethod
    async def add(self, group: GroupData) -> GroupData: ...

    @abstractmethod
    async def named(self, name: str) -> GroupData | None: ...


class GroupsRepository(Repository[GroupRow, GroupData, GroupId], Groups):
    def to_row(self, entity: GroupData) -> GroupCreate:
        return GroupCreate(entity.domain_name, entity.name)

    async def add(self, group: GroupData) -> GroupData:
        return await self.create(self.to_row(group))

    async def named(self, name: str) -> GroupData | None:
        return await self.find_one(None, [GroupRow.name == name])


def behind_an_interface(db: Database) -> Groups:
    return GroupsRepository(db)


class RowRepository(Repository[GroupRow]):
    def to_data(self, row: GroupRow) -> GroupRow:
        return row


class OwnRepository:
    """Without a base class: the same operation objects, the same sessions."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._groups = Querier(GroupRow, into=GroupData, not_found=GroupNotFound)
        self._creator = Creator(GroupRow, into=GroupData, violations={"uq": GroupNameTaken})

    async def get(self, id: GroupId) -> GroupData:
        async with self._db.begin_readonly_session() as db_sess:
            return await self._groups.query(db_sess, id)

    async def create(self, spec: Spec[GroupRow]) -> GroupData:
        async with self._db.begin_session() as db_sess:
            return await self._creator.create(db_sess, spec, scope=DomainScope("a"))


def operations() -> None:
    """The second parameter defaults to the row, and is inferred from ``into``."""
    assert_type(Querier(GroupRow), Querier[GroupRow, GroupRow])
    assert_type(Querier(GroupRow, into=GroupData), Querier[GroupRow, GroupData])
    assert_type(Querier(GroupRow, into=GroupSummary), Querier[GroupRow, GroupSummary])
    assert_type(Creator(GroupRow), Creator[GroupRow, GroupRow])
    assert_type(BatchQuerier(GroupRow, into=GroupData), BatchQuerier[GroupRow, GroupData])
    assert_type(Updater(GroupRow, into=GroupData), Updater[GroupRow, GroupData])
    assert_type(Purger(GroupRow), Purger[GroupRow, GroupRow])
    assert_type(SoftDeleter(GroupRow, soft_delete=None), SoftDeleter[GroupRow, GroupRow])
    explicit: Querier[GroupRow] = Querier(GroupRow)
    assert_type(explicit, Querier[GroupRow, GroupRow])


async def alone(db_sess: AsyncSession) -> None:
    """Operation objects in any session."""
    assert_type(await Querier(GroupRow).query(db_sess, 1, for_update=True), GroupRow)
    assert_type(await Querier(GroupRow, into=GroupData).find(db_sess, 1), GroupData | None)
    assert_type(await Creator(GroupRow, into=GroupData).create(db_sess, GroupCreate("a", "x")), GroupData)
    assert_type(await Updater(GroupRow).update(db_sess, 1, GroupPatch()), GroupRow)
    assert_type(await Purger(GroupRow, into=GroupData).purge(db_sess, 1), GroupData)
    assert_type(await BatchQuerier(GroupRow, into=GroupData).search(db_sess), Page[GroupData])


async def repository(db: Database, groups: GroupRepository) -> None:
    """A repository gives its data from everything."""
    scope = AnyOf(DomainScope("a"), AllOf(GroupRow.size == 1, Not(DomainScope("b"))))
    group = await groups.create(GroupCreate("a", "x"), scope=scope)
    assert_type(group, GroupData)
    assert_type(await groups.get(group.id, Unscoped(reason="nightly")), GroupData)
    assert_type(await groups.find(group.id), GroupData | None)
    assert_type(await groups.update(group.id, GroupPatch(name=OptionalState.update("y"))), GroupData)
    assert_type(await groups.update(group.id, JsonGroupPatch()), GroupData)
    assert_type(await groups.create(GroupCreate("a", "x"), scope=scope, idempotency_key="k"), GroupData)
    assert_type(await groups.update(group.id, GroupPatch(), idempotency_key=None), GroupData)
    assert_type(await groups.upsert(GroupCreate("a", "x"), idempotency_key="k"), Upserted[GroupData])
    assert_type(await groups.batch_create([GroupCreate("a", "x")], idempotency_key="k"), list[GroupData])
    assert_type(await idempotency.purge(db, older_than=timedelta(days=7)), int)
    assert_type(idempotency.ddl(), list[str])
    assert_type(idempotency.add_to(Base.metadata), Table)
    assert_type(await groups.delete(group.id), GroupData)
    assert_type(await groups.restore(group.id), GroupData)
    assert_type(await groups.purge(group.id), GroupData)
    assert_type(await groups.batch_get([group.id]), list[GroupData])
    assert_type(await groups.count(scope), int)
    assert_type(await groups.exists(scope, [GroupRow.size > 3]), bool)
    assert_type(await groups.exists(scope, id=group.id), bool)
    assert_type(await groups.get(group.id, into=GroupSummary), GroupSummary)
    assert_type(await groups.get_one(scope, [GroupRow.name == "x"]), GroupData)
    assert_type(await groups.find_one(scope, [GroupRow.name == "x"]), GroupData | None)
    assert_type(await groups.first(scope, orders=[GroupRow.name]), GroupData | None)
    assert_type(await RowRepository(db).get(1), GroupRow)
    async for item in groups.stream(scope):
        assert_type(item, GroupData)


async def search(groups: GroupRepository) -> None:
    """A page of data, narrowed by a filter model or by conditions."""
    page = await groups.search(
        DomainScope("a"),
        GroupFilter(name=StringFilter(contains="ops")),
        CursorForwardPagination(first=50),
        orders=[GroupRow.name, GroupRow.size.desc().nulls_last(), lambda: func.lower(GroupRow.name)],
        count=Count.EXACT,
    )
    assert_type(page, Page[GroupData])
    assert_type(page.total_count, int | None)
    assert_type(page.map(lambda group: group.name), Page[str])
    await groups.search(None, [GroupRow.size == 1, lambda: GroupRow.name == "x"])
    await groups.search(None, [GroupRow.is_alive, GroupRow.is_open, lambda: GroupRow.is_alive])
    await groups.count(AllOf(DomainScope("a"), GroupRow.is_alive, Not(GroupRow.is_open)), [~GroupRow.is_alive])
    conditions: list[Condition] = [GroupRow.is_alive, ExistenceCheck(GroupRow.is_alive, DomainNotFound).exists]
    await groups.exists(None, conditions)


async def project(groups: GroupRepository) -> None:
    """What ``into`` names is what comes back."""
    assert_type(await groups.search(into=GroupSummary), Page[GroupSummary])
    assert_type(await groups.search(DomainScope("a"), into=GroupCard), Page[GroupCard])
    assert_type(await groups.find(GroupId(1), into=GroupSummary), GroupSummary | None)
    assert_type(await groups.get_one(into=GroupSummary), GroupSummary)
    assert_type(await groups.find_one(into=GroupSummary), GroupSummary | None)
    assert_type(await groups.first(orders=[GroupRow.name], into=GroupSummary), GroupSummary | None)
    assert_type(await groups.batch_get([GroupId(1)], into=GroupSummary), list[GroupSummary])
    assert_type(groups.stream(), Stream[GroupData])
    assert_type(groups.stream(into=GroupSummary), Stream[GroupSummary])
    async with groups.stream(orders=[GroupRow.name], into=GroupSummary) as stream:
        async for item in stream:
            assert_type(item, GroupSummary)
    stats = await groups.aggregate(DomainScope("a"), group_by=[GroupRow.domain_name], into=DomainStats)
    assert_type(stats, list[DomainStats])


def patches() -> GroupPatch:
    """Each state takes its own type, and an expression of it."""
    return GroupPatch(
        name=OptionalState.update("x"),
        description=TriState.nullify(),
        size=OptionalState.expression(lambda: GroupRow.size + 1),
    )


async def transactions(db: Database) -> None:
    """Sessions are SQLAlchemy's; a unit of work takes work to be done after the commit."""
    async with db.begin_session() as db_sess:
        assert_type(db_sess, AsyncSession)
    async with db.unit_of_work() as unit:
        assert_type(unit, UnitOfWork)
        unit.after_commit(lambda: None)
        unit.after_commit(db.dispose)


async def fakes(found: GroupData) -> None:
    """A fake is of the class that it stands for, and so are its answers."""

    async def get(id: GroupId) -> GroupData:
        return found

    db = FakeDatabase()
    groups = fake(GroupRepository, db, get=get, search=AsyncMock(return_value=Page((found,))))
    assert_type(groups, GroupRepository)
    assert_type(await groups.get(GroupId(1)), GroupData)
    async with groups.db.unit_of_work() as unit:
        assert_type(unit, UnitOfWork)
    async with db.unit_of_work() as own:
        assert_type(own, UnitOfWork)
    assert_type(db.committed, int)


class TestGroups(RepositoryContract):
    """A contract: hooks say more of what they give than their base does."""

    repository = GroupRepository
    tables = (DomainRow, GroupRow)

    async def prepare(self, db: Database) -> None:
        self.domains = [f"domain {n}" for n in range(2)]

    def connect(self, db: Database) -> GroupRepository:
        return GroupRepository(db)

    def spec(self, n: int) -> GroupCreate:
        return GroupCreate(self.domains[n % 2], f"group {n}")

    def patch(self, n: int) -> GroupPatch:
        return GroupPatch(name=OptionalState.update(f"other {n}"))

    def scope(self, n: int) -> DomainScope:
        return DomainScope(self.domains[n % 2])

    def refused(self, n: int) -> Mapping[type[Exception], Refused]:
        return {GroupNameTaken: self.spec(n), EntityNotFound: lambda groups: groups.get(0)}

    def id_of(self, data: GroupData) -> GroupId:
        return data.id

    async def test_of_our_own(self) -> None:
        groups = GroupRepository(self.db)
        assert_type(await groups.create(self.spec(0), scope=self.scope(0)), GroupData)


class TestReaders(TestGroups):
    writes = False

    def row(self, n: int) -> GroupRow:
        return GroupRow(domain_name="emea", name=f"group {n}")
