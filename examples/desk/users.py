"""Users: who works at the desk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NewType
from uuid import UUID

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped

from examples.desk.base import DeskRepository, Owned, TeamScope, owned
from rowsmith import EntityAlreadyExists, EntityNotFound, OptionalState, Patch, SoftDelete, Spec

UserId = NewType("UserId", UUID)


class UserRow(Owned):
    __tablename__ = "users"
    __table_args__ = owned(UniqueConstraint("team_id", "email"))

    email: Mapped[str]
    name: Mapped[str]
    deleted_at: Mapped[datetime | None]


@dataclass(frozen=True)
class UserData:
    id: UserId
    email: str
    name: str


@dataclass(frozen=True)
class UserCreate(Spec[UserRow], filled={"team_id"}):
    email: str
    name: str


@dataclass(frozen=True)
class UserPatch(Patch[UserRow]):
    name: OptionalState[str] = OptionalState.nop()


class UserScope(TeamScope):
    row = UserRow


class UserNotFound(EntityNotFound): ...


class EmailTaken(EntityAlreadyExists): ...


class UserRepository(DeskRepository[UserRow, UserData, UserId]):
    not_found = UserNotFound
    violations = {"uq_users_team_id_email": EmailTaken}
    soft_delete = SoftDelete(UserRow.deleted_at)

    async def get_by_email(self, email: str, scope: UserScope) -> UserData:
        """Give the user with an address."""
        return await self.get_one(scope, [UserRow.email == email])

    async def email_exists(self, email: str, scope: UserScope) -> bool:
        """Say whether an address is taken, be it by a deleted user."""
        return await self.exists(scope, [UserRow.email == email], include_deleted=True)
