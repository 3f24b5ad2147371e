"""Searching fair shares: the rows are made once, and every test only reads them."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import pytest
from pydantic import ValidationError

from examples.domain.types import DomainName
from examples.fair_share.repository import FairShareRepository
from examples.fair_share.search import FairShareFilter, FairShareSearch
from examples.fair_share.types import (
    DomainShareScope,
    FairShareCreate,
    GroupShareScope,
    UserShareScope,
)
from examples.group.types import UserId
from rowsmith import AnyOf, Unscoped
from rowsmith.filters import NumberFilter

DE, FR = DomainShareScope(DomainName("DE")), DomainShareScope(DomainName("FR"))
EVERYBODY = Unscoped(reason="the test looks at both tenants")
ADA, BOB = UserId(UUID(int=1)), UserId(UUID(int=2))


@pytest.fixture(scope="module", autouse=True)
async def content(db, cities) -> None:
    """Have one user in three groups of two tenants, and another in one of them."""
    rows = [("Berlin", DE, ADA, 1), ("Berlin", DE, BOB, 4), ("Bonn", DE, ADA, 2), ("Paris", FR, ADA, 8)]
    await FairShareRepository(db).batch_create(
        [FairShareCreate(of.domain_name, cities[city], user, Decimal(weight)) for city, of, user, weight in rows],
        scope=EVERYBODY,
    )


def weights(found) -> list[int]:
    return sorted(int(share.weight) for share in found)


async def test_each_scope_finds_its_own(shares, cities) -> None:
    """Of a domain, of a group, of a user, and of any of them."""
    berlin = GroupShareScope(DE.domain_name, cities["Berlin"])
    for scope, found in ((DE, [1, 2, 4]), (FR, [8]), (berlin, [1, 4]), (UserShareScope(ADA), [1, 2, 8])):
        assert weights(await shares.search(scope)) == found
        assert await shares.count(scope) == len(found)
    assert weights(await shares.search(AnyOf(berlin, FR))) == [1, 4, 8]


async def test_it_is_filtered_within_a_scope(shares) -> None:
    """By a number that is exact."""
    assert weights(await shares.search(DE, FairShareFilter(weight=NumberFilter(gt=Decimal("1.9999"))))) == [2, 4]


async def test_it_is_paged_over_a_composite_key(shares) -> None:
    """One order, and the key after it."""
    asked = FairShareSearch.model_validate({"order": [{"field": "domain_name"}], "first": 3})
    page = await shares.search(EVERYBODY, asked.to_query())
    rest = await shares.search(EVERYBODY, asked.model_copy(update={"after": page.end_cursor}).to_query())
    assert (weights(page), weights(rest), rest.has_next_page) == ([1, 2, 4], [8], False)


@pytest.mark.parametrize("wrong", [{"filter": {"version": {"equals": 1}}}, {"order": [{"field": "user_id"}]}])
def test_what_is_not_declared_is_refused(wrong) -> None:
    """To search by, and to sort by."""
    with pytest.raises(ValidationError):
        FairShareSearch.model_validate(wrong)
