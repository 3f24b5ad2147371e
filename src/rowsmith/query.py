"""A whole search as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from rowsmith.conditions import Condition, condition_list
from rowsmith.orders import Order, order_list
from rowsmith.pagination import Count, CursorForwardPagination, Pagination
from rowsmith.pagination.count import check_count
from rowsmith.pagination.modes import check_mode


@dataclass(frozen=True)
class Query:
    """What a search is asked for, apart from the scope: conditions, orders, page, count.

    Made by ``SearchRequest.to_query()``, or by hand. Conditions all hold together; none of them means
    every row of the scope. The primary key is appended to the orders by the search itself.

    Raises:
        InvalidFilter: conditions or orders are no list.
        InvalidPagination: the pagination is no mode, or the count no count.
    """

    conditions: tuple[Condition, ...] = ()
    orders: tuple[Order, ...] = ()
    pagination: Pagination = CursorForwardPagination(first=50)
    count: Count = Count.NONE

    def __post_init__(self) -> None:
        condition_list(self.conditions)
        order_list(self.orders)
        check_mode(self.pagination)
        check_count(self.count)
