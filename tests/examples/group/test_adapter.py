"""The adapter: a form becomes a query, without a database."""

from __future__ import annotations

from uuid import UUID

import pytest
from pydantic import ValidationError

from examples.group.adapter import GroupAdapter, GroupsWanted
from examples.group.options import GroupConditions, GroupOrders
from examples.group.rows import GroupKind
from examples.group.types import UserId
from rowsmith import Count, OffsetPagination

ADA = UserId(UUID(int=1))


def query_of(**form):
    return GroupAdapter.to_query(GroupsWanted.model_validate(form))


def test_an_empty_form_asks_for_the_first_page() -> None:
    """No conditions, by name, counted."""
    query = query_of()
    assert (query.conditions, query.pagination, query.count) == ((), OffsetPagination(20, 0), Count.EXACT)
    assert [str(order) for order in query.orders] == [str(GroupOrders.name())]


@pytest.mark.parametrize(
    "form, condition",
    [
        ({"text": "100%"}, GroupConditions.name_contains("100%", case_insensitive=True)),
        ({"kind": "capital"}, GroupConditions.of_kind(GroupKind.CAPITAL)),
        ({"at_least": 7}, GroupConditions.population_from(7)),
        ({"member": str(ADA)}, GroupConditions.with_member(ADA)),
    ],
)
def test_a_field_that_is_filled_in_is_a_condition(sql, form, condition) -> None:
    """Each by its builder, with the value of the form."""
    (made,) = query_of(**form).conditions
    assert sql(made) == sql(condition)


def test_what_is_filled_in_holds_together() -> None:
    """Several fields are several conditions; a number of a page becomes its offset."""
    query = query_of(text="b", at_least=7, sorted_by="largest", page=3, size=10)
    assert len(query.conditions) == 2
    assert query.pagination == OffsetPagination(10, 20)
    assert str(query.orders[0]) == str(GroupOrders.population())


@pytest.mark.parametrize("form", [{"txt": "b"}, {"sorted_by": "deleted_at"}, {"page": 0}, {"size": 101}])
def test_what_the_form_does_not_have_is_refused(form) -> None:
    """Nothing unknown is passed over."""
    with pytest.raises(ValidationError):
        query_of(**form)
