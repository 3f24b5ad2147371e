"""Entities that know nothing of rows: to specs, to patches, and back, in every verb that takes a row."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.types import DomainCreate, DomainName
from examples.entities.repository import TeamRepository
from examples.entities.teams import Team
from examples.group.rows import GroupRow
from examples.group.types import DomainScope
from rowsmith import EntityNotFound, MappingError, Patch
from rowsmith.testing import WithTables

DE, FR = DomainName("DE"), DomainName("FR")
GERMAN, FRENCH = DomainScope(DE), DomainScope(FR)


@pytest.fixture
async def teams(any_tables: WithTables) -> AsyncIterator[TeamRepository]:
    """Give the example's repository, and two domains for teams to be in."""
    async with any_tables(GroupRow, DomainRow) as db:
        await DomainRepository(db).batch_create([DomainCreate(name, name, Continent.EUROPE) for name in (DE, FR)])
        yield TeamRepository(db)


async def test_an_entity_goes_both_ways(teams: TeamRepository) -> None:
    """The verbs take what is made of it, and give it back; scopes hold as ever."""
    made = await teams.create(teams.to_row(Team(DE, "core")), scope=GERMAN)
    assert made.id is not None
    assert made == Team(DE, "core", made.id) == await teams.get(made.id, GERMAN)
    renamed = teams.to_patch(replace(made, title="heart"))
    with pytest.raises(EntityNotFound):
        await teams.update(made.id, renamed, scope=FRENCH)
    assert await teams.update(made.id, renamed, scope=GERMAN) == replace(made, title="heart")


async def test_in_batches(teams: TeamRepository) -> None:
    """The batch forms take what the single ones do."""
    made = await teams.batch_create([teams.to_row(Team(FR, title)) for title in ("x", "y")], scope=FRENCH)
    assert [team.title for team in made] == ["x", "y"]
    patches = {team.id: teams.to_patch(replace(team, title=f"new {team.title}")) for team in made if team.id}
    changed = await teams.batch_update_each(patches, scope=FRENCH)
    assert [team.title for team in changed.succeeded] == ["new x", "new y"]


async def test_what_is_not_overridden_says_so(teams: TeamRepository) -> None:
    """By the names of the classes, and never by a value."""
    domains = DomainRepository(teams.db)
    data = await domains.get(DE)
    for method in (domains.to_row, domains.to_patch):
        with pytest.raises(
            MappingError, match=r"^DomainRepository does not say .* DomainData: override to_\w+\(entity\)$"
        ):
            method(data)


def test_a_patch_of_named_fields_has_states_alone() -> None:
    """Only where ``to_values`` is overridden may a field be anything."""
    with pytest.raises(MappingError, match="must be OptionalState"):

        class Wrong(Patch[GroupRow]):
            name: str
