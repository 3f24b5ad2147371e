"""What all that belongs to a team shares: its key and columns, its scope, its repository."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Generic, NewType
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, ForeignKeyConstraint, MetaData, UniqueConstraint, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import Constraint
from typing_extensions import TypeVar

from examples import base
from rowsmith import Condition, Repository, SearchScope

TeamId = NewType("TeamId", UUID)

TRow = TypeVar("TRow")
TData = TypeVar("TData")
TId = TypeVar("TId")


class Base(DeclarativeBase):
    """These tables stand in a database of their own, so in metadata of their own."""

    metadata = MetaData(naming_convention=base.Base.metadata.naming_convention)
    type_annotation_map = base.Base.type_annotation_map


class InTeam:
    """A row that belongs to a team."""

    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"))


class Owned(InTeam, Base):
    """One with an id of its own."""

    __abstract__ = True

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


def owned(*constraints: Constraint) -> tuple[Constraint, ...]:
    """Give a team's table its constraints, and the key by which those of the team refer to it."""
    return (UniqueConstraint("team_id", "id"), *constraints)


def part_of(table: str, column: str) -> Constraint:
    """Give the foreign key to a row of the same team, with which this one goes."""
    return ForeignKeyConstraint(["team_id", column], [f"{table}.team_id", f"{table}.id"], ondelete="CASCADE")


@dataclass(frozen=True)
class TeamScope(SearchScope):
    """The rows of a team, of the class that each subclass names."""

    team_id: TeamId
    row: ClassVar[type[InTeam]]

    def to_conditions(self) -> Sequence[Condition]:
        return [self.row.team_id == self.team_id]


class DeskRepository(Repository[TRow, TData, TId], Generic[TRow, TData, TId]):
    """What a team has: no call without its scope, which also says whose a new row is."""

    scope_required = True
