"""Standings: shares and usage are read once, whatever is made of them."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

from examples.domain.types import DomainName
from examples.fair_share.standings import Decay
from examples.fair_share.types import DomainShareScope, FairShareKey, Usage
from support import count_statements

DE = DomainShareScope(DomainName("DE"))
TODAY = date(2024, 5, 1)
WEEK = Decay(TODAY, half_life=timedelta(days=7))


@pytest.fixture
async def users(shares, usages, new) -> list[FairShareKey]:
    """Give two users, who are due 1 and 3 and used just that, and one whose share is deleted."""
    made = [await shares.create(new(DE, weight=Decimal(weight)), scope=DE) for weight in (1, 3, 5)]
    amounts = ((10, 0), (60, 7), (77, 0))
    await usages.record(
        [
            Usage(*share.key, day=TODAY - timedelta(days=days), used=Decimal(amount))
            for share, (amount, days) in zip(made, amounts, strict=True)
        ]
    )
    await shares.delete(made[2].key, scope=DE)
    return [share.key for share in made[:2]]


async def test_they_are_computed_in_memory(db, shares, users) -> None:
    """Two reads whatever the number of rows: weights and decayed usage become shares and factors."""
    with count_statements(db) as sent:
        found = await shares.standings(WEEK)
    assert len([statement for statement in sent if "FROM" in statement]) == 2
    ada, bob = (found.user(key) for key in users)
    assert (ada.share, ada.usage, bob.share, bob.usage) == (0.25, 0.25, 0.75, 0.75)
    assert ada.factor == bob.factor == 0.5
    berlin = users[0].group_id
    assert await shares.user_standing(users[0], WEEK) == ada
    assert await shares.group_standing(DE.domain_name, berlin, WEEK) == found.group(DE.domain_name, berlin)
    assert (await shares.domain_standings(WEEK))[DE.domain_name].share == 1.0
    assert found.group(DE.domain_name, berlin).used == 40.0


async def test_they_are_of_one_moment(db, shares, users, monkeypatch) -> None:
    """What another removes between the two reads is in both."""
    source, read = shares.db_source, shares.db_source.batch_querier.stream
    before = await source.shares_and_usage()

    async def and_then_another_writes(db_sess):
        async for share in read(db_sess):
            yield share
        async with db.engine.begin() as other:
            await other.exec_driver_sql("DELETE FROM usages")

    monkeypatch.setattr(source.batch_querier, "stream", and_then_another_writes)
    assert await source.shares_and_usage() == before
