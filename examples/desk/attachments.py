"""Attachments: files that came with a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NewType
from uuid import UUID

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped

from examples.desk.base import DeskRepository, Owned, TeamScope, owned, part_of
from examples.desk.messages import MessageId
from rowsmith import CheckViolation, OptionalState, Patch, Spec, sum_

AttachmentId = NewType("AttachmentId", UUID)


class AttachmentRow(Owned):
    __tablename__ = "attachments"
    __table_args__ = owned(part_of("messages", "message_id"), CheckConstraint("size > 0", name="size_positive"))

    message_id: Mapped[UUID]
    name: Mapped[str]
    size: Mapped[int]


@dataclass(frozen=True)
class AttachmentData:
    id: AttachmentId
    message_id: MessageId
    name: str
    size: int


@dataclass(frozen=True)
class AttachmentCreate(Spec[AttachmentRow], filled={"team_id"}):
    message_id: MessageId
    name: str
    size: int


@dataclass(frozen=True)
class AttachmentPatch(Patch[AttachmentRow]):
    name: OptionalState[str] = OptionalState.nop()


class AttachmentScope(TeamScope):
    row = AttachmentRow


class AttachmentEmpty(CheckViolation): ...


@dataclass(frozen=True)
class Volume:
    """How many bytes there are."""

    size: Annotated[int, sum_(AttachmentRow.size)]


class AttachmentRepository(DeskRepository[AttachmentRow, AttachmentData, AttachmentId]):
    violations = {"ck_attachments_size_positive": AttachmentEmpty}

    async def volume(self, message_id: MessageId, scope: AttachmentScope) -> int:
        """Give the bytes of all files of a message."""
        (volume,) = await self.aggregate(scope, [AttachmentRow.message_id == message_id], into=Volume)
        return volume.size
