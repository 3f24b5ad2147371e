"""SQL given as text has no type by itself: alone it is no condition and no field, and the error says what to write."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import sqlalchemy as sa

from rowsmith import (
    AllOf,
    AnyOf,
    Condition,
    ExistenceCheck,
    Expr,
    InvalidFilter,
    MappingError,
    Not,
    OptionalState,
    SearchScope,
    count,
)
from rowsmith.testing import WithTables
from tenants import DomainNotFound, GroupPatch, GroupRepository, GroupRow, groups_in

TEXT: Any = sa.text("groups.name = 'two' OR groups.name = 'none'")
TYPED: Any = sa.type_coerce(TEXT, sa.Boolean)


@dataclass(frozen=True)
class Textual(SearchScope):
    condition: Any

    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.domain_name == "a", self.condition]


@dataclass(frozen=True)
class Checking(SearchScope):
    condition: Any

    def to_conditions(self) -> Sequence[Condition]:
        return [GroupRow.domain_name == "a"]

    def existence_checks(self) -> Sequence[ExistenceCheck]:
        return [ExistenceCheck(self.condition, DomainNotFound)]


@pytest.fixture
async def groups(any_tables: WithTables) -> AsyncIterator[GroupRepository]:
    async with groups_in(any_tables) as made:
        yield made


PLACES: dict[str, Callable[[Any], tuple[Any, list[Any]]]] = {
    "a filter": lambda given: (None, [GroupRow.domain_name == "a", given]),
    "a filter when it is needed": lambda given: (None, [GroupRow.domain_name == "a", lambda: given]),
    "a scope": lambda given: (Textual(given), []),
    "a part of a scope": lambda given: (AllOf(GroupRow.domain_name == "a", given), []),
    "one of two parts of a scope": lambda given: (AllOf(GroupRow.domain_name == "a", AnyOf(given, sa.false())), []),
    "the other of a scope": lambda given: (AllOf(GroupRow.domain_name == "a", Not(Not(given))), []),
}


@pytest.mark.parametrize("place", PLACES)
async def test_text_alone_is_no_condition(groups: GroupRepository, place: str) -> None:
    """Its error says what is one, in every place that takes conditions, and that is kept whole there."""
    scope, filters = PLACES[place](TEXT)
    with pytest.raises(
        InvalidFilter, match=r"not TextClause, which has no type by itself: .*\(text\(\.\.\.\), Boolean\)"
    ):
        await groups.search(scope, filters)
    scope, filters = PLACES[place](TYPED)
    assert [group.name for group in await groups.search(scope, filters)] == ["two"]
    assert await groups.count(scope, filters) == 1


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "joined",
    [
        lambda text: sa.and_(text, GroupRow.size >= 0),
        lambda text: sa.or_(text, GroupRow.size < 0),
        lambda text: sa.and_(sa.or_(GroupRow.size < 0, text), text),
        lambda text: sa.not_(sa.not_(sa.and_(text, GroupRow.size >= 0))),
    ],
)
async def test_inside_of_and_and_or_it_is_one(groups: GroupRepository, place: str, joined: Any) -> None:
    """There nothing else can stand, and it is kept whole; what reaches beyond itself is refused."""
    scope, filters = PLACES[place](joined(TEXT))
    assert [group.name for group in await groups.search(scope, filters)] == ["two"]
    for torn in ("groups.name = 'two') OR (true", "groups.name = 'two' --"):
        scope, filters = PLACES[place](joined(sa.text(torn)))
        with pytest.raises(InvalidFilter, match="text that does not stand for itself"):
            await groups.search(scope, filters)


async def test_text_alone_elsewhere(groups: GroupRepository) -> None:
    """So it is in a check, an aggregate's filter and a computed field; as a value its column says what it is."""
    with pytest.raises(InvalidFilter, match=r"type_coerce\(text\(\.\.\.\), Boolean\)"):
        await groups.search(Checking(sa.text("1 = 1")))
    assert len((await groups.search(Checking(sa.type_coerce(sa.text("1 = 1"), sa.Boolean)))).items) > 0

    @dataclass(frozen=True)
    class Filtered:
        groups: Annotated[int, count().filter(TEXT)]

    with pytest.raises(InvalidFilter, match=r"type_coerce\(text\(\.\.\.\), Boolean\)"):
        await groups.aggregate(into=Filtered)

    @dataclass(frozen=True)
    class Computed:
        twice: Annotated[int, Expr(lambda: sa.text("groups.size * 2"))]

    with pytest.raises(MappingError, match=r"not TextClause, which has no type by itself: write type_coerce\(text"):
        await groups.search(into=Computed)
    with pytest.raises(InvalidFilter, match=r"not TextClause, which has no type by itself: write type_coerce\(text"):
        await groups.search(orders=[sa.text("groups.name")])  # type: ignore[list-item]
    by_name = await groups.search(orders=[GroupRow.name])
    assert await groups.search(orders=[sa.type_coerce(sa.text("groups.name"), sa.Text)]) == by_name
    (group,) = await groups.search(Textual(TYPED))
    for value in (sa.text("groups.size + 1"), sa.type_coerce(sa.text("groups.size - 1"), sa.Integer)):
        patch = GroupPatch(size=OptionalState.expression(lambda value=value: value))  # type: ignore[misc]
        await groups.update(group.id, patch)
    assert await groups.get(group.id) == group
