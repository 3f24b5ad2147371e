"""Conversations: what a customer and the desk have to say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NewType
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Mapped

from examples.desk.base import DeskRepository, Owned, TeamScope, owned, part_of
from examples.desk.users import UserId
from rowsmith import EntityNotFound, OptionalState, Patch, SoftDelete, Spec, TriState

ConversationId = NewType("ConversationId", UUID)


class ConversationRow(Owned):
    __tablename__ = "conversations"
    __table_args__ = owned(part_of("users", "user_id"))

    user_id: Mapped[UUID]
    subject: Mapped[str]
    closed_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


@dataclass(frozen=True)
class ConversationData:
    id: ConversationId
    user_id: UserId
    subject: str
    closed_at: datetime | None


@dataclass(frozen=True)
class ConversationCreate(Spec[ConversationRow], filled={"team_id"}):
    user_id: UserId
    subject: str


@dataclass(frozen=True)
class ConversationPatch(Patch[ConversationRow]):
    subject: OptionalState[str] = OptionalState.nop()
    closed_at: TriState[datetime] = TriState.nop()


class ConversationScope(TeamScope):
    row = ConversationRow


class ConversationNotFound(EntityNotFound): ...


class ConversationRepository(DeskRepository[ConversationRow, ConversationData, ConversationId]):
    not_found = ConversationNotFound
    soft_delete = SoftDelete(ConversationRow.deleted_at)

    async def find_latest(self, user_id: UserId, scope: ConversationScope) -> ConversationData | None:
        """Give the last conversation that a user has begun."""
        return await self.first(scope, [ConversationRow.user_id == user_id], orders=[ConversationRow.created_at.desc()])

    async def close(self, id: ConversationId, scope: ConversationScope) -> ConversationData:
        """Note that all is said."""
        return await self.update(id, ConversationPatch(closed_at=TriState.expression(func.now)), scope=scope)
