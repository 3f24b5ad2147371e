"""Entities that know nothing of rows, behind an interface of their own: to rows, to patches, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from rowsmith import EntityNotFound, MappingError, OptionalState, Patch, Repository, Spec
from rowsmith.testing import WithTables
from tenants import DomainScope, GroupId, GroupRepository, GroupRow, groups_in

A, B = DomainScope("a"), DomainScope("b")


@dataclass
class Team:
    """A domain's own object, which changes."""

    id: GroupId | None
    tenant: str
    title: str

    def rename(self, title: str) -> None:
        self.title = title


class Teams(ABC):
    """What the domain asks for."""

    @abstractmethod
    async def add(self, team: Team) -> Team: ...

    @abstractmethod
    async def save(self, team: Team) -> Team: ...

    @abstractmethod
    async def by_title(self, title: str) -> Team | None: ...


@dataclass(frozen=True)
class TeamSpec(Spec[GroupRow]):
    team: Team

    def to_values(self) -> Mapping[str, Any]:
        return {"domain_name": self.team.tenant, "name": self.team.title}


@dataclass(frozen=True)
class TeamPatch(Patch[GroupRow]):
    team: Team
    size: OptionalState[int] = OptionalState.nop()

    def to_values(self) -> Mapping[str, Any]:
        return {"name": self.team.title}


class TeamRepository(Repository[GroupRow, Team, GroupId], Teams):
    def to_data(self, row: GroupRow) -> Team:
        return Team(GroupId(row.id), row.domain_name, row.name)

    def to_row(self, entity: Team) -> TeamSpec:
        return TeamSpec(entity)

    def to_patch(self, entity: Team) -> TeamPatch:
        return TeamPatch(entity)

    async def add(self, team: Team) -> Team:
        return await self.create(self.to_row(team))

    async def save(self, team: Team) -> Team:
        assert team.id is not None
        return await self.update(team.id, self.to_patch(team), scope=DomainScope(team.tenant))

    async def by_title(self, title: str) -> Team | None:
        return await self.find_one(None, [GroupRow.name == title])


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


async def test_an_entity_goes_both_ways(groups: GroupRepository) -> None:
    """What is added comes back as an entity, changes, and is saved; scopes hold as ever."""
    repository = TeamRepository(groups.db)
    teams: Teams = repository
    added = await teams.add(Team(None, "a", "core"))
    assert added == Team(GroupId(5), "a", "core")
    added.rename("heart")
    assert await teams.save(added) == added == await teams.by_title("heart")
    assert await teams.by_title("core") is None
    with pytest.raises(EntityNotFound):
        await teams.save(replace(added, tenant="b"))


async def test_in_batches(groups: GroupRepository) -> None:
    """The batch forms take what the single ones do."""
    teams = TeamRepository(groups.db)
    made = await teams.batch_create([teams.to_row(Team(None, "b", title)) for title in ("x", "y")], scope=B)
    assert [team.title for team in made] == ["x", "y"]
    patches = {team.id: teams.to_patch(replace(team, title=f"new {team.title}")) for team in made if team.id}
    changed = await teams.batch_update_each(patches, scope=B)
    assert [team.title for team in changed.succeeded] == ["new x", "new y"]


async def test_what_is_not_overridden_says_so(groups: GroupRepository) -> None:
    """By the names of the classes, and never by a value."""
    data = await groups.get(GroupId(1))
    for method in (groups.to_row, groups.to_patch):
        with pytest.raises(
            MappingError, match=r"^GroupRepository does not say .* GroupData: override to_\w+\(entity\)$"
        ):
            method(data)


def test_a_patch_of_named_fields_has_states_alone() -> None:
    """Only where ``to_values`` is overridden may a field be anything."""
    with pytest.raises(MappingError, match="must be OptionalState"):

        class Wrong(Patch[GroupRow]):
            name: str
