"""Pages: modes, counts, the keyset predicate and the cursors that carry its values."""

from __future__ import annotations

from rowsmith.pagination.count import Count
from rowsmith.pagination.cursor import MAX_CURSOR_LENGTH, CursorCodec
from rowsmith.pagination.fingerprint import fingerprint
from rowsmith.pagination.keyset import after
from rowsmith.pagination.modes import (
    MAX_PAGE_SIZE,
    CursorBackwardPagination,
    CursorForwardPagination,
    CursorPagination,
    NoPagination,
    OffsetPagination,
    Pagination,
)
from rowsmith.pagination.page import LazyCursors, Page, Window, fetch_limit, window

__all__ = [
    "MAX_CURSOR_LENGTH",
    "MAX_PAGE_SIZE",
    "Count",
    "CursorBackwardPagination",
    "CursorCodec",
    "CursorForwardPagination",
    "CursorPagination",
    "LazyCursors",
    "NoPagination",
    "OffsetPagination",
    "Page",
    "Pagination",
    "Window",
    "after",
    "fetch_limit",
    "fingerprint",
    "window",
]
