"""What a client may search groups by, and sort them by."""

from __future__ import annotations

from typing import Literal

from examples.domain.search import DomainFilter
from examples.group.rows import GroupKind, GroupMemberRow, GroupRow
from rowsmith.filters import (
    ArrayFilter,
    DateTimeFilter,
    EnumFilter,
    Filter,
    JSONFilter,
    NumberFilter,
    OrderBy,
    Related,
    SearchRequest,
    StringFilter,
    UUIDFilter,
)


class MemberFilter(Filter[GroupMemberRow]):
    user_id: UUIDFilter | None = None


class GroupFilter(Filter[GroupRow]):
    name: StringFilter | None = None
    kind: EnumFilter[GroupKind] | None = None
    description: StringFilter | None = None
    population: NumberFilter | None = None
    tags: ArrayFilter[str] | None = None
    place: JSONFilter | None = None
    created_at: DateTimeFilter | None = None
    domain: Related[DomainFilter] | None = None
    members: Related[MemberFilter] | None = None


class GroupOrder(OrderBy[GroupRow]):
    field: Literal["name", "domain_name", "population", "description", "created_at"]


class GroupSearch(SearchRequest[GroupFilter, GroupOrder]):
    pass
