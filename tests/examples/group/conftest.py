"""What the tests of groups share: tables and two tenants for those of a file, and a maker of rows that do not meet."""

from __future__ import annotations

from itertools import count

import pytest
from sqlalchemy.dialects import postgresql

from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.types import DomainCreate, DomainName
from examples.group.repository import GroupRepository
from examples.group.rows import GroupMemberRow, GroupRow
from examples.group.types import DomainScope, GroupCreate, GroupData

_numbers = count(1)


@pytest.fixture(scope="module")
async def db(with_tables):
    """Give a database with the tables and two domains, for all tests of a file."""
    async with with_tables(GroupMemberRow, GroupRow, DomainRow) as db:
        await DomainRepository(db).batch_create(
            [DomainCreate(DomainName(name), name, Continent.EUROPE) for name in ("DE", "FR")]
        )
        yield db


@pytest.fixture
def groups(db) -> GroupRepository:
    """Give the repository."""
    return GroupRepository(db)


@pytest.fixture
def make(groups):
    """Give what makes a group of a tenant, with a name that no other test has."""

    async def made(tenant: DomainScope, **fields) -> GroupData:
        spec = GroupCreate(tenant.domain_name, **{"name": f"Group {next(_numbers)}", **fields})
        return await groups.create(spec, scope=tenant)

    return made


@pytest.fixture(scope="session")
def sql():
    """Give what writes a condition as PostgreSQL gets it, in one line and with its values."""

    def written(condition) -> str:
        dialect = postgresql.dialect(paramstyle="named")
        return " ".join(str(condition.compile(dialect=dialect, compile_kwargs={"literal_binds": True})).split())

    return written
