"""Noting what was used: an entity, a repository."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

from examples.domain.types import DomainName
from examples.fair_share.errors import UsageNegative, UsageNotFound, UsageWithoutShare
from examples.fair_share.rows import UsageRow
from examples.fair_share.types import DomainShareScope, DomainUsageScope, Usage, UsageKey
from rowsmith import ScopeMismatch

DE, FR = DomainShareScope(DomainName("DE")), DomainShareScope(DomainName("FR"))
OURS, THEIRS = DomainUsageScope(DE.domain_name), DomainUsageScope(FR.domain_name)
TODAY = date(2024, 5, 1)


def used(share, amount: int, day: date = TODAY) -> Usage:
    return Usage(share.domain_name, share.group_id, share.user_id, day, Decimal(amount))


async def test_what_is_noted_for_a_day_already_is_replaced(usages, make) -> None:
    """Other days are not."""
    share = await make(DE)
    yesterday = used(share, 5, TODAY - timedelta(days=1))
    await usages.record([used(share, 99), yesterday], OURS)
    assert await usages.record([used(share, 10)], OURS) == [used(share, 10)]
    assert await usages.get(UsageKey(*share.key, TODAY), OURS) == used(share, 10)
    assert await usages.get(UsageKey(*share.key, yesterday.day), OURS) == yesterday


async def test_each_constraint_has_an_error_of_its_own(usages, make, new) -> None:
    """And of many entries none is noted."""
    share = await make(DE)
    for wrong, error in ((used(new(DE), 1), UsageWithoutShare), (used(share, -1, TODAY), UsageNegative)):
        with pytest.raises(error):
            await usages.record([used(share, 1, TODAY - timedelta(days=1)), wrong], OURS)
    assert await usages.find(UsageKey(*share.key, TODAY - timedelta(days=1)), OURS) is None


async def test_another_tenants_is_not_found(usages, make) -> None:
    """By its key or in a search."""
    share = await make(FR)
    (noted,) = await usages.record([used(share, 1)], THEIRS)
    key = UsageKey(*share.key, TODAY)
    assert await usages.get(key, THEIRS) == noted
    with pytest.raises(UsageNotFound):
        await usages.get(key, OURS)
    assert noted not in await usages.search(OURS)


async def test_none_is_noted_for_another_tenant(usages, make) -> None:
    """What a scope says of a column is the only value that a new row may have."""
    share = await make(FR)
    with pytest.raises(ScopeMismatch):
        await usages.record([used(share, 1)], OURS)
    assert await usages.find(UsageKey(*share.key, TODAY), THEIRS) is None


async def test_a_scope_that_limits_nothing_is_found(usages, make, monkeypatch) -> None:
    """With a condition that holds for all, the test above fails."""
    monkeypatch.setattr(DomainUsageScope, "to_conditions", lambda _: [UsageRow.group_id > 0])
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await test_another_tenants_is_not_found(usages, make)
