"""What a client may search fair shares by, and sort them by."""

from __future__ import annotations

from typing import Literal

from examples.fair_share.rows import FairShareRow
from rowsmith.filters import Filter, NumberFilter, OrderBy, SearchRequest, StringFilter, UUIDFilter


class FairShareFilter(Filter[FairShareRow]):
    domain_name: StringFilter | None = None
    group_id: NumberFilter | None = None
    user_id: UUIDFilter | None = None
    weight: NumberFilter | None = None


class FairShareOrder(OrderBy[FairShareRow]):
    field: Literal["domain_name", "group_id", "weight"]


class FairShareSearch(SearchRequest[FairShareFilter, FairShareOrder]):
    pass
