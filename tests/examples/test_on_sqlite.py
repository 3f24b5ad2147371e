"""The examples on SQLite: the same repositories, from one end to the other."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from examples.domain.errors import DomainNotFound, DomainTitleTaken
from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.search import DomainFilter
from examples.domain.types import ContinentScope, DomainCreate, DomainName, DomainPatch
from examples.fair_share.errors import FairShareNotFound, FairShareTaken
from examples.fair_share.repository import FairShareRepository, UsageRepository
from examples.fair_share.rows import FairShareRow, UsageRow
from examples.fair_share.search import FairShareFilter
from examples.fair_share.standings import Decay
from examples.fair_share.types import (
    DomainUsageScope,
    FairShareCreate,
    FairSharePatch,
    GroupShareScope,
    Usage,
    UserShareScope,
)
from examples.group.errors import GroupNameTaken, GroupNotFound
from examples.group.options import GroupConditions, GroupOrders
from examples.group.repository import GroupRepository
from examples.group.rows import GroupMemberRow, GroupRow
from examples.group.types import DomainScope, GroupCreate, GroupPatch, UserId, UserScope
from examples.group.views import DomainStats
from rowsmith import (
    Count,
    CursorForwardPagination,
    OptionalState,
    ScopeMismatch,
    StaleVersion,
    StillReferenced,
    TriState,
)
from rowsmith.filters import NumberFilter, StringFilter
from rowsmith.testing import tables

DE, FR = DomainName("DE"), DomainName("FR")
EUROPE, ASIA = ContinentScope(Continent.EUROPE), ContinentScope(Continent.ASIA)
ADA, BOB = UserId(UUID(int=1)), UserId(UUID(int=2))
TODAY = date(2024, 5, 1)


@pytest.fixture
async def db(sqlite_database):
    """Give a database with two domains."""
    rows = (UsageRow, FairShareRow, GroupMemberRow, GroupRow, DomainRow)
    async with tables(sqlite_database, *rows) as db:
        germany = DomainCreate(DE, "Germany", Continent.EUROPE, languages=["de"])
        await DomainRepository(db).batch_create([germany, DomainCreate(FR, "France", Continent.EUROPE)])
        yield db


async def test_domains(db) -> None:
    """Made, read, searched, changed, deleted and purged, each within a scope."""
    domains = DomainRepository(db)
    germany = await domains.get(DE, EUROPE)
    assert (germany.languages, germany.created_at.tzinfo is not None) == (["de"], True)
    with pytest.raises(DomainTitleTaken):
        await domains.create(DomainCreate(DomainName("XX"), "Germany", Continent.ASIA))
    with pytest.raises(ScopeMismatch):
        await domains.create(DomainCreate(DomainName("XX"), "Other", Continent.EUROPE), scope=ASIA)
    page = await domains.search(EUROPE, None, CursorForwardPagination(1), orders=[DomainRow.title], count=Count.EXACT)
    assert ([domain.name for domain in page], page.total_count, page.has_next_page) == ([FR], 2, True)
    assert await domains.count(None, DomainFilter(title=StringFilter(contains="g"))) == 0
    nulled = DomainPatch(description=TriState.nullify(), languages=OptionalState.update([]))
    assert (await domains.update(DE, nulled, scope=EUROPE)).languages == []
    for call in (domains.get(DE, ASIA), domains.update(DE, nulled, scope=ASIA), domains.purge(DE, scope=ASIA)):
        with pytest.raises(DomainNotFound):
            await call
    assert (await domains.batch_delete([FR, DomainName("XX")], scope=EUROPE)).missing == ["XX"]
    assert await domains.find(FR) is None
    await domains.restore(FR, scope=EUROPE)
    assert [domain.name for domain in (await domains.batch_purge([FR, DE], scope=EUROPE)).succeeded] == [FR, DE]


async def test_groups(db) -> None:
    """Tenants apart, members, names that are free again, sums within a scope."""
    groups, german, french = GroupRepository(db), DomainScope(DE), DomainScope(FR)
    specs = [GroupCreate(DE, name, population=people) for name, people in (("Berlin", 3), ("Bonn", 1))]
    berlin, bonn = await groups.batch_create(specs, scope=german)
    paris = await groups.create(GroupCreate(FR, "Paris"), scope=french)
    with pytest.raises(GroupNameTaken):
        await groups.create(GroupCreate(DE, "Bonn"), scope=german)
    with pytest.raises(StillReferenced):
        await DomainRepository(db).purge(DE)
    await groups.add_member(bonn.id, ADA, scope=german)
    assert [group.id for group in await groups.search(UserScope(ADA))] == [bonn.id]
    found = await groups.search(german, [GroupConditions.name_contains("B")], orders=[GroupOrders.population()])
    assert [group.id for group in found] == [berlin.id, bonn.id]
    assert await groups.count(german, [GroupConditions.name_contains("b")]) == 0
    two = GroupPatch(population=OptionalState.update(2))
    result = await groups.batch_update([paris.id, bonn.id], two, scope=german)
    assert ([group.id for group in result.succeeded], result.missing) == ([bonn.id], [paris.id])
    (stats,) = await groups.aggregate(german, group_by=[GroupRow.domain_name], into=DomainStats)
    assert (stats.groups, stats.people) == (2, 5)
    await groups.delete(bonn.id, scope=german)
    await groups.create(GroupCreate(DE, "Bonn"), scope=german)
    with pytest.raises(GroupNotFound):
        await groups.purge(paris.id, scope=german)
    await groups.purge(bonn.id, scope=german)
    assert await groups.count(UserScope(ADA)) == 0


async def test_fair_shares(db) -> None:
    """A composite key, versions, three levels of standings."""
    shares, usages = FairShareRepository(db), UsageRepository(db)
    berlin = (await GroupRepository(db).create(GroupCreate(DE, "Berlin"), scope=DomainScope(DE))).id
    scope, used = GroupShareScope(DE, berlin), DomainUsageScope(DE)
    ada, bob = [
        await shares.create(FairShareCreate(DE, berlin, user, Decimal(weight)), scope=scope)
        for user, weight in ((ADA, 1), (BOB, 3))
    ]
    with pytest.raises(FairShareTaken):
        await shares.create(FairShareCreate(DE, berlin, ADA), scope=scope)
    assert await shares.batch_get([bob.key, ada.key], scope=scope) == [bob, ada]
    assert list(await shares.search(scope, FairShareFilter(weight=NumberFilter(gt=Decimal(2))))) == [bob]
    same = FairSharePatch(weight=OptionalState.update(Decimal(3)))
    with pytest.raises(StaleVersion):
        await shares.update(bob.key, same, scope=scope, expected_version=bob.version + 1)
    with pytest.raises(FairShareNotFound):
        await shares.update(bob.key, same, scope=UserShareScope(ADA))
    await usages.record(
        [Usage(*ada.key, TODAY, Decimal(99)), Usage(*bob.key, TODAY - timedelta(days=7), Decimal(60))], used
    )
    await usages.record([Usage(*ada.key, TODAY, Decimal(10))], used)
    found = await shares.standings(Decay(TODAY, half_life=timedelta(days=7)), scope)
    nodes = [found.user(key) for key in (ada.key, bob.key)]
    assert [(node.share, node.usage) for node in nodes] == [(0.25, 0.25), (0.75, 0.75)]
    await shares.delete(bob.key, scope=scope)
    assert len((await shares.batch_purge([ada.key, bob.key], scope=scope)).succeeded) == 2
