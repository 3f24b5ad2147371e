"""Audit entries: who did what. They are written, read, and in the end purged; none is ever changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NewType
from uuid import UUID

from sqlalchemy.orm import Mapped

from examples.desk.base import DeskRepository, Owned, TeamScope, owned, part_of
from examples.desk.users import UserId
from rowsmith import PurgeReport, Spec

AuditEntryId = NewType("AuditEntryId", UUID)


class AuditEntryRow(Owned):
    __tablename__ = "audit_entries"
    __table_args__ = owned(part_of("users", "user_id"))

    user_id: Mapped[UUID]
    action: Mapped[str]


@dataclass(frozen=True)
class AuditEntryData:
    id: AuditEntryId
    user_id: UserId
    action: str
    created_at: datetime


@dataclass(frozen=True)
class AuditEntryCreate(Spec[AuditEntryRow], filled={"team_id"}):
    user_id: UserId
    action: str


class AuditEntryScope(TeamScope):
    row = AuditEntryRow


class AuditEntryRepository(DeskRepository[AuditEntryRow, AuditEntryData, AuditEntryId]):
    async def purge_before(self, moment: datetime, scope: AuditEntryScope) -> PurgeReport:
        """Remove for good what is older, in chunks."""
        return await self.purge_where([AuditEntryRow.created_at < moment], scope=scope)
