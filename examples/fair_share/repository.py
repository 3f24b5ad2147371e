"""The repositories of fair shares and of usage, an entity each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from examples.domain.types import DomainName
from examples.fair_share import errors
from examples.fair_share.db_source import FairShareDBSource
from examples.fair_share.policies import policies
from examples.fair_share.rows import FairShareRow, UsageRow
from examples.fair_share.standings import Decay, Standing, Standings, standings
from examples.fair_share.types import (
    DomainShareScope,
    FairShareData,
    FairShareKey,
    GroupShareScope,
    Usage,
    UsageKey,
    UserShareScope,
)
from examples.group.types import GroupId
from rowsmith import AllOf, Database, Repository, SearchScope
from rowsmith.cache import CacheSource
from rowsmith.resilience import LayerType


class FairShareRepository(Repository[FairShareRow, FairShareData, FairShareKey]):
    """Fair shares by composite key, and the standings that follow from them."""

    def __init__(self, db: Database, cache_source: CacheSource[FairShareKey, FairShareData] | None = None) -> None:
        self._fair_shares = FairShareDBSource(db)
        super().__init__(db_source=self._fair_shares, cache_source=cache_source)

    async def standings(self, decay: Decay, scope: SearchScope) -> Standings:
        """Give the standings of those in the scope, among each other."""
        return await self._fetch(decay, scope)

    async def domain_standings(self, decay: Decay, scope: SearchScope) -> Mapping[DomainName, Standing]:
        """Give how the domains in the scope stand among each other."""
        return (await self._fetch(decay, scope)).domains()

    async def group_standing(
        self, domain_name: DomainName, group_id: GroupId, decay: Decay, scope: SearchScope
    ) -> Standing:
        """Give how a group stands among all those of its domain, if the scope shows any share in it."""
        await self._see(scope, GroupShareScope(domain_name, group_id))
        return (await self._fetch(decay, DomainShareScope(domain_name))).group(domain_name, group_id)

    async def user_standing(self, key: FairShareKey, decay: Decay, scope: SearchScope) -> Standing:
        """Give how a user stands among all those of the group, if the scope shows the user's share."""
        group = GroupShareScope(key.domain_name, key.group_id)
        await self._see(scope, group, UserShareScope(key.user_id))
        return (await self._fetch(decay, group)).user(key)

    async def _see(self, scope: SearchScope, *of: SearchScope) -> None:
        """Refuse what the scope shows no share of: what follows counts the shares of others, too."""
        if not await self.exists(AllOf(scope, *of)):
            raise errors.FairShareNotFound(facts=errors.STANDING)

    async def _fetch(self, decay: Decay, scope: SearchScope) -> Standings:
        """Read shares and usage once, in one snapshot; what is made of them is made in memory."""
        shares, usage = await self._fair_shares.shares_and_usage(scope)
        return standings(shares, usage, decay)


class UsageRepository(Repository[UsageRow, Usage, UsageKey]):
    """What was used, by user and day."""

    not_found = errors.UsageNotFound
    violations = {
        "fk_usages_domain_name_group_id_user_id": errors.UsageWithoutShare,
        "ck_usages_used_not_negative": errors.UsageNegative,
    }
    resilience = policies(LayerType.REPOSITORY, "usage")
    scope_required = True

    async def record(self, usage: Sequence[Usage], scope: SearchScope) -> list[Usage]:
        """Note what was used on each day; what is noted for a day already is replaced."""
        return [noted.data for noted in (await self.batch_upsert(usage, scope=scope)).succeeded]
