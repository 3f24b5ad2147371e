"""Notifications: what a user should know of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NewType
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Mapped

from examples.desk.base import DeskRepository, Owned, TeamScope, owned, part_of
from examples.desk.users import UserId
from rowsmith import Condition, Patch, Spec, TriState

NotificationId = NewType("NotificationId", UUID)


class NotificationRow(Owned):
    __tablename__ = "notifications"
    __table_args__ = owned(part_of("users", "user_id"))

    user_id: Mapped[UUID]
    text: Mapped[str]
    read_at: Mapped[datetime | None]


@dataclass(frozen=True)
class NotificationData:
    id: NotificationId
    user_id: UserId
    text: str
    read_at: datetime | None


@dataclass(frozen=True)
class NotificationCreate(Spec[NotificationRow], filled={"team_id"}):
    user_id: UserId
    text: str


@dataclass(frozen=True)
class NotificationPatch(Patch[NotificationRow]):
    read_at: TriState[datetime] = TriState.nop()


class NotificationScope(TeamScope):
    row = NotificationRow


def unread(user_id: UserId) -> list[Condition]:
    """Give the condition that a user has not read of it."""
    return [NotificationRow.user_id == user_id, NotificationRow.read_at.is_(None)]


class NotificationRepository(DeskRepository[NotificationRow, NotificationData, NotificationId]):
    async def unread_count(self, user_id: UserId, scope: NotificationScope) -> int:
        """Give how many a user has not read."""
        return await self.count(scope, unread(user_id))

    async def mark_all_read(self, user_id: UserId, scope: NotificationScope) -> int:
        """Note that a user has read them all, and give how many these were."""
        return await self.update_where(unread(user_id), NotificationPatch(TriState.expression(func.now)), scope=scope)
