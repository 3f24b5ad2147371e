"""Conditions and orders of groups that code puts together, each by a name: ``GroupConditions.name_contains("ops")``."""

from __future__ import annotations

from examples.group.rows import GroupKind, GroupMemberRow, GroupRow
from examples.group.search import GroupFilter
from examples.group.types import UserId
from rowsmith import Condition, Order, related
from rowsmith.filters import StringFilter


class GroupConditions:
    """What groups are chosen by."""

    @staticmethod
    def name_contains(value: str, case_insensitive: bool = False) -> Condition:
        """Compare literally: ``%`` and ``_`` are characters like any other, as in a filter from outside."""
        text = StringFilter(i_contains=value) if case_insensitive else StringFilter(contains=value)
        (condition,) = GroupFilter(name=text).to_conditions()
        return condition

    @staticmethod
    def of_kind(kind: GroupKind) -> Condition:
        return GroupRow.kind == kind

    @staticmethod
    def population_from(least: int) -> Condition:
        return GroupRow.population >= least

    @staticmethod
    def with_member(user_id: UserId) -> Condition:
        return related(GroupRow.members, GroupMemberRow.user_id == user_id)


class GroupOrders:
    """What groups are sorted by."""

    @staticmethod
    def name(descending: bool = False) -> Order:
        return GroupRow.name.desc() if descending else GroupRow.name.asc()

    @staticmethod
    def population(descending: bool = True) -> Order:
        return GroupRow.population.desc() if descending else GroupRow.population.asc()

    @staticmethod
    def created_at(descending: bool = True) -> Order:
        return GroupRow.created_at.desc() if descending else GroupRow.created_at.asc()
