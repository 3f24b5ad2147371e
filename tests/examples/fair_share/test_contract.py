"""What every repository promises, of fair shares and of usage."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from uuid import UUID

from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.types import DomainCreate, DomainName
from examples.fair_share import errors
from examples.fair_share.cache_source import fair_share_cache
from examples.fair_share.repository import FairShareRepository, UsageRepository
from examples.fair_share.rows import FairShareRow, UsageRow
from examples.fair_share.types import DomainShareScope, DomainUsageScope, FairShareCreate, FairSharePatch, Usage
from examples.group.repository import GroupRepository
from examples.group.rows import GroupMemberRow, GroupRow
from examples.group.types import DomainScope, GroupCreate, GroupId, UserId
from rowsmith import OptionalState, Unscoped
from rowsmith.testing import RepositoryContract

TENANTS = (DomainName("DE"), DomainName("FR"))


class OfTenants(RepositoryContract):
    """Two domains, each with a group whose users have shares: a user for each number."""

    tables = (UsageRow, FairShareRow, GroupMemberRow, GroupRow, DomainRow)

    async def prepare(self, db):
        await DomainRepository(db).batch_create([DomainCreate(name, name, Continent.EUROPE) for name in TENANTS])
        groups = GroupRepository(db)
        made = [await groups.create(GroupCreate(name, "Capital"), scope=DomainScope(name)) for name in TENANTS]
        self.groups = [group.id for group in made]

    def share(self, n, weight=1):
        return FairShareCreate(TENANTS[n % 2], self.groups[n % 2], UserId(UUID(int=n)), Decimal(weight))


class TestFairShares(OfTenants):
    repository = FairShareRepository

    def connect(self, db):
        return FairShareRepository(db, fair_share_cache())

    def spec(self, n):
        return self.share(n)

    def patch(self, n):
        return FairSharePatch(weight=OptionalState.update(Decimal(n + 2)))

    def scope(self, n):
        return DomainShareScope(TENANTS[n % 2])

    def refused(self, n):
        return {
            errors.FairShareTaken: self.spec(n),
            errors.FairShareGroupNotFound: replace(self.share(n + 2), group_id=GroupId(0)),
            errors.WeightNotPositive: FairSharePatch(weight=OptionalState.update(Decimal(0))),
        }


class TestUsage(OfTenants):
    """What was used is noted once more, and not changed by patches."""

    repository = UsageRepository
    changes = False

    async def prepare(self, db):
        await super().prepare(db)
        everybody = Unscoped(reason="the shares of both tenants")
        await FairShareRepository(db).batch_create([self.share(n) for n in range(11)], scope=everybody)

    def spec(self, n):
        share = self.share(n)
        return Usage(share.domain_name, share.group_id, share.user_id, date(2024, 5, 1), Decimal(n))

    def scope(self, n):
        return DomainUsageScope(TENANTS[n % 2])

    def refused(self, n):
        return {
            errors.UsageWithoutShare: replace(self.spec(n + 2), user_id=UserId(UUID(int=99))),
            errors.UsageNegative: replace(self.spec(n + 2), used=Decimal(-1)),
        }
