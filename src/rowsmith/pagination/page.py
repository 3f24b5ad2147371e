"""A page of results, and the pure cut that makes one from the rows fetched for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, overload

from rowsmith.pagination.modes import Mode

TData = TypeVar("TData")
TRow = TypeVar("TRow")
TOther = TypeVar("TOther")


class LazyCursors(Sequence[str]):
    """One cursor for each row, made only when it is looked at: a page of 100 signs two, or none.

    Takes the rows' key values in page order and the function that makes a cursor of one.
    """

    __slots__ = ("_encode", "_keys")

    def __init__(self, keys: Sequence[tuple[Any, ...]], encode: Callable[[tuple[Any, ...]], str]) -> None:
        self._keys = keys
        self._encode = encode

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> LazyCursors: ...
    def __getitem__(self, index: int | slice) -> str | LazyCursors:
        if isinstance(index, slice):
            return LazyCursors(self._keys[index], self._encode)
        return self._encode(self._keys[index])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)  # pyright: ignore[reportUnknownArgumentType]

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled page carries its cursors, never the keys that sign them.
        return (tuple, (tuple(self),))

    def __repr__(self) -> str:
        return f"<{len(self)} cursors>"


@dataclass(frozen=True)
class Page(Generic[TData]):
    """Rows of one page in display order, whichever way it was reached, and what lies around it.

    ``has_next_page``: the forward and offset modes fetch one row more to know it; a backward page has
    one exactly when ``before`` was given, since the row it names lies after.
    ``has_previous_page``: the backward mode fetches one row more to know it; a forward page has one
    exactly when ``after`` was given, since the row it names lies before; an offset page when it skips rows.
    ``total_count`` is None unless a count was asked for. ``cursors`` holds one for each item, for
    ``CursorForwardPagination(after=...)`` and ``CursorBackwardPagination(before=...)`` alike.
    """

    items: tuple[TData, ...]
    has_next_page: bool = False
    has_previous_page: bool = False
    total_count: int | None = None
    cursors: Sequence[str] = ()

    @property
    def start_cursor(self) -> str | None:
        """The first item's cursor, for the page before this one; None for an empty page."""
        return self.cursors[0] if self.cursors else None

    @property
    def end_cursor(self) -> str | None:
        """The last item's cursor, for the page after this one; None for an empty page."""
        return self.cursors[-1] if self.cursors else None

    def map(self, function: Callable[[TData], TOther]) -> Page[TOther]:
        """Give the same page with ``function`` applied to every item."""
        items = tuple(function(item) for item in self.items)
        return Page(items, self.has_next_page, self.has_previous_page, self.total_count, self.cursors)

    def __iter__(self) -> Iterator[TData]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class Window(NamedTuple, Generic[TRow]):
    """The rows that belong to a page, in display order, and whether there are others around them."""

    rows: Sequence[TRow]
    has_next_page: bool
    has_previous_page: bool


def fetch_limit(pagination: Mode) -> int | None:
    """Give the LIMIT to send: one row more than the page holds, or None for everything."""
    size = pagination.fetch().size
    return None if size is None else size + 1


def window(pagination: Mode, fetched: Sequence[TRow]) -> Window[TRow]:
    """Cut the page out of the rows fetched with :func:`fetch_limit`, in the order they were fetched.

    A backward page is fetched in reversed order and turned round here.
    """
    wanted = pagination.fetch()
    more = wanted.size is not None and len(fetched) > wanted.size
    rows = fetched[: wanted.size] if more else fetched
    return Window(rows[::-1] if wanted.backward else rows, *pagination.around(more=more))
