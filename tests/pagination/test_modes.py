"""Pagination modes refuse numbers that no page can have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rowsmith.errors import InvalidCursor, InvalidPagination
from rowsmith.pagination import (
    MAX_PAGE_SIZE,
    CursorBackwardPagination,
    CursorForwardPagination,
    OffsetPagination,
)

MODES: list[Callable[[Any], object]] = [
    lambda n: OffsetPagination(limit=n),
    lambda n: CursorForwardPagination(first=n),
    lambda n: CursorBackwardPagination(last=n),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [-(2**63), -1, 0, MAX_PAGE_SIZE + 1, 10**9, 2**31, 2**63, True, 1.0, "1", None])
def test_sizes_out_of_range_are_refused(mode: Callable[[Any], object], size: Any) -> None:
    """A page has 1 to MAX_PAGE_SIZE rows, given as an int."""
    with pytest.raises(InvalidPagination, match="must be"):
        mode(size)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [1, MAX_PAGE_SIZE])
def test_sizes_in_range_are_taken(mode: Callable[[Any], object], size: int) -> None:
    """Both ends of the range are pages; equal modes are equal values."""
    assert mode(size) == mode(size)


@pytest.mark.parametrize("offset", [-1, 2**63, False, 0.0, None])
def test_offsets_out_of_range_are_refused(offset: Any) -> None:
    """An offset is an int that the database's bigint can hold."""
    with pytest.raises(InvalidPagination, match="offset must be"):
        OffsetPagination(limit=1, offset=offset)


def test_the_largest_offset_is_taken() -> None:
    """Skipping more rows than there can be is no error."""
    assert OffsetPagination(limit=1, offset=2**63 - 1).offset == 2**63 - 1


@pytest.mark.parametrize("cursor", [b"abc", 1, True, ("a",)])
def test_a_cursor_is_a_string(cursor: Any) -> None:
    """Anything but a string is no cursor, already before it is read."""
    with pytest.raises(InvalidCursor, match="must be a cursor"):
        CursorForwardPagination(first=1, after=cursor)
    with pytest.raises(InvalidCursor, match="must be a cursor"):
        CursorBackwardPagination(last=1, before=cursor)
