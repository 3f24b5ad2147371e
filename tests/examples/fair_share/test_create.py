"""Making a fair share."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from examples.domain.types import DomainName
from examples.fair_share.errors import FairShareGroupNotFound, FairShareTaken, WeightNotPositive
from examples.fair_share.types import DomainShareScope, FairShareCreate, FairShareKey
from examples.group.types import GroupId
from rowsmith import ScopeMismatch

DE, FR = DomainShareScope(DomainName("DE")), DomainShareScope(DomainName("FR"))


async def test_it_comes_back_as_the_database_holds_it(shares, new) -> None:
    """With the first version, and get gives the same."""
    spec = new(DE, weight=Decimal("2.5"))
    made = await shares.create(spec, scope=DE)
    assert made.key == FairShareKey(spec.domain_name, spec.group_id, spec.user_id)
    assert (made.weight, made.version) == (Decimal("2.5"), 1)
    assert await shares.get(made.key, DE) == made


@pytest.mark.parametrize(
    "change, error, code",
    [
        ({}, FairShareTaken, "fair-share_create_taken"),
        ({"group_id": GroupId(10**6)}, FairShareGroupNotFound, "fair-share_create_group-not-found"),
        ({"weight": Decimal(0)}, WeightNotPositive, "fair-share_create_weight-not-positive"),
    ],
)
async def test_each_constraint_has_an_error_of_its_own(shares, make, new, change, error, code) -> None:
    """A second share for one user, one of no group, and a weight of nothing."""
    taken = await make(DE)
    spec = FairShareCreate(taken.domain_name, taken.group_id, taken.user_id)
    with pytest.raises(error) as caught:
        await shares.create(replace(new(DE) if change else spec, **change), scope=DE)
    assert caught.value.error_code == code


async def test_the_group_is_one_of_the_same_domain(shares, new, cities) -> None:
    """Although the id is there, another tenant's group is none."""
    spec = replace(new(FR), group_id=cities["Berlin"])
    with pytest.raises(FairShareGroupNotFound) as caught:
        await shares.create(spec, scope=FR)
    assert caught.value.error_code == "fair-share_create_group-not-found"


async def test_the_domain_is_there(shares, new) -> None:
    """A domain that is not has no group either."""
    nowhere = DomainShareScope(DomainName("XX"))
    with pytest.raises(FairShareGroupNotFound):
        await shares.create(replace(new(DE), domain_name=nowhere.domain_name), scope=nowhere)


async def test_none_is_made_for_another_tenant(shares, new) -> None:
    """What a spec says must be what the scope says, and nothing is there afterwards."""
    spec = new(FR)
    with pytest.raises(ScopeMismatch):
        await shares.create(spec, scope=DE)
    assert await shares.find(FairShareKey(spec.domain_name, spec.group_id, spec.user_id), FR) is None
