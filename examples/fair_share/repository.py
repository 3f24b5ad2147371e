"""The repositories of fair shares and of usage, an entity each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from examples.domain.types import DomainName
from examples.fair_share import errors
from examples.fair_share.db_source import FairShareDBSource
from examples.fair_share.policies import policies
from examples.fair_share.rows import FairShareRow, UsageRow
from examples.fair_share.standings import Decay, Standing, Standings, standings
from examples.fair_share.types import FairShareData, FairShareKey, Usage, UsageKey
from examples.group.types import GroupId
from rowsmith import Database, Repository
from rowsmith.cache import CacheSource
from rowsmith.resilience import LayerType


class FairShareRepository(Repository[FairShareRow, FairShareData, FairShareKey]):
    """Fair shares by composite key, and the standings that follow from them."""

    def __init__(self, db: Database, cache_source: CacheSource[FairShareKey, FairShareData] | None = None) -> None:
        self._fair_shares = FairShareDBSource(db)
        super().__init__(db_source=self._fair_shares, cache_source=cache_source)

    async def standings(self, decay: Decay) -> Standings:
        """Give the standings of all."""
        return await self._fetch(decay)

    async def domain_standings(self, decay: Decay) -> Mapping[DomainName, Standing]:
        """Give how domains stand among each other."""
        return (await self._fetch(decay)).domains()

    async def group_standing(self, domain_name: DomainName, group_id: GroupId, decay: Decay) -> Standing:
        """Give how a group stands among those of its domain."""
        return (await self._fetch(decay)).group(domain_name, group_id)

    async def user_standing(self, key: FairShareKey, decay: Decay) -> Standing:
        """Give how a user stands among those of the group."""
        return (await self._fetch(decay)).user(key)

    async def _fetch(self, decay: Decay) -> Standings:
        """Read shares and usage once, in one snapshot; what is made of them is made in memory."""
        shares, usage = await self._fair_shares.shares_and_usage()
        return standings(shares, usage, decay)


class UsageRepository(Repository[UsageRow, Usage, UsageKey]):
    """What was used, by user and day."""

    not_found = errors.UsageNotFound
    violations = {
        "fk_usages_domain_name_group_id_user_id": errors.UsageWithoutShare,
        "ck_usages_used_not_negative": errors.UsageNegative,
    }
    resilience = policies(LayerType.REPOSITORY, "usage")

    async def record(self, usage: Sequence[Usage]) -> list[Usage]:
        """Note what was used on each day; what is noted for a day already is replaced."""
        return [noted.data for noted in (await self.batch_upsert(usage)).succeeded]
