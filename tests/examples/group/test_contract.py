"""What every repository promises, of groups."""

from __future__ import annotations

from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.types import DomainCreate, DomainName
from examples.group import errors
from examples.group.repository import GroupRepository
from examples.group.rows import GroupMemberRow, GroupRow
from examples.group.types import DomainScope, GroupCreate, GroupPatch
from examples.group.views import GroupCard
from rowsmith import OptionalState, Unscoped
from rowsmith.testing import RepositoryContract

ANYBODY = Unscoped(reason="no tenant has a domain that is not there")
TENANTS = (DomainName("DE"), DomainName("FR"))


class TestGroups(RepositoryContract):
    repository = GroupRepository
    tables = (GroupMemberRow, GroupRow, DomainRow)  # in any order, with those that foreign keys lead to
    projections = (GroupCard,)

    async def prepare(self, db):  # once for the class; what is set on self is there in every test
        await DomainRepository(db).batch_create([DomainCreate(name, name, Continent.EUROPE) for name in TENANTS])

    def spec(self, n):
        return GroupCreate(TENANTS[n % 2], f"Group {n}", population=n)

    def patch(self, n):
        return GroupPatch(population=OptionalState.update(n + 100))

    def scope(self, n):
        return DomainScope(TENANTS[n % 2])

    def refused(self, n):
        nowhere = GroupCreate(DomainName("XX"), "Atlantis")
        return {
            errors.GroupNameTaken: self.spec(n),
            errors.GroupDomainNotFound: lambda groups: groups.create(nowhere, scope=ANYBODY),
        }

    async def test_of_our_own(self):  # no row is there yet
        group = await GroupRepository(self.db).create(self.spec(0), scope=self.scope(0))
        assert group.name == "Group 0"
