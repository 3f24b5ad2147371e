"""What the tests of domains share: a table for the tests of a file, and a maker of rows that do not meet."""

from __future__ import annotations

from itertools import count

import pytest

from examples.domain.repository import DomainRepository
from examples.domain.rows import DomainRow
from examples.domain.types import ContinentScope, DomainCreate, DomainData, DomainName

_numbers = count(1)


@pytest.fixture(scope="module")
async def db(with_tables):
    """Give a database with the table, for all tests of a file."""
    async with with_tables(DomainRow) as db:
        yield db


@pytest.fixture
def domains(db) -> DomainRepository:
    """Give the repository."""
    return DomainRepository(db)


@pytest.fixture
def make(domains):
    """Give what makes a domain of a tenant, with a name and a title that no other test has."""

    async def made(tenant: ContinentScope, **fields) -> DomainData:
        number = next(_numbers)
        return await domains.create(
            DomainCreate(DomainName(f"D{number}"), f"Domain {number}", tenant.continent, **fields), scope=tenant
        )

    return made
