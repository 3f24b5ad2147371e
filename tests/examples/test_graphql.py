"""The example schema: one declaration of a search, served over GraphQL and over REST alike."""

from __future__ import annotations

import httpx
import pytest

from examples.api.app import make_app
from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.types import DomainCreate, DomainName
from examples.graphql.schema import schema
from examples.graphql.types import Caller
from examples.group.repository import GroupRepository
from examples.group.rows import GroupKind, GroupMemberRow, GroupRow
from examples.group.types import DomainScope, GroupCreate

DE, FR = DomainName("DE"), DomainName("FR")
CITIES = [
    GroupCreate(DE, "Berlin", GroupKind.CAPITAL, population=3_426_354, tags=["river"]),
    GroupCreate(DE, "Bonn", population=313_125),
    GroupCreate(DE, "Hamburg", population=1_845_229),
    GroupCreate(DE, "100%"),
]
SEARCH = """
query Search($filter: GroupFilter, $order: [GroupOrder!], $first: Int, $after: String, $last: Int, $before: String,
             $count: SearchCount) {
  groups(filter: $filter, order: $order, first: $first, after: $after, last: $last, before: $before, count: $count) {
    totalCount
    edges { cursor node { name domainName } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""


@pytest.fixture(scope="module")
async def groups(with_tables):
    """Give the repository with two domains, in one of which are some cities."""
    async with with_tables(GroupMemberRow, GroupRow, DomainRow) as db:
        await DomainRepository(db).batch_create([DomainCreate(name, name, Continent.EUROPE) for name in (DE, FR)])
        groups = GroupRepository(db)
        await groups.batch_create(CITIES, scope=DomainScope(DE))
        await groups.create(GroupCreate(FR, "Paris"), scope=DomainScope(FR))
        yield groups


async def ask(groups, text: str, domain: DomainName = DE, **variables):
    return await schema.execute(text, variables, context_value=Caller(groups, DomainScope(domain)))


async def over_rest(groups, body):
    transport = httpx.ASGITransport(make_app(groups.db))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return (await client.post("/groups/search", json=body, headers={"X-Domain": DE})).json()


@pytest.mark.parametrize(
    "variables, body",
    [
        ({}, {}),
        ({"filter": {"name": {"startsWith": "B"}}}, {"filter": {"name": {"starts_with": "B"}}}),
        ({"filter": {"name": {"contains": "%"}}}, {"filter": {"name": {"contains": "%"}}}),
        ({"filter": {"kind": {"in": ["CAPITAL"]}}}, {"filter": {"kind": {"in": ["capital"]}}}),
        ({"filter": {"tags": {"contains": ["river"]}}}, {"filter": {"tags": {"contains": ["river"]}}}),
        (
            {"filter": {"domain": {"exists": {"isActive": {"equals": True}}}, "members": {"none": {}}}},
            {"filter": {"domain": {"exists": {"is_active": {"equals": True}}}, "members": {"none": {}}}},
        ),
        (
            {"order": [{"field": "POPULATION", "direction": "DESC"}], "first": 2, "count": "EXACT"},
            {"order": [{"field": "population", "direction": "desc"}], "first": 2, "count": "exact"},
        ),
        ({"order": [{"field": "NAME"}], "last": 1}, {"order": [{"field": "name"}], "last": 1}),
    ],
)
async def test_a_search_gives_the_same_over_both(groups, variables, body) -> None:
    """Filters, orders, pages and counts, cursors included: a page of one way is gone on from by the other."""
    result = await ask(groups, SEARCH, **variables)
    assert result.errors is None
    found, rest = result.data["groups"], await over_rest(groups, body)
    assert [edge["node"]["name"] for edge in found["edges"]] == [group["name"] for group in rest["items"]]
    assert found["totalCount"] == rest["total_count"]
    assert found["pageInfo"] == {
        "hasNextPage": rest["has_next_page"],
        "hasPreviousPage": rest["has_previous_page"],
        "startCursor": rest["start_cursor"],
        "endCursor": rest["end_cursor"],
    }


async def test_a_connection_is_walked_in_both_directions(groups) -> None:
    """By the cursor of any edge, forwards and back."""
    order = [{"field": "NAME"}]
    seen, after = [], None
    for _ in CITIES:
        page = (await ask(groups, SEARCH, order=order, first=1, after=after)).data["groups"]
        (edge,) = page["edges"]
        seen.append(edge["node"]["name"])
        after = edge["cursor"]
    assert (seen, page["pageInfo"]["hasNextPage"]) == (["100%", "Berlin", "Bonn", "Hamburg"], False)
    back = (await ask(groups, SEARCH, order=order, last=2, before=after)).data["groups"]
    assert [edge["node"]["name"] for edge in back["edges"]] == ["Berlin", "Bonn"]


async def test_a_group_is_read_in_the_callers_scope(groups) -> None:
    """Another tenant's and an absent one are one answer, with its code."""
    text = "query One($id: Int!) { group(id: $id) { name kind place createdAt } }"
    id = (await groups.first(DomainScope(DE), orders=[GroupRow.name.desc()])).id
    assert (await ask(groups, text, id=id)).data["group"]["name"] == "Hamburg"
    foreign, absent = [(await ask(groups, text, FR, id=given)).errors[0] for given in (id, 2**31 - 1)]
    assert (foreign.message, foreign.extensions) == (absent.message, absent.extensions)
    assert foreign.extensions == {"error_code": "group_get_not-found"}


@pytest.mark.parametrize(
    "variables, code",
    [
        ({"first": 2, "after": "abcdefgh"}, "group_search_invalid-cursor"),
        ({"filter": {"population": {"equals": 1.5}}}, "repository_call_invalid-value"),
        ({"filter": {"name": {}}}, "repository_call_invalid-filter"),
    ],
)
async def test_a_search_that_is_refused_has_a_code(groups, variables, code) -> None:
    """Whoever refuses it: the repository, a column, or the request itself."""
    (error,) = (await ask(groups, SEARCH, **variables)).errors
    assert error.extensions == {"error_code": code}
