"""Making a group."""

from __future__ import annotations

import pytest

from examples.domain.types import DomainName
from examples.group.errors import GroupDomainNotFound, GroupNameTaken
from examples.group.rows import GroupKind
from examples.group.types import DomainScope, GroupCreate
from rowsmith import CheckViolation, ScopeMismatch, ScopeRequired, Unscoped

DE, FR = DomainScope(DomainName("DE")), DomainScope(DomainName("FR"))
NOWHERE = DomainScope(DomainName("XX"))


async def test_it_comes_back_as_the_database_holds_it(groups) -> None:
    """And get gives the same."""
    spec = GroupCreate(DE.domain_name, "Berlin", GroupKind.CAPITAL, "Spree", 3_426_354, ["river"], {"lat": 52.5})
    made = await groups.create(spec, scope=DE)
    assert (made.kind, made.population, made.tags, made.place) == (
        GroupKind.CAPITAL,
        3_426_354,
        ["river"],
        {"lat": 52.5},
    )
    assert await groups.get(made.id, DE) == made


async def test_a_name_is_taken_once_in_a_domain(groups, make) -> None:
    """And may be there again in another one; the message quotes no name."""
    made = await make(DE)
    with pytest.raises(GroupNameTaken) as caught:
        await make(DE, name=made.name)
    assert (caught.value.error_code, made.name in str(caught.value)) == ("group_create_name-taken", False)
    assert (await make(FR, name=made.name)).domain_name == "FR"


async def test_a_domain_that_is_not_there_says_so(groups) -> None:
    """By the scope's existence check, and without it by the foreign key."""
    for scope in (NOWHERE, Unscoped(reason="a test has no domain")):
        with pytest.raises(GroupDomainNotFound):
            await groups.create(GroupCreate(NOWHERE.domain_name, "Nowhere"), scope=scope)


async def test_a_population_is_not_negative(make) -> None:
    """A check without an error of its own is the kind of error that it is."""
    with pytest.raises(CheckViolation) as caught:
        await make(DE, population=-1)
    assert caught.value.error_code == "group_create_check-violated"


async def test_none_is_made_for_another_tenant(groups) -> None:
    """Nor without saying for whom."""
    with pytest.raises(ScopeMismatch):
        await groups.create(GroupCreate(FR.domain_name, "Lyon"), scope=DE)
    with pytest.raises(ScopeRequired):
        await groups.create(GroupCreate(FR.domain_name, "Lyon"))
