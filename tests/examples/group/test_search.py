"""Searching groups: the rows are made once, and every test only reads them."""

from __future__ import annotations

from uuid import UUID

import pytest
from pydantic import ValidationError

from examples.domain.search import DomainFilter
from examples.domain.types import DomainName
from examples.group.adapter import GroupAdapter, GroupsWanted
from examples.group.options import GroupConditions, GroupOrders
from examples.group.repository import GroupRepository
from examples.group.rows import GroupKind, GroupRow
from examples.group.search import GroupFilter, GroupSearch
from examples.group.types import DomainScope, GroupCreate, UserId
from rowsmith import ScopeRequired, Unscoped
from rowsmith.filters import EnumFilter, NumberFilter, Related, StringFilter

DE, FR = DomainScope(DomainName("DE")), DomainScope(DomainName("FR"))
ADA = UserId(UUID(int=1))
EVERYBODY = Unscoped(reason="a test looks at everything")


@pytest.fixture(scope="module", autouse=True)
async def content(db) -> None:
    """Make three groups of one tenant, one of them with a member, and a capital of another."""
    groups, de, fr = GroupRepository(db), DE.domain_name, FR.domain_name
    cities = (("Berlin", 3_426_354), ("Hamburg", 1_845_229), ("Munich", 1_260_391))
    made = await groups.batch_create([GroupCreate(de, name, population=people) for name, people in cities], scope=DE)
    await groups.create(GroupCreate(fr, "Paris", GroupKind.CAPITAL, "Lumière", 2_138_551, ["metro"]), scope=FR)
    await groups.add_member(made[2].id, ADA, scope=DE)


def names(found) -> list[str]:
    return [group.name for group in found]


async def test_each_tenant_finds_its_own(groups) -> None:
    """In a search, a count and a stream; a forgotten scope is an error, not everybody's rows."""
    assert names(await groups.search(DE, orders=[GroupRow.name])) == ["Berlin", "Hamburg", "Munich"]
    assert (await groups.count(DE), await groups.count(FR), await groups.count(EVERYBODY)) == (3, 1, 4)
    assert [group.name async for group in groups.stream(FR)] == ["Paris"]
    with pytest.raises(ScopeRequired):
        await groups.search()


async def test_a_request_from_outside_is_one_line(groups) -> None:
    """JSON in, page out: filter, order, cursor and count."""
    asked = GroupSearch.model_validate(
        {
            "filter": {
                "population": {"gte": 1_000_000},
                "OR": [{"name": {"contains": "burg"}}, {"kind": {"equals": "capital"}}],
            },
            "order": [{"field": "population", "direction": "desc"}],
            "first": 1,
            "count": "exact",
        }
    )
    page = await groups.search(EVERYBODY, asked.to_query())
    assert (names(page), page.total_count, page.has_next_page) == (["Paris"], 2, True)
    after = await groups.search(EVERYBODY, asked.model_copy(update={"after": page.end_cursor}).to_query())
    assert (names(after), after.has_next_page) == (["Hamburg"], False)


async def test_a_form_becomes_a_page(groups) -> None:
    """By the adapter, with the number of all that match."""
    page = await groups.search(DE, GroupAdapter.to_query(GroupsWanted(text="B", sorted_by="largest", size=1)))
    assert (names(page), page.total_count) == (["Berlin"], 2)


async def test_options_are_put_together_in_code(groups) -> None:
    """Conditions and orders by name, all of which hold together."""
    burg = [GroupConditions.name_contains("BURG", case_insensitive=True), GroupConditions.population_from(1)]
    assert names(await groups.search(DE, burg)) == ["Hamburg"]
    assert await groups.count(DE, [GroupConditions.name_contains("%")]) == 0
    assert await groups.count(DE, [GroupConditions.name_contains("BURG")]) == 0
    assert names(await groups.search(EVERYBODY, [GroupConditions.of_kind(GroupKind.CAPITAL)])) == ["Paris"]
    assert names(await groups.search(EVERYBODY, [GroupConditions.with_member(ADA)])) == ["Munich"]
    assert names(await groups.search(DE, orders=[GroupOrders.population()]))[0] == "Berlin"


async def test_a_filter_reaches_over_relationships(groups) -> None:
    """Groups are found by their domain and by their members, each once."""
    france = GroupFilter(domain=Related[DomainFilter](exists=DomainFilter(title=StringFilter(equals="FR"))))
    lonely = GroupFilter.model_validate({"members": {"none": {}}, "kind": {"equals": "regular"}})
    assert names(await groups.search(EVERYBODY, france)) == ["Paris"]
    assert names(await groups.search(EVERYBODY, lonely, orders=[GroupRow.name])) == ["Berlin", "Hamburg"]


async def test_filters_of_several_fields_hold_together(groups) -> None:
    """A number and a member of an enum."""
    small = GroupFilter(population=NumberFilter(lt=3_000_000), kind=EnumFilter[GroupKind](equals=GroupKind.CAPITAL))
    assert names(await groups.search(FR, small)) == ["Paris"]
    assert names(await groups.search(DE, small)) == []


@pytest.mark.parametrize(
    "wrong", [{"filter": {"nmae": {"equals": "x"}}}, {"order": [{"field": "secret"}]}, {"after": "abc"}]
)
def test_what_is_no_field_is_refused(wrong) -> None:
    """Nothing unknown vanishes without a word."""
    with pytest.raises(ValidationError):
        GroupSearch.model_validate(wrong)
