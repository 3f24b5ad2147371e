"""The examples' caches where they are in Redis: the same entries for all processes, ended by each one's writes."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.types import DomainCreate, DomainName
from examples.fair_share.cache_source import fair_share_cache
from examples.fair_share.repository import FairShareRepository
from examples.fair_share.rows import FairShareRow
from examples.fair_share.types import DomainShareScope, FairShareCreate, FairSharePatch
from examples.group.cache_source import group_cache
from examples.group.repository import GroupRepository
from examples.group.rows import GroupMemberRow, GroupRow
from examples.group.types import DomainScope, GroupCreate, GroupPatch, UserId
from rowsmith import OptionalState, Unscoped
from support import count_statements

DE = DomainName("DE")
EVERYBODY = Unscoped(reason="a test looks at everything")


async def test_one_process_writes_and_another_reads(with_tables, client) -> None:
    """What one has read another finds there, and no longer once it is changed: of groups, and of fair shares."""
    async with with_tables(FairShareRow, GroupMemberRow, GroupRow, DomainRow) as db:
        await DomainRepository(db).create(DomainCreate(DE, "Germany", Continent.EUROPE))
        one, other = (GroupRepository(db, cache_source=group_cache(client)) for _ in range(2))
        made = await one.create(GroupCreate(DE, "Berlin", tags=["capital"], place={"lat": 52.5}), scope=DomainScope(DE))
        shares, others = (FairShareRepository(db, fair_share_cache(client)) for _ in range(2))
        scope = DomainShareScope(DE)
        share = await shares.create(FairShareCreate(DE, made.id, UserId(UUID(int=1))), scope=scope)
        assert (await one.get(made.id, EVERYBODY), await shares.get(share.key, scope)) == (made, share)
        with count_statements(db) as sent:
            assert await other.batch_get([made.id], scope=EVERYBODY) == [made]
            assert await others.get(share.key, scope) == share
        assert sent == []
        more = GroupPatch(population=OptionalState.update(7))
        changed = await other.update(made.id, more, scope=DomainScope(DE))
        heavier = await others.update(share.key, FairSharePatch(weight=OptionalState.update(Decimal(2))), scope=scope)
        assert (await one.get(made.id, EVERYBODY), await shares.get(share.key, scope)) == (changed, heavier)
