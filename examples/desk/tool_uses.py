"""Tool uses: what an agent had done for a message, by the id that the model gave to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType
from uuid import UUID

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped

from examples.desk.base import DeskRepository, Owned, TeamScope, owned, part_of
from examples.desk.messages import MessageId
from rowsmith import EntityAlreadyExists, EntityNotFound, Patch, Spec, TriState

ToolUseKey = NewType("ToolUseKey", UUID)


class ToolUseRow(Owned):
    __tablename__ = "tool_uses"
    __table_args__ = owned(part_of("messages", "message_id"), UniqueConstraint("team_id", "tool_use_id"))

    message_id: Mapped[UUID]
    tool_use_id: Mapped[str]
    tool: Mapped[str]
    output: Mapped[str | None]


@dataclass(frozen=True)
class ToolUseData:
    id: ToolUseKey
    message_id: MessageId
    tool_use_id: str
    tool: str
    output: str | None


@dataclass(frozen=True)
class ToolUseCreate(Spec[ToolUseRow], filled={"team_id"}):
    message_id: MessageId
    tool_use_id: str
    tool: str


@dataclass(frozen=True)
class ToolUsePatch(Patch[ToolUseRow]):
    output: TriState[str] = TriState.nop()


class ToolUseScope(TeamScope):
    row = ToolUseRow


class ToolUseNotFound(EntityNotFound): ...


class ToolUseTaken(EntityAlreadyExists): ...


class ToolUseRepository(DeskRepository[ToolUseRow, ToolUseData, ToolUseKey]):
    not_found = ToolUseNotFound
    violations = {"uq_tool_uses_team_id_tool_use_id": ToolUseTaken}

    async def get_by_tool_use_id(self, tool_use_id: str, scope: ToolUseScope) -> ToolUseData:
        """Give the use that a model calls by this id."""
        return await self.get_one(scope, [ToolUseRow.tool_use_id == tool_use_id])
