"""What else is read of groups: cards and statistics."""

from __future__ import annotations

from uuid import UUID

import pytest

from examples.domain.types import DomainName
from examples.group.repository import GroupRepository
from examples.group.rows import GroupKind, GroupRow
from examples.group.types import DomainScope, GroupCreate, UserId
from examples.group.views import DomainCard, DomainStats, GroupCard, Member
from rowsmith import MappingError, Unscoped

DE, FR = DomainScope(DomainName("DE")), DomainScope(DomainName("FR"))
ADA = UserId(UUID(int=1))
EVERYBODY = Unscoped(reason="a test looks at everything")


@pytest.fixture(scope="module", autouse=True)
async def content(db) -> None:
    """Make groups of two tenants, each with a member."""
    groups, de, fr = GroupRepository(db), DE.domain_name, FR.domain_name
    specs = [GroupCreate(de, name, population=2, tags=["x"]) for name in ("Berlin", "Bonn", "Hamburg")]
    specs.append(GroupCreate(fr, "Paris", GroupKind.CAPITAL, population=5))
    for group in await groups.batch_create(specs, scope=EVERYBODY):
        await groups.add_member(group.id, ADA, scope=EVERYBODY)


async def test_a_card_brings_domain_and_members_in_two_statements(groups, sent) -> None:
    """To-one by a join, the members of all cards by one statement more, whatever the number of cards."""
    sent.clear()
    cards = await groups.search(EVERYBODY, orders=[GroupRow.name], into=GroupCard)
    assert len(sent) == 2
    first = cards.items[0]
    assert (first.name, first.domain, first.tag_count) == ("Berlin", DomainCard(DE.domain_name, "DE"), 1)
    assert {card.members for card in cards} == {(Member(ADA),)}


async def test_statistics_are_computed_in_the_database(groups, sent) -> None:
    """One object a domain, counts with conditions included, in one statement, within the scope."""
    sent.clear()
    found = await groups.aggregate(EVERYBODY, group_by=[GroupRow.domain_name], into=DomainStats)
    assert len(sent) == 1
    assert found == [DomainStats(DE.domain_name, 3, 0, 6, 2.0), DomainStats(FR.domain_name, 1, 1, 5, 5.0)]
    assert await groups.aggregate(FR, group_by=[GroupRow.domain_name], into=DomainStats) == found[1:]


async def test_statistics_are_grouped_by_what_they_name(groups) -> None:
    """A data class that says so of nothing else is refused."""
    with pytest.raises(MappingError):
        await groups.aggregate(DE, group_by=[GroupRow.kind], into=DomainStats)
