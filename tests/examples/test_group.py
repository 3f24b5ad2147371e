"""The example group: tenants kept apart by scopes."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from examples.domain.repository import DomainRepository
from examples.domain.rows import Continent, DomainRow
from examples.domain.search import DomainFilter
from examples.domain.types import DomainCreate, DomainName
from examples.group.errors import GroupDomainNotFound, GroupNameTaken, GroupNotFound
from examples.group.repository import GroupRepository
from examples.group.rows import GroupKind, GroupMemberRow, GroupRow
from examples.group.search import GroupFilter, GroupSearch
from examples.group.types import DomainScope, GroupCreate, GroupId, GroupPatch, UserId, UserScope
from examples.group.views import DomainCard, DomainStats, GroupCard, Member
from rowsmith import AnyOf, OptionalState, ScopeMismatch, ScopeRequired, StillReferenced, TriState, Unscoped
from rowsmith.filters import EnumFilter, NumberFilter, Related, StringFilter
from support import count_statements

DE, FR = DomainName("DE"), DomainName("FR")
ADA = UserId(UUID(int=1))
EVERYBODY = Unscoped(reason="a test looks at everything")


@pytest.fixture
async def groups(any_tables):
    """Give the repository with two domains and a few groups, on each database."""
    async with any_tables(GroupMemberRow, GroupRow, DomainRow) as db:
        domains, groups = DomainRepository(db), GroupRepository(db)
        await domains.create(DomainCreate(DE, "Germany", Continent.EUROPE))
        await domains.create(DomainCreate(FR, "France", Continent.EUROPE))
        for name, population in (("Berlin", 3_426_354), ("Hamburg", 1_845_229), ("Munich", 1_260_391)):
            await groups.create(GroupCreate(DE, name, population=population), scope=DomainScope(DE))
        await groups.create(
            GroupCreate(FR, "Paris", GroupKind.CAPITAL, "Lumière", 2_138_551, ["metro"]), scope=DomainScope(FR)
        )
        yield groups


async def id_of(groups: GroupRepository, name: str) -> GroupId:
    return (await groups.search(EVERYBODY, GroupFilter(name=StringFilter(equals=name)))).items[0].id


def names(found) -> list[str]:
    return [group.name for group in found]


async def test_no_call_goes_without_a_scope(groups) -> None:
    """A forgotten scope is an error, not everybody's rows."""
    with pytest.raises(ScopeRequired):
        await groups.search()
    assert await groups.count(EVERYBODY) == 4


async def test_a_domain_scope_shows_only_its_own_groups(groups) -> None:
    """Search, count and get are limited by the scope."""
    assert names(await groups.search(DomainScope(DE), orders=[GroupRow.name])) == ["Berlin", "Hamburg", "Munich"]
    assert await groups.count(DomainScope(FR)) == 1
    assert await groups.find(await id_of(groups, "Paris"), DomainScope(DE)) is None


@pytest.mark.parametrize("operation", ["get", "update", "delete", "restore", "purge", "batch_get"])
async def test_another_tenants_group_and_an_absent_one_are_the_same_answer(groups, operation) -> None:
    """No operation tells a foreign group from one that never was, and the foreign one is unchanged."""
    paris = await id_of(groups, "Paris")
    before = await groups.get(paris, EVERYBODY)
    calls = {
        "get": lambda id: groups.get(id, DomainScope(DE)),
        "update": lambda id: groups.update(id, GroupPatch(name=OptionalState.update("x")), scope=DomainScope(DE)),
        "delete": lambda id: groups.delete(id, scope=DomainScope(DE)),
        "restore": lambda id: groups.restore(id, scope=DomainScope(DE)),
        "purge": lambda id: groups.purge(id, scope=DomainScope(DE)),
        "batch_get": lambda id: groups.batch_get([id], scope=DomainScope(DE)),
    }
    answers = []
    for id in (paris, GroupId(2**31 - 1)):
        with pytest.raises(GroupNotFound) as caught:
            await calls[operation](id)
        answers.append((str(caught.value), caught.value.error_code, caught.value.facts))
    assert answers[0] == answers[1]
    assert await groups.get(paris, EVERYBODY) == before


async def test_a_group_cannot_be_made_in_another_domain(groups) -> None:
    """The scope is stamped onto the new row, and a spec that says otherwise is refused."""
    with pytest.raises(ScopeMismatch):
        await groups.create(GroupCreate(FR, "Lyon"), scope=DomainScope(DE))
    assert await groups.count(EVERYBODY) == 4


async def test_a_scope_of_a_domain_that_is_not_there_says_so(groups) -> None:
    """The existence check gives the domain's own error, for reads and writes."""
    with pytest.raises(GroupDomainNotFound):
        await groups.search(DomainScope(DomainName("XX")))
    with pytest.raises(GroupDomainNotFound):
        await groups.create(GroupCreate(DomainName("XX"), "Nowhere"), scope=DomainScope(DomainName("XX")))


async def test_a_user_sees_the_groups_they_are_in(groups) -> None:
    """A scope over a membership table limits like any other, and takes part in any-of."""
    paris, munich = await id_of(groups, "Paris"), await id_of(groups, "Munich")
    await groups.add_member(munich, ADA, scope=DomainScope(DE))
    assert names(await groups.search(UserScope(ADA))) == ["Munich"]
    assert names(await groups.search(AnyOf(DomainScope(FR), UserScope(ADA)), orders=[GroupRow.name])) == [
        "Munich",
        "Paris",
    ]
    with pytest.raises(GroupNotFound):
        await groups.add_member(paris, ADA, scope=UserScope(ADA))


async def test_nobody_gets_into_a_group_that_is_deleted_meanwhile(with_tables) -> None:
    """The group stays locked from the look at it until the member is in it; so the other one's delete is waited for."""
    async with with_tables(GroupMemberRow, GroupRow, DomainRow) as db:
        await DomainRepository(db).create(DomainCreate(DE, "Germany", Continent.EUROPE))
        groups = GroupRepository(db)
        bonn = (await groups.create(GroupCreate(DE, "Bonn"), scope=DomainScope(DE))).id
        async with db.engine.begin() as other:
            await other.execute(sa.update(GroupRow).values(deleted_at=sa.func.now()))
            adding = asyncio.create_task(groups.add_member(bonn, ADA, scope=DomainScope(DE)))
            await asyncio.wait([adding], timeout=0.5)
        with pytest.raises(GroupNotFound):
            await adding
        async with db.begin_readonly_session() as db_sess:
            assert (await db_sess.execute(sa.select(GroupMemberRow))).all() == []


async def test_a_member_may_change_a_group_but_not_make_one(groups) -> None:
    """A condition that cannot be stamped is verified after the write, and the write undone."""
    munich = await id_of(groups, "Munich")
    await groups.add_member(munich, ADA, scope=DomainScope(DE))
    assert (await groups.update(munich, GroupPatch(name=OptionalState.update("München")), scope=UserScope(ADA))).name
    with pytest.raises(ScopeMismatch):
        await groups.create(GroupCreate(DE, "Bonn"), scope=UserScope(ADA))
    assert not await groups.exists(EVERYBODY, GroupFilter(name=StringFilter(equals="Bonn")))


async def test_a_group_needs_its_domain_and_a_name_of_its_own(groups) -> None:
    """Foreign key and unique index have the group's own errors."""
    with pytest.raises(GroupNameTaken):
        await groups.create(GroupCreate(DE, "Berlin"), scope=DomainScope(DE))
    assert (await groups.create(GroupCreate(FR, "Berlin"), scope=DomainScope(FR))).domain_name == FR


async def test_a_group_of_no_domain_is_refused(with_tables) -> None:
    """The foreign key's own error names it (SQLite does not say which key it was)."""
    async with with_tables(GroupMemberRow, GroupRow, DomainRow) as db:
        with pytest.raises(GroupDomainNotFound):
            await GroupRepository(db).create(GroupCreate(DomainName("XX"), "Nowhere"), scope=EVERYBODY)


async def test_a_domain_with_groups_cannot_be_purged(groups) -> None:
    """The other end of the foreign key is told apart."""
    with pytest.raises(StillReferenced):
        await DomainRepository(groups.db).purge(DE)


async def test_a_deleted_groups_name_is_free_and_its_members_go_with_a_purge(groups) -> None:
    """Soft delete frees the name; purge cascades."""
    munich = await id_of(groups, "Munich")
    await groups.add_member(munich, ADA, scope=DomainScope(DE))
    await groups.delete(munich, scope=DomainScope(DE))
    assert (await groups.create(GroupCreate(DE, "Munich"), scope=DomainScope(DE))).id != munich
    await groups.purge(munich, scope=DomainScope(DE))
    assert await groups.count(UserScope(ADA)) == 0


async def test_a_request_from_outside_is_one_line_of_search(groups) -> None:
    """JSON in, page out: filter, order and cursor."""
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


async def test_a_filter_reaches_over_relationships(groups) -> None:
    """Groups are found by their domain and by their members, each once."""
    await groups.add_member(await id_of(groups, "Munich"), ADA, scope=DomainScope(DE))
    france = GroupFilter(domain=Related[DomainFilter](exists=DomainFilter(title=StringFilter(equals="France"))))
    lonely = GroupFilter.model_validate({"members": {"none": {}}, "kind": {"equals": "regular"}})
    assert names(await groups.search(EVERYBODY, france)) == ["Paris"]
    assert names(await groups.search(EVERYBODY, lonely, orders=[GroupRow.name])) == ["Berlin", "Hamburg"]


async def test_a_card_brings_domain_and_members_in_two_statements(with_tables) -> None:
    """To-one by a join, the members of all cards by one statement more, whatever the number of cards (PostgreSQL)."""
    async with with_tables(GroupMemberRow, GroupRow, DomainRow) as db:
        await DomainRepository(db).create(DomainCreate(DE, "Germany", Continent.EUROPE))
        groups = GroupRepository(db)
        specs = [GroupCreate(DE, name, tags=["x"]) for name in ("Berlin", "Bonn", "Hamburg")]
        for group in await groups.batch_create(specs, scope=EVERYBODY):
            await groups.add_member(group.id, ADA, scope=EVERYBODY)
        with count_statements(db) as sent:
            cards = await groups.search(EVERYBODY, orders=[GroupRow.name], into=GroupCard)
        assert len(sent) == 2
        first = cards.items[0]
        assert (first.name, first.domain, first.tag_count) == ("Berlin", DomainCard(DE, "Germany"), 1)
        assert {card.members for card in cards} == {(Member(ADA),)}


async def test_statistics_are_computed_in_the_database(groups) -> None:
    """One object a domain, counts with conditions included, in one statement, within the scope."""
    with count_statements(groups.db) as sent:
        found = await groups.aggregate(EVERYBODY, group_by=[GroupRow.domain_name], into=DomainStats)
    assert len(sent) == 1
    assert [(stats.domain_name, stats.groups, stats.capitals) for stats in found] == [(DE, 3, 0), (FR, 1, 1)]
    assert found[0].people == 3_426_354 + 1_845_229 + 1_260_391
    (alone,) = await groups.aggregate(DomainScope(FR), group_by=[GroupRow.domain_name], into=DomainStats)
    assert alone == found[1]


def test_a_misspelt_filter_or_order_is_refused() -> None:
    """Nothing unknown vanishes without a word."""
    for wrong in ({"filter": {"nmae": {"equals": "x"}}}, {"order": [{"field": "secret"}]}, {"after": "abc"}):
        with pytest.raises(ValidationError):
            GroupSearch.model_validate(wrong)


async def test_a_description_is_set_left_and_set_to_null(groups) -> None:
    """The three states of a nullable field."""
    paris = await id_of(groups, "Paris")
    left = await groups.update(paris, GroupPatch(population=OptionalState.update(2)), scope=DomainScope(FR))
    assert (left.description, left.population) == ("Lumière", 2)
    nulled = await groups.update(paris, GroupPatch(description=TriState.nullify()), scope=DomainScope(FR))
    assert nulled.description is None
    small = GroupFilter(population=NumberFilter(lt=10), kind=EnumFilter[GroupKind](equals=GroupKind.CAPITAL))
    assert names(await groups.search(DomainScope(FR), small)) == ["Paris"]
