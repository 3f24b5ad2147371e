"""Standings: shares and usage are read once, whatever is made of them."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from itertools import count
from uuid import UUID

import pytest

from examples.domain.types import DomainName
from examples.fair_share.errors import FairShareNotFound
from examples.fair_share.standings import Decay
from examples.fair_share.types import (
    DomainShareScope,
    DomainUsageScope,
    FairShareCreate,
    FairShareKey,
    GroupShareScope,
    Usage,
    UserShareScope,
)
from examples.group.repository import GroupRepository
from examples.group.types import DomainScope, GroupCreate, UserId
from rowsmith import Unscoped

DE, FR = DomainShareScope(DomainName("DE")), DomainShareScope(DomainName("FR"))
TODAY = date(2024, 5, 1)
WEEK = Decay(TODAY, half_life=timedelta(days=7))
_numbers = count(1)


@pytest.fixture
async def users(db, shares, usages) -> list[FairShareKey]:
    """Give two users of a new group, who are due 1 and 3 and used just that, and one whose share is deleted."""
    spec = GroupCreate(DE.domain_name, f"Town {next(_numbers)}")
    town = await GroupRepository(db).create(spec, scope=DomainScope(DE.domain_name))
    made = [
        await shares.create(FairShareCreate(*share_key(town.id), weight=Decimal(weight)), scope=DE)
        for weight in (1, 3, 5)
    ]
    amounts = ((10, 0), (60, 7), (77, 0))
    await usages.record(
        [
            Usage(*share.key, day=TODAY - timedelta(days=days), used=Decimal(amount))
            for share, (amount, days) in zip(made, amounts, strict=True)
        ],
        DomainUsageScope(DE.domain_name),
    )
    await shares.delete(made[2].key, scope=DE)
    return [share.key for share in made]


def share_key(group_id) -> FairShareKey:
    return FairShareKey(DE.domain_name, group_id, UserId(UUID(int=next(_numbers))))


async def test_they_are_computed_in_memory(shares, users, sent) -> None:
    """Two reads whatever the number of rows: weights and decayed usage become shares and factors."""
    sent.clear()
    found = await shares.standings(WEEK, DE)
    assert len([statement for statement in sent if "FROM" in statement]) == 2
    ada, bob = (found.user(key) for key in users[:2])
    assert (ada.share, ada.usage, bob.share, bob.usage) == (0.25, 0.25, 0.75, 0.75)
    assert ada.factor == bob.factor == 0.5
    town = users[0].group_id
    assert found.group(DE.domain_name, town).used == 40.0
    assert (await shares.domain_standings(WEEK, DE))[DE.domain_name].share == 1.0
    assert await shares.group_standing(DE.domain_name, town, WEEK, DE) == found.group(DE.domain_name, town)


@pytest.mark.parametrize(
    "scope", [lambda key: DE, lambda key: GroupShareScope(*key[:2]), lambda key: UserShareScope(key.user_id)]
)
async def test_ones_own_is_among_all_of_the_group(shares, users, scope) -> None:
    """Whoever of them the caller may see: a scope says who is seen, and not who counts."""
    found = await shares.user_standing(users[0], WEEK, scope(users[0]))
    assert (found.share, found.usage) == (0.25, 0.25)


async def test_who_is_not_seen_has_none(shares, users) -> None:
    """Absent, deleted or another tenant's: one answer, without a value."""
    absent, deleted = share_key(users[0].group_id), users[2]
    refused = []
    for key, scope in ((absent, DE), (deleted, DE), (users[0], FR), (users[0], UserShareScope(users[1].user_id))):
        with pytest.raises(FairShareNotFound) as caught:
            await shares.user_standing(key, WEEK, scope)
        refused.append((str(caught.value), caught.value.error_code))
    assert set(refused) == {("the fair share was not found", "fair-share_standing_not-found")}
    for group, scope in ((2_000_000, DE), (users[0].group_id, FR)):
        with pytest.raises(FairShareNotFound):
            await shares.group_standing(DE.domain_name, group, WEEK, scope)
    found = await shares.standings(WEEK, DE)
    with pytest.raises(FairShareNotFound):
        found.user(deleted)


async def test_they_are_of_one_tenant(shares, usages, make, users) -> None:
    """What is read is what the scope shows, of usage as of shares."""
    theirs = await make(FR)
    await usages.record([Usage(*theirs.key, day=TODAY, used=Decimal(1))], DomainUsageScope(FR.domain_name))
    seen, used = await shares.db_source.shares_and_usage(DE)
    assert {share.domain_name for share in seen} == {entry.domain_name for entry in used} == {DE.domain_name}
    everybody = await shares.domain_standings(WEEK, Unscoped(reason="the test looks at both tenants"))
    assert everybody.keys() == {DE.domain_name, FR.domain_name}


async def test_they_are_of_one_moment(db, shares, users, monkeypatch) -> None:
    """What another removes between the two reads is in both."""
    source, read = shares.db_source, shares.db_source.batch_querier.stream
    before = await source.shares_and_usage(DE)

    async def and_then_another_writes(db_sess, scope):
        async for share in read(db_sess, scope):
            yield share
        async with db.engine.begin() as other:
            await other.exec_driver_sql("DELETE FROM usages")

    monkeypatch.setattr(source.batch_querier, "stream", and_then_another_writes)
    assert await source.shares_and_usage(DE) == before
