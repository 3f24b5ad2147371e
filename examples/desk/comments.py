"""Comments: what the desk has to say about a conversation among itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from examples.desk.base import DeskRepository, Owned, TeamScope, owned, part_of
from examples.desk.conversations import ConversationId
from rowsmith import OptionalState, Page, Patch, Spec

CommentId = NewType("CommentId", UUID)


class CommentRow(Owned):
    __tablename__ = "comments"
    __table_args__ = owned(part_of("conversations", "conversation_id"))

    conversation_id: Mapped[UUID]
    text: Mapped[str]
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}


@dataclass(frozen=True)
class CommentData:
    id: CommentId
    conversation_id: ConversationId
    text: str
    version: int


@dataclass(frozen=True)
class CommentCreate(Spec[CommentRow], filled={"team_id"}):
    conversation_id: ConversationId
    text: str


@dataclass(frozen=True)
class CommentPatch(Patch[CommentRow]):
    text: OptionalState[str] = OptionalState.nop()


class CommentScope(TeamScope):
    row = CommentRow


class CommentRepository(DeskRepository[CommentRow, CommentData, CommentId]):
    async def newest(self, conversation_id: ConversationId, scope: CommentScope) -> Page[CommentData]:
        """Give the last comments on a conversation, the newest first."""
        about = [CommentRow.conversation_id == conversation_id]
        return await self.search(scope, about, orders=[CommentRow.created_at.desc()])
