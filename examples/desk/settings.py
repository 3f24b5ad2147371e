"""Settings: what a team has chosen, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from examples.desk.base import Base, DeskRepository, InTeam, TeamId, TeamScope
from rowsmith import OptionalState, Patch, Spec


class SettingKey(NamedTuple):
    team_id: TeamId
    name: str


class SettingRow(InTeam, Base):
    __tablename__ = "settings"

    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


@dataclass(frozen=True)
class SettingData:
    team_id: TeamId
    name: str
    value: str


@dataclass(frozen=True)
class SettingCreate(Spec[SettingRow], filled={"team_id"}):
    name: str
    value: str


@dataclass(frozen=True)
class SettingPatch(Patch[SettingRow]):
    value: OptionalState[str] = OptionalState.nop()


class SettingScope(TeamScope):
    row = SettingRow


class SettingRepository(DeskRepository[SettingRow, SettingData, SettingKey]):
    async def value(self, name: str, default: str, scope: SettingScope) -> str:
        """Give what a team has chosen, or what holds for all others."""
        found = await self.find(SettingKey(scope.team_id, name), scope)
        return default if found is None else found.value

    async def choose(self, name: str, value: str, scope: SettingScope) -> SettingData:
        """Have a setting be this from now on."""
        return (await self.upsert(SettingCreate(name, value), scope=scope)).data
