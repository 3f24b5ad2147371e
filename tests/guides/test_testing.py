"""What the guide to testing shows, as the tests that they are."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncSession

from examples.domain.types import DomainName
from examples.group.errors import GroupNameTaken
from examples.group.repository import GroupRepository
from examples.group.rows import GroupKind, GroupRow
from examples.group.search import GroupFilter
from examples.group.types import DomainScope, GroupCreate, GroupData, GroupId, GroupPatch
from pages import ROOT, python_of
from rowsmith import Database, TriState, Unscoped
from rowsmith.filters import StringFilter
from rowsmith.testing import fake

FR, DE = DomainName("FR"), DomainName("DE")
ANY = Unscoped(reason="a test looks at everything")
NOW = datetime(2024, 5, 1, tzinfo=UTC)
PARIS = GroupData(GroupId(1), FR, "Paris", GroupKind.CAPITAL, None, 2_000_000, [], {}, NOW, NOW)


@pytest.mark.parametrize("code", python_of("docs/guides/testing.md"))
def test_the_page_shows_what_is_here(code: str) -> None:
    """Line for line, and so what it shows is run."""
    assert code in Path(__file__).read_text() + (ROOT / "tests/examples/group/test_contract.py").read_text()


def test_a_block_that_is_not_here_is_found() -> None:
    """The test above is able to fail."""
    assert len(python_of("docs/guides/testing.md")) == 7


def test_the_settings_are_those_of_these_tests() -> None:
    """The page's lines for pytest are in the project's own."""
    (shown,) = re.findall(
        r"^```toml\n(.*?)^```$", (ROOT / "docs/guides/testing.md").read_text(), re.MULTILINE | re.DOTALL
    )
    own = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert tomllib.loads(shown)["tool"]["pytest"]["ini_options"].items() <= own.items()


def sql_of(*conditions):
    return [str(condition.compile(compile_kwargs={"literal_binds": True})) for condition in conditions]


def test_a_percent_sign_is_searched_for():
    wanted = GroupFilter(name=StringFilter(contains="100%"))
    assert sql_of(*wanted.to_conditions()) == [r"(groups.name LIKE '%100\%%')"]


def test_a_scope_is_its_conditions():
    assert sql_of(*DomainScope(FR).to_conditions()) == ["groups.domain_name = 'FR'"]


def test_only_what_is_set_is_written():
    assert GroupPatch(description=TriState.nullify()).to_values() == {"description": None}


async def test_a_group_is_counted_by_its_people():
    async def get(id, scope):
        return replace(PARIS, id=id)

    groups = fake(GroupRepository, get=get)
    assert (await groups.get(GroupId(7), DomainScope(FR))).population == 2_000_000


async def test_a_name_is_taken_once_in_a_domain(with_tables):
    async with with_tables(GroupRow) as db:  # foreign keys to tables that are not named are left out
        groups = GroupRepository(db)
        await groups.create(GroupCreate(FR, "Paris"), scope=ANY)
        with pytest.raises(GroupNameTaken):
            await groups.create(GroupCreate(FR, "Paris"), scope=ANY)


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def cities(with_tables):
    async with with_tables(GroupRow) as db:
        groups = GroupRepository(db)
        specs = [GroupCreate(FR, "Paris", population=2_000_000), GroupCreate(FR, "Lyon", population=500_000)]
        await groups.batch_create([*specs, GroupCreate(DE, "Berlin")], scope=ANY)
        yield groups


class TestSearching:
    async def test_by_name(self, cities):
        found = await cities.search(ANY, GroupFilter(name=StringFilter(starts_with="L")))
        assert [group.name for group in found] == ["Lyon"]

    async def test_by_size(self, cities):
        found = await cities.search(ANY, orders=[GroupRow.population.desc()])
        assert [group.name for group in found] == ["Paris", "Lyon", "Berlin"]

    async def test_in_a_session_that_is_rolled_back(self, cities):
        async with AsyncSession(cities.db.engine) as session:
            groups = GroupRepository(Database.from_session(session))  # joins it: whoever opened it commits, or does not
            await groups.create(GroupCreate(FR, "Nice"), scope=ANY)
            assert await groups.count(ANY) == 4
        assert await cities.count(ANY) == 3
