"""API keys: how programs of a user come in; only their digests are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NewType
from uuid import UUID

from sqlalchemy import UniqueConstraint, func
from sqlalchemy.orm import Mapped

from examples.desk.base import DeskRepository, Owned, TeamScope, owned, part_of
from examples.desk.users import UserId
from rowsmith import EntityAlreadyExists, Patch, Spec, TriState

ApiKeyId = NewType("ApiKeyId", UUID)


class ApiKeyRow(Owned):
    __tablename__ = "api_keys"
    __table_args__ = owned(UniqueConstraint("digest"), part_of("users", "user_id"))

    user_id: Mapped[UUID]
    digest: Mapped[bytes]
    revoked_at: Mapped[datetime | None]


@dataclass(frozen=True)
class ApiKeyData:
    id: ApiKeyId
    user_id: UserId
    revoked_at: datetime | None


@dataclass(frozen=True)
class ApiKeyCreate(Spec[ApiKeyRow], filled={"team_id"}):
    user_id: UserId
    digest: bytes


@dataclass(frozen=True)
class ApiKeyPatch(Patch[ApiKeyRow]):
    revoked_at: TriState[datetime] = TriState.nop()


class ApiKeyScope(TeamScope):
    row = ApiKeyRow


class DigestTaken(EntityAlreadyExists): ...


class ApiKeyRepository(DeskRepository[ApiKeyRow, ApiKeyData, ApiKeyId]):
    violations = {"uq_api_keys_digest": DigestTaken}

    async def get_by_digest(self, digest: bytes, scope: ApiKeyScope) -> ApiKeyData:
        """Give the key with a digest, unless it is revoked."""
        return await self.get_one(scope, [ApiKeyRow.digest == digest, ApiKeyRow.revoked_at.is_(None)])

    async def revoke(self, id: ApiKeyId, scope: ApiKeyScope) -> ApiKeyData:
        """Have a key be good for nothing any more."""
        return await self.update(id, ApiKeyPatch(revoked_at=TriState.expression(func.now)), scope=scope)
