"""Tasks: what agents have to do for a conversation."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NewType
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from examples.desk.base import DeskRepository, Owned, TeamScope, owned, part_of
from examples.desk.conversations import ConversationId
from rowsmith import EntityNotFound, Lock, OptionalState, Patch, Spec

TaskId = NewType("TaskId", UUID)


class TaskStatus(enum.StrEnum):
    """How far a task is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


class TaskRow(Owned):
    __tablename__ = "tasks"
    __table_args__ = owned(part_of("conversations", "conversation_id"))

    conversation_id: Mapped[UUID]
    title: Mapped[str]
    status: Mapped[TaskStatus] = mapped_column(server_default=TaskStatus.WAITING.name)


@dataclass(frozen=True)
class TaskData:
    id: TaskId
    conversation_id: ConversationId
    title: str
    status: TaskStatus


@dataclass(frozen=True)
class TaskCreate(Spec[TaskRow], filled={"team_id"}):
    conversation_id: ConversationId
    title: str


@dataclass(frozen=True)
class TaskPatch(Patch[TaskRow]):
    status: OptionalState[TaskStatus] = OptionalState.nop()


class TaskScope(TeamScope):
    row = TaskRow


class TaskNotFound(EntityNotFound): ...


class TaskRepository(DeskRepository[TaskRow, TaskData, TaskId]):
    not_found = TaskNotFound

    async def find_next(self, scope: TaskScope) -> TaskData | None:
        """Give the first task that waits, and have no other agent be given it, until the unit of work ends."""
        waiting, orders = [TaskRow.status == TaskStatus.WAITING], [TaskRow.created_at]
        return await self.first(scope, waiting, orders=orders, lock=Lock(skip_locked=True))

    async def finish(self, id: TaskId, scope: TaskScope) -> TaskData:
        """Note that a task is done."""
        return await self.update(id, TaskPatch(OptionalState.update(TaskStatus.DONE)), scope=scope)
