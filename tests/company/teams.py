"""Teams with every kind of relationship: their region, lead, parent, children, users, tags and badge."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import sqlalchemy as sa
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from company.base import Base
from rowsmith import Condition, Expr, Repository, SearchScope, SoftDelete, Spec


class RegionRow(Base):
    __tablename__ = "regions"

    code: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str | None]

    teams: Mapped[list[TeamRow]] = relationship(viewonly=True)


team_tags = sa.Table(
    "team_tags",
    Base.metadata,
    sa.Column("team_id", ForeignKey("teams.id"), primary_key=True),
    sa.Column("tag_id", ForeignKey("tags.id"), primary_key=True),
)


class TeamTagRow(Base):
    __table__ = team_tags


class TagRow(Base):
    __tablename__ = "tags"

    id: Mapped[int] = mapped_column(primary_key=True)
    word: Mapped[str]


class TeamRow(Base):
    __tablename__ = "teams"

    id: Mapped[int] = mapped_column(primary_key=True)
    region_code: Mapped[str] = mapped_column(ForeignKey("regions.code"))
    lead_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", use_alter=True))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("teams.id"))
    name: Mapped[str]
    size: Mapped[int] = mapped_column(server_default="0")
    deleted_at: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(True))

    region: Mapped[RegionRow] = relationship(viewonly=True)
    lead: Mapped[UserRow | None] = relationship(foreign_keys=lead_id, viewonly=True)
    parent: Mapped[TeamRow | None] = relationship(remote_side=id, viewonly=True)
    children: Mapped[list[TeamRow]] = relationship(viewonly=True)
    users: Mapped[list[UserRow]] = relationship(foreign_keys="UserRow.team_id", viewonly=True)
    users_by_name: Mapped[list[UserRow]] = relationship(
        foreign_keys="UserRow.team_id", order_by="UserRow.name.desc()", viewonly=True
    )
    tags: Mapped[list[TagRow]] = relationship(secondary=team_tags, viewonly=True)
    badge: Mapped[BadgeRow | None] = relationship(viewonly=True)


class UserRow(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    team_id: Mapped[int | None] = mapped_column(ForeignKey("teams.id"))
    name: Mapped[str]
    nickname: Mapped[str | None]

    team: Mapped[TeamRow | None] = relationship(foreign_keys=team_id, viewonly=True)


class BadgeRow(Base):
    __tablename__ = "badges"

    id: Mapped[int] = mapped_column(primary_key=True)
    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id"), unique=True)
    motto: Mapped[str]


@dataclass(frozen=True)
class RegionData:
    code: str
    title: str | None


@dataclass(frozen=True)
class Nickname:
    """Only a column that may well be NULL: the row is there all the same."""

    nickname: str | None


@dataclass(frozen=True)
class UserData:
    id: int
    name: str


@dataclass(frozen=True)
class TagData:
    word: str


@dataclass(frozen=True)
class BadgeData:
    motto: str


@dataclass(frozen=True)
class TeamData:
    id: int
    region_code: str
    name: str
    size: int


@dataclass(frozen=True)
class TeamName:
    name: str


@dataclass(frozen=True)
class UserWithTeam:
    name: str
    team: TeamInRegion | None


@dataclass(frozen=True)
class TeamInRegion:
    name: str
    region: RegionData


@dataclass(frozen=True)
class TeamWithUsers:
    name: str
    users: tuple[UserData, ...]


@dataclass(frozen=True)
class RegionWithTeams:
    code: str
    teams: list[TeamWithUsers]


@dataclass(frozen=True)
class TeamCard:
    """Everything at once: two joins, four collections, computed fields."""

    id: int
    title: Annotated[str, Expr(TeamRow.name)]
    region: RegionData
    lead: UserData | None
    parent: TeamName | None
    children: tuple[TeamName, ...]
    users: tuple[UserData, ...]
    tags: tuple[TagData, ...]
    badge: BadgeData | None
    users_count: Annotated[
        int,
        Expr(lambda: sa.select(sa.func.count()).where(UserRow.team_id == TeamRow.id).scalar_subquery()),
    ]


@dataclass(frozen=True)
class TeamCreate(Spec[TeamRow]):
    region_code: str
    name: str
    size: int = 0
    lead_id: int | None = None
    parent_id: int | None = None


@dataclass(frozen=True)
class RegionScope(SearchScope):
    code: str

    def to_conditions(self) -> Sequence[Condition]:
        return [TeamRow.region_code == self.code]


class TeamRepository(Repository[TeamRow, TeamData, int]):
    soft_delete = SoftDelete(TeamRow.deleted_at)


CORE_USERS = (UserData(11, "ann"), UserData(12, "bob"))
