"""Labels: what a team calls its conversations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType
from uuid import UUID

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped

from examples.desk.base import DeskRepository, Owned, TeamScope, owned
from rowsmith import Conflict, EntityAlreadyExists, OptionalState, Patch, Spec

LabelId = NewType("LabelId", UUID)


class LabelRow(Owned):
    __tablename__ = "labels"
    __table_args__ = owned(UniqueConstraint("team_id", "name"))

    name: Mapped[str]
    colour: Mapped[str]


@dataclass(frozen=True)
class LabelData:
    id: LabelId
    name: str
    colour: str


@dataclass(frozen=True)
class LabelCreate(Spec[LabelRow], filled={"team_id"}):
    name: str
    colour: str


@dataclass(frozen=True)
class LabelPatch(Patch[LabelRow]):
    colour: OptionalState[str] = OptionalState.nop()


class LabelScope(TeamScope):
    row = LabelRow


class LabelTaken(EntityAlreadyExists): ...


class LabelRepository(DeskRepository[LabelRow, LabelData, LabelId]):
    violations = {"uq_labels_team_id_name": LabelTaken}
    conflict = Conflict([LabelRow.team_id, LabelRow.name])

    async def paint(self, name: str, colour: str, scope: LabelScope) -> LabelData:
        """Give a label its colour, and make it if it is new."""
        return (await self.upsert(LabelCreate(name, colour), scope=scope)).data
