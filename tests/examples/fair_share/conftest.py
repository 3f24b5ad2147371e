"""What the tests of fair shares share: tables, tenants with groups, and a maker of rows that do not meet."""

from __future__ import annotations

from itertools import count
from uuid import UUID

import pytest

from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.types import DomainCreate, DomainName
from examples.fair_share.repository import FairShareRepository, UsageRepository
from examples.fair_share.rows import FairShareRow, UsageRow
from examples.fair_share.types import DomainShareScope, FairShareCreate, FairShareData
from examples.group.repository import GroupRepository
from examples.group.rows import GroupMemberRow, GroupRow
from examples.group.types import DomainScope, GroupCreate, GroupId, UserId

CITIES = {"Berlin": "DE", "Bonn": "DE", "Paris": "FR"}
_numbers = count(1)


@pytest.fixture(scope="module")
async def db(with_tables):
    """Give a database with the tables and two domains, for all tests of a file."""
    async with with_tables(UsageRow, FairShareRow, GroupMemberRow, GroupRow, DomainRow) as db:
        await DomainRepository(db).batch_create(
            [DomainCreate(DomainName(name), name, Continent.EUROPE) for name in ("DE", "FR")]
        )
        yield db


@pytest.fixture(scope="module")
async def cities(db) -> dict[str, GroupId]:
    """Give the ids of two groups of one domain and one of another, by their names."""
    groups = GroupRepository(db)
    made = {
        name: await groups.create(GroupCreate(DomainName(domain), name), scope=DomainScope(DomainName(domain)))
        for name, domain in CITIES.items()
    }
    return {name: group.id for name, group in made.items()}


@pytest.fixture
def shares(db) -> FairShareRepository:
    """Give the repository."""
    return FairShareRepository(db)


@pytest.fixture
def usages(db) -> UsageRepository:
    """Give that of usage."""
    return UsageRepository(db)


@pytest.fixture
def new(cities):
    """Give what says of a new share of a tenant, for a user that no other test has: in Berlin, or in Paris."""

    def spec(tenant: DomainShareScope, **fields) -> FairShareCreate:
        city = cities["Berlin" if tenant.domain_name == "DE" else "Paris"]
        return FairShareCreate(tenant.domain_name, city, UserId(UUID(int=next(_numbers))), **fields)

    return spec


@pytest.fixture
def make(shares, new):
    """Give what makes such a share."""

    async def made(tenant: DomainShareScope, **fields) -> FairShareData:
        return await shares.create(new(tenant, **fields), scope=tenant)

    return made
