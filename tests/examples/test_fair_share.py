"""The example fair share: composite keys, versions, and one computation over many rows."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.types import DomainCreate, DomainName
from examples.fair_share.errors import FairShareNotFound, FairShareTaken, WeightNotPositive
from examples.fair_share.repository import FairShareRepository
from examples.fair_share.rows import FairShareRow, UsageRow
from examples.fair_share.search import FairShareFilter, FairShareSearch
from examples.fair_share.standings import Decay
from examples.fair_share.types import FairShareCreate, FairShareKey, FairSharePatch, GroupShareScope, Usage
from examples.group.repository import GroupRepository
from examples.group.rows import GroupMemberRow, GroupRow
from examples.group.types import DomainScope, GroupCreate, UserId
from rowsmith import InvalidValue, OptionalState, StaleVersion
from rowsmith.filters import NumberFilter
from support import count_statements

DE = DomainName("DE")
ADA, BOB = UserId(UUID(int=1)), UserId(UUID(int=2))
TODAY = date(2024, 5, 1)


@pytest.fixture
async def shares(any_tables):
    """Give the repository with one domain and one group, on each database."""
    async with any_tables(UsageRow, FairShareRow, GroupMemberRow, GroupRow, DomainRow) as db:
        await DomainRepository(db).create(DomainCreate(DE, "Germany", Continent.EUROPE))
        yield FairShareRepository(db)


@pytest.fixture
async def berlin(shares):
    """Give the id of a group to share."""
    return (await GroupRepository(shares.db).create(GroupCreate(DE, "Berlin"), scope=DomainScope(DE))).id


async def test_a_share_is_read_by_its_composite_key(shares, berlin) -> None:
    """The key goes in as a NamedTuple or a plain tuple, in the key's order."""
    made = await shares.create(FairShareCreate(DE, berlin, ADA, Decimal("2.5")))
    assert made.key == FairShareKey(DE, berlin, ADA)
    assert await shares.get(made.key) == await shares.get((DE, berlin, ADA)) == made
    assert await shares.batch_get([made.key]) == [made]
    with pytest.raises(InvalidValue):
        await shares.get((DE, berlin))
    with pytest.raises(FairShareNotFound):
        await shares.get(FairShareKey(DE, berlin, BOB))


async def test_constraints_have_the_domains_own_errors(shares, berlin) -> None:
    """A second share for one user, and a weight of nothing, are each told."""
    await shares.create(FairShareCreate(DE, berlin, ADA))
    with pytest.raises(FairShareTaken):
        await shares.create(FairShareCreate(DE, berlin, ADA))
    with pytest.raises(WeightNotPositive):
        await shares.create(FairShareCreate(DE, berlin, BOB, Decimal(0)))


async def test_two_editors_do_not_overwrite_each_other(shares, berlin) -> None:
    """The second of two writes that started from one version is stale, and is no "not found"."""
    made = await shares.create(FairShareCreate(DE, berlin, ADA))
    heavier = FairSharePatch(weight=OptionalState.update(Decimal(3)))
    after = await shares.update(made.key, heavier, expected_version=made.version)
    assert (after.weight, after.version) == (Decimal(3), made.version + 1)
    with pytest.raises(StaleVersion):
        await shares.update(made.key, heavier, expected_version=made.version)


async def test_shares_are_searched_within_a_group(shares, berlin) -> None:
    """Scope, filter and order on a table with a composite key."""
    for user, weight in ((ADA, 1), (BOB, 4)):
        await shares.create(FairShareCreate(DE, berlin, user, Decimal(weight)), scope=GroupShareScope(berlin))
    heavy = await shares.search(GroupShareScope(berlin), FairShareFilter(weight=NumberFilter(gt=Decimal(2))))
    assert [share.user_id for share in heavy] == [BOB]
    asked = FairShareSearch.model_validate({"order": [{"field": "weight", "direction": "desc"}], "first": 1})
    page = await shares.search(GroupShareScope(berlin), asked.to_query())
    assert ([share.user_id for share in page], page.has_next_page) == ([BOB], True)


async def test_standings_read_once_and_compute_in_memory(shares, berlin) -> None:
    """Two statements whatever the number of rows: weights and decayed usage become shares and factors."""
    for user, weight in ((ADA, 1), (BOB, 3)):
        await shares.create(FairShareCreate(DE, berlin, user, Decimal(weight)))
    week_ago = TODAY - timedelta(days=7)
    await shares.record([Usage(DE, berlin, ADA, TODAY, Decimal(99)), Usage(DE, berlin, BOB, week_ago, Decimal(60))])
    await shares.record([Usage(DE, berlin, ADA, TODAY, Decimal(10))])
    with count_statements(shares.db) as sent:
        found = await shares.standings(Decay(TODAY, half_life=timedelta(days=7)))
    assert len(sent) == 2
    ada, bob = (found.user(FairShareKey(DE, berlin, user)) for user in (ADA, BOB))
    assert (ada.share, ada.usage, bob.share, bob.usage) == (0.25, 0.25, 0.75, 0.75)
    assert ada.factor == bob.factor == 0.5
    assert found.domains()[DE].share == found.group(DE, berlin).share == 1.0
    assert found.group(DE, berlin).used == 40.0
