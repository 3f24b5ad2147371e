"""Reading fair shares by their composite keys."""

from __future__ import annotations

from uuid import UUID

import pytest

from examples.domain.types import DomainName
from examples.fair_share.errors import FairShareNotFound
from examples.fair_share.types import DomainShareScope, FairShareKey
from examples.group.types import UserId
from rowsmith import InvalidValue

DE, FR = DomainShareScope(DomainName("DE")), DomainShareScope(DomainName("FR"))


async def test_the_key_is_a_named_tuple_or_a_plain_one(shares, make) -> None:
    """In the key's order, and whole."""
    made = await make(DE)
    assert (
        await shares.get(made.key, DE)
        == await shares.get(tuple(made.key), DE)
        == await shares.find(made.key, DE)
        == made
    )
    with pytest.raises(InvalidValue):
        await shares.get(tuple(made.key)[:2], DE)


async def test_another_tenants_and_an_absent_one_are_not_found(shares, make, cities) -> None:
    """By get, and None by find."""
    theirs = (await make(FR)).key
    for key in (theirs, FairShareKey(DE.domain_name, cities["Berlin"], UserId(UUID(int=0)))):
        assert await shares.find(key, DE) is None
        with pytest.raises(FairShareNotFound) as caught:
            await shares.get(key, DE)
        assert caught.value.error_code == "fair-share_get_not-found"


async def test_many_come_in_the_order_of_the_keys(shares, make) -> None:
    """What is missing is named on the error."""
    first, second, theirs = await make(DE), await make(DE), await make(FR)
    assert await shares.batch_get([second.key, first.key], scope=DE) == [second, first]
    with pytest.raises(FairShareNotFound) as caught:
        await shares.batch_get([first.key, theirs.key], scope=DE)
    assert caught.value.missing == (theirs.key,)
