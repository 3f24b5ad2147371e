"""A whole search as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from rowsmith.conditions import Condition
from rowsmith.orders import Order
from rowsmith.pagination import Count, CursorForwardPagination, Pagination


@dataclass(frozen=True)
class Query:
    """What a search is asked for, apart from the scope: conditions, orders, page, count.

    Made by ``SearchRequest.to_query()``, or by hand. Conditions all hold together; none of them means
    every row of the scope. The primary key is appended to the orders by the search itself.
    """

    conditions: tuple[Condition, ...] = ()
    orders: tuple[Order, ...] = ()
    pagination: Pagination = CursorForwardPagination(first=50)
    count: Count = Count.NONE
