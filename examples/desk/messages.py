"""Messages: what is said in the course of a task."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NewType
from uuid import UUID

from sqlalchemy.orm import Mapped

from examples.desk.base import DeskRepository, Owned, TeamScope, owned, part_of
from examples.desk.tasks import TaskId
from rowsmith import EntityNotFound, OptionalState, Patch, Spec

MessageId = NewType("MessageId", UUID)


class MessageKind(enum.StrEnum):
    """What a message is to its task."""

    REQUEST = "request"
    NOTE = "note"
    RESULT = "result"


class MessageRow(Owned):
    __tablename__ = "messages"
    __table_args__ = owned(part_of("tasks", "task_id"))

    task_id: Mapped[UUID]
    kind: Mapped[MessageKind]
    text: Mapped[str]


@dataclass(frozen=True)
class MessageData:
    id: MessageId
    task_id: TaskId
    kind: MessageKind
    text: str


@dataclass(frozen=True)
class MessageCreate(Spec[MessageRow], filled={"team_id"}):
    task_id: TaskId
    kind: MessageKind
    text: str


@dataclass(frozen=True)
class MessagePatch(Patch[MessageRow]):
    text: OptionalState[str] = OptionalState.nop()


class MessageScope(TeamScope):
    row = MessageRow


class MessageNotFound(EntityNotFound): ...


class MessageRepository(DeskRepository[MessageRow, MessageData, MessageId]):
    not_found = MessageNotFound

    async def get_result_message(self, task_id: TaskId, scope: MessageScope) -> MessageData:
        """Give the message that a task came to."""
        return await self.get_one(scope, [MessageRow.task_id == task_id, MessageRow.kind == MessageKind.RESULT])
