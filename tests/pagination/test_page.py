"""Pages are cut right, mapped, and make their cursors only when asked."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowsmith.pagination import (
    CursorBackwardPagination,
    CursorForwardPagination,
    LazyCursors,
    NoPagination,
    OffsetPagination,
    Page,
    Pagination,
    fetch_limit,
    window,
)


def counting_cursors(made: list[int]) -> LazyCursors:
    def encode(key: tuple[Any, ...]) -> str:
        made.append(key[0])
        return f"c{key[0]}"

    return LazyCursors([(1,), (2,), (3,)], encode)


def test_cursors_are_made_when_looked_at() -> None:
    """A page signs the cursors that somebody reads and no other."""
    made: list[int] = []
    page = Page(("a", "b", "c"), cursors=counting_cursors(made))
    assert (len(page.cursors), made) == (3, [])
    assert (page.start_cursor, page.end_cursor) == ("c1", "c3")
    assert made == [1, 3]


def test_cursors_are_a_sequence() -> None:
    """Slices, iteration, equality, hashes and pickles behave as those of a tuple of strings."""
    cursors = counting_cursors([])
    assert list(cursors[1:]) == ["c2", "c3"]
    assert cursors == ("c1", "c2", "c3")
    assert cursors not in (("c1",), 5)
    assert hash(cursors) == hash(("c1", "c2", "c3"))
    # A lambda could not be pickled; the strings can.
    assert pickle.loads(pickle.dumps(cursors)) == ("c1", "c2", "c3")  # noqa: S301
    assert repr(cursors) == "<3 cursors>"


def test_an_empty_page_has_no_cursors() -> None:
    """There is no row to stand before or after."""
    page: Page[str] = Page(())
    assert (page.start_cursor, page.end_cursor, page.total_count, len(page)) == (None, None, None, 0)


def test_map_keeps_everything_but_the_items() -> None:
    """Mapping changes items alone; counts, cursors and neighbours stay."""
    page = Page((1, 2, 3), True, False, 7, counting_cursors([]))
    mapped = page.map(str)
    assert list(mapped) == ["1", "2", "3"]
    assert mapped == Page(("1", "2", "3"), True, False, 7, ("c1", "c2", "c3"))


ROWS = list("abcde")


@pytest.mark.parametrize(
    "pagination, fetched, expected",
    [
        (NoPagination(), ROWS, (ROWS, False, False)),
        (OffsetPagination(4), ROWS, (ROWS[:4], True, False)),
        (OffsetPagination(5, 1), ROWS, (ROWS, False, True)),
        (CursorForwardPagination(4), ROWS, (ROWS[:4], True, False)),
        (CursorForwardPagination(5, "x"), ROWS, (ROWS, False, True)),
        (CursorBackwardPagination(4), ROWS, (list("dcba"), False, True)),
        (CursorBackwardPagination(5, "x"), ROWS, (list("edcba"), True, False)),
        (CursorForwardPagination(3, "x"), [], ([], False, True)),
    ],
)
def test_window(pagination: Pagination, fetched: list[str], expected: tuple[list[str], bool, bool]) -> None:
    """One row too many is cut off and says that there are more; backward rows are turned round."""
    assert tuple(window(pagination, fetched)) == expected


@given(st.integers(1, 50), st.integers(0, 60))
def test_a_window_never_holds_more_than_its_page(size: int, there: int) -> None:
    """Whatever is there, a page of n has at most n rows and knows of the next one."""
    pagination = CursorForwardPagination(size)
    limit = fetch_limit(pagination)
    assert limit is not None
    cut = window(pagination, range(min(there, limit)))
    assert (list(cut.rows), cut.has_next_page) == (list(range(min(there, size))), there > size)
