"""Entities that know nothing of rows: both ways, behind both kinds of interface."""

from __future__ import annotations

import pytest

from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.types import DomainCreate, DomainName
from examples.entities.repository import RowsmithTeamRepository, TeamRepository
from examples.entities.teams import ITeamRepository, Team, Teams
from examples.group.errors import GroupNotFound
from examples.group.rows import GroupRow
from examples.group.types import GroupId
from rowsmith import InvalidValue

DE = DomainName("DE")


@pytest.fixture
async def repository(any_tables):
    """Give the repository, and a domain for teams to be in."""
    async with any_tables(GroupRow, DomainRow) as db:
        await DomainRepository(db).create(DomainCreate(DE, "Germany", Continent.EUROPE))
        yield TeamRepository(db)


async def test_a_repository_is_what_the_domain_asks_for(repository) -> None:
    """Teams go in and come out, by the domain's own words; the verbs are there as ever."""
    teams: Teams = repository
    added = await teams.add(Team(DE, "core"))
    assert added.id is not None
    added.rename("heart")
    assert await teams.save(added) == added == await teams.titled("heart") == await repository.get(added.id)
    assert await teams.titled("core") is None
    with pytest.raises(InvalidValue):
        await teams.save(Team(DE, "nobody's"))


async def test_an_interface_with_the_words_of_the_verbs(repository) -> None:
    """A class that has the repository is it; what is not there was not deleted, and is not found by an update."""
    teams: ITeamRepository = RowsmithTeamRepository(repository)
    made = await teams.create(Team(DE, "core"))
    made.rename("heart")
    assert await teams.update(made) == made
    assert [await teams.delete(made.id) for _ in range(2)] == [True, False]
    assert not await teams.delete(GroupId(2_000_000))
    with pytest.raises(GroupNotFound):
        await teams.update(made)
