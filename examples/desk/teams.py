"""Teams: the tenants of the desk."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from examples.desk.base import Base, TeamId
from rowsmith import EntityAlreadyExists, EntityNotFound, OptionalState, Patch, Repository, Spec


class TeamRow(Base):
    __tablename__ = "teams"
    __table_args__ = (UniqueConstraint("slug"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    slug: Mapped[str]
    name: Mapped[str]


@dataclass(frozen=True)
class TeamData:
    id: TeamId
    slug: str
    name: str


@dataclass(frozen=True)
class TeamCreate(Spec[TeamRow]):
    slug: str
    name: str


@dataclass(frozen=True)
class TeamPatch(Patch[TeamRow]):
    name: OptionalState[str] = OptionalState.nop()


class TeamNotFound(EntityNotFound): ...


class SlugTaken(EntityAlreadyExists): ...


class TeamRepository(Repository[TeamRow, TeamData, TeamId]):
    not_found = TeamNotFound
    violations = {"uq_teams_slug": SlugTaken}

    async def get_by_slug(self, slug: str) -> TeamData:
        """Give the team at an address."""
        return await self.get_one(None, [TeamRow.slug == slug])
