"""A world with every kind of relationship: regions, teams with leads, parents, users, tags and badges, and seats."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import sqlalchemy as sa
from sqlalchemy import ForeignKey, ForeignKeyConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rowsmith import Condition, Database, Expr, Repository, SearchScope, SoftDelete, Spec
from rowsmith.testing import WithTables


class Base(DeclarativeBase):
    pass


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


class RoomRow(Base):
    __tablename__ = "rooms"

    building: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)

    seats: Mapped[list[SeatRow]] = relationship(viewonly=True)


class SeatRow(Base):
    __tablename__ = "seats"
    __table_args__ = (ForeignKeyConstraint(["building", "number"], ["rooms.building", "rooms.number"]),)

    building: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)

    room: Mapped[RoomRow] = relationship(viewonly=True)


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

ROWS = (RegionRow, TeamRow, UserRow, TagRow, TeamTagRow, BadgeRow, RoomRow, SeatRow)

CONTENT: dict[Any, list[dict[str, Any]]] = {
    RegionRow: [{"code": "eu", "title": "Europe"}, {"code": "us", "title": None}],
    TeamRow: [
        {"id": 1, "region_code": "eu", "name": "core", "parent_id": None, "size": 5},
        {"id": 2, "region_code": "eu", "name": "web", "parent_id": 1, "size": 3},
        {"id": 3, "region_code": "us", "name": "ops", "parent_id": 1, "size": 8},
        {"id": 4, "region_code": "us", "name": "lone", "parent_id": None, "size": 0},
    ],
    UserRow: [
        {"id": 11, "team_id": 1, "name": "ann", "nickname": None},
        {"id": 12, "team_id": 1, "name": "bob", "nickname": "b"},
        {"id": 13, "team_id": 2, "name": "cid", "nickname": None},
        {"id": 14, "team_id": None, "name": "dee", "nickname": None},
    ],
    TagRow: [{"id": 21, "word": "red"}, {"id": 22, "word": "blue"}],
    TeamTagRow: [{"team_id": 1, "tag_id": 22}, {"team_id": 1, "tag_id": 21}, {"team_id": 3, "tag_id": 22}],
    BadgeRow: [{"id": 31, "team_id": 2, "motto": "ship"}],
    RoomRow: [{"building": "a", "number": 1}, {"building": "a", "number": 2}, {"building": "b", "number": 1}],
    SeatRow: [
        {"building": "a", "number": 1, "place": 2},
        {"building": "a", "number": 1, "place": 1},
        {"building": "b", "number": 1, "place": 1},
    ],
}


@asynccontextmanager
async def company(made: WithTables) -> AsyncGenerator[Database]:
    """Give a database with the tables of this world and its content; teams 1 and 2 are led by users 11 and 13."""
    async with made(*ROWS) as db:
        async with db.begin_session() as db_sess:
            for row, content in CONTENT.items():
                await db_sess.execute(sa.insert(row), content)
            for team, lead in ((1, 11), (2, 13)):
                await db_sess.execute(sa.update(TeamRow).where(TeamRow.id == team).values(lead_id=lead))
            if db.engine.dialect.name == "postgresql":  # the ids above went past the sequence
                await db_sess.execute(sa.text("SELECT setval('teams_id_seq', 100)"))
        yield db
