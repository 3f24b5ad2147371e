"""The modes of pagination: small frozen values that check their own numbers when they are made.

Each answers for itself what is fetched and what lies around it, and nothing outside of this module asks which
mode it has. A new one is a :class:`Mode` that stands in :data:`Pagination`, and in
:class:`~rowsmith.pagination.client.PageFields` what a client may say of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Final, NamedTuple, Self, TypeAlias, get_args

from typing_extensions import override

from rowsmith.errors import InvalidCursor, InvalidPagination, MappingError, kind_of

MAX_PAGE_SIZE: Final = 10_000
"""The most rows one page may ask for; ``NoPagination()`` and ``stream()`` are for everything."""

DEFAULT_PAGE_SIZE: Final = 100
"""How many rows a search gives that asks for no page, where the class says nothing else."""

MAX_OFFSET: Final = 2**63 - 1
"""The largest OFFSET that PostgreSQL and SQLite take (a signed 64-bit integer)."""


class Fetch(NamedTuple):
    """What a mode asks the database for; no part has a default, so that none can be forgotten.

    ``size`` is the number of rows on the page, None for every row; ``offset`` of them are skipped. The rows are
    those after the row that ``cursor`` names, in the order of the search or, ``backward``, in the reversed one.
    """

    size: int | None
    offset: int | None
    cursor: str | None
    backward: bool


class Around(NamedTuple):
    """What lies around a page."""

    has_next_page: bool
    has_previous_page: bool


class Mode(ABC):
    """Base of the modes, each a frozen dataclass; a client says its fields by their names, the size first."""

    @abstractmethod
    def fetch(self) -> Fetch:
        """Give what to ask the database for."""

    @abstractmethod
    def around(self, *, more: bool) -> Around:
        """Give what lies around the page, where there were more rows to fetch than it holds, or not."""


@dataclass(frozen=True)
class OffsetPagination(Mode):
    """``limit`` rows after skipping ``offset``; its cost grows with the offset.

    Raises:
        InvalidPagination: ``limit`` is not in 1..MAX_PAGE_SIZE, or ``offset`` not in 0..2**63-1.
    """

    limit: int
    offset: int = 0

    def __post_init__(self) -> None:
        check_number("limit", self.limit, 1, MAX_PAGE_SIZE)
        check_number("offset", self.offset, 0, MAX_OFFSET)

    @classmethod
    def page(cls, number: int, size: int) -> Self:
        """Give the page with this number, counted from 1, of pages with ``size`` rows.

        Raises:
            InvalidPagination: ``size`` is not in 1..MAX_PAGE_SIZE, or ``number`` below 1 or too large for an OFFSET.
        """
        check_number("size", size, 1, MAX_PAGE_SIZE)
        check_number("number", number, 1, MAX_OFFSET // size + 1)
        return cls(size, (number - 1) * size)

    @override
    def fetch(self) -> Fetch:
        return Fetch(size=self.limit, offset=self.offset, cursor=None, backward=False)

    @override
    def around(self, *, more: bool) -> Around:
        return Around(has_next_page=more, has_previous_page=self.offset > 0)


@dataclass(frozen=True)
class CursorForwardPagination(Mode):
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

    @override
    def fetch(self) -> Fetch:
        return Fetch(size=self.first, offset=None, cursor=self.after, backward=False)

    @override
    def around(self, *, more: bool) -> Around:
        return Around(has_next_page=more, has_previous_page=self.after is not None)


@dataclass(frozen=True)
class CursorBackwardPagination(Mode):
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

    @override
    def fetch(self) -> Fetch:
        return Fetch(size=self.last, offset=None, cursor=self.before, backward=True)

    @override
    def around(self, *, more: bool) -> Around:
        return Around(has_next_page=self.before is not None, has_previous_page=more)


@dataclass(frozen=True)
class NoPagination(Mode):
    """Every row in one page: for tables known to be small; ``stream()`` is for the others."""

    @override
    def fetch(self) -> Fetch:
        return Fetch(size=None, offset=None, cursor=None, backward=False)

    @override
    def around(self, *, more: bool) -> Around:
        return Around(has_next_page=False, has_previous_page=False)


CursorPagination: TypeAlias = CursorForwardPagination | CursorBackwardPagination
"""The modes whose cost does not grow with depth."""

Pagination: TypeAlias = CursorPagination | OffsetPagination | NoPagination
"""Any mode."""

MODES: Final[tuple[type[Pagination], ...]] = get_args(Pagination)
"""Every mode there is."""

CLIENT_MODES: Final[dict[type[Pagination], tuple[str, ...]]] = {
    mode: names for mode in MODES if (names := tuple(field.name for field in fields(mode)))
}
"""The modes that a client may ask for, which are those with a size, and the names of their fields."""


def check_mode(given: object) -> None:
    """Refuse anything but a mode.

    Raises:
        InvalidPagination: it is something else; the message says what to write.
    """
    if not isinstance(given, Mode):
        forms = [f"{mode.__name__}({CLIENT_MODES[mode][0]}=...)" for mode in CLIENT_MODES]
        forms += [f"{mode.__name__}()" for mode in MODES if mode not in CLIENT_MODES]
        raise InvalidPagination(f"pagination is {', '.join(forms[:-1])} or {forms[-1]}, not {kind_of(given)}")


def check_number(name: str, value: object, least: int, most: int) -> None:
    """Refuse anything but an ``int`` in ``least..most``; ``True`` is no number here.

    Raises:
        InvalidPagination: it is something else; the message gives the range, not the value.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidPagination(f"{name} must be an int from {least} to {most}, not {type(value).__name__}")
    if not least <= value <= most:
        raise InvalidPagination(f"{name} must be from {least} to {most}")


def checked_size(name: str, size: int, most: int = MAX_PAGE_SIZE) -> int:
    """Give a size of pages that a class declares.

    Raises:
        MappingError: it is no int in ``1..most``.
    """
    try:
        check_number(name, size, 1, most)
    except InvalidPagination as exc:
        raise MappingError(str(exc)) from None
    return size


def _check_cursor(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise InvalidCursor(f"{name} must be a cursor taken from a page, a str, not {type(value).__name__}")
