"""Filters, orders and search requests from the outside world, as pydantic models.

Each says what it takes in its JSON schema, refuses what it does not know, and becomes conditions and
orders over a row's own columns; no name from outside ever gets into SQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rowsmith.lazy import lazily

if TYPE_CHECKING:
    from rowsmith.filters.documents import ArrayFilter, JSONFilter, PathEquals
    from rowsmith.filters.filter import Filter
    from rowsmith.filters.operands import On
    from rowsmith.filters.order import OrderBy, to_orders
    from rowsmith.filters.related import Related
    from rowsmith.filters.request import CappedCount, SearchRequest
    from rowsmith.filters.scalars import BoolFilter, EnumFilter, NumberFilter, UUIDFilter
    from rowsmith.filters.text import FullTextFilter, StringFilter
    from rowsmith.filters.times import DateFilter, DateTimeFilter

__all__ = [
    "ArrayFilter",
    "BoolFilter",
    "CappedCount",
    "DateFilter",
    "DateTimeFilter",
    "EnumFilter",
    "Filter",
    "FullTextFilter",
    "JSONFilter",
    "NumberFilter",
    "On",
    "OrderBy",
    "PathEquals",
    "Related",
    "SearchRequest",
    "StringFilter",
    "UUIDFilter",
    "to_orders",
]

_PLACES: Final = {
    "documents": (
        "ArrayFilter",
        "JSONFilter",
        "PathEquals",
    ),
    "filter": ("Filter",),
    "operands": ("On",),
    "order": (
        "OrderBy",
        "to_orders",
    ),
    "related": ("Related",),
    "request": (
        "CappedCount",
        "SearchRequest",
    ),
    "scalars": (
        "BoolFilter",
        "EnumFilter",
        "NumberFilter",
        "UUIDFilter",
    ),
    "text": (
        "FullTextFilter",
        "StringFilter",
    ),
    "times": (
        "DateFilter",
        "DateTimeFilter",
    ),
}

if not TYPE_CHECKING:  # to a type checker, a name that is not there must stay an error
    __getattr__ = lazily(__name__, _PLACES)
