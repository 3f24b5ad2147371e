"""Domains, and groups in them that are deleted softly: the tenants, and what they own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NewType

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from rowsmith import (
    Condition,
    EntityAlreadyExists,
    EntityNotFound,
    ExistenceCheck,
    OptionalState,
    Patch,
    Repository,
    SearchScope,
    SoftDelete,
    Spec,
    StillReferenced,
    TriState,
)
from tenants.base import Base

GroupId = NewType("GroupId", int)


class DomainRow(Base):
    __tablename__ = "domains"

    name: Mapped[str] = mapped_column(sa.String(20), primary_key=True)


class GroupRow(Base):
    __tablename__ = "groups"
    __table_args__ = (
        sa.Index(
            "uq_groups_live",
            "domain_name",
            "name",
            unique=True,
            postgresql_where=sa.text("deleted_at IS NULL"),
            sqlite_where=sa.text("deleted_at IS NULL"),
        ),
        sa.CheckConstraint("size >= 0", name="ck_groups_size"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    domain_name: Mapped[str] = mapped_column(sa.String(20))
    name: Mapped[str]
    size: Mapped[int] = mapped_column(server_default="0")
    note: Mapped[str | None]
    created_at: Mapped[dt.datetime] = mapped_column(sa.DateTime(True), server_default=sa.func.now())
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(True))


@dataclass(frozen=True)
class GroupData:
    id: GroupId
    domain_name: str
    name: str
    size: int
    note: str | None
    created_at: dt.datetime


@dataclass(frozen=True)
class GroupCreate(Spec[GroupRow]):
    domain_name: str
    name: str
    size: int = 0
    note: str | None = None


@dataclass(frozen=True)
class GroupPatch(Patch[GroupRow]):
    domain_name: OptionalState[str] = OptionalState.nop()
    name: OptionalState[str] = OptionalState.nop()
    size: OptionalState[int] = OptionalState.nop()
    note: TriState[str] = TriState.nop()


class GroupNotFound(EntityNotFound):
    pass


class GroupNameTaken(EntityAlreadyExists):
    pass


class GroupHasMembers(StillReferenced):
    pass


class DomainNotFound(EntityNotFound):
    pass


@dataclass(frozen=True)
class DomainScope(SearchScope):
    domain_name: str

    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.domain_name == self.domain_name]


@dataclass(frozen=True)
class CheckedScope(DomainScope):
    """A domain's groups, where the domain itself must be there."""

    def existence_checks(self) -> Sequence[ExistenceCheck]:
        return [ExistenceCheck(DomainRow.name == self.domain_name, DomainNotFound, "no such domain")]


class GroupRepository(Repository[GroupRow, GroupData, GroupId]):
    not_found = GroupNotFound
    violations = {"uq_groups_live": GroupNameTaken, "fk_members_group": GroupHasMembers}
    soft_delete = SoftDelete(GroupRow.deleted_at)
