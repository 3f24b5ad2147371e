"""The service: what it asks of its repositories, on fakes, without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import AsyncMock

import pytest

from examples.domain.errors import DomainNameTaken
from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent
from examples.domain.types import DomainCreate, DomainData, DomainName
from examples.group.adapter import GroupAdapter, GroupsWanted
from examples.group.errors import GroupNameTaken, GroupNotFound
from examples.group.repository import GroupRepository
from examples.group.rows import GroupKind, GroupRow
from examples.group.service import GroupService
from examples.group.types import DomainScope, GroupData, GroupId
from rowsmith import Page
from rowsmith.testing import FakeDatabase, NotFaked, fake

NOW = datetime(2024, 5, 1, tzinfo=UTC)
DE = DomainName("DE")
GERMANY = DomainData(DE, "Germany", Continent.EUROPE, None, [], {}, True, NOW, NOW)
BERLIN = GroupData(GroupId(1), DE, "Berlin", GroupKind.CAPITAL, None, 3_426_354, [], {}, NOW, NOW)
SPEC = DomainCreate(DE, "Germany", Continent.EUROPE)


@pytest.fixture
def db() -> FakeDatabase:
    """Give what the fakes of one test share."""
    return FakeDatabase()


def service(groups: GroupRepository, domains: DomainRepository | None = None, told: list[DomainData] | None = None):
    return GroupService(groups, domains or fake(DomainRepository), ([] if told is None else told).append)


async def test_a_single_call_has_no_transaction_around_it(db) -> None:
    """The form becomes a query of the same scope, and the page comes back as it is."""

    async def search(scope, filters):
        assert not db.is_in_session
        assert (scope, filters.pagination) == (DomainScope(DE), GroupAdapter.to_query(GroupsWanted()).pagination)
        return Page((BERLIN,))

    groups = fake(GroupRepository, db, search=search)
    assert (await service(groups).find(DomainScope(DE), GroupsWanted())).items == (BERLIN,)
    assert db.committed == 0


async def test_a_domain_and_its_capital_are_one_unit(db) -> None:
    """Both are made inside, in the new domain's scope, and it is told of after the commit."""
    told: list[DomainData] = []

    async def create_domain(spec):
        assert db.is_in_session
        return GERMANY

    async def create_group(spec, scope):
        assert db.is_in_session
        assert (spec.name, spec.kind, scope, told) == ("Berlin", GroupKind.CAPITAL, DomainScope(DE), [])
        return BERLIN

    groups, domains = fake(GroupRepository, db, create=create_group), fake(DomainRepository, db, create=create_domain)
    assert await service(groups, domains, told).open_domain(SPEC, "Berlin") == BERLIN
    assert (told, db.committed, db.rolled_back) == ([GERMANY], 1, 0)


@pytest.mark.parametrize("error", [DomainNameTaken, GroupNameTaken])
async def test_a_domain_is_not_told_of_that_was_not_made(db, error) -> None:
    """Whichever of the two fails, nothing of them is kept, and the error is the caller's."""
    told: list[DomainData] = []
    domain = AsyncMock(side_effect=error() if error is DomainNameTaken else None, return_value=GERMANY)
    groups = fake(GroupRepository, db, create=AsyncMock(side_effect=error()))
    with pytest.raises(error):
        await service(groups, fake(DomainRepository, db, create=domain), told).open_domain(SPEC, "Berlin")
    assert (told, db.committed, db.rolled_back) == ([], 0, 1)


async def test_merged_groups_keep_their_people(db) -> None:
    """The one ends and the other grows by a sum in the database, in one unit and one scope."""
    delete, update = AsyncMock(return_value=BERLIN), AsyncMock(return_value=BERLIN)
    groups = fake(GroupRepository, db, delete=delete, update=update)
    await service(groups).merge(GroupId(2), GroupId(1), DomainScope(DE))
    delete.assert_awaited_once_with(2, scope=DomainScope(DE))
    update.assert_awaited_once()
    (id, patch), named = update.await_args.args, update.await_args.kwargs
    assert (id, named) == (1, {"scope": DomainScope(DE)})
    assert patch.population.to_value().compare(GroupRow.population + BERLIN.population)
    assert db.committed == 1


async def test_a_group_is_not_merged_into_one_that_is_out_of_reach(db) -> None:
    """The first of them then goes on, as the unit is undone."""
    missing = AsyncMock(side_effect=GroupNotFound())
    groups = fake(GroupRepository, db, delete=AsyncMock(return_value=BERLIN), update=missing)
    with pytest.raises(GroupNotFound):
        await service(groups).merge(GroupId(2), GroupId(1), DomainScope(DE))
    assert (db.committed, db.rolled_back) == (0, 1)


async def test_a_service_asks_nothing_else(db) -> None:
    """A call that its test does not expect is a failure of the test."""
    with pytest.raises(NotFaked, match=r"fake\(GroupRepository, search=...\)"):
        await service(fake(GroupRepository, db)).find(DomainScope(DE), GroupsWanted())
