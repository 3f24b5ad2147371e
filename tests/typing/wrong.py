"""Programs that must not pass: every line with an ignore comment is refused by both checkers, in strict mode.

An ignore that nothing needs is itself an error (mypy's ``warn_unused_ignores``, pyright's
``reportUnnecessaryTypeIgnoreComment``), so a line that is wrongly let through fails the check of this file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NewType

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowsmith import (
    Condition,
    Count,
    Creator,
    Database,
    OffsetPagination,
    OptionalState,
    Page,
    Patch,
    Querier,
    Repository,
    SearchScope,
    SoftDelete,
    Spec,
    TriState,
    Unscoped,
    Updater,
)
from rowsmith.filters import Filter, StringFilter

GroupId = NewType("GroupId", int)


class Base(DeclarativeBase):
    pass


class GroupRow(Base):
    __tablename__ = "groups"

    id: Mapped[GroupId] = mapped_column(primary_key=True)
    name: Mapped[str]
    note: Mapped[str | None]


class UserRow(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@dataclass(frozen=True)
class GroupData:
    id: GroupId
    name: str


@dataclass(frozen=True)
class UserData:
    id: int


@dataclass(frozen=True)
class GroupCreate(Spec[GroupRow]):
    name: str


@dataclass(frozen=True)
class UserCreate(Spec[UserRow]):
    name: str


@dataclass(frozen=True)
class GroupPatch(Patch[GroupRow]):
    name: OptionalState[str] = OptionalState.nop()
    note: TriState[str] = TriState.nop()


@dataclass(frozen=True)
class UserPatch(Patch[UserRow]):
    name: OptionalState[str] = OptionalState.nop()


class UserFilter(Filter[UserRow]):
    name: StringFilter | None = None


class GroupRepository(Repository[GroupRow, GroupData, GroupId]):
    pass


class IGroupRepository(ABC):
    @abstractmethod
    async def create(self, group: GroupData) -> GroupData: ...


class Named(ABC):
    @abstractmethod
    async def named(self, name: str) -> GroupData: ...


class Colliding(Repository[GroupRow, GroupData, GroupId], IGroupRepository):  # type: ignore[misc]  # pyright: ignore[reportIncompatibleMethodOverride]
    pass


class Incomplete(Repository[GroupRow, GroupData, GroupId], Named):
    pass


def an_interface(db: Database) -> Named:
    return Incomplete(db)  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]


async def another_rows_objects(groups: GroupRepository, db_sess: AsyncSession, id: GroupId) -> None:
    """A spec, patch or filter belongs to one row."""
    await groups.create(UserCreate("x"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await groups.update(id, UserPatch())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await groups.search(None, UserFilter())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await groups.count(None, UserFilter())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await Creator(UserRow).create(db_sess, GroupCreate("x"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await Updater(UserRow).update(db_sess, 1, GroupPatch())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await groups.create(GroupPatch())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await groups.update(id, GroupCreate("x"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await groups.create({"name": "x"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def patch_fields() -> None:
    """A state holds its field's type, and NULL only where there can be one."""
    GroupPatch(name=OptionalState.update(5))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    GroupPatch(name=TriState.nullify())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    GroupPatch(name="x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    GroupPatch(size=OptionalState.update(5))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    GroupPatch(name=OptionalState.update(UserRow(id=1, name="x")))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    OptionalState.nullify()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


async def scopes(groups: GroupRepository, id: GroupId) -> None:
    """A scope is an instance of a SearchScope."""
    await groups.get(id, "a")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await groups.get(id, SearchScope)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await groups.get(id, GroupRow.name == "x")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await groups.search({"name": "x"})  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await groups.search([GroupRow.name == "x"])  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    Unscoped()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@dataclass(frozen=True)
class WrongScope(SearchScope):
    def to_conditions(self) -> Sequence[Condition]:
        return ["name = 'x'"]  # type: ignore[list-item]  # pyright: ignore[reportReturnType]


async def results(groups: GroupRepository, db_sess: AsyncSession, id: GroupId) -> object:
    """What comes back is the data, not the row, not another's, and perhaps None."""
    row: GroupRow = await groups.get(id)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    user: UserData = await groups.get(id)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    sure: GroupData = await groups.find(id)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    str((await groups.get(id)).note)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    items: list[UserData] = await groups.batch_get([id])  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    page: Page[GroupData] = await groups.search(into=UserData)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    data: GroupData = await Querier(GroupRow).query(db_sess, id)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    str((await groups.search()).items[0].note)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    return row, user, sure, items, page, data


async def arguments(groups: GroupRepository, id: GroupId) -> None:
    """Keys, pages and counts have types of their own."""
    await groups.get("x")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await groups.get(5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await groups.batch_get([1, 2])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await groups.search(None, None, 50)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await groups.search(None, None, OffsetPagination("ten"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await groups.search(count=True)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await groups.search(None, [GroupRow.name])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await groups.search([GroupRow.name == "x"])  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await groups.search(orders=GroupRow.name)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await groups.search(None, [True])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await groups.search(orders=["name"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await groups.search(into=5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await groups.aggregate(into="stats")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await groups.delete(id, scope=Count.NONE)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class WrongRepository(Repository[GroupRow, GroupData, GroupId]):
    soft_delete = SoftDelete("deleted_at")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    violations = ["uq"]  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    scope_required = "yes"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


async def sessions(db: Database, groups: GroupRepository) -> None:
    """A Database is no session, and a session no Database."""
    await Querier(GroupRow).query(db, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with db.begin_session() as db_sess:
        GroupRepository(db_sess)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Database("postgresql://")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Creator(GroupCreate("x"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Creator(GroupRow, violation={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
