"""The modes of pagination: small frozen values that check their own numbers when they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from rowsmith.errors import InvalidCursor, InvalidPagination

MAX_PAGE_SIZE: Final = 10_000
"""The most rows one page may ask for; ``NoPagination()`` and ``stream()`` are for everything."""

MAX_OFFSET: Final = 2**63 - 1
"""The largest OFFSET that PostgreSQL and SQLite take (a signed 64-bit integer)."""


@dataclass(frozen=True)
class OffsetPagination:
    """``limit`` rows after skipping ``offset``; its cost grows with the offset.

    Raises:
        InvalidPagination: ``limit`` is not in 1..MAX_PAGE_SIZE, or ``offset`` not in 0..2**63-1.
    """

    limit: int
    offset: int = 0

    def __post_init__(self) -> None:
        check_number("limit", self.limit, 1, MAX_PAGE_SIZE)
        check_number("offset", self.offset, 0, MAX_OFFSET)


@dataclass(frozen=True)
class CursorForwardPagination:
    """The ``first`` rows after the row that the cursor ``after`` names, or from the start.

    Raises:
        InvalidPagination: ``first`` is not in 1..MAX_PAGE_SIZE.
        InvalidCursor: ``after`` is no string.
    """

    first: int
    after: str | None = None

    def __post_init__(self) -> None:
        check_number("first", self.first, 1, MAX_PAGE_SIZE)
        _check_cursor("after", self.after)


@dataclass(frozen=True)
class CursorBackwardPagination:
    """The ``last`` rows before the row that the cursor ``before`` names, or up to the end, in display order.

    Raises:
        InvalidPagination: ``last`` is not in 1..MAX_PAGE_SIZE.
        InvalidCursor: ``before`` is no string.
    """

    last: int
    before: str | None = None

    def __post_init__(self) -> None:
        check_number("last", self.last, 1, MAX_PAGE_SIZE)
        _check_cursor("before", self.before)


@dataclass(frozen=True)
class NoPagination:
    """Every row in one page: for tables known to be small; ``stream()`` is for the others."""


CursorPagination: TypeAlias = CursorForwardPagination | CursorBackwardPagination
"""The modes whose cost does not grow with depth."""

Pagination: TypeAlias = OffsetPagination | CursorPagination | NoPagination
"""Any mode."""


def check_number(name: str, value: object, least: int, most: int) -> None:
    """Refuse anything but an ``int`` in ``least..most``; ``True`` is no number here.

    Raises:
        InvalidPagination: it is something else; the message gives the range, not the value.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidPagination(f"{name} must be an int from {least} to {most}, not {type(value).__name__}")
    if not least <= value <= most:
        raise InvalidPagination(f"{name} must be from {least} to {most}")


def _check_cursor(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise InvalidCursor(f"{name} must be a cursor taken from a page, a str, not {type(value).__name__}")
