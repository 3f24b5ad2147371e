"""A whole search as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from rowsmith.conditions import Condition, condition_list
from rowsmith.orders import Order, order_list
from rowsmith.pagination import Count, Pagination
from rowsmith.pagination.count import check_count
from rowsmith.pagination.modes import check_mode


@dataclass(frozen=True)
class Query:
    """What a search is asked for, apart from the scope: conditions, orders, page, count.

    Made by ``SearchRequest.to_query()``, or by hand. Conditions all hold together; none of them means
    every row of the scope. The primary key is appended to the orders by the search itself. Without pagination the
    search gives its first rows, as many as the repository's ``default_page_size`` says.

    Raises:
        InvalidFilter: conditions or orders are no list.
        InvalidPagination: the pagination is no mode, or the count no count.
    """

    conditions: tuple[Condition, ...] = ()
    orders: tuple[Order, ...] = ()
    pagination: Pagination | None = None
    count: Count = Count.NONE

    def __post_init__(self) -> None:
        condition_list(self.conditions)
        order_list(self.orders)
        if self.pagination is not None:
            check_mode(self.pagination)
        check_count(self.count)
