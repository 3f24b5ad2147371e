"""The builders of conditions and orders: each by itself, as SQL, without a database."""

from __future__ import annotations

import re
from uuid import UUID

import pytest

from examples.group.options import GroupConditions, GroupOrders
from examples.group.rows import GroupKind
from examples.group.types import UserId

USER = UserId(UUID(int=1))


@pytest.mark.parametrize(
    "insensitive, text",
    [(False, r"(groups.name LIKE '%100\%\_%')"), (True, r"(lower(groups.name) LIKE lower('%100\%\_%'))")],
)
def test_text_is_literal(sql, insensitive, text) -> None:
    """Wildcards in what a user types are characters like any other."""
    assert sql(GroupConditions.name_contains("100%_", case_insensitive=insensitive)) == text


@pytest.mark.parametrize(
    "condition, text",
    [
        (GroupConditions.of_kind(GroupKind.CAPITAL), "groups.kind = 'CAPITAL'"),
        (GroupConditions.population_from(7), "groups.population >= 7"),
    ],
)
def test_a_condition_is_one_comparison(sql, condition, text) -> None:
    """Of a column and a value."""
    assert sql(condition) == text


def test_a_member_is_looked_for_where_members_are(sql) -> None:
    """By EXISTS, so that no group comes twice."""
    assert re.fullmatch(r"EXISTS \(SELECT .* = '00000000-.*001'.*\)", sql(GroupConditions.with_member(USER)))


@pytest.mark.parametrize(
    "order, text",
    [
        (GroupOrders.name(), "groups.name ASC"),
        (GroupOrders.name(descending=True), "groups.name DESC"),
        (GroupOrders.population(), "groups.population DESC"),
        (GroupOrders.population(descending=False), "groups.population ASC"),
        (GroupOrders.created_at(), "groups.created_at DESC"),
        (GroupOrders.created_at(descending=False), "groups.created_at ASC"),
    ],
)
def test_an_order_has_the_direction_that_is_usual_for_it(order, text) -> None:
    """Names from A to Z, numbers and times from the top, and each the other way round."""
    assert str(order) == text
