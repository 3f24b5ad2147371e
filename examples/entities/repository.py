"""Teams are kept as groups: by a repository that is what the domain asks for, or by a class that has such a one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from examples.domain.types import DomainName
from examples.entities.teams import ITeamRepository, Team, Teams
from examples.group.errors import GroupNotFound
from examples.group.rows import GroupRow
from examples.group.types import GroupId
from rowsmith import InvalidValue, Patch, Repository, SoftDelete, Spec


@dataclass(frozen=True)
class TeamSpec(Spec[GroupRow]):
    team: Team

    def to_values(self) -> Mapping[str, Any]:
        return {"domain_name": self.team.domain, "name": self.team.title, "tags": []}


@dataclass(frozen=True)
class TeamPatch(Patch[GroupRow]):
    team: Team

    def to_values(self) -> Mapping[str, Any]:
        return {"name": self.team.title}


class TeamRepository(Repository[GroupRow, Team, GroupId], Teams):
    """An interface whose words are not those of the verbs is a second base."""

    not_found = GroupNotFound
    soft_delete = SoftDelete(GroupRow.deleted_at)

    def to_data(self, row: GroupRow) -> Team:
        return Team(DomainName(row.domain_name), row.name, GroupId(row.id))

    def to_row(self, entity: Team) -> TeamSpec:
        return TeamSpec(entity)

    def to_patch(self, entity: Team) -> TeamPatch:
        return TeamPatch(entity)

    async def add(self, team: Team) -> Team:
        return await self.create(self.to_row(team))

    async def save(self, team: Team) -> Team:
        return await self.update(kept(team), self.to_patch(team))

    async def titled(self, title: str) -> Team | None:
        return await self.find_one(None, [GroupRow.name == title])


class RowsmithTeamRepository(ITeamRepository):
    """One whose ``create(team)`` would take the place of the verb's has the repository, and is none itself."""

    def __init__(self, teams: TeamRepository) -> None:
        self._teams = teams

    async def create(self, team: Team) -> Team:
        return await self._teams.add(team)

    async def update(self, team: Team) -> Team:
        return await self._teams.save(team)

    async def delete(self, id: GroupId) -> bool:
        return bool((await self._teams.batch_delete([id])).succeeded)


def kept(team: Team) -> GroupId:
    """Give the id of a team that is kept already."""
    if team.id is None:
        raise InvalidValue("this team is not kept yet: add it")
    return team.id
